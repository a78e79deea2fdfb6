"""Files of a store: written whole or not at all, here or at a URL."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from unitlens.errors import StoreError
from unitlens.store.backend import objects
from unitlens.store.backend.places import is_remote

MEND = "mend this and record again: it resumes"


@contextlib.contextmanager
def writing(what: object) -> Iterator[None]:
    """Raise StoreError where the system refuses to write: the disk is full, for instance."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what} cannot be written ({error}); {MEND}") from error


def partial_path(path: Path) -> Path:
    """Return where a local file is written before it gets its name."""
    return path.with_name(path.name + ".partial")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, through to the disk, so that a reader finds the old one or the new one."""
    if is_remote(path):
        with writing(path):
            objects.put(path, content)
        return
    partial = partial_path(path)
    with writing(path):
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


class GrowingFile:
    """A file that is written piece by piece, and has its name when all of it is there.

    Parameters
    ----------
    path
        Its name. Directories above it are made.

    Attributes
    ----------
    size
        Bytes so far.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, partial_path(path)
        self.size = 0

    def append(self, pieces: Iterable[bytes]) -> None:
        """Write the next pieces. The file is closed after it: as many grow as there are layers."""
        if not self.size:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._partial.open("ab" if self.size else "wb") as file:
            file.writelines(pieces)
            self.size = file.tell()

    def finish(self) -> None:
        """Give it its name."""
        self._partial.replace(self._path)

    def discard(self) -> None:
        """Leave it: the next writer removes it."""


def growing_file(path: Path) -> GrowingFile | objects.GrowingObject:
    """Return a file that grows until it is finished."""
    return objects.GrowingObject(path) if is_remote(path) else GrowingFile(path)


class FileRanges:
    """A local file of which ranges are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def whole(self) -> bytes:
        """Return all of it."""
        return self._file.read()

    def tail(self, size: int) -> bytes:
        """Return its last bytes, fewer where it is shorter."""
        length = self._file.seek(0, 2)
        self._file.seek(max(0, length - size))
        return self._file.read(size)

    def pieces(self, spans: Iterable[tuple[int, int]]) -> Iterator[bytes]:
        """Yield ranges, given by their first bytes and lengths."""
        for place, length in spans:
            self._file.seek(place)
            yield self._file.read(length)


Ranges = FileRanges | objects.ObjectRanges


@contextlib.contextmanager
def open_ranges(path: Path) -> Iterator[Ranges]:
    """Open a file of which ranges are to be read."""
    if is_remote(path):
        yield objects.ObjectRanges(path)
        return
    with path.open("rb") as file:
        yield FileRanges(file)


def file_size(path: Path) -> int | None:
    """Return the bytes of a local file, or None where there is none."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return None


def file_sizes(path: Path) -> Callable[[str], int | None]:
    """Return a function that tells the bytes of a file under `path`, or None where there is none.

    At a URL it tells what was there when it was made.
    """
    if is_remote(path):
        return objects.sizes_under(path).get
    return lambda name: file_size(path / name)


def total_size(path: Path) -> int:
    """Return the bytes of all files under `path`."""
    if is_remote(path):
        return sum(objects.sizes_under(path).values())
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def read_files(path: Path, names: Sequence[str]) -> list[bytes | None]:
    """Return the contents of files under `path`; None of one that cannot be read."""
    if is_remote(path):
        return objects.get_all(path, names)
    return [_read(path / name) for name in names]


def _read(path: Path) -> bytes | None:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return None


def names_in(directory: Path) -> list[str]:
    """Return the names in a directory; none where there is no directory."""
    if is_remote(directory):
        return objects.names_in(directory)
    return [entry.name for entry in directory.iterdir()] if directory.is_dir() else []


def make_directory(path: Path) -> None:
    """Make a directory and those above it; at a URL there are none to be made."""
    if not is_remote(path):
        path.mkdir(parents=True, exist_ok=True)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    if is_remote(path):
        objects.remove(path)
    else:
        path.unlink(missing_ok=True)


def remove_tree(path: Path, last: str) -> None:
    """Remove all that is under `path`, the file `last` after all others."""
    if is_remote(path):
        objects.remove_all(path, objects.sizes_under(path).keys() - {last})
        objects.remove(path / last)
        return
    for entry in path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
    shutil.rmtree(path)
