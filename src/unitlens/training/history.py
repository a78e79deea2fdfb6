"""The scores over a training, in history.nc."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from unitlens.errors import ModelError, TableError, first_line
from unitlens.hashed_files import read_trailer
from unitlens.store.backend.netcdf import read_netcdf, write_netcdf
from unitlens.training.checkpoints import CheckpointRecord, writing_network
from unitlens.training.scoring import SplitScore
from unitlens.variables.checks import annotate

HISTORY = "history.nc"
SPLITS = ("train", "test")
Scores = tuple[SplitScore, SplitScore]  # on the training and on the test set


def write_history(directory: Path, history: Sequence[Scores]) -> None:
    """Write ``history.nc``, schema ``history``.

    Parameters
    ----------
    directory
        Directory to write to.
    history
        Scores on the training and the test set, before training and after each epoch: those of
        epoch 0, 1, 2, ...
    """
    columns = {
        f"{split}_{score}": ("epoch", np.array([getattr(row[index], score) for row in history]))
        for index, split in enumerate(SPLITS)
        for score in ("loss", "accuracy")
    }
    table = annotate(xr.Dataset(columns, {"epoch": np.arange(len(history))}), "history")
    with writing_network(directory):
        write_netcdf(table, directory / HISTORY)


def read_history(directory: Path) -> list[Scores]:
    """Read the scores that :func:`write_history` wrote, also those of unitlens before 0.3.

    Parameters
    ----------
    directory
        Directory of the network.

    Raises
    ------
    ModelError
        Where the file is missing or damaged.
    """
    path = directory / HISTORY
    try:
        # Files of unitlens before 0.3 have no hash; `check_history` compares their last row.
        hashed = read_trailer(path) is not None
        table = read_netcdf(path) if hashed else xr.load_dataset(path, engine="h5netcdf")
        columns = {name: table[name].values for name in table.data_vars}
        return [
            tuple(  # type: ignore[misc]
                SplitScore(float(columns[f"{of}_loss"][row]), float(columns[f"{of}_accuracy"][row]))
                for of in SPLITS
            )
            for row in range(table.sizes["epoch"])
        ]
    except (TableError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"the scores in {path} cannot be read: {first_line(error)}") from error


def check_history(directory: Path, record: CheckpointRecord) -> None:
    """Raise ModelError where the last scores are not those of the record of the network."""
    history = read_history(directory)
    train, test = history[-1]
    stated = (
        SplitScore(record.train_loss, record.train_accuracy),
        SplitScore(record.test_loss, record.test_accuracy),
    )
    if len(history) != record.epoch + 1 or (train, test) != stated:
        raise ModelError(f"the scores in {directory / HISTORY} are not those of the network")
