"""What the area under the ablation curve says of generalisation: whom it picks, when it stops."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from unitlens.analysis.run_groups import group_runs, rows_of
from unitlens.errors import ArgumentError

MOST = 5  # networks at either end, as in the paper


def best_and_worst(score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the largest and of the least scores, both from the largest on.

    Each are five or a quarter of all, whichever is fewer, but one at least; equal scores come in
    the order in which they stand.
    """
    count = max(1, min(MOST, score.size // 4))
    order = np.argsort(-score, kind="stable")
    return order[:count], order[-count:]


def falls_to(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """Return where a curve first falls from above a level to it, linear between its points.

    NaN where it does not, or begins at or under the level.
    """
    falls = np.flatnonzero((y[:-1] > level) & (y[1:] <= level))
    if falls.size == 0 or y[0] <= level:
        return float("nan")
    i = int(falls[0])
    return float(x[i] + (x[i + 1] - x[i]) * (y[i] - level) / (y[i] - y[i + 1]))


def setting_means(runs: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return AUC and test accuracy of each setting, averaged over its seeds.

    A setting is all that a run's spec says but its seed. Runs without AUC are left out.
    """
    known = runs.isel(run=np.flatnonzero(np.isfinite(runs["auc"].values)))
    groups = [rows_of(known, group.runs) for group in group_runs(known)]
    means = [[float(group[name].mean()) for name in ("auc", "test_accuracy")] for group in groups]
    auc, accuracy = np.array(means).reshape(-1, 2).T
    return auc, accuracy


@dataclass(frozen=True)
class SelectionRates:
    """How well AUC picks among half of the settings, over many random halves.

    `top` has, for each number k, the share of the halves in which the setting of largest AUC is
    among the k of best test accuracy; `lost` the mean test accuracy lost against the best of the
    half, `lost_by_chance` that of a setting picked at random.
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
    """Pick the setting of largest AUC from random halves of the settings.

    Parameters
    ----------
    auc, accuracy
        Of each setting.
    subsets
        How many halves are drawn, each without replacement; half of an odd number is rounded down.
    top
        Numbers k of best settings among which the pick is sought; those that are as large as the
        half, where it could not fail, are left out.
    seed
        Of the draws.

    Returns
    -------
    The rates. A setting is among the k best where fewer than k of the half are better; of equal
    AUCs the first is picked.

    Raises
    ------
    ArgumentError
        Where there are fewer than four settings.
    """
    if auc.size < 4:
        raise ArgumentError(f"{auc.size} settings: there must be at least 4 to pick from half")
    size = auc.size // 2
    rng = np.random.default_rng(seed)
    halves = np.stack([rng.permutation(auc.size)[:size] for _ in range(subsets)])
    halves.sort(axis=1)
    picked = np.take_along_axis(halves, auc[halves].argmax(1)[:, None], 1)[:, 0]
    of_half, own = accuracy[halves], accuracy[picked]
    better = (of_half > own[:, None]).sum(1)
    best = of_half.max(1)
    return SelectionRates(
        size,
        subsets,
        {k: float((better < k).mean()) for k in top if k < size},
        float((best - own).mean()),
        float((best - of_half.mean(1)).mean()),
    )


@dataclass(frozen=True)
class EarlyStop:
    """Where training would be stopped, as the position of a kept epoch, and what that costs."""

    place: int
    cost: float


def early_stops(
    auc: np.ndarray, test_loss: np.ndarray, test_accuracy: np.ndarray
) -> dict[str, EarlyStop]:
    """Return where AUC and test loss would stop a training, and where it ends.

    Parameters
    ----------
    auc, test_loss, test_accuracy
        At each kept epoch, in their order, the end of training last.

    Returns
    -------
    ``auc``: the first epoch of largest AUC; ``test_loss``: the first of least test loss; ``end``:
    the last. Each with its cost, the best test accuracy of all epochs minus that at the stop.
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
