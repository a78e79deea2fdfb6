"""Evidence from the course of training and from sweeps."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from unitlens.analysis.correlations import pearson
from unitlens.analysis.curve_summaries import area_under_curve
from unitlens.analysis.generalisation import selection_rates, setting_means
from unitlens.analysis.run_groups import rows_of
from unitlens.reproduction.bootstrap import (
    SEED,
    BootstrapEstimate,
    Floats,
    mean_over_networks,
    of_all_rows,
)
from unitlens.reproduction.claims import HALF_OF_SWEEP
from unitlens.reproduction.evidence import (
    Counts,
    Evidence,
    NotMeasuredError,
    Runs,
    by_order,
    from_estimate,
)

Found = Iterator[tuple[str, Callable[[], Evidence]]]
TOPS = (1, 5, 10)
SUBSETS, RESAMPLES = 1000, 200
FEWEST = 3


def early_stopping(runs: Runs) -> Found:
    """Figures 4a and 4b: AUC over the kept epochs, beside test loss."""
    yield "falls", lambda: _falls(runs)
    yield "correlation", lambda: _along_training(runs)


def _courses(runs: Runs) -> dict[str, dict[int, tuple[Floats, float]]]:
    """Return, by run and epoch, the AUC of each order and the test loss."""
    courses: dict[str, dict[int, tuple[Floats, float]]] = {}
    for results in (runs.results.checkpoints, runs.results):
        table, curves = (rows_of(t, runs.names) for t in (results.runs, results.curves))
        areas = by_order(area_under_curve(Runs(results, table).curves()[1]))
        losses = {
            (str(run), int(epoch)): float(loss)
            for run, epoch, loss in zip(
                table["run"].values, table["epoch"].values, table["test_loss"].values, strict=True
            )
        }
        for run, epoch, area in zip(
            curves["run"].values, curves["epoch"].values, areas, strict=True
        ):
            if area.size:
                courses.setdefault(str(run), {})[int(epoch)] = area, losses[str(run), int(epoch)]
    long = {run: dict(sorted(of.items())) for run, of in courses.items() if len(of) >= FEWEST}
    if not long:
        raise NotMeasuredError(f"no network has AUC at {FEWEST} epochs; keep and measure epochs")
    return long


def _falls(runs: Runs) -> Evidence:
    courses = _courses(runs)
    changes = []
    for course in courses.values():
        areas, losses = zip(*course.values(), strict=True)
        least = int(np.argmin(losses))
        changes.append(areas[-1] - areas[least])  # the orders are the same at all epochs
    shown = runs.named(courses)
    estimate = mean_over_networks(changes, lambda rows: float(rows.mean()), "orders")
    return from_estimate(estimate, shown, Counts(orders=max(map(len, changes))))


def _along_training(runs: Runs) -> Evidence:
    courses = _courses(runs)
    rows = [
        np.array([(area.mean(), loss) for area, loss in course.values()])
        for course in courses.values()
    ]
    shown = runs.named(courses)
    estimate = mean_over_networks(rows, _pearson, "epochs")
    epochs = f"{min(map(len, rows))} epochs or more of each network"
    orders = max(len(area) for course in courses.values() for area, _ in course.values())
    return from_estimate(estimate, shown, Counts(orders=orders), (epochs,))


def hyperparameter_selection(runs: Runs) -> Found:
    """Figure 4c: AUC and test accuracy over networks, and what picking by AUC finds."""
    yield "correlation", lambda: _over_networks(runs)
    for top in TOPS:
        yield f"top-{top}", partial(_picks, runs, top)


def _scored(runs: Runs) -> Runs:
    measured = runs.take(np.isfinite(runs.table["auc"].values))
    if len(measured.names) < FEWEST:
        raise NotMeasuredError(f"only {len(measured.names)} networks have an AUC")
    return measured


def _over_networks(runs: Runs) -> Evidence:
    measured = _scored(runs)
    pairs = [measured.table[name].values for name in ("auc", "test_accuracy")]
    # A row a network.
    estimate = of_all_rows([np.stack(pairs, 1)], _pearson, "networks")
    return from_estimate(estimate, measured)


def _picks(runs: Runs, top: int) -> Evidence:
    measured = _scored(runs)
    rows = np.stack(setting_means(measured.table), 1)
    if len(rows) < 2 * (top + 1):
        raise NotMeasuredError(
            f"half of {len(rows)} settings has no more than {top}: any pick is among the top {top}"
        )
    value = picked_share(rows, top)
    rng = np.random.default_rng((SEED, top))
    drawn = [
        picked_share(rows[rng.integers(len(rows), size=len(rows))], top, subsets=SUBSETS // 5)
        for _ in range(RESAMPLES)
    ]
    estimate = BootstrapEstimate(value, np.array(drawn), "settings", len(rows))
    half = len(rows) // 2
    chance = (
        f"subsets of {half} of {len(rows)} settings, of which a pick at random is among the top "
        f"{top} in {top / half:.0%}; of the paper's {HALF_OF_SWEEP}, in {top / HALF_OF_SWEEP:.0%}"
    )
    return from_estimate(estimate, measured, notes=[chance])


def picked_share(settings: Floats, top: int, *, subsets: int = SUBSETS) -> float:
    """Return how often the largest AUC of half of the settings has a test accuracy in its top.

    Parameters
    ----------
    settings
        AUC and test accuracy, shape (settings, 2).
    top
        How many settings of a subset are its top.
    subsets
        Number of random halves, seeded.

    Returns
    -------
    The share of the subsets; 1 where the top is the whole of each.
    """
    rates = selection_rates(*settings.T, subsets=subsets, top=(top,), seed=SEED)
    return rates.top.get(top, 1.0)


def _pearson(rows: Floats) -> float:
    return pearson(*rows.T)
