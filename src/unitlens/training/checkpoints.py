"""Checkpoints: the weights of a network, their record, and the scores over training."""

import json
import math
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field, ValidationError
from torch import nn

from unitlens.config.base import Strict
from unitlens.config.networks import RunSpec
from unitlens.errors import ModelError, first_line, one_line
from unitlens.hashed_files import parse_json, reading, write_json
from unitlens.local_files import replacing
from unitlens.model.weights import weights_hash
from unitlens.training.models import construct_model

WEIGHTS, RECORD = "checkpoint.safetensors", "checkpoint.json"
AGAIN = f"remove {RECORD} and run snakemake again: it trains the network again"


def _nan_for_null(value: Any) -> Any:
    return math.nan if value is None else value


# JSON has no NaN, which the scores of a failed training are.
Score = Annotated[float, Field(allow_inf_nan=True), BeforeValidator(_nan_for_null)]


class CheckpointRecord(Strict):
    """The record of a network: its origin and its scores.

    Attributes
    ----------
    spec
        The run.
    epoch
        Number of epochs that the network was trained for.
    train_loss, test_loss
        Mean cross-entropy in nats; the training labels are those that it was trained on. NaN, as
        the accuracies are, where the training failed.
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
    origin_parts
        Each part of the network's origin to its hash, code included; empty in records of unitlens
        before 0.3.
    origin
        Hash over the origin, as unitlens 0.2 wrote it; empty in other records.
    probes
        Logits for a few samples of the test set (:mod:`unitlens.training.probes`); empty in
        records of unitlens before 0.3.
    failed
        Why the training failed; empty where it did not. A failed network has no weights.
    """

    spec: RunSpec
    epoch: int
    train_loss: Score
    train_accuracy: Score
    test_loss: Score
    test_accuracy: Score
    input_shape: tuple[int, ...]
    classes: int
    dataset_identity: str
    weights_hash: str
    versions: dict[str, str]
    origin_parts: dict[str, str] = Field(default_factory=dict)
    origin: str = ""
    probes: tuple[tuple[float, ...], ...] = ()
    failed: str = ""


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

    with writing_network(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with replacing(directory / WEIGHTS) as partial:
            save_model(model, str(partial))
    write_record(directory, record)


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copy the network of a directory into another one, whole or not at all, and check it.

    Parameters
    ----------
    source
        Directory of the network.
    target
        Directory to write to.

    Raises
    ------
    ModelError
        Where the network is damaged, or cannot be written.
    """
    save_checkpoint(target, *load_checkpoint(source))


@contextmanager
def writing_network(directory: Path) -> Iterator[None]:
    """Raise ModelError where the system refuses to write a network, for instance to a full disk.

    Parameters
    ----------
    directory
        Directory of the network, for the message.
    """
    from safetensors import SafetensorError

    try:
        yield
    # RuntimeError: of the writers of PyTorch and HDF5.
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"the network {directory} cannot be written ({first_line(error)}); mend this and run "
            "again: a training resumes"
        ) from error


def write_record(directory: Path, record: CheckpointRecord) -> None:
    """Write the record of a network, with its hash, whole or not at all."""
    with writing_network(directory):
        write_json(directory / RECORD, json.loads(record.model_dump_json()))


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
    record = read_record(directory / RECORD)
    if record.failed:
        raise ModelError(
            f"the network {directory} has no weights, for its training failed: {record.failed}; "
            "change its settings and train it"
        )
    model = construct_model(
        record.spec.model, input_shape=record.input_shape, classes=record.classes, seed=0
    )
    _load_weights(model, directory / WEIGHTS)
    if weights_hash(model) != record.weights_hash:
        raise ModelError(
            f"the weights in {directory / WEIGHTS} are not those that {RECORD} records; the file "
            f"is damaged or of another run: {AGAIN}"
        )
    return model.eval(), record


def read_record(path: Path) -> CheckpointRecord:
    """Read the record of a network.

    Parameters
    ----------
    path
        The file checkpoint.json.

    Raises
    ------
    ModelError
        Where the file is missing, damaged, or not what unitlens writes.
    """
    if not path.exists():
        raise ModelError(f"{path.parent} holds no network: {RECORD} is missing; train it first")
    with reading(path, error=ModelError, remedy=AGAIN):
        raw = path.read_bytes()
    # Records of unitlens before 0.3 have no hash.
    hashed = b'"origin_parts"' in raw
    values = parse_json(raw, path, error=ModelError, remedy=AGAIN, require_hash=hashed)
    try:
        return CheckpointRecord.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise ModelError(
            f"{path} is not what this version of unitlens writes ({problem['loc']}: "
            f"{problem['msg']}); {AGAIN}"
        ) from None


def _load_weights(model: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(model, str(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ModelError(
            f"cannot load the weights in {path}: {one_line(error)}; {AGAIN}"
        ) from error
