"""Evidence from the course of training and from hyperparameter sweeps."""

from dataclasses import replace
from functools import partial

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import pearson
from unitlens.analysis.curve_summaries import area_under_curve
from unitlens.analysis.generalisation import setting_means
from unitlens.analysis.run_groups import group_runs, rows_of
from unitlens.reproduction.evidence import (
    CORRELATION,
    Counts,
    Evidence,
    Measurements,
    estimate_evidence,
    estimate_over,
)
from unitlens.reproduction.experiment_runs import NotMeasuredError, Runs
from unitlens.reproduction.paper_values import SETTINGS_IN_HALF, TOP_SHARES
from unitlens.reproduction.setting_estimates import (
    MIN_SETTINGS,
    correlation_over_settings,
    share_over_settings,
)
from unitlens.reproduction.student_t import Floats, mean

MIN_PAIRS = 3  # networks or epochs of a correlation
Course = dict[float, tuple[Floats, float]]  # epoch: AUC of each order, test loss


def early_stopping(runs: Runs) -> Measurements:
    """Measure figures 4a and 4b: AUC and test loss over the kept epochs."""
    yield "falls", lambda: _fall_of_auc(runs)
    yield "correlation", lambda: _auc_against_loss(runs)


def _courses(runs: Runs) -> dict[str, Course]:
    """Return AUC and test loss over the epochs of each run, the end of training last."""
    courses: dict[str, Course] = {}
    for results in (runs.results.checkpoints, runs.results):
        table = rows_of(results.runs, runs.names)
        _, curves = Runs(results, table).random_curves()
        areas = area_under_curve(curves).transpose("run", "order")
        losses = dict(zip(_run_epochs(table), table["test_loss"].values.tolist(), strict=True))
        for (run, epoch), of_orders in zip(_run_epochs(curves), areas.values, strict=True):
            area = of_orders[np.isfinite(of_orders)]
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


def _run_epochs(table: xr.Dataset) -> list[tuple[str, float]]:
    epochs = table["epoch"].values
    return [(str(run), float(at)) for run, at in zip(table["run"].values, epochs, strict=True)]


def _fall_of_auc(runs: Runs) -> Evidence:
    """Compare the AUC at the end of training with that at the least test loss."""
    courses = _courses(runs)
    changes = {}
    for run, course in courses.items():
        areas, losses = zip(*course.values(), strict=True)
        best = int(np.argmin(losses))
        changes[run] = areas[-1] - areas[best]  # all epochs have the same orders
    estimate = estimate_over(runs, changes, mean, "orders")
    counts = Counts(orders=max(map(len, changes.values())))
    return estimate_evidence(estimate, runs.select_names(courses), counts)


def _auc_against_loss(runs: Runs) -> Evidence:
    courses = _courses(runs)
    pairs = {
        run: np.array([(area.mean(), loss) for area, loss in course.values()])
        for run, course in courses.items()
    }
    estimate = estimate_over(runs, pairs, _pearson, "epochs", bounds=CORRELATION)
    epochs = f"{min(map(len, pairs.values()))} epochs or more of each network"
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
    settings = [
        np.stack([rows[name].values for name in ("auc", "test_accuracy")], 1)
        for rows in (rows_of(measured.table, group.runs) for group in group_runs(measured.table))
    ]
    estimate = correlation_over_settings(settings)
    return estimate_evidence(estimate, measured, notes=_setting_notes(len(settings)))


def _selection_evidence(runs: Runs, top: int) -> Evidence:
    measured = _runs_with_auc(runs)
    settings = np.stack(setting_means(measured.table), 1)
    half = len(settings) // 2
    if half < top + 1:
        raise NotMeasuredError(
            f"half of {len(settings)} settings is no more than {top}: any selected setting is "
            f"among the top {top}"
        )
    by_chance = (
        f"each half has {half} of {len(settings)} settings: a random setting of a half is among "
        f"its top {top} with probability {top / half:.0%} (in the paper "
        f"{top / SETTINGS_IN_HALF:.0%}, of {SETTINGS_IN_HALF} settings)"
    )
    notes = [*_setting_notes(len(settings)), by_chance]
    evidence = estimate_evidence(share_over_settings(settings, top), measured, notes=notes)
    return replace(evidence, alternative=top / half)


def _setting_notes(settings: int) -> list[str]:
    if settings >= MIN_SETTINGS:
        return []
    return [f"{settings} settings, of at least {MIN_SETTINGS} that an interval needs"]


def _pearson(pairs: Floats) -> float:
    return pearson(*pairs.T)
