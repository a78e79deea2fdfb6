"""Evidence from curves: cumulative ablation and noise."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import xarray as xr

from unitlens.analysis.curve_summaries import area_under_curve, crossing, noise_scale_at
from unitlens.analysis.generalisation import best_and_worst, falls_to
from unitlens.analysis.run_groups import rows_of
from unitlens.reproduction.bootstrap import BootstrapEstimate, Floats, mean_over_networks
from unitlens.reproduction.claims import (
    DROPOUTS,
    FRACTIONS,
    LEVELS,
    MAPS,
)
from unitlens.reproduction.evidence import (
    Counts,
    Evidence,
    NotMeasuredError,
    Runs,
    by_order,
    from_estimate,
    of_order,
)

Found = Iterator[tuple[str, Callable[[], Evidence]]]


def mnist_ablation(runs: Runs) -> Found:
    """Figure 1a: mean accuracy over the range at each level, and their order."""
    for level in LEVELS:
        yield f"corruption {level:g}", partial(_areas_of, runs, level)
    yield "order", lambda: _areas_in_order(runs, runs.levels())


def robustness(runs: Runs) -> Found:
    """Figures 1b and 1c: the uncorrupted network against the others, and their order."""
    yield "uncorrupted", lambda: _uncorrupted(runs)
    yield "order", lambda: _areas_in_order(runs, [level for level in runs.levels() if level > 0])


def _auc(
    runs: Runs, key: int, value: str | None = None
) -> tuple[BootstrapEstimate, Runs, xr.Dataset]:
    measured, curves = runs.curves(value)
    areas = by_order(area_under_curve(curves))
    return mean_over_networks(areas, _mean, "orders", key=key), measured, curves


def _areas_of(runs: Runs, level: float) -> Evidence:
    estimate, measured, curves = _auc(runs.where("corruption", level), 0)
    return from_estimate(estimate, measured, tally(curves))


def _by_level(runs: Runs, levels: list[float]) -> tuple[list[BootstrapEstimate], Runs, Counts]:
    if len(levels) < 2:
        told = ", ".join(f"{level:g}" for level in levels) or "none"
        raise NotMeasuredError(f"it needs several levels of corruption, but there is {told}")
    measured, curves = runs.curves()
    estimates = [_auc(runs.where("corruption", x), key)[0] for key, x in enumerate(levels)]
    return estimates, measured, tally(curves)


def _areas_in_order(runs: Runs, levels: list[float]) -> Evidence:
    chosen = runs.take(np.isin(runs.table["corruption"].values, levels))
    estimates, measured, counts = _by_level(chosen, levels)
    return of_order(estimates, measured, counts)


def _uncorrupted(runs: Runs) -> Evidence:
    runs.where("corruption", 0)
    (clean, *others), measured, counts = _by_level(runs, runs.levels())
    most = BootstrapEstimate(
        max(other.value for other in others),
        np.max([other.resamples for other in others], axis=0),
        others[0].over,
        min(other.n for other in others),
    )
    return from_estimate(clean.minus(most), measured, counts)


def noise(*levels: float) -> Callable[[Runs], Found]:
    """Return the evidence of figure 2: the scale at half accuracy, at levels of corruption."""

    def found(runs: Runs) -> Found:
        for level in levels:
            yield f"corruption {level:g}", partial(_scale_evidence, runs, level)
        yield "falls", lambda: _scale_falls(runs)

    return found


def _scale_evidence(runs: Runs, level: float) -> Evidence:
    estimate, measured, draws, notes = _scale(runs.where("corruption", level), 0)
    return from_estimate(estimate, measured, Counts(orders=draws), notes)


def _scale_falls(runs: Runs) -> Evidence:
    levels = runs.levels()
    if len(levels) < 2:
        raise NotMeasuredError("it needs several levels of corruption")
    first, clean, draws, notes = _scale(runs.where("corruption", levels[0]), 0)
    last, corrupted, others, more = _scale(runs.where("corruption", levels[-1]), 1)
    both = runs.named([*clean.names, *corrupted.names])
    counts = Counts(orders=max(draws, others))
    return from_estimate(first.minus(last), both, counts, (*notes, *more))


def _scale(runs: Runs, key: int) -> tuple[BootstrapEstimate, Runs, int, tuple[str, ...]]:
    table = rows_of(runs.results.noise, runs.names).dropna("noise_scale", how="all")
    table = table.sortby("noise_scale")
    table = table.transpose("run", "draw", "noise_scale")
    there = np.isfinite(table["accuracy"].values).any((1, 2))
    table = table.isel(run=np.flatnonzero(there))
    if not table.sizes["run"]:
        raise NotMeasuredError("noise was not added to these networks")
    crosses = np.isfinite(noise_scale_at(table).values)
    if not crosses.any():
        raise NotMeasuredError("accuracy does not fall from above to under one half in its scales")
    notes = (
        ()
        if crosses.all()
        else (f"{(~crosses).sum()} networks left out: they never cross one half",)
    )
    table = table.isel(run=np.flatnonzero(crosses))
    scales = table["noise_scale"].values

    def half(rows: Floats) -> float:
        return crossing(scales, rows.mean(0), 0.5)

    networks = [
        row[np.isfinite(row).all(1)]
        for row in table["accuracy"].transpose("run", "draw", ...).values
    ]
    estimate = mean_over_networks(networks, half, "draws", key=key)
    return estimate, runs.with_table(table), table.sizes["draw"], notes


def same_data(runs: Runs) -> Found:
    """Figure 3a: share of the units that can go, for the best and the worst generalisation."""
    yield "best", lambda: _extreme(runs, best=True)
    yield "worst", lambda: _extreme(runs, best=False)
    yield "falls", lambda: _extremes_apart(runs)


def _extreme(runs: Runs, *, best: bool) -> Evidence:
    estimate, chosen, curves, notes = _half_of_extreme(runs, best=best)
    return from_estimate(estimate, chosen, tally(curves), notes)


def _extremes_apart(runs: Runs) -> Evidence:
    best, chosen, _, notes = _half_of_extreme(runs, best=True)
    worst, others, _, more = _half_of_extreme(runs, best=False)
    both = runs.named([*chosen.names, *others.names])
    return from_estimate(best.minus(worst), both, tally(both.curves()[1]), (*notes, *more))


def _half_of_extreme(
    runs: Runs, *, best: bool
) -> tuple[BootstrapEstimate, Runs, xr.Dataset, tuple[str, ...]]:
    """Take the five best or worst by test accuracy, or a quarter where there are fewer than 20."""
    measured, _ = runs.curves()
    if len(measured.names) < 4:
        raise NotMeasuredError(f"it needs at least 4 networks, but there are {len(measured.names)}")
    ends = best_and_worst(measured.table["test_accuracy"].values)
    places = ends[0] if best else ends[1]
    size, chosen = places.size, measured.take(places)
    error = 1 - float(chosen.table["test_accuracy"].mean())
    estimate, kept, curves = _fraction_at_half(chosen, int(best))
    return (
        estimate,
        kept,
        curves,
        (f"mean test error of the {'best' if best else 'worst'} {size}: {error:.3f}",),
    )


def _fraction_at_half(runs: Runs, key: int) -> tuple[BootstrapEstimate, Runs, xr.Dataset]:
    measured, curves = runs.curves()
    networks = curve_rows(curves)
    able = np.array([rows[:, 0, 1].mean() > 0.5 for rows in networks])
    if not able.all():
        raise NotMeasuredError(f"accuracy starts under one half in {(~able).sum()} networks")
    return mean_over_networks(networks, fraction_at_half, "orders", key=key), measured, curves


def curve_rows(curves: xr.Dataset) -> list[Floats]:
    """Return the curves of each run: order, point, and (ablated fraction, accuracy)."""
    found = []
    for accuracy, fraction in zip(
        curves["accuracy"].transpose("run", "order", "ablated").values,
        curves["ablated_fraction"].transpose("run", "ablated").values,
        strict=True,
    ):
        orders = np.isfinite(accuracy).any(1)
        points = np.isfinite(accuracy[orders]).all(0)
        y = accuracy[orders][:, points]
        found.append(np.stack([np.broadcast_to(fraction[points], y.shape), y], -1))
    return found


def fraction_at_half(rows: Floats) -> float:
    """Return the ablated fraction at which the mean curve first falls to one half."""
    return falls_to(rows[0, :, 0], rows[..., 1].mean(0), 0.5)


def dropout(runs: Runs) -> Found:
    """Figure 5a: what ablating the dropout fraction costs, and who falls first past it."""
    for share in DROPOUTS:
        yield f"flat-{share:g}", partial(_flat, runs, share)
        yield f"first-{share:g}", partial(_first, runs, share)


def _flat(runs: Runs, share: float) -> Evidence:
    measured, curves = runs.where("dropout", share).curves()
    lost = [_at(rows, 0.0) - _at(rows, share) for rows in curve_rows(curves)]
    return from_estimate(mean_over_networks(lost, _mean, "orders"), measured, tally(curves))


def _first(runs: Runs, share: float) -> Evidence:
    runs = runs.where("dropout", share)

    def past(corruption: float, key: int) -> BootstrapEstimate:
        _, curves = runs.where("corruption", corruption).curves()
        kept = [_mean_past(rows, share) for rows in curve_rows(curves)]
        return mean_over_networks(kept, _mean, "orders", key=key)

    ends = runs.take(np.isin(runs.table["corruption"].values, (0.0, 1.0)))
    measured, curves = ends.curves()
    return from_estimate(past(0, 0).minus(past(1, 1)), measured, tally(curves))


def _mean_past(rows: Floats, share: float) -> Floats:
    """Return the mean accuracy of each order over the ablated fractions from `share` on."""
    x = np.unique([*rows[0, :, 0], share])
    x = x[x >= share]
    return np.array([np.trapezoid(np.interp(x, *row.T), x) / (x[-1] - x[0]) for row in rows])


def _at(rows: Floats, fraction: float) -> Floats:
    return np.array([np.interp(fraction, *row.T) for row in rows])


def batch_norm_ablation(runs: Runs) -> Found:
    """Figure 5b: accuracy at three fractions with and without, and which takes more."""
    for name, flag in (("with", 1), ("without", 0)):
        for at in FRACTIONS:
            yield (
                f"{name}-{round(MAPS * at)}",
                partial(_accuracy_at, runs, flag, at),
            )
    yield "more-robust", lambda: _batch_norm_apart(runs)


def _accuracy_at(runs: Runs, flag: int, at: float) -> Evidence:
    measured, curves = runs.where("batch_norm", flag).curves()
    kept = [_at(rows, at) for rows in curve_rows(curves)]
    return from_estimate(mean_over_networks(kept, _mean, "orders"), measured, tally(curves))


def _batch_norm_apart(runs: Runs) -> Evidence:
    with_it, _, _ = _auc(runs.where("batch_norm", 1), 1)
    without, _, _ = _auc(runs.where("batch_norm", 0), 0)
    measured, curves = runs.curves()
    return from_estimate(with_it.minus(without), measured, tally(curves))


def clamping(runs: Runs) -> Found:
    """Appendix: AUC when clamped to the mean minus AUC when clamped to zero, network by network."""
    yield "mean", lambda: apart(*runs.curves("zero"), runs.curves("mean")[1])


def apart(runs: Runs, first: xr.Dataset, second: xr.Dataset) -> Evidence:
    """Take the AUC of second curves minus that of first ones, within each network.

    Parameters
    ----------
    runs
        The networks of the first curves.
    first, second
        Curves; where both have as many orders, these are taken as pairs, and else averaged.
    """
    areas: list[dict[str, Floats]] = [
        dict(zip(map(str, curves["run"].values), by_order(area_under_curve(curves)), strict=True))
        for curves in (first, second)
    ]
    names = [name for name in areas[0] if name in areas[1]]
    pairs = [tuple(of[name] for of in areas) for name in names]
    differences = [
        y - x if len(x) == len(y) else np.atleast_1d(y.mean() - x.mean()) for x, y in pairs
    ]
    both = runs.named(names)
    return from_estimate(mean_over_networks(differences, _mean, "orders"), both, tally(second))


def tally(curves: xr.Dataset) -> Counts:
    """Return the units that are ablated in all these networks, and the orders of one."""
    units = curves["ablated_units"].max("ablated").values.sum()
    orders = max(map(len, by_order(area_under_curve(curves))))
    return Counts(int(units), orders)


def _mean(values: Floats) -> float:
    return float(values.mean())
