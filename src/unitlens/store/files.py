"""Files of a store: written whole or not at all."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from unitlens.errors import StoreError

MEND = "mend this and record again: it resumes"


@contextlib.contextmanager
def writing(what: object) -> Iterator[None]:
    """Raise StoreError where the system refuses to write: the disk is full, for instance."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what} cannot be written ({error}); {MEND}") from error


def partial_path(path: Path) -> Path:
    """Return where a file is written before it gets its name."""
    return path.with_name(path.name + ".partial")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, through to the disk, so that a reader finds the old one or the new one."""
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


def file_size(path: Path) -> int | None:
    """Return the bytes of a file, or None where there is none."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return None
