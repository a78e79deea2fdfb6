"""The record of a prepared data set, in dataset.json, and the normalisation of its inputs."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from torch import Tensor

from unitlens.config.base import Strict
from unitlens.config.networks import DatasetSpec
from unitlens.errors import DatasetError
from unitlens.local_files import write_whole

RECORD = "dataset.json"
FORMAT = 1
# Training samples over which mean and deviation of a data set that is not in memory are measured.
MEASURED_SAMPLES = 4000
StorageKind = Literal["memory", "files", "function"]
Moments = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation, per channel


class SplitRecord(Strict):
    """The record of one split.

    Attributes
    ----------
    samples
        Number of samples.
    hash
        SHA-256 over the samples; for image files over their paths, labels and sizes.
    folder
        Folder of the image files; None for other data sets.
    """

    samples: int
    hash: str
    folder: str | None = None


class DatasetRecord(Strict):
    """The record of a prepared data set.

    An input is ``(stored value / scale - mean) / std``.

    Attributes
    ----------
    format
        Version of this record's format.
    spec
        The specification, without label corruption.
    kind
        What is stored: all samples (``memory``), a list of image files (``files``), or the labels
        of a user's function that is called again (``function``).
    splits
        Record of ``train`` and of ``test``.
    classes
        Names of the classes, by label.
    input_shape
        Shape of one input.
    scale
        Number that stored integers are divided by; None for floats.
    mean, std
        Per channel; None where the floats of a user's data set stay as they are.
    normalisation
        Origin of `mean` and `std`, in words.
    content_hash
        SHA-256 over everything that determines the inputs and labels.
    """

    format: int
    spec: DatasetSpec
    kind: StorageKind
    splits: dict[str, SplitRecord]
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    scale: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    normalisation: str
    content_hash: str


@dataclass(frozen=True)
class PreparedSplits:
    """Both splits of a data set, checked and stored, before the normalisation is known.

    Attributes
    ----------
    kind, splits, classes, input_shape, scale
        As in :class:`DatasetRecord`.
    measure
        Measures mean and deviation of the training inputs; returns both and a text that says over
        which samples.
    """

    kind: StorageKind
    splits: dict[str, SplitRecord]
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    scale: float | None
    measure: Callable[[], tuple[Moments, str]]

    def record(self, spec: DatasetSpec) -> DatasetRecord:
        """Return the complete record of the data set.

        Raises
        ------
        DatasetError
            Where the specification gives means or deviations for another number of channels.
        """
        mean, std, normalisation = self._normalisation(spec)
        record = DatasetRecord(
            format=FORMAT,
            spec=without_corruption(spec),
            kind=self.kind,
            splits=self.splits,
            classes=self.classes,
            input_shape=self.input_shape,
            scale=self.scale,
            mean=mean,
            std=std,
            normalisation=normalisation,
            content_hash="",
        )
        return record.model_copy(update={"content_hash": content_hash(record)})

    def _normalisation(
        self, spec: DatasetSpec
    ) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, str]:
        if spec.mean is not None and spec.std is not None:
            channels = channel_count(self.input_shape)
            for key, values in (("mean", spec.mean), ("std", spec.std)):
                if len(values) not in (1, channels):
                    raise DatasetError(
                        f"dataset.{key} has {len(values)} values, but {spec.name} has {channels} "
                        "channels; give one value or one a channel"
                    )
            return spec.mean, spec.std, "given"
        if self.scale is None:
            return None, None, "none: the data set's own floats"
        (mean, std), origin = self.measure()
        return mean, std, origin


def content_hash(record: DatasetRecord) -> str:
    """Return the SHA-256 over everything that determines the inputs and labels of a data set.

    The folders of its files do not count.
    """
    values = record.model_dump(
        mode="json",
        include={"kind", "classes", "input_shape", "scale", "mean", "std"},
    )
    values["splits"] = {name: split.hash for name, split in record.splits.items()}
    values["reading"] = [record.spec.interpolation, record.spec.name, record.spec.arguments]
    return digest(json.dumps(values, sort_keys=True, default=str).encode())


def digest(*parts: bytes | npt.NDArray[Any]) -> str:
    """Return the SHA-256 of bytes and of arrays (with their dtype and shape)."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        else:
            total.update(part)
    return total.hexdigest()


def without_corruption(spec: DatasetSpec) -> DatasetSpec:
    """Return a specification without label corruption.

    Labels are corrupted on loading, so one prepared data set serves all fractions.
    """
    return spec.model_copy(update={"corruption": 0.0})


def channel_count(input_shape: tuple[int, ...]) -> int:
    """Return the number of channels of an input; one where it is not an image."""
    return input_shape[0] if len(input_shape) == 3 else 1


def write_record(directory: Path, record: DatasetRecord) -> None:
    """Write dataset.json, whole or not at all."""
    write_whole(directory / RECORD, (record.model_dump_json(indent=1) + "\n").encode())


def read_record(directory: Path) -> DatasetRecord:
    """Read dataset.json.

    Raises
    ------
    DatasetError
        Where the file is missing or of another version of unitlens.
    """
    path = directory / RECORD
    if not path.is_file():
        raise DatasetError(
            f"{directory} holds no prepared data set: {RECORD} is missing; prepare it first"
        )
    try:
        record = DatasetRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]
        raise DatasetError(
            f"{path} is not what this version of unitlens writes ({reason['loc']}: {reason['msg']})"
            "; delete it and prepare the data set again"
        ) from None
    if record.format != FORMAT:
        raise DatasetError(
            f"{path} has format {record.format}, but {FORMAT} is read here; delete it and prepare "
            "the data set again"
        )
    return record


class PixelHistogram:
    """Number of occurrences of each integer value in each channel; its moments are exact.

    Parameters
    ----------
    channels
        Number of channels.
    """

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, 256), np.int64)

    def add(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Count the values of inputs, of shape (samples, channels, ...) or (samples, ...)."""
        pixels = pixels.reshape(len(pixels), len(self._counts), -1)
        for start in range(0, len(pixels), 1000):  # bincount widens to 64 bits
            for channel, counts in enumerate(self._counts):
                values = pixels[start : start + 1000, channel]
                counts += np.bincount(values.reshape(-1), minlength=256)

    def moments(self, scale: float) -> Moments:
        """Return mean and population standard deviation per channel, of values over `scale`.

        The deviation of a constant channel is set to 1.
        """
        values = np.arange(256) / scale
        shares = self._counts / self._counts.sum(1, keepdims=True)
        mean = shares @ values
        deviation = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
        deviation[deviation == 0] = 1.0
        return tuple(mean.tolist()), tuple(deviation.tolist())


class Normalisation:
    """``(x / scale - mean) / std`` per channel, as one product and one sum in float32.

    Parameters
    ----------
    record
        Record of the data set, with `scale`, `mean` and `std`.
    """

    def __init__(self, record: DatasetRecord) -> None:
        scale = 1.0 if record.scale is None else record.scale
        mean = torch.tensor(record.mean or (0.0,), dtype=torch.float64)
        std = torch.tensor(record.std or (1.0,), dtype=torch.float64)
        shape = (
            (-1, *(1,) * (len(record.input_shape) - 1))
            if channel_count(record.input_shape) > 1
            else ()
        )
        self._factor = (1 / (scale * std)).to(torch.float32).reshape(shape)
        self._offset = (-mean / std).to(torch.float32).reshape(shape)
        self._identity = record.scale is None and record.mean is None

    def __call__(self, raw: Tensor) -> Tensor:
        """Return the inputs of stored values, both of shape (samples, ...), as float32."""
        inputs = raw.to(torch.float32)
        if self._identity:
            return inputs
        if inputs is raw:
            inputs = raw.clone()
        return inputs.mul_(self._factor).add_(self._offset)
