"""The area under the ablation curve as a predictor of generalisation: selection, early stopping."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from unitlens.analysis.run_groups import group_runs, rows_of
from unitlens.errors import ArgumentError

MOST = 5  # networks at either end, as in the paper


def best_and_worst(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the largest and of the smallest scores, both in descending order.

    Both are five scores or a quarter of all scores, whichever is fewer, but at least one. Equal
    scores keep their order.
    """
    count = max(1, min(MOST, score.size // 4))
    order = np.argsort(-score, kind="stable")
    return order[:count], order[-count:]


def setting_means(runs: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return AUC and test accuracy of each setting, averaged over the seeds of the setting.

    A setting is a run's spec without its seed. Runs without AUC are left out.
    """
    known = runs.isel(run=np.flatnonzero(np.isfinite(runs["auc"].values)))
    groups = [rows_of(known, group.runs) for group in group_runs(known)]
    means = [[float(group[name].mean()) for name in ("auc", "test_accuracy")] for group in groups]
    auc, accuracy = np.array(means).reshape(-1, 2).T
    return auc, accuracy


@dataclass(frozen=True)
class SelectionRates:
    """Quality of a selection by AUC among half of the settings, over all halves.

    Attributes
    ----------
    size
        Number of settings in a half.
    top
        For each number k, the share of the halves in which the setting of largest AUC is among the
        k settings of best test accuracy.
    lost
        Mean test accuracy lost by the selected setting against the best setting of the half.
    lost_by_chance
        Mean test accuracy lost by a setting selected at random.
    """

    size: int
    top: dict[int, float]
    lost: float
    lost_by_chance: float


def selection_rates(
    auc: np.ndarray, accuracy: np.ndarray, *, top: Sequence[int] = (1, 5, 10)
) -> SelectionRates:
    """Select the setting of largest AUC from each half of the settings.

    Parameters
    ----------
    auc
        AUC of each setting, shape (settings,).
    accuracy
        Test accuracy of each setting, shape (settings,).
    top
        Numbers k of best settings. Numbers of at least the size of a half are left out: the
        selected setting is always among so many.

    Returns
    -------
    The rates, over all subsets of half the settings (of an odd number, rounded down). A setting is
    among the k best where fewer than k settings of the half are better. Of equal AUCs the first is
    selected.

    Raises
    ------
    ArgumentError
        Where there are fewer than four settings.
    """
    if auc.size < 4:
        raise ArgumentError(
            f"auc has {auc.size} settings, but must have at least 4, to select from half of them; "
            "sweep over more settings"
        )
    size = auc.size // 2
    settings, first = np.stack([auc, accuracy], 1), _first_chances(auc.size, size)
    selected = accuracy[np.argsort(-auc, kind="stable")][: len(first)]
    best = float(np.dot(first, -np.sort(-accuracy)[: len(first)]))
    return SelectionRates(
        size,
        {k: selected_share(settings, k, size) for k in top if k < size},
        max(0.0, best - float(np.dot(first, selected))),
        max(0.0, best - float(accuracy.mean())),
    )


def selected_share(settings: np.ndarray, top: int, half: int) -> float:
    """Return how often selecting by AUC finds a setting among the best by test accuracy.

    Parameters
    ----------
    settings
        AUC and test accuracy of each setting, shape (settings, 2).
    top
        Number of best settings of a subset among which the selected setting must be.
    half
        Number of settings in a subset.

    Returns
    -------
    The share of all subsets of `half` settings in which fewer than `top` settings have a better
    test accuracy than the setting of largest AUC. Of equal AUCs the first is selected.

    Notes
    -----
    The setting at place r by AUC (from 0) is selected from C(S - 1 - r, half - 1) of C(S, half)
    subsets. Of these, C(b, j) C(S - 1 - r - b, half - 1 - j) hold j of the b better settings.

    Examples
    --------
    >>> selected_share(np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 0.0]]), 1, 2)
    0.6666666666666666
    """
    accuracy = settings[np.argsort(-settings[:, 0], kind="stable"), 1]
    size, subsets = len(accuracy), 0
    for place in range(size - half + 1):
        better = int((accuracy[place + 1 :] > accuracy[place]).sum())
        others = size - 1 - place - better
        for count in range(min(top, half)):
            subsets += math.comb(better, count) * math.comb(others, half - 1 - count)
    return subsets / math.comb(size, half)


def _first_chances(size: int, half: int) -> list[float]:
    """Return for each place the share of the subsets whose first setting has that place."""
    subsets = math.comb(size, half)
    return [math.comb(size - 1 - place, half - 1) / subsets for place in range(size - half + 1)]


@dataclass(frozen=True)
class EarlyStop:
    """An early stop: the position of a kept epoch, and the test accuracy lost by stopping there."""

    place: int
    cost: float


def early_stops(
    auc: np.ndarray, test_loss: np.ndarray, test_accuracy: np.ndarray
) -> dict[str, EarlyStop]:
    """Return the early stops by AUC and by test loss, and the end of training.

    Parameters
    ----------
    auc
        AUC at each kept epoch, shape (epochs,), in the order of training, its end last.
    test_loss
        Test loss at each kept epoch, shape (epochs,).
    test_accuracy
        Test accuracy at each kept epoch, shape (epochs,).

    Returns
    -------
    ``auc``: the first epoch of largest AUC; ``test_loss``: the first epoch of least test loss;
    ``end``: the last epoch. The cost of each is the best test accuracy of all epochs minus the test
    accuracy at the stop.
    """
    best = float(test_accuracy.max())
    places = {
        "auc": int(np.argmax(auc)),
        "test_loss": int(np.argmin(test_loss)),
        "end": auc.size - 1,
    }
    return {
        name: EarlyStop(place, best - float(test_accuracy[place])) for name, place in places.items()
    }
