"""Files on a local disk, written whole or not at all.

A file is written under a temporary name, flushed to the disk, and renamed; then the directory is
flushed. A reader finds the earlier file or the new one, also after a kill or a power failure.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL_SUFFIX = ".partial"


def partial_path(path: Path) -> Path:
    """Return the temporary name of a file while this process writes it.

    Two processes never write to one temporary file.

    Examples
    --------
    >>> partial_path(Path("runs.json")).suffix
    '.partial'
    """
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}{PARTIAL_SUFFIX}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file by a new one that the caller writes.

    Parameters
    ----------
    path
        The file; its directory exists.

    Yields
    ------
    The temporary path to write to. After the block the new file is flushed to the disk and gets
    the name `path`, and the directory is flushed. Where the block raises, the temporary file is
    removed and an earlier file at `path` stays as it is.
    """
    partial = partial_path(path)
    _remove_abandoned(path)
    try:
        yield partial
        flush_to_disk(partial)
        partial.replace(path)
        flush_directory(path.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files of processes of this machine that were killed."""
    start = f"{path.name}.{socket.gethostname()}-"
    with suppress(OSError):
        for entry in os.scandir(path.parent):
            if entry.name.startswith(start) and entry.name.endswith(PARTIAL_SUFFIX):
                process = entry.name[len(start) : -len(PARTIAL_SUFFIX)]
                if process.isdecimal() and not _is_running(int(process)):
                    Path(entry.path).unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def flush_to_disk(path: Path) -> None:
    """Wait until the contents of a file are on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk, where the system can do so."""
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems refuse to flush a directory
            os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     write_whole(Path(directory) / "runs.json", b"[]")
    ...     [file.name for file in Path(directory).iterdir()]
    ['runs.json']
    """
    with replacing(path) as partial:
        partial.write_bytes(content)
