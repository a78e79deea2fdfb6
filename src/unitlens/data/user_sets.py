"""The user's own data sets: module:function that returns one map-style set for each split."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unitlens.config.networks import DatasetSpec
from unitlens.data.batches import MapStyle
from unitlens.data.dataset_record import Prepared, SplitRecord, channel_count
from unitlens.data.image_files import measure_subset
from unitlens.data.labels import stratified_subset
from unitlens.data.memory_sets import (
    SPLITS,
    Arrays,
    ArraySet,
    store_arrays,
)
from unitlens.errors import DatasetError
from unitlens.user_code import call_user_function

MEMORY_LIMIT = 2 * 2**30  # bytes; larger sets are read again by each job, sample by sample


class FunctionReader:
    """Reads samples of a user's set as they are: (samples, ...) of uint8 or float32."""

    streams = True

    def __init__(self, dataset: MapStyle, chosen: npt.NDArray[np.int64], name: str) -> None:
        self._dataset, self._chosen, self._name = dataset, chosen, name

    def read(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Read the samples at `indices`."""
        items = [read_item(self._dataset, int(i), self._name)[0] for i in self._chosen[indices]]
        return torch.from_numpy(np.stack(items))


def open_user_set(spec: DatasetSpec) -> dict[str, MapStyle]:
    """Call the user's function.

    Raises
    ------
    DatasetError
        Where it cannot be had, fails, or does not return a map-style set for each split.
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
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or not len(
            dataset
        ):
            raise DatasetError(
                f"dataset.name = {spec.name!r} returned a {type(dataset).__name__} for '{split}', "
                "but must return a map-style data set: a length above 0, and items by index"
            )
    return {split: sets[split] for split in SPLITS}


def prepare_user_set(spec: DatasetSpec, directory: Path) -> Prepared:
    """Read the user's sets through once; write small ones to `directory` as tensors."""
    sets = open_user_set(spec)
    wanted = {"train": spec.train_samples, "test": spec.test_samples}
    chosen = {
        split: _chosen(dataset, wanted[split], f"{spec.name} {split}")
        for split, dataset in sets.items()
    }
    first = read_item(sets["train"], 0, f"{spec.name} train")[0]
    in_memory = first.nbytes * sum(map(len, chosen.values())) <= MEMORY_LIMIT
    collect = _collect if in_memory else _pass_through
    arrays, hashes = {}, {}
    for split, dataset in sets.items():
        arrays[split], hashes[split] = collect(
            dataset, chosen[split], first, f"{spec.name} {split}"
        )
    classes = _class_names(sets["train"], arrays)
    scale = 255.0 if first.dtype == np.uint8 else None
    if in_memory:
        return store_arrays(ArraySet(arrays, classes, scale), directory)
    records = {s: SplitRecord(samples=len(chosen[s]), hash=hashes[s]) for s in SPLITS}
    for split in SPLITS:
        write_labels(directory / f"{split}.safetensors", arrays[split].labels, chosen[split])
    reader = FunctionReader(sets["train"], chosen["train"], f"{spec.name} train")
    labels, channels = arrays["train"].labels, channel_count(first.shape)
    return Prepared(
        "function", records, classes, first.shape, scale,
        lambda: measure_subset(reader, labels, channels),
    )  # fmt: skip


def read_item(dataset: MapStyle, index: int, name: str) -> tuple[npt.NDArray[Any], int]:
    """Read one sample as an array of uint8 or float32 and its label.

    Images without a channel axis get one; PIL images become (channels, height, width).
    """
    item = dataset[index]
    try:
        value, label = item
        array, number = _as_array(value), int(label)
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"item {index} of {name} must be a pair of an input (tensor, array or PIL image) "
            f"and an integer label, but is not: {' '.join(str(error).split())}"
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


def _chosen(dataset: MapStyle, samples: int | None, name: str) -> npt.NDArray[np.int64]:
    if samples is None:
        return np.arange(len(dataset))
    labels = [read_item(dataset, index, name)[1] for index in range(len(dataset))]
    return stratified_subset(np.array(labels), samples, name=name)


def _collect(
    dataset: MapStyle, chosen: npt.NDArray[np.int64], first: npt.NDArray[Any], name: str
) -> tuple[Arrays, str]:
    inputs = np.empty((len(chosen), *first.shape), first.dtype)
    labels = np.empty(len(chosen), np.int64)
    for place, index in enumerate(chosen.tolist()):
        value, labels[place] = _read_like(first, dataset, index, name)
        inputs[place] = value
    return Arrays(inputs, labels), ""


def _pass_through(
    dataset: MapStyle, chosen: npt.NDArray[np.int64], first: npt.NDArray[Any], name: str
) -> tuple[Arrays, str]:
    """Take the labels and a hash over all samples, and keep no inputs."""
    total = hashlib.sha256()
    labels = np.empty(len(chosen), np.int64)
    for place, index in enumerate(chosen.tolist()):
        value, labels[place] = _read_like(first, dataset, index, name)
        total.update(np.ascontiguousarray(value).tobytes())
    total.update(labels.tobytes())
    return Arrays(np.empty((0, *first.shape), first.dtype), labels), total.hexdigest()


def _read_like(
    first: npt.NDArray[Any], dataset: MapStyle, index: int, name: str
) -> tuple[npt.NDArray[Any], int]:
    value, label = read_item(dataset, index, name)
    if value.shape != first.shape or value.dtype != first.dtype:
        raise DatasetError(
            f"item {index} of {name} has shape {value.shape} and dtype {value.dtype}, but the "
            f"first has {first.shape} and {first.dtype}; all must agree"
        )
    return value, label


def _class_names(dataset: MapStyle, arrays: Mapping[str, Arrays]) -> tuple[str, ...]:
    number = 1 + max(int(split.labels.max()) for split in arrays.values())
    named = getattr(dataset, "classes", None)
    if isinstance(named, list | tuple) and len(named) >= number:
        return tuple(map(str, named))
    return tuple(str(label) for label in range(number))


def write_labels(path: Path, labels: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64]) -> None:
    """Write what a streamed set keeps: its labels, and which samples they belong to."""
    from safetensors.numpy import save_file

    save_file({"labels": labels, "chosen": chosen}, path)
