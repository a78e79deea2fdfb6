"""The scores over a training, in history.nc."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from unitlens.errors import ModelError, TableError, first_line
from unitlens.hashed_files import read_trailer
from unitlens.provenance.file_provenance import WEIGHTS, FileProvenance
from unitlens.provenance.misfits import HISTORY
from unitlens.store.backend.netcdf import read_netcdf, write_netcdf
from unitlens.training.checkpoints import AGAIN, CheckpointRecord, writing_network
from unitlens.training.network_origin import specification_values
from unitlens.training.scoring import SplitScore
from unitlens.variables.checks import annotate

SPLITS = ("train", "test")
Scores = tuple[SplitScore, SplitScore]  # on the training and on the test set


def write_history(directory: Path, history: Sequence[Scores], record: CheckpointRecord) -> None:
    """Write ``history.nc``, schema ``history``.

    Parameters
    ----------
    directory
        Directory to write to.
    history
        Scores on the training and the test set, before training and after each epoch: those of
        epoch 0, 1, 2, ...
    record
        Record of the network at the end of the training, which the provenance of the file tells.
    """
    columns = {
        f"{split}_{score}": ("epoch", np.array([getattr(row[index], score) for row in history]))
        for index, split in enumerate(SPLITS)
        for score in ("loss", "accuracy")
    }
    table = annotate(xr.Dataset(columns, {"epoch": np.arange(len(history))}), "history")
    with writing_network(directory):
        write_netcdf(table, directory / HISTORY, provenance=_provenance(record))


def _provenance(record: CheckpointRecord) -> FileProvenance:
    code = record.origin_parts.get("code", "")
    inputs = {WEIGHTS: record.weights_hash}
    return FileProvenance("train", specification_values(record.spec), code, inputs)


def read_history(directory: Path, record: CheckpointRecord) -> list[Scores]:
    """Read the scores that :func:`write_history` wrote, also those of unitlens before 0.3.

    Parameters
    ----------
    directory
        Directory of the network.
    record
        Record of the network.

    Raises
    ------
    ModelError
        Where the file is missing or damaged.
    """
    path = directory / HISTORY
    try:
        # Beside a record of unitlens before 0.3 the file has no hash, or has it already where a
        # refreshment was killed; `check_history` compares the last row.
        hashed = bool(record.origin_parts) or read_trailer(path) is not None
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
        raise ModelError(
            f"the scores in {path} cannot be read ({first_line(error)}); {AGAIN}"
        ) from error


def check_history(directory: Path, record: CheckpointRecord) -> None:
    """Check that ``history.nc`` holds the scores of a network.

    Parameters
    ----------
    directory
        Directory of the network.
    record
        Record of the network.

    Raises
    ------
    ModelError
        Where the file is missing, damaged, of another network, or its last scores are not those
        of the record.
    """
    path, history = directory / HISTORY, read_history(directory, record)
    stated = (
        SplitScore(record.train_loss, record.train_accuracy),
        SplitScore(record.test_loss, record.test_accuracy),
    )
    trailer = read_trailer(path)
    inputs = trailer.provenance.get("inputs", {}) if trailer else {}
    is_same_network = inputs.get(WEIGHTS, record.weights_hash) == record.weights_hash
    if not is_same_network or len(history) != record.epoch + 1 or history[-1] != stated:
        raise ModelError(f"the scores in {path} are those of another network; {AGAIN}")
