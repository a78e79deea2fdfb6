"""Evidence from single units: how selectivity and information lie, and what they go with."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from unitlens.analysis import correlations
from unitlens.reproduction.bootstrap import (
    Floats,
    Statistic,
    mean_over_networks,
    of_all_rows,
)
from unitlens.reproduction.claims import CIFAR_LAYERS
from unitlens.reproduction.evidence import (
    Counts,
    Evidence,
    NotMeasuredError,
    Runs,
    from_estimate,
)

Found = Iterator[tuple[str, Callable[[], Evidence]]]
FEWEST = 4  # units of a layer that has a rank correlation


def batch_norm_selectivity(runs: Runs) -> Found:
    """Figure 6a: the distribution of class selectivity with and without batch norm."""
    name = "selectivity"
    yield "mode", lambda: _of_units(runs, 1, name, lambda rows: mode(rows, 0.05))
    yield "high", lambda: _apart(runs, name, lambda rows: float((rows > 0.7).mean()))
    yield (
        "broad",
        lambda: _apart(runs, name, lambda rows: float(np.subtract(*np.percentile(rows, (75, 25))))),
    )
    yield (
        "ends",
        lambda: _apart(runs, name, lambda rows: float(((rows < 0.02) | (rows > 0.98)).mean())),
    )


def batch_norm_information(runs: Runs) -> Found:
    """Figure 6b: the distribution of mutual information with and without batch norm."""
    name = "mutual_information"
    yield "near-zero", lambda: _of_units(runs, 0, name, lambda rows: float((rows < 0.05).mean()))
    yield "mode", lambda: _of_units(runs, 1, name, lambda rows: mode(rows, 0.02))
    yield "bump", lambda: _of_units(runs, 1, name, bump)


def mode(values: Floats, width: float) -> float:
    """Return the middle of the bin, of a width and from 0 on, that holds most values."""
    counts = np.bincount(np.floor(np.clip(values, 0, None) / width).astype(int))
    return float((np.argmax(counts) + 0.5) * width)


def bump(values: Floats) -> float:
    """Return the share of values from .5 to .6 minus half of that from .3 to .5."""
    at = ((values >= 0.5) & (values < 0.6)).mean()
    return float(at - ((values >= 0.3) & (values < 0.5)).mean() / 2)


def _values(runs: Runs, name: str) -> tuple[Runs, list[Floats]]:
    """Return the runs that have a variable of their units, and its finite values in each."""
    columns = [(run, values) for run, values in columns_of(runs, (name,)) if len(values)]
    if not columns:
        raise NotMeasuredError(f"{name} was not measured on these networks")
    shown = runs.named([run for run, _ in columns])
    return shown, [values[:, 0] for _, values in columns]


def columns_of(runs: Runs, names: Sequence[str]) -> list[tuple[str, Floats]]:
    """Return, for each run, a row for each unit of which all the variables are known."""
    units = runs.results.units
    for name in names:
        if name not in units.variables:
            raise NotMeasuredError(f"{name} was not measured")
    values = np.stack([units[name].values.astype(float) for name in names], 1)
    of_run, known = units["run"].values, np.isfinite(values).all(1)
    return [(run, values[known & (of_run == run)]) for run in runs.names]


def _of_units(runs: Runs, flag: int, name: str, statistic: Statistic) -> Evidence:
    shown, values = _values(runs.where("batch_norm", flag), name)
    estimate = of_all_rows(values, statistic, "units")
    return from_estimate(estimate, shown, Counts(units=sum(map(len, values))))


def _apart(runs: Runs, name: str, statistic: Statistic) -> Evidence:
    with_it, without = (_values(runs.where("batch_norm", flag), name) for flag in (1, 0))
    estimates = [
        of_all_rows(values, statistic, "units", key=key)
        for key, (_, values) in enumerate((with_it, without))
    ]
    names = [*with_it[0].names, *without[0].names]
    shown = runs.named(names)
    units = sum(map(len, (*with_it[1], *without[1])))
    return from_estimate(estimates[0].minus(estimates[1]), shown, Counts(units=units))


def mnist_importance(runs: Runs) -> Found:
    """Figure 7a: selectivity and importance, all units."""
    yield "all", lambda: _correlation(runs, "selectivity")
    yield "early", lambda: _correlation(runs, "depth")


def cifar10_importance(runs: Runs) -> Found:
    """Figures 7b and 7c: selectivity and importance, all maps and layer by layer."""
    yield from mnist_importance(runs)
    for place in range(len(CIFAR_LAYERS)):
        yield f"layer-{place + 1}", partial(_in_layer, runs, place, len(CIFAR_LAYERS))


def imagenet_importance(runs: Runs) -> Found:
    """Figures 7d and 7e: selectivity and importance, all maps and the first layer."""
    yield from mnist_importance(runs)
    yield "first", lambda: _in_layer(runs, 0, None)


def information_importance(runs: Runs) -> Found:
    """Appendix: mutual information and importance, all units."""
    yield "all", lambda: _correlation(runs, "mutual_information")


def _correlation(runs: Runs, name: str) -> Evidence:
    """Correlate over all layers of each network: units of some of them are not all units."""
    columns = columns_of(runs, (name, "loss_increase", "depth"))
    units = runs.results.units
    depths, of_run = units["depth"].values, units["run"].values
    for run, rows in columns:
        layers = np.unique(depths[of_run == run]).size
        ablated = np.unique(rows[:, 2]).size
        if ablated not in (0, layers):
            raise NotMeasuredError(f"units of {ablated} of {layers} layers only were ablated")
    return rank_evidence(runs, [(run, rows[:, :2]) for run, rows in columns], spearman)


def _in_layer(runs: Runs, place: int, layers: int | None) -> Evidence:
    columns = columns_of(runs, ("selectivity", "loss_increase", "depth"))
    chosen = []
    for run, rows in columns:
        depths = np.unique(rows[:, 2])
        if layers is not None and depths.size not in (0, layers):
            raise NotMeasuredError(f"these networks have {depths.size} layers, not {layers}")
        there = rows[:, 2] == depths[place] if depths.size else np.zeros(0, bool)
        chosen.append((run, rows[there, :2]))
    return rank_evidence(runs, chosen, spearman)


def l1_norm(runs: Runs) -> Found:
    """Appendix: L1 norm and selectivity; within layers, whose numbers of weights differ."""
    yield "selectivity", lambda: norm_with(runs, "selectivity")


def norm_with(runs: Runs, name: str) -> Evidence:
    """Correlate L1 norm with a variable of the units, within layers."""
    return rank_evidence(runs, columns_of(runs, ("l1_norm", name, "depth")), within_layers)


def rank_evidence(runs: Runs, columns: list[tuple[str, Floats]], statistic: Statistic) -> Evidence:
    """Average a rank correlation, taken within each network, over those where it is defined."""
    known = {run: rows for run, rows in columns if np.isfinite(statistic(rows))}
    if not known:
        raise NotMeasuredError("too few units have both values, or one of them is constant")
    shown = runs.named(known)
    estimate = mean_over_networks(list(known.values()), statistic, "units")
    return from_estimate(estimate, shown, Counts(units=sum(map(len, known.values()))))


def spearman(rows: Floats) -> float:
    """Return the rank correlation of two columns, NaN where it is undefined."""
    return float("nan") if len(rows) < FEWEST else correlations.spearman(*rows.T)


def within_layers(rows: Floats) -> float:
    """Return the mean over layers (third column) of the rank correlation in each."""
    found = np.array([spearman(rows[rows[:, 2] == depth, :2]) for depth in np.unique(rows[:, 2])])
    found = found[np.isfinite(found)]
    return float(found.mean()) if found.size else float("nan")
