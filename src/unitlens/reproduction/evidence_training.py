"""Evidence from the course of training and from hyperparameter sweeps."""

from functools import partial

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import pearson
from unitlens.analysis.curve_summaries import area_under_curve
from unitlens.analysis.generalisation import selection_rates, setting_means
from unitlens.analysis.run_groups import rows_of
from unitlens.reproduction.bootstrap import (
    SEED,
    BootstrapEstimate,
    Floats,
    mean,
    mean_over_networks,
    pooled_statistic,
)
from unitlens.reproduction.claims import SETTINGS_IN_HALF, TOP_SHARES
from unitlens.reproduction.evidence import (
    Counts,
    Evidence,
    Measurements,
    NotMeasuredError,
    Runs,
    estimate_evidence,
    rows_by_run,
)

HALVES, HALVES_PER_RESAMPLE = 1000, 200  # random halves of the settings
SETTING_RESAMPLES = 200
MIN_PAIRS = 3  # networks or epochs of a correlation
Course = dict[int, tuple[Floats, float]]  # epoch: AUC of each order, test loss


def early_stopping(runs: Runs) -> Measurements:
    """Measure figures 4a and 4b: AUC and test loss over the kept epochs."""
    yield "falls", lambda: _fall_of_auc(runs)
    yield "correlation", lambda: _auc_against_loss(runs)


def _courses(runs: Runs) -> dict[str, Course]:
    """Return AUC and test loss over the epochs of each run, the end of training last."""
    courses: dict[str, Course] = {}
    for results in (runs.results.checkpoints, runs.results):
        table, curves = (rows_of(rows, runs.names) for rows in (results.runs, results.curves))
        areas = rows_by_run(area_under_curve(Runs(results, table).random_curves()[1]), "order")
        losses = dict(zip(_run_epochs(table), table["test_loss"].values.tolist(), strict=True))
        for (run, epoch), area in zip(_run_epochs(curves), areas, strict=True):
            if area.size:
                courses.setdefault(run, {})[epoch] = area, losses[run, epoch]
    long = {
        run: dict(sorted(course.items()))
        for run, course in courses.items()
        if len(course) >= MIN_PAIRS
    }
    if not long:
        raise NotMeasuredError(
            f"no network has an AUC at {MIN_PAIRS} epochs; keep and measure epochs"
        )
    return long


def _run_epochs(table: xr.Dataset) -> list[tuple[str, int]]:
    epochs = table["epoch"].values
    return [(str(run), int(at)) for run, at in zip(table["run"].values, epochs, strict=True)]


def _fall_of_auc(runs: Runs) -> Evidence:
    """Compare the AUC at the end of training with that at the least test loss."""
    courses = _courses(runs)
    changes = []
    for course in courses.values():
        areas, losses = zip(*course.values(), strict=True)
        best = int(np.argmin(losses))
        changes.append(areas[-1] - areas[best])  # all epochs have the same orders
    estimate = mean_over_networks(changes, mean, "orders")
    counts = Counts(orders=max(map(len, changes)))
    return estimate_evidence(estimate, runs.select_names(courses), counts)


def _auc_against_loss(runs: Runs) -> Evidence:
    courses = _courses(runs)
    pairs = [
        np.array([(area.mean(), loss) for area, loss in course.values()])
        for course in courses.values()
    ]
    estimate = mean_over_networks(pairs, _pearson, "epochs")
    epochs = f"{min(map(len, pairs))} epochs or more of each network"
    orders = max(len(area) for course in courses.values() for area, _ in course.values())
    return estimate_evidence(estimate, runs.select_names(courses), Counts(orders=orders), [epochs])


def hyperparameter_selection(runs: Runs) -> Measurements:
    """Measure figure 4c: AUC and test accuracy over networks, and selection by AUC."""
    yield "correlation", lambda: _auc_against_accuracy(runs)
    for top in TOP_SHARES:
        yield f"top-{top}", partial(_selection_evidence, runs, top)


def _runs_with_auc(runs: Runs) -> Runs:
    measured = runs.select(np.isfinite(runs.table["auc"].values))
    if len(measured.names) < MIN_PAIRS:
        raise NotMeasuredError(f"only {len(measured.names)} networks have an AUC")
    return measured


def _auc_against_accuracy(runs: Runs) -> Evidence:
    measured = _runs_with_auc(runs)
    pairs = [measured.table[name].values for name in ("auc", "test_accuracy")]
    # The rows are the networks themselves.
    estimate = pooled_statistic([np.stack(pairs, 1)], _pearson, "networks")
    return estimate_evidence(estimate, measured)


def _selection_evidence(runs: Runs, top: int) -> Evidence:
    measured = _runs_with_auc(runs)
    settings = np.stack(setting_means(measured.table), 1)
    if len(settings) < 2 * (top + 1):
        raise NotMeasuredError(
            f"half of {len(settings)} settings is no more than {top}: any selected setting is "
            f"among the top {top}"
        )
    rng = np.random.default_rng((SEED, top))
    resamples = [
        selected_share(
            settings[rng.integers(len(settings), size=len(settings))],
            top,
            halves=HALVES_PER_RESAMPLE,
        )
        for _ in range(SETTING_RESAMPLES)
    ]
    share = selected_share(settings, top)
    estimate = BootstrapEstimate(share, np.array(resamples), "settings", len(settings))
    half = len(settings) // 2
    by_chance = (
        f"each half has {half} of {len(settings)} settings: a random setting of a half is among "
        f"its top {top} with probability {top / half:.0%} (in the paper "
        f"{top / SETTINGS_IN_HALF:.0%}, of {SETTINGS_IN_HALF} settings)"
    )
    return estimate_evidence(estimate, measured, notes=[by_chance])


def selected_share(settings: Floats, top: int, *, halves: int = HALVES) -> float:
    """Return how often selecting by AUC finds a setting among the best by test accuracy.

    Parameters
    ----------
    settings
        AUC and test accuracy of each setting, shape (settings, 2).
    top
        Number of best settings of a half among which the selected setting must be.
    halves
        Number of random halves of the settings, seeded.

    Returns
    -------
    The share of the halves; 1 where all settings of a half are among the best.
    """
    rates = selection_rates(*settings.T, subsets=halves, top=(top,), seed=SEED)
    return rates.top.get(top, 1.0)


def _pearson(pairs: Floats) -> float:
    return pearson(*pairs.T)
