"""Data sets as arrays in memory, and their storage as tensors in safetensors files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unitlens.config.networks import DatasetSpec
from unitlens.data.dataset_record import (
    Moments,
    PreparedSplits,
    SplitRecord,
    channel_count,
    digest,
    split_file,
)
from unitlens.data.labels import stratified_subset
from unitlens.data.normalisation import PixelHistogram
from unitlens.local_files import replacing

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Arrays:
    """The samples of a split, or of a whole data set.

    Attributes
    ----------
    inputs
        Shape (samples, ...), uint8 or float32.
    labels
        Shape (samples,), int64.
    """

    inputs: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]

    def select(self, indices: npt.NDArray[np.int64]) -> "Arrays":
        """Return the samples at `indices`."""
        return Arrays(self.inputs[indices], self.labels[indices])


@dataclass(frozen=True)
class ArraySet:
    """A data set in memory.

    Attributes
    ----------
    splits
        Arrays of ``train`` and ``test``.
    classes
        Names of the classes, by label.
    scale
        Number that stored integers are divided by; None where the inputs are floats.
    """

    splits: dict[str, Arrays]
    classes: tuple[str, ...]
    scale: float | None = 255.0


def reduce_to_subsets(arrays: ArraySet, spec: DatasetSpec) -> ArraySet:
    """Reduce each split to the stratified subset that the specification asks for."""
    splits = {}
    for name, split in arrays.splits.items():
        size = spec.subset_sizes[name]
        indices = stratified_subset(split.labels, size, name=f"{spec.name} {name}")
        splits[name] = split if size is None else split.select(indices)
    return ArraySet(splits, arrays.classes, arrays.scale)


def store_arrays(arrays: ArraySet, directory: Path) -> PreparedSplits:
    """Write both splits to a directory, as ``train.safetensors`` and ``test.safetensors``."""
    from safetensors.numpy import save_file

    records = {}
    for name, split in arrays.splits.items():
        tensors = {"inputs": np.ascontiguousarray(split.inputs), "labels": split.labels}
        with replacing(directory / split_file("memory", name)) as partial:
            save_file(tensors, partial)
        content = digest(tensors["inputs"], tensors["labels"])
        records[name] = SplitRecord(samples=len(split.labels), hash=content)
    return PreparedSplits(
        kind="memory",
        splits=records,
        classes=arrays.classes,
        input_shape=arrays.splits["train"].inputs.shape[1:],
        scale=arrays.scale,
        measure=_moments_of_training(arrays),
    )


def _moments_of_training(arrays: ArraySet) -> Callable[[], tuple[Moments, str]]:
    def measure() -> tuple[Moments, str]:
        inputs = arrays.splits["train"].inputs
        histogram = PixelHistogram(channel_count(inputs.shape[1:]))
        histogram.add(inputs)
        return histogram.moments(arrays.scale or 1.0), "measured on the training set"

    return measure
