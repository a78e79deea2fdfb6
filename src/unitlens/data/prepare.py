"""Preparing a data set once, and opening it in every job."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from unitlens.catalogue.datasets import DATASETS, ImageFileSource, TorchvisionSource
from unitlens.config.networks import DatasetSpec
from unitlens.data import embedded_sets
from unitlens.data.dataset_record import (
    DatasetRecord,
    PreparedSplits,
    digest,
    read_record,
    remedy,
    split_file,
    write_record,
)
from unitlens.data.embedded_sets import split_embedded
from unitlens.data.labels import corrupt_labels
from unitlens.data.memory_sets import reduce_to_subsets, store_arrays
from unitlens.data.prepared_state import find_stale_dataset
from unitlens.data.raw_files import find_raw_change, measure_raw_files
from unitlens.data.split import MemoryReader, SampleReader, SplitDataset
from unitlens.data.torchvision_sets import provide_files, read_torchvision
from unitlens.errors import ArgumentError, DatasetError, nearest, one_line
from unitlens.hashed_files import check_files, reading

# Path of each file that this process has checked to its hash, inode, size and time then.
_CHECKED: dict[Path, tuple[str, int, int, int]] = {}


def prepare_dataset(
    spec: DatasetSpec,
    directory: Path,
    *,
    data: Path,
    download: bool = False,
    code: str = "",
    user_code: str = "",
) -> None:
    """Check a data set, convert it, and write it so that every job can open it quickly.

    Data sets that fit into memory become uint8 tensors (float32 where a user's data set has
    floats) in ``train.safetensors`` and ``test.safetensors``. Of image files lists are written, of
    a user's data set over 2 GiB the labels. ``dataset.json`` is written last, with the hashes of
    the files beside it and the state of the files that were read. Nothing is done where the
    directory holds the data set of the same specification, code and files already, undamaged.

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
    code
        Digest of the code that prepares the data set, for the record; empty where a person calls.
    user_code
        Digest of the user's code that is called, for the record; empty where there is none.

    Raises
    ------
    DatasetError
        Where files are missing or damaged, a user's function does not return one map-style data
        set for each split, or the disk is full or read-only, or memory is short.
    """
    directory, data = Path(directory), Path(data)
    with _failing_in_one_line(spec, directory):
        if _is_prepared(spec, directory, data, code, user_code):
            return
        directory.mkdir(parents=True, exist_ok=True)
        declared = DATASETS.get(spec.name)
        if declared is not None and isinstance(declared.source, TorchvisionSource):
            provide_files(declared, declared.source, data, download=download)
        raw = measure_raw_files(spec, data)
        prepared = _prepare_splits(spec, directory, data)
        record = prepared.record(spec, directory, raw=raw, code=code, user_code=user_code)
        changed = find_raw_change(raw, spec, data)
        if changed is not None:
            raise DatasetError(
                f"data set {spec.name}: {changed} while it was read; prepare the data set again "
                "when nothing writes to it"
            )
        write_record(directory, record)


@contextmanager
def _failing_in_one_line(spec: DatasetSpec, directory: Path) -> Iterator[None]:
    """Raise a one-line error where the disk or the memory does not suffice."""
    try:
        yield
    except MemoryError as error:
        raise DatasetError(
            f"data set {spec.name}: memory does not suffice to prepare it; close other programs, "
            "or ask for fewer samples (train_samples, test_samples)"
        ) from error
    except (OSError, SafetensorError) as error:
        raise DatasetError(
            f"data set {spec.name} cannot be prepared in {directory}: {one_line(error)}; make room "
            "there or make it writable, and prepare the data set again"
        ) from error


def _prepare_splits(spec: DatasetSpec, directory: Path, data: Path) -> PreparedSplits:
    declared = DATASETS.get(spec.name)
    if declared is None:
        from unitlens.data.user_sets import prepare_user_set

        return prepare_user_set(spec, directory)
    source = declared.source
    if isinstance(source, ImageFileSource):
        from unitlens.data.image_files import prepare_file_set

        return prepare_file_set(spec, declared.shape_at(spec.image_size), directory, data=data)
    if isinstance(source, TorchvisionSource):
        arrays = read_torchvision(declared, source, data)
    else:
        samples = getattr(embedded_sets, f"read_{spec.name}")()
        arrays = split_embedded(declared, source, samples)
    return store_arrays(reduce_to_subsets(arrays, spec), directory)


def _is_prepared(spec: DatasetSpec, directory: Path, data: Path, code: str, user_code: str) -> bool:
    """Tell whether a directory holds a data set as it would be prepared now, undamaged."""
    if find_stale_dataset(directory, spec, data, code=code, user_code=user_code) is not None:
        return False
    try:
        files = read_record(directory).files
        check_files(directory, files, error=DatasetError, remedy=remedy(directory))
    except DatasetError:
        return False
    return True


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
    The split. Its file is checked against its hash, once in a process; tensors are mapped from the
    file, not read.

    Raises
    ------
    DatasetError
        Where the directory holds no prepared data set, a file is missing or damaged, or a user's
        function returns another data set than was prepared.
    ArgumentError
        Where there is no such split.
    """
    directory = Path(directory)
    record = read_record(directory)
    if split not in record.splits:
        raise ArgumentError(f"split is {split!r}, but must be one; {nearest(split, record.splits)}")
    _check_split(record, directory, split)
    reader, true_labels = _open(record, directory, split)
    fraction = corruption if split == "train" else 0.0
    labels = corrupt_labels(true_labels, fraction, seed=seed) if fraction else true_labels
    origin = f"{record.content_hash} {split}" + (f" {fraction} {seed}" if fraction else "")
    return SplitDataset(
        record, reader, labels=labels, true_labels=true_labels, identity=digest(origin.encode())
    )


def _check_split(record: DatasetRecord, directory: Path, split: str) -> None:
    """Check the file of a split against its hash; what this process has checked is not read again.

    Raises
    ------
    DatasetError
        Where the file is missing or damaged.
    """
    name = split_file(record.kind, split)
    path, expected = (directory / name).resolve(), record.files.get(name, "")
    with reading(path, error=DatasetError, remedy=remedy(directory)):
        state = path.stat()
    version = (state.st_ino, state.st_size, state.st_mtime_ns)
    if _CHECKED.get(path) != (expected, *version):
        check_files(directory, {name: expected}, error=DatasetError, remedy=remedy(directory))
        _CHECKED[path] = (expected, *version)


def _open(
    record: DatasetRecord, directory: Path, split: str
) -> tuple[SampleReader, npt.NDArray[np.int64]]:
    """Return the reader of a split's inputs, and its labels before corruption."""
    path = directory / split_file(record.kind, split)
    if record.kind == "files":
        from unitlens.data.image_files import FilesReader
        from unitlens.data.image_folders import labels_of, read_list

        files, folder = read_list(path), Path(record.splits[split].folder or "")
        size, interpolation = record.input_shape[-1], record.spec.interpolation
        return FilesReader(folder, files, size, interpolation, directory), labels_of(files)
    from safetensors.torch import load_file

    tensors = load_file(path)
    labels = tensors["labels"].numpy()
    if record.kind == "memory":
        return MemoryReader(tensors["inputs"]), labels
    from unitlens.data.user_sets import reopen_split

    return reopen_split(record, directory, split, tensors["chosen"].numpy(), labels), labels
