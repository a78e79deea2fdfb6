"""The user's own data sets: module:function that returns one map-style data set for each split."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unitlens.config.networks import DatasetSpec
from unitlens.data.batches import MapStyle
from unitlens.data.dataset_record import PreparedSplits, SplitRecord, channel_count
from unitlens.data.image_files import measure_subset
from unitlens.data.labels import stratified_subset
from unitlens.data.memory_sets import SPLITS, Arrays, ArraySet, store_arrays
from unitlens.errors import DatasetError, one_line
from unitlens.local_files import replacing
from unitlens.user_code import call_user_function

MEMORY_LIMIT = 2 * 2**30  # bytes; each job reads larger sets again, sample by sample


class FunctionReader:
    """Reads samples of one split of a user's data set, uint8 or float32, as they are.

    Parameters
    ----------
    dataset
        The map-style data set.
    indices
        Indices of the used samples in it.
    name
        Names of data set and split, for the messages of errors.
    """

    streams = True

    def __init__(self, dataset: MapStyle, indices: npt.NDArray[np.int64], name: str) -> None:
        self._dataset, self.indices, self._name = dataset, indices, name

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return the used samples at `indices`, of shape (samples, ...)."""
        items = [read_item(self._dataset, int(i), self._name)[0] for i in self.indices[indices]]
        return torch.from_numpy(np.stack(items))

    def items(self, first: npt.NDArray[Any]) -> Iterator[tuple[npt.NDArray[Any], int]]:
        """Yield input and label of all used samples.

        Raises
        ------
        DatasetError
            Where an input differs from `first` in shape or dtype.
        """
        for index in self.indices.tolist():
            value, label = read_item(self._dataset, index, self._name)
            if value.shape != first.shape or value.dtype != first.dtype:
                raise DatasetError(
                    f"item {index} of {self._name} has shape {value.shape} and dtype "
                    f"{value.dtype}, but item 0 of the training set has {first.shape} and "
                    f"{first.dtype}; bring all inputs to one shape and dtype"
                )
            yield value, label


def open_user_set(spec: DatasetSpec) -> dict[str, MapStyle]:
    """Call the user's function.

    Parameters
    ----------
    spec
        The data set; its name is module:function.

    Returns
    -------
    The map-style data set of each split.

    Raises
    ------
    DatasetError
        Where the function cannot be imported, fails, or does not return a map-style data set for
        each split.
    """
    sets = call_user_function(spec.name, spec.arguments, key="dataset.name", error=DatasetError)
    if not isinstance(sets, Mapping) or not set(SPLITS) <= set(sets):
        got = f"the keys {list(sets)}" if isinstance(sets, Mapping) else f"a {type(sets).__name__}"
        raise DatasetError(
            f"dataset.name = {spec.name!r} must return a dictionary with the keys 'train' and "
            f"'test', but returned {got}"
        )
    for split in SPLITS:
        dataset = sets[split]
        map_style = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
        if not map_style or not len(dataset):
            raise DatasetError(
                f"dataset.name = {spec.name!r} returned a {type(dataset).__name__} for '{split}', "
                "but must return a map-style data set: a length above 0, and items by index"
            )
    return {split: sets[split] for split in SPLITS}


def prepare_user_set(spec: DatasetSpec, directory: Path) -> PreparedSplits:
    """Read all samples of a user's data set once.

    All samples are written to the directory where they fit into `MEMORY_LIMIT`, else the labels.

    Parameters
    ----------
    spec
        The data set.
    directory
        Directory of the prepared data set.

    Raises
    ------
    DatasetError
        Where the function fails, or a sample is not a pair of an input and a label.
    """
    sets = open_user_set(spec)
    readers = {
        split: open_reader(dataset, spec.subset_sizes[split], f"{spec.name} {split}")
        for split, dataset in sets.items()
    }
    first = read_item(sets["train"], 0, f"{spec.name} train")[0]
    scale = 255.0 if first.dtype == np.uint8 else None
    if first.nbytes * sum(map(len, readers.values())) <= MEMORY_LIMIT:
        arrays = {split: _read_arrays(reader, first) for split, reader in readers.items()}
        labels = {split: read.labels for split, read in arrays.items()}
        return store_arrays(ArraySet(arrays, _class_names(sets["train"], labels), scale), directory)
    labels, records = {}, {}
    for split, reader in readers.items():
        labels[split], records[split] = _read_labels(reader, first)
        write_labels(directory / f"{split}.safetensors", labels[split], reader.indices)
    return PreparedSplits(
        kind="function",
        splits=records,
        classes=_class_names(sets["train"], labels),
        input_shape=first.shape,
        scale=scale,
        measure=lambda: measure_subset(
            readers["train"], labels["train"], channel_count(first.shape)
        ),
    )


def read_item(dataset: MapStyle, index: int, name: str) -> tuple[npt.NDArray[Any], int]:
    """Read one sample.

    Parameters
    ----------
    dataset
        The map-style data set.
    index
        Index of the sample.
    name
        Name of the data set, for the messages of errors.

    Returns
    -------
    The input, uint8 or float32, and the label. An image without a channel axis gets one; a PIL
    image becomes (channels, height, width).

    Raises
    ------
    DatasetError
        Where the item is not a pair of an input and an integer label from 0.
    """
    item = dataset[index]
    try:
        value, label = item
        array, number = _as_array(value), int(label)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"item {index} of {name} must be a pair of an input (tensor, array or PIL image) "
            f"and an integer label, but is not: {one_line(error)}"
        ) from error
    if number < 0 or number != label:
        raise DatasetError(
            f"item {index} of {name} has the label {label}, but labels are whole numbers from 0"
        )
    return array, number


def _as_array(value: Any) -> npt.NDArray[Any]:
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if hasattr(value, "getbands") and array.ndim == 3:
        array = array.transpose(2, 0, 1)
    if array.dtype != np.uint8:
        array = array.astype(np.float32)
    return array[None] if array.ndim == 2 else array


def open_reader(dataset: MapStyle, samples: int | None, name: str) -> FunctionReader:
    """Return a reader of a stratified subset of a split, of all its samples if None."""
    if samples is None:
        return FunctionReader(dataset, np.arange(len(dataset)), name)
    labels = [read_item(dataset, index, name)[1] for index in range(len(dataset))]
    return FunctionReader(dataset, stratified_subset(np.array(labels), samples, name=name), name)


def _read_arrays(reader: FunctionReader, first: npt.NDArray[Any]) -> Arrays:
    inputs = np.empty((len(reader), *first.shape), first.dtype)
    labels = np.empty(len(reader), np.int64)
    for row, (value, label) in enumerate(reader.items(first)):
        inputs[row], labels[row] = value, label
    return Arrays(inputs, labels)


def _read_labels(
    reader: FunctionReader, first: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], SplitRecord]:
    """Return the labels of a split, and its record with a hash over inputs and labels."""
    total = hashlib.sha256()
    labels = np.empty(len(reader), np.int64)
    for row, (value, label) in enumerate(reader.items(first)):
        labels[row] = label
        total.update(np.ascontiguousarray(value).tobytes())
    total.update(labels.tobytes())
    return labels, SplitRecord(samples=len(reader), hash=total.hexdigest())


def _class_names(dataset: MapStyle, labels: Mapping[str, npt.NDArray[np.int64]]) -> tuple[str, ...]:
    classes = 1 + max(int(split.max()) for split in labels.values())
    names = getattr(dataset, "classes", None)
    if isinstance(names, list | tuple) and len(names) >= classes:
        return tuple(map(str, names))
    return tuple(str(label) for label in range(classes))


def write_labels(path: Path, labels: npt.NDArray[np.int64], indices: npt.NDArray[np.int64]) -> None:
    """Write the labels of a split that is not stored, and the indices of their samples."""
    from safetensors.numpy import save_file

    with replacing(path) as partial:
        save_file({"labels": labels, "chosen": indices}, partial)
