"""Data sets: prepared once by one job, opened at no cost by all others."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from unitlens.config.networks import DatasetSpec
from unitlens.data.dataset_record import (
    RECORD,
    DatasetRecord,
    digest,
    read_record,
    without_corruption,
    write_record,
)
from unitlens.data.labels import corrupt_labels
from unitlens.data.split import MemoryReader, SampleReader, SplitDataset
from unitlens.errors import ArgumentError, DatasetError, nearest

__all__ = ["SplitDataset", "load_dataset", "prepare_dataset"]


def prepare_dataset(
    spec: DatasetSpec, directory: Path, *, data: Path, download: bool = False
) -> None:
    """Check a data set, convert it and write it where every job can open it quickly.

    Sets that fit into memory become uint8 tensors (float32 where the user's set has floats) in
    ``train.safetensors`` and ``test.safetensors``. Of image files the lists are written, of a
    user's set over 2 GiB the labels. ``dataset.json`` is written last: where it stands and says
    the same specification, nothing is done.

    Parameters
    ----------
    spec
        Which data set. Its corruption has no effect here.
    directory
        Where to write.
    data
        Directory that data sets are read from, laid out as torchvision lays them out; relative
        folders of an ``image_folder`` are looked up in it too.
    download
        Whether missing files of torchvision's sets may be downloaded to `data`.

    Raises
    ------
    DatasetError
        Where files are missing or damaged, or a user's function does not return what it should.
    """
    directory = Path(directory)
    if _is_prepared(spec, directory):
        return
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RECORD).unlink(missing_ok=True)
    data = Path(data)
    if ":" in spec.name:
        from unitlens.data.user_sets import prepare_user_set

        prepared = prepare_user_set(spec, directory)
    elif spec.name in ("imagenet", "image_folder"):
        from unitlens.data.image_files import prepare_file_set

        prepared = prepare_file_set(spec, directory, data=data)
    else:
        from unitlens.data.memory_sets import prepare_memory_set

        prepared = prepare_memory_set(spec, directory, data=data, download=download)
    write_record(directory, prepared.record(spec))


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
        Where :func:`prepare_dataset` wrote it.
    split
        ``train`` or ``test``.
    corruption
        Fraction of the training labels that is permuted among itself; without effect on the test
        set, which is never corrupted.
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
    changed = corruption if split == "train" else 0.0
    labels = corrupt_labels(true_labels, changed, seed=seed) if changed else true_labels
    facts = f"{record.content_hash} {split}" + (f" {changed} {seed}" if changed else "")
    return SplitDataset(
        record, reader, labels=labels, true_labels=true_labels, identity=digest(facts.encode())
    )


def _open(
    record: DatasetRecord, directory: Path, split: str
) -> tuple[SampleReader, npt.NDArray[np.int64]]:
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
