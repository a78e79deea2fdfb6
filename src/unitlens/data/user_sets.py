"""The user's own data sets: module:function that returns one map-style data set for each split."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unitlens.config.networks import DatasetSpec
from unitlens.data.dataset_record import (
    DatasetRecord,
    PreparedSplits,
    SplitRecord,
    channel_count,
    digest,
    remedy,
    split_file,
)
from unitlens.data.dictionary_items import ItemKeys
from unitlens.data.image_files import measure_subset
from unitlens.data.item_files import get_item
from unitlens.data.labels import stratified_subset, whole_label
from unitlens.data.map_style import MapStyle
from unitlens.data.memory_sets import SPLITS, Arrays, ArraySet, store_arrays
from unitlens.errors import DatasetError, one_line
from unitlens.given_arrays import as_array
from unitlens.local_files import replacing
from unitlens.seeds import seeded
from unitlens.user_code import call_user_function

PROBES = 16  # samples whose inputs are compared each time that a function is called again
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
    keys
        Keys of input and label in items that are dictionaries.
    labels
        Labels of the used samples as they were prepared, which those that are read must have;
        None while the data set is prepared.
    prepared
        Directory of the prepared data set, for the messages of errors.
    """

    streams = True

    def __init__(
        self,
        dataset: MapStyle,
        indices: npt.NDArray[np.int64],
        name: str,
        keys: ItemKeys,
        labels: npt.NDArray[np.int64] | None = None,
        prepared: Path = Path(),
    ) -> None:
        self._dataset, self.indices, self._name = dataset, indices, name
        self._keys, self._labels, self._prepared = keys, labels, prepared

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return the used samples at `indices`, of shape (samples, ...).

        Raises
        ------
        DatasetError
            Where a label is another than was prepared.
        """
        return torch.from_numpy(np.stack([self._read(int(row)) for row in indices]))

    def _read(self, row: int) -> npt.NDArray[Any]:
        index = int(self.indices[row])
        value, label = read_item(self._dataset, index, self._name, self._keys)
        if self._labels is not None and label != self._labels[row]:
            raise DatasetError(
                f"{self.describe(row)} has the label {label}, but had {self._labels[row]} "
                f"when the data set was prepared; {remedy(self._prepared)}"
            )
        return value

    def hash_probes(self, rows: Iterable[int]) -> dict[int, str]:
        """Return the hash of the inputs of some used samples, with dtype and shape, by row."""
        return {row: digest(self._read(row)) for row in rows}

    def describe(self, row: int) -> str:
        """Return which item a used sample is, for the message of an error."""
        return f"item {self.indices[row]} of {self._name}"

    def items(self, first: npt.NDArray[Any]) -> Iterator[tuple[npt.NDArray[Any], int]]:
        """Yield input and label of all used samples.

        Raises
        ------
        DatasetError
            Where an input differs from `first` in shape or dtype.
        """
        for index in self.indices.tolist():
            value, label = read_item(self._dataset, index, self._name, self._keys)
            if value.shape != first.shape or value.dtype != first.dtype:
                raise DatasetError(
                    f"item {index} of {self._name} has shape {value.shape} and dtype "
                    f"{value.dtype}, but item 0 of the training set has {first.shape} and "
                    f"{first.dtype}; bring all inputs to one shape and dtype"
                )
            yield value, label


def reopen_split(
    record: DatasetRecord,
    directory: Path,
    split: str,
    indices: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
) -> FunctionReader:
    """Call the user's function again, and check that it returns what was prepared.

    The number of samples and the inputs of some seeded samples are compared here, each label when
    its sample is read. Other inputs that have changed are not noticed.

    Parameters
    ----------
    record
        Record of the data set.
    directory
        Directory of the prepared data set.
    split
        ``train`` or ``test``.
    indices
        Indices of the used samples in the user's data set.
    labels
        Labels of these samples.

    Raises
    ------
    DatasetError
        Where the data set has too few samples, or other samples than were prepared.
    """
    name = f"{record.spec.name} {split}"
    dataset = open_user_set(record.spec)[split]
    if len(dataset) <= indices.max():
        raise DatasetError(
            f"{name} has {len(dataset)} items, but item {indices.max()} was prepared; "
            f"{remedy(directory)}"
        )
    keys = ItemKeys.of(record.spec)
    reader = FunctionReader(dataset, indices, name, keys, labels, directory)
    probes = record.splits[split].probes
    for row, found in reader.hash_probes(probes).items():
        if found != probes[row]:
            raise DatasetError(
                f"{reader.describe(row)} is not what it was when the data set was prepared; "
                f"{remedy(directory)}"
            )
    return reader


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
    readers = {split: _open_reader(dataset, spec, split) for split, dataset in sets.items()}
    first = read_item(sets["train"], 0, f"{spec.name} train", ItemKeys.of(spec))[0]
    scale = 255.0 if first.dtype == np.uint8 else None
    if first.nbytes * sum(map(len, readers.values())) <= MEMORY_LIMIT:
        arrays = {split: _read_arrays(reader, first) for split, reader in readers.items()}
        labels = {split: read.labels for split, read in arrays.items()}
        return store_arrays(ArraySet(arrays, _class_names(sets["train"], labels), scale), directory)
    labels, records = {}, {}
    for split, reader in readers.items():
        labels[split], records[split] = _read_labels(reader, first)
        write_labels(directory / split_file("function", split), labels[split], reader.indices)
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


def read_item(
    dataset: MapStyle, index: int, name: str, keys: ItemKeys
) -> tuple[npt.NDArray[Any], int]:
    """Read one sample.

    Parameters
    ----------
    dataset
        The map-style data set.
    index
        Index of the sample.
    name
        Name of the data set, for the messages of errors.
    keys
        Keys of input and label in items that are dictionaries.

    Returns
    -------
    The input, uint8 or float32, and the label. An image without a channel axis gets one; a PIL
    image becomes (channels, height, width).

    Raises
    ------
    DatasetError
        Where the item is no pair of an input and an integer label from 0, nor a dictionary of them.
    """
    item = keys.pair(get_item(dataset, index, name), f"item {index} of {name}")
    try:
        value, label = item
        array, number = _as_input(value), whole_label(label)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"item {index} of {name} must be a pair of an input (tensor, array or PIL image) "
            f"and an integer label, but is not: {one_line(error)}"
        ) from error
    if number < 0:
        raise DatasetError(
            f"item {index} of {name} has the label {number}, but labels are whole numbers from 0"
        )
    return array, number


def _as_input(value: Any) -> npt.NDArray[Any]:
    array = as_array(value)
    if hasattr(value, "getbands") and array.ndim == 3:
        array = array.transpose(2, 0, 1)
    if array.dtype != np.uint8:
        array = array.astype(np.float32)
    return array[None] if array.ndim == 2 else array


def _open_reader(dataset: MapStyle, spec: DatasetSpec, split: str) -> FunctionReader:
    """Return a reader of a split, or of the stratified subset that is asked for."""
    name, keys, samples = f"{spec.name} {split}", ItemKeys.of(spec), spec.subset_sizes[split]
    chosen = np.arange(len(dataset))
    if samples is not None:
        labels = [read_item(dataset, index, name, keys)[1] for index in range(len(dataset))]
        chosen = stratified_subset(np.array(labels), samples, name=name)
    return FunctionReader(dataset, chosen, name, keys)


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
    rows = _probe_rows(len(reader))
    probes: dict[int, str] = {}
    for row, (value, label) in enumerate(reader.items(first)):
        labels[row] = label
        total.update(np.ascontiguousarray(value).tobytes())
        if row in rows:
            probes[row] = digest(value)
    total.update(labels.tobytes())
    for row, again in reader.hash_probes(rows).items():
        if again != probes[row]:
            raise DatasetError(
                f"{reader.describe(row)} is another each time that it is read; return the same "
                "input each time (random changes belong to training.augmentation)"
            )
    return labels, SplitRecord(samples=len(reader), hash=total.hexdigest(), probes=probes)


def _probe_rows(samples: int) -> list[int]:
    """Return some seeded samples of a split, and the first and the last, ascending."""
    drawn = seeded(0, "probes").permutation(samples)[:PROBES].tolist()
    return sorted({0, *drawn, samples - 1})


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
