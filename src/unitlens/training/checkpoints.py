"""What training leaves of a network: its weights, the record of them, its scores over training."""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from unitlens.config.base import Strict
from unitlens.config.networks import RunSpec
from unitlens.errors import ModelError
from unitlens.model.weights import weights_hash
from unitlens.training.models import construct_model
from unitlens.training.scoring import SplitScore

WEIGHTS, RECORD = "checkpoint.safetensors", "checkpoint.json"


class CheckpointRecord(Strict):
    """What is known of a network: how it came about and how good it is.

    Train figures are over the labels that it was trained on; losses are mean cross-entropies in
    nats. `epoch` counts the epochs that it was trained for. `origin` is a hash over all that the
    network was made from, code included; networks of unitlens before 0.2 have none.
    """

    spec: RunSpec
    epoch: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    input_shape: tuple[int, ...]
    classes: int
    dataset_identity: str
    weights_hash: str
    versions: dict[str, str]
    origin: str = ""


def versions() -> dict[str, str]:
    """Return the versions of what made a network."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "unitlens": version("unitlens"),
    }


def save_checkpoint(directory: Path, model: nn.Module, record: CheckpointRecord) -> None:
    """Write a network.

    Parameters
    ----------
    directory
        Where to write ``checkpoint.safetensors`` and then ``checkpoint.json``, each as a whole or
        not at all.
    model
        The network; it stays as it is. Tensors that share memory are written once.
    record
        What is known of it.
    """
    from safetensors.torch import save_model

    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f"{WEIGHTS}.partial"
    save_model(model, str(partial))
    partial.replace(directory / WEIGHTS)
    write_record(directory, record)


def write_record(directory: Path, record: CheckpointRecord) -> None:
    """Write what is known of a network beside its weights, as a whole or not at all."""
    partial = directory / f"{RECORD}.partial"
    partial.write_text(record.model_dump_json(indent=1) + "\n")
    partial.replace(directory / RECORD)


def load_checkpoint(directory: Path) -> tuple[nn.Module, CheckpointRecord]:
    """Read a network that :func:`save_checkpoint` wrote.

    The network is built from its specification, without the weights file that it names, and
    filled from the checkpoint.

    Parameters
    ----------
    directory
        Where it was written.

    Returns
    -------
    The network, in evaluation mode on the CPU, and its record.

    Raises
    ------
    ModelError
        Where the checkpoint is missing, unreadable, or its weights are not the ones recorded.
    """
    directory = Path(directory)
    record = _read_record(directory / RECORD)
    model = construct_model(
        record.spec.model, input_shape=record.input_shape, classes=record.classes, seed=0
    )
    _fill(model, directory / WEIGHTS)
    if weights_hash(model) != record.weights_hash:
        raise ModelError(
            f"the weights in {directory / WEIGHTS} are not those that {RECORD} records; the file "
            "is damaged or of another run: train it again"
        )
    return model.eval(), record


def _read_record(path: Path) -> CheckpointRecord:
    try:
        return CheckpointRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(
            f"{path.parent} holds no network: {RECORD} is missing; train it first"
        ) from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise ModelError(
            f"{path} is not what this version of unitlens writes ({problem['loc']}: "
            f"{problem['msg']}); train the network again"
        ) from None


def _fill(model: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(model, str(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"cannot load the weights in {path}: {reason}; train the network again"
        ) from error


HISTORY = "history.nc"


def write_history(directory: Path, history: Sequence[tuple[SplitScore, SplitScore]]) -> None:
    """Write ``history.nc``, schema ``history``.

    Parameters
    ----------
    directory
        Where to write.
    history
        Scores on the training and on the test set: before training, then after each epoch. They
        get the epochs 0, 1, 2, ...
    """
    import xarray as xr

    from unitlens.variables.checks import annotate

    columns = {
        f"{split}_{figure}": ("epoch", np.array([getattr(row[place], figure) for row in history]))
        for place, split in enumerate(("train", "test"))
        for figure in ("loss", "accuracy")
    }
    table = annotate(xr.Dataset(columns, {"epoch": np.arange(len(history))}), "history")
    partial = directory / f"{HISTORY}.partial"
    table.to_netcdf(partial, engine="h5netcdf")
    partial.replace(directory / HISTORY)
