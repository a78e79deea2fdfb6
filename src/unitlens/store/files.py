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


def write_pieces(path: Path, pieces: Iterable[bytes]) -> int:
    """Write a file, and the directories above it, and return its bytes.

    Raises
    ------
    OSError
        Where it cannot be written; nothing is left of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        with partial.open("wb") as file:
            file.writelines(pieces)
            size = file.tell()
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return size


def file_size(path: Path) -> int | None:
    """Return the bytes of a file, or None where there is none."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return None
