"""The record of a prepared data set, its dataset.json, and the normalisation of its inputs."""

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

RECORD = "dataset.json"
FORMAT = 1
MEASURED_SAMPLES = 4000  # of a streamed training set, to measure its mean and deviation
Kind = Literal["memory", "files", "function"]
Moments = tuple[tuple[float, ...], tuple[float, ...]]


class SplitRecord(Strict):
    """One split: how many samples, a hash over them, and the folder of its files if it has any."""

    samples: int
    hash: str
    folder: str | None = None


class DatasetRecord(Strict):
    """A prepared data set.

    Stored integers are divided by `scale`, then `mean` and `std` (per channel) are applied; both
    are null where the user's floats are taken as they are.
    """

    format: int
    spec: DatasetSpec
    kind: Kind
    splits: dict[str, SplitRecord]
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    scale: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    normalisation: str
    content_hash: str


@dataclass(frozen=True)
class Prepared:
    """What preparing a data set finds out; `measure` returns moments and how they came about."""

    kind: Kind
    splits: dict[str, SplitRecord]
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    scale: float | None
    measure: Callable[[], tuple[Moments, str]]

    def record(self, spec: DatasetSpec) -> DatasetRecord:
        """Complete the record with the normalisation and the hash over everything."""
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
        (mean, std), how = self.measure()
        return mean, std, how


def content_hash(record: DatasetRecord) -> str:
    """Hash all that determines what a data set yields; where its files lie is no part of it."""
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
    """Corruption is applied on loading, so all its levels share one prepared set."""
    return spec.model_copy(update={"corruption": 0.0})


def channel_count(input_shape: tuple[int, ...]) -> int:
    """Return the number of channels of an input; one where it is not an image."""
    return input_shape[0] if len(input_shape) == 3 else 1


def write_record(directory: Path, record: DatasetRecord) -> None:
    """Write dataset.json as a whole or not at all."""
    partial = directory / f"{RECORD}.partial"
    partial.write_text(record.model_dump_json(indent=1) + "\n")
    partial.replace(directory / RECORD)


def read_record(directory: Path) -> DatasetRecord:
    """Read dataset.json.

    Raises
    ------
    DatasetError
        Where there is none, or it is of another version of unitlens.
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
    """Counts of every integer value in every channel, from which moments follow exactly."""

    def __init__(self, channels: int) -> None:
        self._counts = np.zeros((channels, 256), np.int64)

    def add(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Count the values of inputs of shape (samples, channels, ...), or without channels."""
        pixels = pixels.reshape(len(pixels), len(self._counts), -1)
        for start in range(0, len(pixels), 1000):  # bincount widens to 64 bits
            for channel, counts in enumerate(self._counts):
                part = pixels[start : start + 1000, channel]
                counts += np.bincount(part.reshape(-1), minlength=256)

    def moments(self, scale: float) -> Moments:
        """Return mean and population standard deviation per channel, of values over `scale`.

        A channel that never changes gets a deviation of 1: there is nothing to scale.
        """
        values = np.arange(256) / scale
        shares = self._counts / self._counts.sum(1, keepdims=True)
        mean = shares @ values
        deviation = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(1))
        deviation[deviation == 0] = 1.0
        return tuple(mean.tolist()), tuple(deviation.tolist())


class Normalisation:
    """``(x / scale - mean) / std`` per channel, as one product and one sum in float32."""

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
        """Normalise stored values of shape (samples, ...)."""
        inputs = raw.to(torch.float32)
        if self._identity:
            return inputs
        if inputs is raw:
            inputs = raw.clone()
        return inputs.mul_(self._factor).add_(self._offset)
