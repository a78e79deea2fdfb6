"""Torchvision's data sets that fit into memory."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from unitlens.catalogue.datasets import DatasetDeclaration, TorchvisionSource
from unitlens.data.idx_files import check_idx_files
from unitlens.data.memory_sets import SPLITS, Arrays, ArraySet
from unitlens.errors import DatasetError, one_line

_FAILURES = (RuntimeError, OSError, ValueError, AssertionError, EOFError, LookupError, TypeError)


def provide_files(
    declared: DatasetDeclaration, source: TorchvisionSource, data: Path, *, download: bool
) -> None:
    """Check that the files of one of torchvision's data sets are there and are the right ones.

    A file whose md5 is known must have it. The files of a set in the format of MNIST must besides
    hold as many images and labels as are declared; where the file's own md5 is not known, but that
    of the packed file beside it is, the file must be what the packed file holds.

    Parameters
    ----------
    declared
        Declaration of the data set.
    source
        Its class, and where the class expects the files.
    data
        Directory that data sets are read from.
    download
        Whether missing files may be downloaded to `data`.

    Raises
    ------
    DatasetError
        Where files are missing or damaged, the download fails, or files that an old torchvision
        left would be read instead.
    """
    folder = data / source.folder
    former = data / source.class_name / "processed"
    if former.is_dir():
        raise DatasetError(
            f"{former} holds data of torchvision before 0.9, which torchvision would read in place "
            f"of the files in {folder}; delete the folder {former}"
        )
    if download and _missing(folder, source):
        _open_splits(declared, source, data, download=True)
    missing = _missing(folder, source)
    if missing:
        reason = f"{missing[0]} is missing"
        raise _unavailable(declared, source, data, reason, download=download)
    for name, known in source.files.items():
        if known and _md5(folder / name) != known:
            raise DatasetError(
                f"{folder / name} is not the file of {declared.name}: its md5 is not {known}; "
                f"{_remedy()}"
            )
    if all(name.endswith("-ubyte") for name in source.files):
        check_idx_files(declared, folder, tuple(source.files), _packed_md5(source), _remedy())


def _missing(folder: Path, source: TorchvisionSource) -> list[str]:
    return [name for name in source.files if not (folder / name).is_file()]


def _remedy() -> str:
    return "put the right file there, or delete it and set `download: true`"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _packed_md5(source: TorchvisionSource) -> dict[str, str]:
    """Return the md5 of the packed files that a class of torchvision knows, by their names."""
    return {name: str(md5) for name, md5 in getattr(_class_of(source), "resources", ())}


def read_torchvision(
    declared: DatasetDeclaration, source: TorchvisionSource, data: Path
) -> ArraySet:
    """Read one of torchvision's data sets, whose files :func:`provide_files` has checked.

    Parameters
    ----------
    declared
        Declaration of the data set.
    source
        Its class, and where the class expects the files.
    data
        Directory that data sets are read from.

    Returns
    -------
    Both splits, with inputs of shape (samples, channels, height, width).

    Raises
    ------
    DatasetError
        Where torchvision cannot read the files.
    """
    sets = _open_splits(declared, source, data, download=False)
    splits = {split: _read_arrays(dataset) for split, dataset in sets.items()}
    numbers = tuple(str(label) for label in range(declared.classes or 0))
    return ArraySet(splits, tuple(getattr(sets["train"], "classes", numbers)))


def _open_splits(
    declared: DatasetDeclaration, source: TorchvisionSource, data: Path, *, download: bool
) -> dict[str, Any]:
    try:
        return {split: _open(source, data, split, download=download) for split in SPLITS}
    except _FAILURES as error:
        if "can't allocate memory" in str(error):
            raise MemoryError from error
        raise _unavailable(declared, source, data, one_line(error), download=download) from error


def _unavailable(
    declared: DatasetDeclaration,
    source: TorchvisionSource,
    data: Path,
    reason: str,
    *,
    download: bool,
) -> DatasetError:
    remedy = "set `download: true` or put them there"
    if download:
        remedy = "the download failed: put them there, or try again with a connection"
    return DatasetError(
        f"data set {declared.name}: expected {', '.join(source.files)} (complete, unpacked) in "
        f"{data / source.folder}, but: {reason}; {remedy}"
    )


def _class_of(source: TorchvisionSource) -> Any:
    from torchvision import datasets

    return getattr(datasets, source.class_name)


def _open(source: TorchvisionSource, data: Path, split: str, *, download: bool) -> Any:
    selected = split if source.split_argument == "split" else split == "train"
    arguments = {source.split_argument: selected}
    return _class_of(source)(str(data), download=download, **arguments)


def _read_arrays(dataset: Any) -> Arrays:
    """Bring torchvision's own arrays to (samples, channels, height, width)."""
    labels = np.asarray(dataset.labels if hasattr(dataset, "labels") else dataset.targets)
    pixels = np.asarray(dataset.data)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.shape[-1] == 3:
        pixels = pixels.transpose(0, 3, 1, 2)
    return Arrays(pixels, labels.astype(np.int64))
