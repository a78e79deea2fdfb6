"""The scores of networks at their kept epochs, and their losses over training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from unitlens.analysis.generalisation import EarlyStop, early_stops
from unitlens.analysis.run_groups import group_runs, rows_of
from unitlens.figures.needs import UnmetNeedError, require_kept, require_runs, require_table
from unitlens.tables.results import Results

SCORES = ("auc", "test_loss", "test_accuracy")


@dataclass(frozen=True)
class TrainingCourse:
    """The scores of a run at its kept epochs and at the end of training, and its history.

    Attributes
    ----------
    run
        Name of the run.
    label
        Name of the group that the run belongs to.
    epochs
        The kept epochs and the last epoch, ascending.
    auc, test_loss, test_accuracy
        Scores at `epochs`.
    history
        Losses after every epoch and at the kept epochs between, on the dimension ``epoch``.
    """

    run: str
    label: str
    epochs: np.ndarray
    auc: np.ndarray
    test_loss: np.ndarray
    test_accuracy: np.ndarray
    history: xr.Dataset

    @property
    def stops(self) -> dict[str, EarlyStop]:
        """Where AUC and test loss would stop training, and where training ends."""
        return early_stops(self.auc, self.test_loss, self.test_accuracy)


def training_courses(results: Results, runs: Sequence[str]) -> list[TrainingCourse]:
    """Return the courses of the runs whose AUC is known at several epochs."""
    specs = require_runs(results, runs)
    labels = {run: group.label for group in group_runs(specs) for run in group.runs}
    kept = rows_of(require_kept(results).runs, runs)
    history = require_table(results, "history")
    courses = []
    for run in specs["run"].values.tolist():
        looks = rows_of(kept, [run])
        scores = _scores_by_epoch([looks, rows_of(specs, [run])])
        own = rows_of(history, [run])
        if scores.sizes["run"] > 1 and own.sizes["run"]:
            epochs, auc, loss, accuracy = (scores[key].values for key in ("epoch", *SCORES))
            losses = _with_looks(own.isel(run=0).dropna("epoch", how="all"), looks)
            scored = (epochs, auc, loss, accuracy, losses)
            courses.append(TrainingCourse(str(run), labels[run], *scored))
    if not courses:
        raise UnmetNeedError(
            "needs a run whose cumulative ablation was measured at several epochs; list "
            "training.checkpoints in one of its experiments and set "
            "measurements.cumulative_ablation.checkpoints"
        )
    return courses


def _scores_by_epoch(tables: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return the scores of a run at each epoch with a known AUC, each epoch once."""
    scores = xr.concat([table[list(SCORES)].reset_coords("epoch") for table in tables], "run")
    scores = scores.sortby("epoch")
    scores = scores.isel(run=np.flatnonzero(np.isfinite(scores["auc"].values)))
    return scores.isel(run=np.unique(scores["epoch"].values, return_index=True)[1])


def _with_looks(history: xr.Dataset, looks: xr.Dataset) -> xr.Dataset:
    """Return the history of a run with the scores at its looks inside of epochs."""
    inside = looks.isel(run=np.flatnonzero(looks["epoch"].values % 1))
    if not inside.sizes["run"]:
        return history
    columns = {name: ("epoch", inside[name].values) for name in history.data_vars}
    rows = xr.Dataset(columns, {"epoch": inside["epoch"].values})
    return xr.concat([history.drop_vars("run", errors="ignore"), rows], "epoch").sortby("epoch")
