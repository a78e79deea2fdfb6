"""Locks: a store, or each part of a store, has one writer at a time."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from unitlens.errors import HeldStoreError
from unitlens.store.backend.files import make_directory, writing
from unitlens.store.backend.lease import HeldError, hold_lease
from unitlens.store.backend.places import is_remote
from unitlens.store.format.parts import WHOLE, Part, find_parts

WAIT_SECONDS = 5.0
# Many parts begin together, and each holds the lock of the whole store for a moment.
WAITS_TO_BEGIN = 12


@contextmanager
def only_writer(
    path: Path, part: Part = WHOLE, *, wait: float = WAIT_SECONDS
) -> Iterator[Callable[[], None]]:
    """Hold the lock of the store at `path`, or the lock of a part.

    The writer of a part also holds the lock of the whole store until it calls the yielded function,
    so that one writer alone creates the hierarchy. A part is never written while the store is
    written as a whole or in another number of parts.

    Parameters
    ----------
    path
        The store; its directory need not exist.
    part
        Part that is to be written.
    wait
        Seconds to wait for another writer.

    Yields
    ------
    A function that admits the writers of other parts.

    Raises
    ------
    HeldStoreError
        Where another process, named in the message, still holds the lock.
    """
    with writing(path.parent):
        make_directory(path.parent)
    with ExitStack() as own_lock, ExitStack() as store_lock:
        seconds = wait if part == WHOLE else WAITS_TO_BEGIN * wait
        store_lock.enter_context(_held(path, WHOLE, seconds))
        # From here on no part can begin, so a part whose lock is held is being written.
        for other in find_parts(path, "lock"):
            if other.of != part.of:
                with _held(path, other, wait):
                    pass
        if part != WHOLE:
            own_lock.enter_context(_held(path, part, wait))
        yield store_lock.close if part != WHOLE else lambda: None


@contextmanager
def hold_lock(place: Path, what: str, *, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold a local lock, so that one process at a time writes something.

    Parameters
    ----------
    place
        File of the lock. Missing directories above it are made. The file stays.
    what
        What the lock protects, for the message.
    wait
        Seconds to wait for another process.

    Raises
    ------
    HeldStoreError
        Where another process, named in the message, still holds the lock.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as directory:
    ...     with hold_lock(Path(directory) / ".tables.lock", "the tables"):
    ...         sorted(file.name for file in Path(directory).iterdir())
    ['.tables.holder', '.tables.lock']
    """
    with ExitStack() as held:
        try:
            with writing(place):
                make_directory(place.parent)
                held.enter_context(_hold_file(place, wait))
        except HeldError as error:
            raise HeldStoreError(
                f"{what} is being written by {error}; wait for it to end, then run again"
            ) from None
        yield


def check_unwritten(path: Path, part: Part) -> None:
    """Raise HeldStoreError where another part than `part` of a store is being written."""
    for other in find_parts(path, "lock"):
        if other != part:
            with _held(path, other, 0):
                pass


@contextmanager
def _held(path: Path, part: Part, wait: float) -> Iterator[None]:
    with ExitStack() as held:
        try:
            hold = hold_lease if is_remote(path) else _hold_file
            with writing(part.lock(path)):
                held.enter_context(hold(part.lock(path), wait))
        except HeldError as error:
            target = f"the store {path}" if part == WHOLE else f"{part} of the store {path}"
            raise HeldStoreError(
                f"{target} is being written by {error}; wait for it to end, then record again"
            ) from None
        yield


@contextmanager
def _hold_file(place: Path, wait: float) -> Iterator[None]:
    from filelock import FileLock, Timeout

    # A separate file names the holder: not every version of filelock keeps the lock's text.
    holder = place.with_suffix(".holder")
    lock = FileLock(place)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise HeldError(_read(holder)) from None
    try:
        with writing(holder):
            holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        yield
    finally:
        try:
            holder.unlink(missing_ok=True)
        finally:
            lock.release()


def _read(holder: Path) -> str:
    try:
        process = json.loads(holder.read_text())
        return f"process {process['pid']} on {process['host']}"
    except (OSError, ValueError):
        return "another process"
