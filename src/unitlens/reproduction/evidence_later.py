"""Evidence for what later work and readers of the paper ask."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import xarray as xr

from unitlens.analysis.measure_agreement import (
    class_agreement,
    damaging,
    layer_means,
    preferred_class_drop,
)
from unitlens.reproduction.bootstrap import BootstrapEstimate, Floats, mean_over_networks
from unitlens.reproduction.evidence import (
    Counts,
    Evidence,
    NotMeasuredError,
    Runs,
    from_estimate,
)
from unitlens.reproduction.evidence_curves import apart
from unitlens.reproduction.evidence_units import (
    columns_of,
    norm_with,
    rank_evidence,
    within_layers,
)
from unitlens.reproduction.later import (
    ALIKE,
    ENDS,
    MEASURES,
    SCORES,
    STRENGTHS,
)

Found = Iterator[tuple[str, Callable[[], Evidence]]]
BASES = ("random", "principal_components")
HARM = ("preferred_class", "most_damaged_class", "class_accuracy_drop_max", "accuracy_drop")


def random_directions(runs: Runs) -> Found:
    """Tell whether units take more ablation than other orthonormal directions."""
    for level in ENDS:
        for basis in BASES:
            yield f"{basis}-{level:g}", partial(_along, runs, basis, level)


def _along(runs: Runs, basis: str, level: float) -> Evidence:
    chosen = runs.where("corruption", level)
    return apart(*chosen.curves(basis=basis), chosen.curves()[1])


def measure_orders(runs: Runs) -> Found:
    """Tell whether it matters which end of a measure is ablated first."""
    for level in ENDS:
        for name in MEASURES:
            yield f"{name}-{level:g}", partial(_ends_of, runs, name, level)


def _ends_of(runs: Runs, measure: str, level: float) -> Evidence:
    chosen = runs.where("corruption", level)
    largest, smallest = (
        _ordered(chosen, f"{measure}-{way}") for way in ("descending", "ascending")
    )
    return apart(*largest, smallest[1])


def _ordered(runs: Runs, order: str) -> tuple[Runs, xr.Dataset]:
    curves = runs.results.curves
    there = curves["order"].values == order
    if not there.any():
        raise NotMeasuredError(f"no curves in the order {order} were measured")
    return runs.of_orders(curves.isel(order=np.flatnonzero(there)))


def class_damage(runs: Runs) -> Found:
    """Tell which class loses most when a unit is ablated."""
    yield "single", lambda: _single_class(runs)
    yield "own", lambda: _own_class(runs)
    yield "selectivity", lambda: rank_evidence(runs, _own_drops(runs), within_layers)


def _units_by_run(runs: Runs, needed: Sequence[str]) -> dict[str, xr.Dataset]:
    """Return the units of each run in which something is known of the classes that they harm."""
    units = runs.results.units
    for name in needed:
        if name not in units.variables:
            raise NotMeasuredError(f"{name} was not measured")
    known = np.isfinite(units["class_accuracy_drop_max"].values)
    of_run = units["run"].values
    found = {
        run: units.isel(unit=np.flatnonzero(known & (of_run == run))).load() for run in runs.names
    }
    measured = {run: own for run, own in found.items() if own.sizes["unit"]}
    if not measured:
        raise NotMeasuredError("units were not ablated in these networks")
    return measured


def _single_class(runs: Runs) -> Evidence:
    gaps = {}
    for run, own in _units_by_run(runs, (*HARM, "class_accuracy_drop")).items():
        gap = preferred_class_drop(own) - own["accuracy_drop"].values
        gaps[run] = gap[np.isfinite(gap)]
    return _of_values(runs, gaps)


def _own_class(runs: Runs) -> Evidence:
    found = {run: class_agreement(own) for run, own in _units_by_run(runs, HARM).items()}
    beyond = {run: np.array([one.share - one.chance]) for run, one in found.items() if one.units}
    if not beyond:
        raise NotMeasuredError("no unit's ablation makes the accuracy of any class drop")
    return _of_values(runs, beyond, sum(one.units for one in found.values()))


def _own_drops(runs: Runs) -> list[tuple[str, Floats]]:
    """Return selectivity, the preferred class's drop and depth of the units that harm a class."""
    rows = []
    for run, own in _units_by_run(runs, (*HARM, "class_accuracy_drop", "selectivity")).items():
        chosen = own.isel(unit=np.flatnonzero(damaging(own)))
        columns = [
            chosen["selectivity"].values,
            preferred_class_drop(chosen),
            chosen["depth"].values,
        ]
        values = np.stack([np.asarray(column, float) for column in columns], 1)
        rows.append((run, values[np.isfinite(values).all(1)]))
    return rows


def _of_values(runs: Runs, values: dict[str, Floats], units: int = 0) -> Evidence:
    """Average over networks the means of what is known of each."""
    shown = runs.named(values)
    estimate = mean_over_networks(list(values.values()), lambda rows: float(rows.mean()), "units")
    return from_estimate(estimate, shown, Counts(units=units or sum(map(len, values.values()))))


def measure_agreement(runs: Runs) -> Found:
    """Tell whether other measures rank the units of a layer as class selectivity does."""
    for name in ALIKE:
        columns = ("selectivity", name, "depth")
        yield name, partial(_alike, runs, columns)


def _alike(runs: Runs, columns: tuple[str, ...]) -> Evidence:
    return rank_evidence(runs, columns_of(runs, columns), within_layers)


def regulariser(runs: Runs) -> Found:
    """Tell what a strength of the regulariser changes against none."""
    for name in SCORES:
        for strength in STRENGTHS:
            yield f"{name}-{strength:g}", partial(_against_none, runs, name, strength)


def _against_none(runs: Runs, name: str, strength: float) -> Evidence:
    with_it, without = (runs.where("selectivity_regulariser", x) for x in (strength, 0.0))
    first, second = (_score(of, name, key) for key, of in enumerate((with_it, without)))
    both = runs.named([*with_it.names, *without.names])
    return from_estimate(first.minus(second), both)


def _score(runs: Runs, name: str, key: int) -> BootstrapEstimate:
    values = runs.table[name].values
    if not np.isfinite(values).all():
        raise NotMeasuredError(f"{name} is not known of all these networks")
    rows = [np.array([value]) for value in values]
    return mean_over_networks(rows, lambda row: float(row[0]), "networks", key=key)


def selectivity_over_training(runs: Runs) -> Found:
    """Tell how selectivity, and what it has to do with importance, change over training."""
    yield "early", lambda: _over_training(runs, "spearman", first_minus_last=True)
    yield "selectivity", lambda: _over_training(runs, "selectivity", first_minus_last=False)


def _over_training(runs: Runs, column: str, *, first_minus_last: bool) -> Evidence:
    """Compare the mean over layers at the first kept epoch after 0 with that at the end."""
    tables = []
    for results in (runs.results.checkpoints, runs.results):
        units = results.units
        for name in ("selectivity", "loss_increase"):
            if name not in units.variables:
                raise NotMeasuredError(f"{name} was not measured")
        tables.append(units.isel(unit=np.flatnonzero(np.isin(units["run"].values, runs.names))))
    layers = layer_means(tables)
    changes = {}
    for run in runs.names:
        own = layers.isel(row=np.flatnonzero(layers["run"].values == run))
        epochs = np.unique(own["epoch"].values[own["epoch"].values > 0])
        if epochs.size > 1:
            first, last = (own[column].values[own["epoch"].values == e] for e in epochs[[0, -1]])
            change = float(np.nanmean(first) - np.nanmean(last))
            changes[run] = np.array([change if first_minus_last else -change])
    if not changes:
        raise NotMeasuredError(
            "no network has units measured at two epochs; keep and measure epochs"
        )
    return _of_values(runs, changes, int(sum(table.sizes["unit"] for table in tables[1:])))


def l1_importance(runs: Runs) -> Found:
    """Whether units of large weights are important, within layers."""
    yield "importance", lambda: norm_with(runs, "loss_increase")
