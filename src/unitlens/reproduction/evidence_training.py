"""Evidence from the course of training: AUC beside the test loss."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import pearson
from unitlens.analysis.curve_summaries import area_under_curve
from unitlens.analysis.run_groups import rows_of
from unitlens.reproduction.evidence import (
    CORRELATION,
    SHARE_CHANGE,
    Counts,
    Evidence,
    Measurements,
    estimate_evidence,
    estimate_over,
)
from unitlens.reproduction.experiment_runs import NotMeasuredError, Runs
from unitlens.reproduction.student_t import Floats, mean

MIN_PAIRS = 3  # epochs of a correlation
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
    estimate = estimate_over(runs, changes, mean, "orders", bounds=SHARE_CHANGE)
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


def largest_auc(runs: Runs) -> Measurements:
    """Measure whether AUC is largest before or after the epoch of the least test loss."""
    yield "epochs", lambda: _peak_minus_least_loss(runs)


def _peak_minus_least_loss(runs: Runs) -> Evidence:
    """Compare the kept epoch of the largest mean AUC with that of the least test loss."""
    courses = _courses(runs)
    stops = {run: _stops(course) for run, course in courses.items()}
    gaps = {run: np.array([stop.peak - stop.least_loss]) for run, stop in stops.items()}
    squares = [stop.cells[0] ** 2 + stop.cells[1] ** 2 for stop in stops.values()]
    resolution = float(np.sqrt(np.mean(squares)))
    estimate = estimate_over(runs, gaps, mean, "epochs", resolution=resolution)
    return estimate_evidence(estimate, runs.select_names(courses), notes=_stop_notes(stops))


class Stops(NamedTuple):
    """Where AUC is largest and test loss least in the course of a training.

    Attributes
    ----------
    peak
        Kept epoch of the largest mean AUC; the first of equal ones.
    least_loss
        Kept epoch of the least test loss.
    last
        The last epoch.
    cells
        Widths of the ranges of epochs that are nearer to `peak` than to other kept epochs, and
        the same for `least_loss`.
    """

    peak: float
    least_loss: float
    last: float
    cells: tuple[float, float]


def _stops(course: Course) -> Stops:
    epochs = np.array(list(course))
    middles = (epochs[1:] + epochs[:-1]) / 2
    widths = np.diff([epochs[0], *middles, epochs[-1]])
    peak = int(np.argmax([areas.mean() for areas, _ in course.values()]))
    least = int(np.argmin([loss for _, loss in course.values()]))
    cells = float(widths[peak]), float(widths[least])
    return Stops(float(epochs[peak]), float(epochs[least]), float(epochs[-1]), cells)


def _stop_notes(stops: Mapping[str, Stops]) -> list[str]:
    peaks, least = ([getattr(of, name) for of in stops.values()] for name in Stops._fields[:2])
    peak_text, least_text = map(_range_text, (peaks, least))
    notes = [f"AUC is largest at epoch {peak_text}, test loss least at epoch {least_text}"]
    unparted = sum(stop.least_loss == stop.last for stop in stops.values())
    if unparted:
        notes.append(
            f"in {unparted} of {len(stops)} networks test loss is least at the end of training, "
            "so that the losses do not part"
        )
    return notes


def _range_text(epochs: Sequence[float]) -> str:
    low, high = min(epochs), max(epochs)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _pearson(pairs: Floats) -> float:
    return pearson(*pairs.T)
