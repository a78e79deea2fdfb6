"""The record of a prepared data set, in dataset.json."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from unitlens.config.base import Strict
from unitlens.config.networks import DatasetSpec
from unitlens.data.raw_files import RawFile
from unitlens.errors import DatasetError
from unitlens.hashed_files import hash_file, parse_json, reading, write_json

RECORD = "dataset.json"
FORMAT = 2
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
    probes
        Index of some samples to the hash of their inputs, where a user's function is called again.
    """

    samples: int
    hash: str
    folder: str | None = None
    probes: dict[int, str] = Field(default_factory=dict)


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
    files
        Name of each file beside the record to its hash.
    raw
        State of the files that the data set was read from.
    code
        Digest of the code that prepared the data set; empty where a person called it by hand.
    user_code
        Digest of the user's code that was called; empty where there is none.
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
    files: dict[str, str]
    raw: tuple[RawFile, ...]
    code: str
    user_code: str


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

    def record(
        self,
        spec: DatasetSpec,
        directory: Path,
        *,
        raw: tuple[RawFile, ...] = (),
        code: str = "",
        user_code: str = "",
    ) -> DatasetRecord:
        """Return the complete record of the data set.

        Parameters
        ----------
        spec
            The data set.
        directory
            Directory of the files of both splits.
        raw, code, user_code
            As in :class:`DatasetRecord`.

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
            files={name: hash_file(directory / name) for name in self._file_names()},
            raw=raw,
            code=code,
            user_code=user_code,
        )
        return record.model_copy(update={"content_hash": content_hash(record)})

    def _file_names(self) -> list[str]:
        return [split_file(self.kind, split) for split in self.splits]

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


def split_file(kind: StorageKind, split: str) -> str:
    """Return the name of the file of a split."""
    return f"{split}.csv" if kind == "files" else f"{split}.safetensors"


def remedy(directory: Path) -> str:
    """Return what to do about a prepared data set that cannot be used, for the end of a message."""
    return (
        f"delete the folder {directory} and run snakemake (or prepare_dataset) again: the data set "
        "is prepared again, and trained networks are kept"
    )


def write_record(directory: Path, record: DatasetRecord) -> None:
    """Write dataset.json, whole or not at all."""
    write_json(directory / RECORD, record.model_dump(mode="json"))


def read_record(directory: Path) -> DatasetRecord:
    """Read dataset.json.

    Raises
    ------
    DatasetError
        Where the file is missing, damaged, or of another version of unitlens.
    """
    path = directory / RECORD
    if not path.is_file():
        raise DatasetError(
            f"{directory} holds no prepared data set: {RECORD} is missing; prepare it first"
        )
    again = remedy(directory)
    with reading(path, error=DatasetError, remedy=again):
        raw = path.read_bytes()
    values = parse_json(raw, path, error=DatasetError, remedy=again, require_hash=False)
    if values.get("format") != FORMAT:
        raise DatasetError(
            f"{path} has format {values.get('format')}, but unitlens from 0.3 on reads format "
            f"{FORMAT}; {again}"
        )
    parse_json(raw, path, error=DatasetError, remedy=again)
    try:
        return DatasetRecord.model_validate_json(json.dumps(values))
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]
        raise DatasetError(
            f"{path} is not what this version of unitlens writes ({reason['loc']}: {reason['msg']})"
            f"; {again}"
        ) from None
