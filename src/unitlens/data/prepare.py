"""Preparing a data set once, and opening it in every job."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from unitlens.catalogue.datasets import DATASETS, ImageFileSource, TorchvisionSource
from unitlens.config.networks import DatasetSpec
from unitlens.data import embedded_sets
from unitlens.data.dataset_record import (
    RECORD,
    DatasetRecord,
    PreparedSplits,
    digest,
    read_record,
    without_corruption,
    write_record,
)
from unitlens.data.embedded_sets import split_embedded
from unitlens.data.labels import corrupt_labels
from unitlens.data.memory_sets import reduce_to_subsets, store_arrays
from unitlens.data.split import MemoryReader, SampleReader, SplitDataset
from unitlens.data.torchvision_sets import read_torchvision
from unitlens.errors import ArgumentError, DatasetError, nearest


def prepare_dataset(
    spec: DatasetSpec, directory: Path, *, data: Path, download: bool = False
) -> None:
    """Check a data set, convert it, and write it so that every job can open it quickly.

    Data sets that fit into memory become uint8 tensors (float32 where a user's data set has
    floats) in ``train.safetensors`` and ``test.safetensors``. Of image files lists are written, of
    a user's data set over 2 GiB the labels. ``dataset.json`` is written last. Nothing is done where
    the directory holds the data set of the same specification already.

    Parameters
    ----------
    spec
        The data set. Its label corruption has no effect here.
    directory
        Directory to write to.
    data
        Directory that data sets are read from, laid out as torchvision lays them out. Relative
        folders of an ``image_folder`` are relative to it.
    download
        Whether missing files of torchvision's data sets may be downloaded to `data`.

    Raises
    ------
    DatasetError
        Where files are missing or damaged, or a user's function does not return one map-style
        data set for each split.
    """
    directory = Path(directory)
    if _is_prepared(spec, directory):
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RECORD).unlink(missing_ok=True)
    prepared = _prepare_splits(spec, directory, data=Path(data), download=download)
    write_record(directory, prepared.record(spec))


def _prepare_splits(
    spec: DatasetSpec, directory: Path, *, data: Path, download: bool
) -> PreparedSplits:
    declared = DATASETS.get(spec.name)
    if declared is None:
        from unitlens.data.user_sets import prepare_user_set

        return prepare_user_set(spec, directory)
    source = declared.source
    if isinstance(source, ImageFileSource):
        from unitlens.data.image_files import prepare_file_set

        return prepare_file_set(spec, declared.shape_at(spec.image_size), directory, data=data)
    if isinstance(source, TorchvisionSource):
        arrays = read_torchvision(declared, source, data, download=download)
    else:
        samples = getattr(embedded_sets, f"read_{spec.name}")()
        arrays = split_embedded(declared, source, samples)
    return store_arrays(reduce_to_subsets(arrays, spec), directory)


def _is_prepared(spec: DatasetSpec, directory: Path) -> bool:
    try:
        record = read_record(directory)
    except DatasetError:
        return False
    suffix = "csv" if record.kind == "files" else "safetensors"
    complete = all((directory / f"{split}.{suffix}").is_file() for split in record.splits)
    return complete and record.spec == without_corruption(spec)


def load_dataset(
    directory: Path, split: str, *, corruption: float = 0.0, seed: int = 0
) -> SplitDataset:
    """Open one split of a prepared data set.

    Parameters
    ----------
    directory
        Directory that :func:`prepare_dataset` wrote.
    split
        ``train`` or ``test``.
    corruption
        Fraction of the training labels that is permuted among itself. The labels of the test set
        are never corrupted.
    seed
        The run's seed, which decides on the permutation.

    Returns
    -------
    The split. Tensors are mapped from the file, not read.

    Raises
    ------
    DatasetError
        Where the directory holds no prepared data set.
    ArgumentError
        Where there is no such split.
    """
    directory = Path(directory)
    record = read_record(directory)
    if split not in record.splits:
        raise ArgumentError(f"split is {split!r}, but must be one; {nearest(split, record.splits)}")
    reader, true_labels = _open(record, directory, split)
    fraction = corruption if split == "train" else 0.0
    labels = corrupt_labels(true_labels, fraction, seed=seed) if fraction else true_labels
    origin = f"{record.content_hash} {split}" + (f" {fraction} {seed}" if fraction else "")
    return SplitDataset(
        record, reader, labels=labels, true_labels=true_labels, identity=digest(origin.encode())
    )


def _open(
    record: DatasetRecord, directory: Path, split: str
) -> tuple[SampleReader, npt.NDArray[np.int64]]:
    """Return the reader of a split's inputs, and its labels before corruption."""
    if record.kind == "files":
        from unitlens.data.image_files import FilesReader, read_list

        paths, labels = read_list(directory / f"{split}.csv")
        folder = Path(record.splits[split].folder or "")
        return FilesReader(folder, paths, record.input_shape[-1], record.spec.interpolation), labels
    from safetensors.torch import load_file

    tensors = load_file(directory / f"{split}.safetensors")
    labels = tensors["labels"].numpy()
    if record.kind == "memory":
        return MemoryReader(tensors["inputs"]), labels
    from unitlens.data.user_sets import FunctionReader, open_user_set

    dataset = open_user_set(record.spec)[split]
    return FunctionReader(dataset, tensors["chosen"].numpy(), f"{record.spec.name} {split}"), labels
