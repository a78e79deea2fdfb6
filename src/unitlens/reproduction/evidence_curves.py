"""Evidence from cumulative ablation curves."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise

import numpy as np
import xarray as xr

from unitlens.analysis.curve_summaries import area_under_curve
from unitlens.analysis.run_groups import group_runs
from unitlens.reproduction.estimates import Estimate
from unitlens.reproduction.evidence import (
    SHARE,
    SHARE_CHANGE,
    Counts,
    Evidence,
    Measurements,
    estimate_evidence,
    estimate_over,
)
from unitlens.reproduction.experiment_runs import NotMeasuredError, Runs, rows_by_run
from unitlens.reproduction.network_means import difference
from unitlens.reproduction.paper_values import ABLATED_MAPS, LEVELS
from unitlens.reproduction.protocol import MAPS
from unitlens.reproduction.result_texts import estimate_text
from unitlens.reproduction.several_tests import smallest
from unitlens.reproduction.student_t import Floats, mean


def mnist_ablation(runs: Runs) -> Measurements:
    """Measure figure 1a: the AUC at each level of corruption, and the order of the levels."""
    for level in LEVELS:
        yield f"corruption {level:g}", partial(_level_auc, runs, level)
    yield "order", lambda: _auc_order(runs, runs.corruption_levels())


def robustness(runs: Runs) -> Measurements:
    """Measure figures 1b and 1c: uncorrupted networks against the others, and their order."""
    yield "uncorrupted", lambda: _uncorrupted_against_others(runs)
    corrupted = [level for level in runs.corruption_levels() if level > 0]
    yield "order", lambda: _auc_order(runs, corrupted)


def _auc(runs: Runs, value: str | None = None) -> tuple[Estimate, Runs, xr.Dataset]:
    measured, curves = runs.random_curves(value)
    areas = rows_by_run(area_under_curve(curves), "order")
    return estimate_over(measured, areas, mean, "orders", bounds=SHARE), measured, curves


def _level_auc(runs: Runs, level: float) -> Evidence:
    estimate, measured, curves = _auc(runs.select_equal("corruption", level))
    return estimate_evidence(estimate, measured, count_curves(curves))


def _auc_by_level(runs: Runs, levels: list[float]) -> tuple[list[Estimate], Runs, Counts]:
    if len(levels) < 2:
        present = ", ".join(f"{level:g}" for level in levels) or "none"
        raise NotMeasuredError(
            f"the claim needs networks at several levels of corruption, but there is {present}"
        )
    measured, curves = runs.random_curves()
    estimates = [_auc(runs.select_equal("corruption", level))[0] for level in levels]
    return estimates, measured, count_curves(curves)


def _auc_order(runs: Runs, levels: list[float]) -> Evidence:
    """Compare each level with the level before it."""
    at_levels = runs.select(np.isin(runs.table["corruption"].values, levels))
    estimates, measured, counts = _auc_by_level(at_levels, levels)
    return Evidence(
        networks=len(measured.names),
        units=counts.units,
        orders=counts.orders,
        levels=tuple(estimate.value for estimate in estimates),
        steps=tuple(difference(later, earlier) for earlier, later in pairwise(estimates)),
        notes=(
            f"levels of corruption: {', '.join(f'{level:g}' for level in levels)}",
            *measured.memorisation_notes(),
        ),
    )


def _uncorrupted_against_others(runs: Runs) -> Evidence:
    """Compare the AUC at corruption 0 with that at each other level."""
    runs.select_equal("corruption", 0)
    (clean, *others), measured, counts = _auc_by_level(runs, runs.corruption_levels())
    least = smallest([difference(clean, other) for other in others])
    return estimate_evidence(least, measured, counts)


def curve_points(curves: xr.Dataset) -> dict[str, Floats]:
    """Return the curves of each run, shape (order, point, 2): ablated fraction and accuracy."""
    networks = {}
    for run, accuracy, fraction in zip(
        curves["run"].values,
        curves["accuracy"].transpose("run", "order", "ablated").values,
        curves["ablated_fraction"].transpose("run", "ablated").values,
        strict=True,
    ):
        orders = np.isfinite(accuracy).any(1)
        points = np.isfinite(accuracy[orders]).all(0)
        y = accuracy[orders][:, points]
        networks[str(run)] = np.stack([np.broadcast_to(fraction[points], y.shape), y], -1)
    return networks


def batch_norm_ablation(runs: Runs) -> Measurements:
    """Measure figure 5b: accuracy at three fractions with and without batch norm, and the AUC."""
    for name, flag in (("with", 1), ("without", 0)):
        for maps in ABLATED_MAPS:
            yield f"{name}-{maps}", partial(_batch_norm_accuracy, runs, flag, maps / MAPS)
    yield "more-robust", lambda: _batch_norm_difference(runs)


def _batch_norm_accuracy(runs: Runs, flag: int, fraction: float) -> Evidence:
    return curve_evidence(
        runs.select_equal("batch_norm", flag), lambda points: accuracy_at(points, fraction), SHARE
    )


def curve_evidence(
    runs: Runs, summary: Callable[[Floats], Floats], bounds: tuple[float, float]
) -> Evidence:
    """Average a summary of each order's curve over orders and networks.

    Parameters
    ----------
    runs
        The networks.
    summary
        Function of the curves of a network, of :func:`curve_points`, to a number of each order.
    bounds
        Least and largest number that the summary can be.
    """
    measured, curves = runs.random_curves()
    summaries = {run: summary(points) for run, points in curve_points(curves).items()}
    estimate = estimate_over(measured, summaries, mean, "orders", bounds=bounds)
    return estimate_evidence(estimate, measured, count_curves(curves))


def accuracy_at(points: Floats, fraction: float) -> Floats:
    """Return the accuracy of each order at an ablated fraction."""
    return np.array([np.interp(fraction, *order.T) for order in points])


def _batch_norm_difference(runs: Runs) -> Evidence:
    with_it, _, _ = _auc(runs.select_equal("batch_norm", 1))
    without, _, _ = _auc(runs.select_equal("batch_norm", 0))
    measured, curves = runs.random_curves()
    return estimate_evidence(difference(with_it, without), measured, count_curves(curves))


def clamping(runs: Runs) -> Measurements:
    """Measure the appendix: AUC when clamped to the mean minus AUC when clamped to zero."""
    yield "mean", lambda: _mean_minus_zero(runs)


def _mean_minus_zero(runs: Runs) -> Evidence:
    """Compare curves of both values, of all networks; a remark compares those of each setting."""

    def compare(some: Runs) -> Evidence:
        return auc_difference(*some.random_curves("zero"), some.random_curves("mean")[1])

    evidence = compare(runs)
    told = []
    for group in group_runs(runs.table):
        with suppress(NotMeasuredError):  # a setting without curves of both values
            own = compare(runs.select_names(group.runs)).estimate
            told += [f"{group.label} {estimate_text(own)}"] if own and own.over_networks else []
    return evidence.with_notes(f"by setting: {', '.join(told)}") if len(told) > 1 else evidence


def auc_difference(runs: Runs, first: xr.Dataset, second: xr.Dataset) -> Evidence:
    """Return the AUC of second curves minus the AUC of first curves, within each network.

    Parameters
    ----------
    runs
        The networks of the first curves.
    first
        Curves of the networks.
    second
        Other curves. Where a network has as many orders of both, orders are paired; else the
        means over orders are compared.
    """
    areas = [rows_by_run(area_under_curve(curves), "order") for curves in (first, second)]
    names = [name for name in areas[0] if name in areas[1]]
    if not names:
        raise NotMeasuredError("no network has both kinds of curves")
    pairs = {name: (areas[0][name], areas[1][name]) for name in names}
    changes = {
        name: y - x if len(x) == len(y) else np.atleast_1d(y.mean() - x.mean())
        for name, (x, y) in pairs.items()
    }
    both = runs.select_names(names)
    return estimate_evidence(
        estimate_over(both, changes, mean, "orders", bounds=SHARE_CHANGE),
        both,
        count_curves(second),
    )


def count_curves(curves: xr.Dataset) -> Counts:
    """Return the units ablated in all networks together, and the largest number of orders."""
    units = curves["ablated_units"].max("ablated").values.sum()
    orders = max(map(len, rows_by_run(area_under_curve(curves), "order").values()))
    return Counts(int(units), orders)
