"""Evidence for claims of later work and for open questions beyond the paper."""

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import xarray as xr

from unitlens.analysis.measure_agreement import (
    class_agreement,
    damaging,
    layer_means,
    preferred_class_drop,
)
from unitlens.reproduction.estimates import Estimate
from unitlens.reproduction.evidence import (
    SHARE,
    Counts,
    Evidence,
    Measurements,
    estimate_evidence,
    estimate_over,
)
from unitlens.reproduction.evidence_curves import auc_difference
from unitlens.reproduction.evidence_units import (
    correlation_within_layers,
    l1_norm_correlation,
    rank_evidence,
    unit_rows,
)
from unitlens.reproduction.experiment_runs import NotMeasuredError, Runs
from unitlens.reproduction.follow_ups import (
    BASES,
    LEVELS_COMPARED,
    ORDERED_MEASURES,
    OTHER_MEASURES,
    SCORES,
    STRENGTHS,
)
from unitlens.reproduction.network_means import difference
from unitlens.reproduction.student_t import Floats, mean

CLASS_DAMAGE = (
    "preferred_class",
    "most_damaged_class",
    "class_accuracy_drop_max",
    "accuracy_drop",
)


def random_directions(runs: Runs) -> Measurements:
    """Measure whether units tolerate more ablation than directions of other orthonormal bases."""
    for level in LEVELS_COMPARED:
        for basis in BASES:
            yield f"{basis}-{level:g}", partial(_units_minus_basis, runs, basis, level)


def _units_minus_basis(runs: Runs, basis: str, level: float) -> Evidence:
    at_level = runs.select_equal("corruption", level)
    return auc_difference(*at_level.random_curves(basis=basis), at_level.random_curves()[1])


def measure_orders(runs: Runs) -> Measurements:
    """Measure whether units with large or with small values of a measure are needed more."""
    for level in LEVELS_COMPARED:
        for name in ORDERED_MEASURES:
            yield f"{name}-{level:g}", partial(_smallest_minus_largest, runs, name, level)


def _smallest_minus_largest(runs: Runs, measure: str, level: float) -> Evidence:
    at_level = runs.select_equal("corruption", level)
    largest_first = _ordered_curves(at_level, f"{measure}-descending")
    _, smallest_first = _ordered_curves(at_level, f"{measure}-ascending")
    return auc_difference(*largest_first, smallest_first)


def _ordered_curves(runs: Runs, order: str) -> tuple[Runs, xr.Dataset]:
    curves = runs.results.curves
    in_order = curves["order"].values == order
    if not in_order.any():
        raise NotMeasuredError(f"no curves in the order {order} were measured")
    return runs.with_curves(curves.isel(order=np.flatnonzero(in_order)))


def class_damage(runs: Runs) -> Measurements:
    """Measure which class loses most accuracy when a unit is ablated."""
    yield "single", lambda: _preferred_minus_overall(runs)
    yield "own", lambda: _own_class_most_damaged(runs)
    yield "selectivity", lambda: _selectivity_and_drop(runs)


def _ablated_units(runs: Runs, *columns: str) -> dict[str, xr.Dataset]:
    """Return the units of each run whose class accuracy drops are known, as tables."""
    units = runs.units(*columns)
    ablated = np.isfinite(units["class_accuracy_drop_max"].values)
    run_of_unit = units["run"].values
    tables = {
        run: units.isel(unit=np.flatnonzero(ablated & (run_of_unit == run))).load()
        for run in runs.names
    }
    measured = {run: table for run, table in tables.items() if table.sizes["unit"]}
    if not measured:
        raise NotMeasuredError("units were not ablated in these networks")
    return measured


def _preferred_minus_overall(runs: Runs) -> Evidence:
    """Compare the drop of the preferred class with that of all samples."""
    gaps = {}
    for run, units in _ablated_units(runs, *CLASS_DAMAGE, "class_accuracy_drop").items():
        gap = preferred_class_drop(units) - units["accuracy_drop"].values
        gaps[run] = gap[np.isfinite(gap)]
    return _mean_evidence(runs, gaps)


def _own_class_most_damaged(runs: Runs) -> Evidence:
    """Compare how often the preferred class is damaged most with chance."""
    agreements = {
        run: class_agreement(units) for run, units in _ablated_units(runs, *CLASS_DAMAGE).items()
    }
    beyond_chance = {
        run: np.array([agreement.share - agreement.chance])
        for run, agreement in agreements.items()
        if agreement.units
    }
    if not beyond_chance:
        raise NotMeasuredError("no unit's ablation makes the accuracy of any class drop")
    units = sum(agreement.units for agreement in agreements.values())
    return _mean_evidence(runs, beyond_chance, units)


def _preferred_class_rows(runs: Runs) -> dict[str, Floats]:
    """Return selectivity, drop of the preferred class and depth of units that damage a class."""
    rows = {}
    columns = (*CLASS_DAMAGE, "class_accuracy_drop", "selectivity")
    for run, units in _ablated_units(runs, *columns).items():
        harmful = units.isel(unit=np.flatnonzero(damaging(units)))
        values = [
            harmful["selectivity"].values,
            preferred_class_drop(harmful),
            harmful["depth"].values,
        ]
        table = np.stack([np.asarray(column, float) for column in values], 1)
        rows[run] = table[np.isfinite(table).all(1)]
    return rows


def _selectivity_and_drop(runs: Runs) -> Evidence:
    """Correlate selectivity with the drop of the preferred class, of units that damage a class."""
    evidence = rank_evidence(runs, _preferred_class_rows(runs), correlation_within_layers)
    return evidence.with_notes("of the units whose ablation damages some class")


def _mean_evidence(runs: Runs, values: Mapping[str, Floats], units: int | None = None) -> Evidence:
    """Return the mean over networks of the mean of each; of as many units as values by default."""
    estimate = estimate_over(runs, values, mean, "units")
    counts = Counts(units=sum(map(len, values.values())) if units is None else units)
    return estimate_evidence(estimate, runs.select_names(values), counts)


def measure_agreement(runs: Runs) -> Measurements:
    """Measure whether other measures rank the units of a layer as class selectivity does."""
    for name in OTHER_MEASURES:
        yield name, partial(_agreement_with_selectivity, runs, name)


def _agreement_with_selectivity(runs: Runs, name: str) -> Evidence:
    rows = unit_rows(runs, "selectivity", name, "depth")
    return rank_evidence(runs, rows, correlation_within_layers)


def l1_norm_importance(runs: Runs) -> Measurements:
    """Measure whether units with large weights are important, within layers."""
    yield "importance", lambda: l1_norm_correlation(runs, "loss_increase")


def regulariser(runs: Runs) -> Measurements:
    """Measure scores of networks trained with the regulariser minus those without."""
    for name in SCORES:
        for strength in STRENGTHS:
            yield f"{name}-{strength:g}", partial(_regularised_minus_plain, runs, name, strength)


def _regularised_minus_plain(runs: Runs, name: str, strength: float) -> Evidence:
    regularised, plain = (
        runs.select_equal("selectivity_regulariser", alpha) for alpha in (strength, 0.0)
    )
    change = difference(_mean_score(regularised, name), _mean_score(plain, name))
    both = runs.select_names([*regularised.names, *plain.names])
    return estimate_evidence(change, both, notes=_notes_on_dead_units(regularised))


def _notes_on_dead_units(runs: Runs) -> list[str]:
    """Return a remark if more than half of the units of a network are dead."""
    dead_units, units = (runs.table[name].values for name in ("dead_units", "units"))
    shares = dead_units[units > 0] / units[units > 0]  # -1 where they were not measured
    dead = np.sort(shares[shares > 0.5])
    if not dead.size:
        return []
    told = ", ".join(f"{share:.0%}" for share in dead)
    return [f"dead units of {dead.size} of {shares.size} networks with the regulariser: {told}"]


def _mean_score(runs: Runs, name: str) -> Estimate:
    scores = runs.table[name].values
    if not np.isfinite(scores).all():
        raise NotMeasuredError(f"{name} is not known of all these networks")
    rows = {run: np.array([score]) for run, score in zip(runs.names, scores, strict=True)}
    bounds = (-math.inf, math.inf) if name == "mean_selectivity" else SHARE
    return estimate_over(runs, rows, mean, "networks", bounds=bounds)


def selectivity_over_training(runs: Runs) -> Measurements:
    """Measure how selectivity and its correlation with importance change over training."""
    yield "early", lambda: _first_minus_last(runs, "spearman", sign=1)
    yield "selectivity", lambda: _first_minus_last(runs, "selectivity", sign=-1)


def _first_minus_last(runs: Runs, column: str, *, sign: int) -> Evidence:
    """Compare means over layers at the first kept epoch after 0 and at the end of training.

    Parameters
    ----------
    runs
        The networks.
    column
        Variable of :func:`unitlens.analysis.measure_agreement.layer_means`.
    sign
        1 for the first epoch minus the end, -1 for the end minus the first epoch.
    """
    tables = []
    for results in (runs.results.checkpoints, runs.results):
        units = Runs(results, runs.table).units("selectivity", "loss_increase")
        tables.append(units.isel(unit=np.flatnonzero(np.isin(units["run"].values, runs.names))))
    layers = layer_means(tables)
    changes = {}
    for run in runs.names:
        own = layers.isel(row=np.flatnonzero(layers["run"].values == run))
        epochs = np.unique(own["epoch"].values[own["epoch"].values > 0])
        if epochs.size > 1:
            first, last = (
                own[column].values[own["epoch"].values == epoch] for epoch in epochs[[0, -1]]
            )
            change = float(np.nanmean(first) - np.nanmean(last))
            changes[run] = np.array([sign * change])
    if not changes:
        raise NotMeasuredError(
            "no network has units measured at two epochs; keep and measure epochs"
        )
    return _mean_evidence(runs, changes, tables[-1].sizes["unit"])
