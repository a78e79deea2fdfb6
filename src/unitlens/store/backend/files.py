"""Files of a store, on a local disk or at a URL: written whole or not at all, and read."""

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from unitlens import local_files
from unitlens.errors import StoreError
from unitlens.store.backend import objects
from unitlens.store.backend.places import is_remote

_FLUSHES = 8  # at a time
MEND = "mend this and record again: it resumes"


@contextlib.contextmanager
def writing(target: object) -> Iterator[None]:
    """Raise StoreError where the system refuses to write, for instance to a full disk."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{target} cannot be written ({error}); {MEND}") from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file: a reader finds the earlier file or the new one.

    Raises
    ------
    StoreError
        Where the file cannot be written.
    """
    with writing(path):
        if is_remote(path):
            objects.put(path, content)
        else:
            local_files.write_whole(path, content)


class GrowingFile:
    """A local file that is written in pieces and gets its name when it is finished.

    Parameters
    ----------
    path
        Its final path. Missing directories above it are made.

    Attributes
    ----------
    size
        Bytes that were appended so far.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, local_files.partial_path(path)
        self.size = 0

    def append(self, pieces: Iterable[bytes]) -> None:
        """Append bytes. The file is closed afterwards: as many files grow as there are layers."""
        if not self.size:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._partial.open("ab" if self.size else "wb") as file:
            file.writelines(pieces)
            self.size = file.tell()

    def finish(self) -> None:
        """Flush the file to the disk, and give it its name."""
        local_files.flush_to_disk(self._partial)
        self._partial.replace(self._path)

    def discard(self) -> None:
        """Abandon the file; the next writer of the store removes it."""


def flush_files(root: Path, keys: Iterable[str]) -> None:
    """Wait until files under `root` and their names are on the disk.

    Parameters
    ----------
    root
        A directory. At a URL nothing is done: an object is safe when it is written.
    keys
        Paths of the files in it.
    """
    if is_remote(root):
        return
    files = [root / key for key in keys]
    directories = {root, *(p for file in files for p in file.parents if p.is_relative_to(root))}
    with writing(root), ThreadPoolExecutor(_FLUSHES) as pool:  # disks flush several at once
        list(pool.map(local_files.flush_to_disk, files))
        list(pool.map(local_files.flush_directory, directories))


def growing_file(path: Path) -> GrowingFile | objects.GrowingObject:
    """Return a file or an object that grows until it is finished."""
    return objects.GrowingObject(path) if is_remote(path) else GrowingFile(path)


class FileRanges:
    """Reads ranges of a local file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def whole(self) -> bytes:
        """Return all bytes."""
        return self._file.read()

    def tail(self, size: int) -> bytes:
        """Return the last `size` bytes, fewer where the file is shorter."""
        length = self._file.seek(0, 2)
        self._file.seek(max(0, length - size))
        return self._file.read(size)

    def pieces(self, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
        """Yield ranges, given by offset and length."""
        for offset, length in spans:
            self._file.seek(offset)
            yield self._file.read(length)


Ranges = FileRanges | objects.ObjectRanges


@contextlib.contextmanager
def open_ranges(path: Path) -> Iterator[Ranges]:
    """Open a file for reading ranges of it."""
    if is_remote(path):
        yield objects.ObjectRanges(path)
        return
    with path.open("rb") as file:
        yield FileRanges(file)


def file_size(path: Path) -> int | None:
    """Return the bytes of a local file, None where it is missing."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return None


def file_sizes(path: Path) -> Callable[[str], int | None]:
    """Return a function from the name of a file under `path` to its bytes, None where missing.

    At a URL the function knows the sizes of the moment when it was made.
    """
    if is_remote(path):
        return objects.sizes_under(path).get
    return lambda name: file_size(path / name)


def total_size(path: Path) -> int:
    """Return the bytes of all files under `path` together."""
    if is_remote(path):
        return sum(objects.sizes_under(path).values())
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def read_files(path: Path, names: Sequence[str]) -> list[bytes | None]:
    """Return the contents of files under `path`, None for each that cannot be read."""
    if is_remote(path):
        return objects.get_all(path, names)
    return [_read(path / name) for name in names]


def _read(path: Path) -> bytes | None:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return None


def names_in(directory: Path) -> list[str]:
    """Return the names in a directory, an empty list where the directory is missing."""
    if is_remote(directory):
        return objects.names_in(directory)
    return [entry.name for entry in directory.iterdir()] if directory.is_dir() else []


def make_directory(path: Path) -> None:
    """Make a directory and those above it; a URL needs none."""
    if not is_remote(path):
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)


def remove(path: Path) -> None:
    """Remove a file where it exists.

    Raises
    ------
    StoreError
        Where the system refuses, for instance on a read-only disk.
    """
    if is_remote(path):
        objects.remove(path)
        return
    with writing(path):
        path.unlink(missing_ok=True)


def remove_partials(path: Path) -> None:
    """Remove what killed writers of a local file have left, on this machine or on another.

    Parameters
    ----------
    path
        The file. The caller holds the lock, so that nobody writes the file now.
    """
    for name in names_in(path.parent):
        if name.startswith(f"{path.name}.") and name.endswith(local_files.PARTIAL_SUFFIX):
            remove(path.parent / name)


def remove_tree(path: Path, last: str) -> None:
    """Remove all files under `path`, the file `last` after all others."""
    if is_remote(path):
        objects.remove_all(path, objects.sizes_under(path).keys() - {last})
        objects.remove(path / last)
        return
    with writing(path):
        for entry in path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
        shutil.rmtree(path)
