"""Evidence from dropout: figure 5a, and how training with dropout goes."""

from functools import partial

import numpy as np

from unitlens.analysis.run_groups import rows_of
from unitlens.reproduction.estimates import Estimate
from unitlens.reproduction.evidence import (
    SHARE,
    Evidence,
    Measurements,
    estimate_evidence,
    estimate_over,
)
from unitlens.reproduction.evidence_curves import (
    accuracy_at,
    count_curves,
    curve_evidence,
    curve_points,
)
from unitlens.reproduction.experiment_runs import NotMeasuredError, Runs
from unitlens.reproduction.network_means import difference
from unitlens.reproduction.paper_values import DROPOUT_LEVELS, DROPOUTS
from unitlens.reproduction.protocol import MEMORISED
from unitlens.reproduction.student_t import Floats, mean


def dropout(runs: Runs) -> Measurements:
    """Measure figure 5a by dropout fraction, and how training of corrupted labels ends."""
    for share in DROPOUTS:
        for level in DROPOUT_LEVELS:
            yield f"flat-{share:g}-{level:g}", partial(_lost_at_dropout, runs, share, level)
        yield f"first-{share:g}", partial(_past_dropout, runs, share)
    yield "later", lambda: _later(runs, 1)
    yield "worse", lambda: _end_of_training(runs, 1, "train_accuracy")


def dropout_training(runs: Runs) -> Measurements:
    """Measure how training of uncorrupted labels ends with more dropout."""
    yield "later", lambda: _later(runs, 0)
    yield "test_accuracy", lambda: _end_of_training(runs, 0, "test_accuracy")


def _lost_at_dropout(runs: Runs, share: float, level: float) -> Evidence:
    return curve_evidence(
        runs.select_equal("dropout", share).select_equal("corruption", level),
        lambda points: accuracy_at(points, 0.0) - accuracy_at(points, share),
        (-1.0, 1.0),
    )


def _past_dropout(runs: Runs, share: float) -> Evidence:
    """Compare uncorrupted with fully corrupted networks past the dropout fraction."""
    runs = runs.select_equal("dropout", share)

    def accuracy_past(corruption: float) -> Estimate:
        measured, curves = runs.select_equal("corruption", corruption).random_curves()
        means = {run: _mean_past(points, share) for run, points in curve_points(curves).items()}
        return estimate_over(measured, means, mean, "orders", bounds=SHARE)

    ends = runs.select(np.isin(runs.table["corruption"].values, (0.0, 1.0)))
    measured, curves = ends.random_curves()
    change = difference(accuracy_past(0), accuracy_past(1))
    return estimate_evidence(change, measured, count_curves(curves))


def _mean_past(points: Floats, share: float) -> Floats:
    """Return the mean accuracy of each order over the ablated fractions from `share` on."""
    x = np.unique([*points[0, :, 0], share])
    x = x[x >= share]
    return np.array([np.trapezoid(np.interp(x, *order.T), x) / (x[-1] - x[0]) for order in points])


def _dropout_ends(runs: Runs, level: float) -> tuple[Runs, Runs]:
    """Return the networks of the largest and of the least dropout fraction at a corruption."""
    at_level = runs.select_equal("corruption", level)
    fractions = np.unique(at_level.table["dropout"].values)
    fractions = fractions[np.isfinite(fractions)]
    if fractions.size < 2:
        present = ", ".join(f"{share:g}" for share in fractions) or "none"
        raise NotMeasuredError(
            f"the claim needs networks of several dropout fractions, but there is {present}"
        )
    largest, least = (at_level.select_equal("dropout", share) for share in fractions[[-1, 0]])
    return largest, least


def _later(runs: Runs, level: float) -> Evidence:
    """Compare the epochs until memorisation at the largest and at the least dropout fraction.

    A network of the largest fraction that has not memorised counts with its last epoch, so that
    the difference is a lower bound.

    Raises
    ------
    NotMeasuredError
        Where a network of the least fraction has not memorised.
    """
    largest, least = _dropout_ends(runs, level)
    (slow, unfinished), (fast, unfinished_fast) = map(_epochs_to_memorise, (largest, least))
    if unfinished_fast:
        raise NotMeasuredError(
            f"{unfinished_fast} networks of the least dropout fraction do not reach a train "
            f"accuracy of {MEMORISED:g}"
        )
    notes = [_fractions_note(largest, least)]
    if unfinished:
        notes.append(
            f"a lower bound: {unfinished} networks of the largest dropout fraction do not reach a "
            f"train accuracy of {MEMORISED:g}, and count with their last epoch"
        )
    both = runs.select_names([*largest.names, *least.names])
    return estimate_evidence(difference(slow, fast), both, notes=notes)


def _epochs_to_memorise(runs: Runs) -> tuple[Estimate, int]:
    """Return the mean first epoch at train accuracy .99, and how many networks never reach it."""
    history = rows_of(runs.results.history, runs.names)
    missing = sorted(set(runs.names) - set(map(str, history["run"].values)))
    if missing:
        raise NotMeasuredError(f"the history of training of {missing[0]} is not known")
    epochs, unfinished = {}, 0
    for run in runs.names:
        own = rows_of(history, [run])["train_accuracy"].isel(run=0).dropna("epoch")
        reached = np.flatnonzero(own.values >= MEMORISED)
        unfinished += not reached.size
        place = reached[0] if reached.size else -1
        epochs[run] = np.array([float(own["epoch"].values[place])])
    return estimate_over(runs, epochs, mean, "networks", resolution=1.0), unfinished


def _end_of_training(runs: Runs, level: float, score: str) -> Evidence:
    """Compare a score at the end of training at the largest and the least dropout fraction."""
    largest, least = ends = _dropout_ends(runs, level)
    change = difference(*(_mean_score(of, score) for of in ends))
    both = runs.select_names([*largest.names, *least.names])
    notes = [_fractions_note(largest, least), *_stop_notes(both)]
    return estimate_evidence(change, both, notes=notes)


def _mean_score(runs: Runs, name: str) -> Estimate:
    scores = runs.table[name].values
    rows = {run: np.array([score]) for run, score in zip(runs.names, scores, strict=True)}
    return estimate_over(runs, rows, mean, "networks", bounds=SHARE)


def _fractions_note(largest: Runs, least: Runs) -> str:
    first, second = (float(of.table["dropout"].values[0]) for of in (largest, least))
    return f"dropout {first:g} minus dropout {second:g}"


def _stop_notes(runs: Runs) -> list[str]:
    """Say how many trainings ended before their last epoch, by the rule that stops them."""
    stopped = int((runs.table["epoch"].values < runs.table["epochs"].values).sum())
    if not stopped:
        return []
    note = f"{stopped} of {len(runs.names)} trainings were stopped at a train accuracy"
    return [f"{note}, which is then theirs at the end"]
