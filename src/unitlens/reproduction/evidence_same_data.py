"""Evidence from networks of the same data: ablation and generalisation, figures 3a and 3b."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import xarray as xr

from unitlens.analysis.curve_summaries import first_crossing
from unitlens.analysis.generalisation import best_and_worst
from unitlens.analysis.run_groups import group_runs
from unitlens.reproduction.estimates import Estimate, NetworkValue
from unitlens.reproduction.evidence import (
    SHARE,
    Evidence,
    Measurements,
    estimate_evidence,
    estimate_over,
)
from unitlens.reproduction.evidence_curves import count_curves, curve_points
from unitlens.reproduction.evidence_sweeps import correlation_with_auc
from unitlens.reproduction.experiment_runs import NotMeasuredError, Runs
from unitlens.reproduction.network_means import FEWEST, difference, estimate_mean
from unitlens.reproduction.setting_estimates import SETTINGS
from unitlens.reproduction.student_t import Floats

MIN_UNITS = 4  # settings, or networks of a single setting, whose best and worst quarter are taken
Setting = tuple[str, ...]  # names of its networks


def same_data(runs: Runs) -> Measurements:
    """Measure figures 3a and 3b: ablation at both ends of generalisation, and AUC beside it."""
    yield "best", lambda: _extreme_evidence(runs, best=True)
    yield "worst", lambda: _extreme_evidence(runs, best=False)
    yield "falls", lambda: _best_minus_worst(runs)
    yield "correlation", lambda: correlation_with_auc(runs, lambda accuracy: 1 - accuracy)


def _extreme_evidence(runs: Runs, *, best: bool) -> Evidence:
    estimate, extreme, curves, note = _extreme(runs, best=best)
    return estimate_evidence(estimate, extreme, count_curves(curves), [note])


def _best_minus_worst(runs: Runs) -> Evidence:
    best, best_runs, _, best_note = _extreme(runs, best=True)
    worst, worst_runs, _, worst_note = _extreme(runs, best=False)
    both = runs.select_names([*best_runs.names, *worst_runs.names])
    counts = count_curves(both.random_curves()[1])
    return estimate_evidence(difference(best, worst), both, counts, (best_note, worst_note))


def _extreme(runs: Runs, *, best: bool) -> tuple[Estimate, Runs, xr.Dataset, str]:
    """Return the ablated share at half accuracy of the settings that generalise best or worst.

    These are the five best or worst settings by mean test accuracy, or a quarter of all where
    there are fewer than 20. Where all networks have one setting, the same holds for networks.
    """
    measured, _ = runs.random_curves()
    settings = _settings(measured)
    if len(settings) < MIN_UNITS:
        raise NotMeasuredError(
            f"the claim needs at least {MIN_UNITS} settings, or {MIN_UNITS} networks of one "
            f"setting, but there are {len(settings)}"
        )
    accuracy = dict(zip(measured.names, measured.table["test_accuracy"].values, strict=True))
    means = np.array([np.mean([accuracy[run] for run in setting]) for setting in settings])
    places = best_and_worst(means)[0 if best else 1]
    chosen = [settings[place] for place in places]
    extreme, curves = measured.select_names(sum(chosen, ())).random_curves()
    estimate = _half_ablated(extreme, curve_points(curves), chosen)
    return (
        estimate,
        extreme,
        curves,
        _error_note(chosen, 1 - float(means[places].mean()), best=best),
    )


def _settings(runs: Runs) -> list[Setting]:
    """Return the networks of each setting; a setting each where all networks have the same."""
    settings = [group.runs for group in group_runs(runs.table)]
    return settings if len(settings) > 1 else [(run,) for run in runs.names]


def _error_note(chosen: Sequence[Setting], error: float, *, best: bool) -> str:
    count = sum(map(len, chosen))
    many = f"{len(chosen)} settings ({count} networks)" if count > len(chosen) else str(count)
    return f"mean test error of the {'best' if best else 'worst'} {many}: {error:.3f}"


def _half_ablated(
    runs: Runs, points: Mapping[str, Floats], settings: Sequence[Setting]
) -> Estimate:
    """Estimate the mean over settings of the ablated share at half accuracy.

    Networks of one setting are not independent: their mean counts as one number.
    """
    too_low = np.array([own[:, 0, 1].mean() <= 0.5 for own in points.values()])
    if too_low.any():
        raise NotMeasuredError(f"accuracy starts under one half in {too_low.sum()} networks")
    if max(map(len, settings)) == 1:
        return estimate_over(runs, points, fraction_at_half, "orders", bounds=SHARE)
    seeds = dict(zip(runs.names, runs.table["seed"].values.tolist(), strict=True))
    values = [
        NetworkValue(
            " ".join(setting),
            seeds[setting[0]],
            float(np.mean([fraction_at_half(points[run]) for run in setting])),
        )
        for setting in settings
    ]
    if len(values) < FEWEST:
        middle = float(np.mean([of.value for of in values]))
        return Estimate(middle, networks=tuple(values), within=True, bounds=SHARE)
    return replace(estimate_mean(values), over=SETTINGS, bounds=SHARE)


def fraction_at_half(points: Floats) -> float:
    """Return the ablated fraction at which the mean curve first falls to one half.

    Parameters
    ----------
    points
        Ablated fraction and accuracy, shape (order, point, 2).
    """
    return first_crossing(points[0, :, 0], points[..., 1].mean(0), 0.5)
