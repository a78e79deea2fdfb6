"""The area under the ablation curve as a predictor of generalisation: selection, early stopping."""

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
    """Quality of a selection by AUC among half of the settings, over many random halves.

    Attributes
    ----------
    size
        Number of settings in a half.
    subsets
        Number of halves.
    top
        For each number k, the share of the halves in which the setting of largest AUC is among the
        k settings of best test accuracy.
    lost
        Mean test accuracy lost by the selected setting against the best setting of the half.
    lost_by_chance
        Mean test accuracy lost by a setting selected at random.
    """

    size: int
    subsets: int
    top: dict[int, float]
    lost: float
    lost_by_chance: float


def selection_rates(
    auc: np.ndarray,
    accuracy: np.ndarray,
    *,
    subsets: int = 1000,
    top: Sequence[int] = (1, 5, 10),
    seed: int = 0,
) -> SelectionRates:
    """Select the setting of largest AUC from random halves of the settings.

    Parameters
    ----------
    auc
        AUC of each setting, shape (settings,).
    accuracy
        Test accuracy of each setting, shape (settings,).
    subsets
        Number of halves, each drawn without replacement; half of an odd number is rounded down.
    top
        Numbers k of best settings. Numbers of at least the size of a half are left out: the
        selected setting is always among so many.
    seed
        Seed of the draws.

    Returns
    -------
    The rates. A setting is among the k best where fewer than k settings of the half are better.
    Of equal AUCs the first is selected.

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
    rng = np.random.default_rng(seed)
    halves = np.stack([rng.permutation(auc.size)[:size] for _ in range(subsets)])
    halves.sort(axis=1)
    selected = np.take_along_axis(halves, auc[halves].argmax(1)[:, None], 1)[:, 0]
    of_half, of_selected = accuracy[halves], accuracy[selected]
    better = (of_half > of_selected[:, None]).sum(1)
    best = of_half.max(1)
    return SelectionRates(
        size,
        subsets,
        {k: float((better < k).mean()) for k in top if k < size},
        float((best - of_selected).mean()),
        float((best - of_half.mean(1)).mean()),
    )


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
