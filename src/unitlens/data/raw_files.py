"""The files that a data set is read from, and their state when it was prepared."""

import os
from collections.abc import Iterable
from pathlib import Path

from unitlens.catalogue.datasets import DATASETS, ImageFileSource, TorchvisionSource
from unitlens.config.base import Strict
from unitlens.config.networks import DatasetSpec
from unitlens.data.image_folders import class_folders, folder_state, split_folders
from unitlens.errors import DatasetError, first_line
from unitlens.hashed_files import hash_file


class RawFile(Strict):
    """The state of a file that a data set was read from, or of a folder of image files.

    Attributes
    ----------
    path
        Path inside the data directory; of a file elsewhere, its path as the configuration has it.
    size
        Number of bytes of a file, number of image files in a folder.
    mtime_ns
        Time of the latest change, in nanoseconds; of a folder, that of the folder and the folders
        under it.
    hash
        Hash of a file; empty for a folder.
    """

    path: str
    size: int
    mtime_ns: int
    hash: str = ""


def raw_files(spec: DatasetSpec, data: Path) -> list[Path]:
    """Return the files that a data set is read from, and the class folders of image files.

    Parameters
    ----------
    spec
        The data set.
    data
        Directory that data sets are read from.

    Returns
    -------
    The paths, whether they exist or not; none for a data set that comes with a Python package, and
    for a user's function those that ``files`` names.

    Raises
    ------
    DatasetError
        Where the folders of image files do not exist.
    """
    declared = DATASETS.get(spec.name)
    if declared is None:
        return [Path(name) for name in spec.files]
    if isinstance(declared.source, TorchvisionSource):
        return [data / declared.source.folder / name for name in declared.source.files]
    if isinstance(declared.source, ImageFileSource):
        folders = split_folders(spec, data).values()
        return [place for folder in folders for place in class_folders(folder)]
    return []


def measure_raw_files(spec: DatasetSpec, data: Path) -> tuple[RawFile, ...]:
    """Return the state of each of :func:`raw_files`, with the hashes of files.

    Raises
    ------
    DatasetError
        Where a file is missing or cannot be read, or ``files`` names a folder.
    """
    for name in spec.files:
        if Path(name).is_dir():
            raise DatasetError(f"dataset.files names the folder {name}; name the files in it")
    return tuple(_measure(path, data) for path in raw_files(spec, data))


def _measure(path: Path, data: Path) -> RawFile:
    name = _name_inside(path, data)
    try:
        if path.is_dir():
            size, time = folder_state(path)
            return RawFile(path=name, size=size, mtime_ns=time)
        state = path.stat()
        return RawFile(
            path=name, size=state.st_size, mtime_ns=state.st_mtime_ns, hash=hash_file(path)
        )
    except OSError as error:
        raise DatasetError(
            f"the file {path} that the data set is read from cannot be read "
            f"({first_line(error)}); put it there or make it readable"
        ) from error


def _name_inside(path: Path, data: Path) -> str:
    inside = os.path.relpath(path, data)
    return str(path) if inside.startswith(os.pardir) else Path(inside).as_posix()


def find_raw_change(raw: Iterable[RawFile], spec: DatasetSpec, data: Path) -> str | None:
    """Return the first file that differs from what a data set was prepared from, in words.

    A file of another time but the same size is read, and counts as changed where its hash differs.
    Of image files only their number and the times of their folders are compared: an image that was
    written over in place is not noticed here. Where its size has changed, it is refused when it
    is read.

    Parameters
    ----------
    raw
        What :func:`measure_raw_files` returned.
    spec
        The data set.
    data
        Directory that data sets are read from.
    """
    try:
        now = {_name_inside(path, data): path for path in raw_files(spec, data)}
        then = {file.path: file for file in raw}
        for name in {**now, **then}:
            if name not in then:
                return f"{now[name]} was not there"
            if name not in now:
                return f"{name} is not read any more"
            if _differs(then[name], now[name], data):
                return f"{now[name]} has changed"
    except DatasetError as error:
        return str(error)
    return None


def _differs(then: RawFile, path: Path, data: Path) -> bool:
    if path.is_dir():
        return (then.size, then.mtime_ns) != folder_state(path)
    try:
        state = path.stat()
    except OSError:
        return True
    if (state.st_size, state.st_mtime_ns) == (then.size, then.mtime_ns):
        return False
    return state.st_size != then.size or _measure(path, data).hash != then.hash
