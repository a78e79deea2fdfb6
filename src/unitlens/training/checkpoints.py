"""Checkpoints: the weights of a network, their record, and the scores over training."""

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
from unitlens.errors import ModelError, one_line
from unitlens.local_files import replacing, write_whole
from unitlens.model.weights import weights_hash
from unitlens.store.backend.netcdf import write_netcdf
from unitlens.training.models import construct_model
from unitlens.training.scoring import SplitScore

WEIGHTS, RECORD, HISTORY = "checkpoint.safetensors", "checkpoint.json", "history.nc"


class CheckpointRecord(Strict):
    """The record of a network: its origin and its scores.

    Attributes
    ----------
    spec
        The run.
    epoch
        Number of epochs that the network was trained for.
    train_loss, test_loss
        Mean cross-entropy in nats; the training labels are those that it was trained on.
    train_accuracy, test_accuracy
        Share of the samples whose largest logit is that of the label.
    input_shape
        Shape of one input.
    classes
        Number of classes of the data set.
    dataset_identity
        Identity of the training set.
    weights_hash
        Hash over the weights.
    versions
        Versions of the software that trained the network.
    origin
        Hash over everything that the network was made from, code included; empty in records of
        unitlens before 0.2.
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
    """Return the versions of Python, torch and unitlens."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "unitlens": version("unitlens"),
    }


def save_checkpoint(directory: Path, model: nn.Module, record: CheckpointRecord) -> None:
    """Write a network and its record, each whole or not at all.

    Parameters
    ----------
    directory
        Directory to write ``checkpoint.safetensors`` and then ``checkpoint.json`` to.
    model
        The network, which is not changed. Tensors that share memory are written once.
    record
        Its record.
    """
    from safetensors.torch import save_model

    directory.mkdir(parents=True, exist_ok=True)
    with replacing(directory / WEIGHTS) as partial:
        save_model(model, str(partial))
    write_record(directory, record)


def write_record(directory: Path, record: CheckpointRecord) -> None:
    """Write the record of a network, whole or not at all."""
    write_whole(directory / RECORD, (record.model_dump_json(indent=1) + "\n").encode())


def load_checkpoint(directory: Path) -> tuple[nn.Module, CheckpointRecord]:
    """Read a network that :func:`save_checkpoint` wrote.

    The network is built from its specification, and its weights are loaded from the checkpoint. A
    weights file that the specification names is not read.

    Parameters
    ----------
    directory
        Directory of the checkpoint.

    Returns
    -------
    The network, in evaluation mode on the CPU, and its record.

    Raises
    ------
    ModelError
        Where the checkpoint is missing or unreadable, or its weights differ from its record.
    """
    directory = Path(directory)
    record = _read_record(directory / RECORD)
    model = construct_model(
        record.spec.model, input_shape=record.input_shape, classes=record.classes, seed=0
    )
    _load_weights(model, directory / WEIGHTS)
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


def _load_weights(model: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(model, str(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelError(
            f"cannot load the weights in {path}: {one_line(error)}; train the network again"
        ) from error


def write_history(directory: Path, history: Sequence[tuple[SplitScore, SplitScore]]) -> None:
    """Write ``history.nc``, schema ``history``.

    Parameters
    ----------
    directory
        Directory to write to.
    history
        Scores on the training and the test set, before training and after each epoch: those of
        epoch 0, 1, 2, ...
    """
    import xarray as xr

    from unitlens.variables.checks import annotate

    columns = {
        f"{split}_{score}": ("epoch", np.array([getattr(row[index], score) for row in history]))
        for index, split in enumerate(("train", "test"))
        for score in ("loss", "accuracy")
    }
    table = annotate(xr.Dataset(columns, {"epoch": np.arange(len(history))}), "history")
    write_netcdf(table, directory / HISTORY)
