"""One writer a store, or one a part of it."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from unitlens.errors import StoreError
from unitlens.store.backend.files import make_directory, writing
from unitlens.store.backend.lease import HeldError, hold_lease
from unitlens.store.backend.places import is_remote
from unitlens.store.format.parts import WHOLE, Part, find_parts

WAIT_SECONDS = 5.0
# Many parts begin at once, and each has the store for itself for a moment.
WAITS_TO_BEGIN = 12


@contextmanager
def only_writer(
    path: Path, part: Part = WHOLE, *, wait: float = WAIT_SECONDS
) -> Iterator[Callable[[], None]]:
    """Hold the lock of the store at `path`, or that of a part of it.

    A part has the store for itself, too, until it lets the others in: so that one of them makes
    the hierarchy. It never has it while the store is written as a whole or in other parts.

    Parameters
    ----------
    path
        The store; its directory need not exist.
    part
        Which part of it is to be written.
    wait
        Seconds to wait for another writer.

    Yields
    ------
    A function that lets the writers of other parts in.

    Raises
    ------
    StoreError
        Where another process still holds the lock; it is named.
    """
    with writing(path.parent):
        make_directory(path.parent)
    with ExitStack() as mine, ExitStack() as alone:
        alone.enter_context(_held(path, WHOLE, wait if part == WHOLE else WAITS_TO_BEGIN * wait))
        # From here on no part can begin, so one whose lock is held is at work.
        for other in find_parts(path, "lock"):
            if other.of != part.of:
                with _held(path, other, wait):
                    pass
        if part != WHOLE:
            mine.enter_context(_held(path, part, wait))
        yield alone.close if part != WHOLE else lambda: None


def check_unwritten(path: Path, part: Part) -> None:
    """Raise StoreError where another part of the store at `path` is being written just now."""
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
            what = f"the store {path}" if part == WHOLE else f"{part} of the store {path}"
            raise StoreError(
                f"{what} is being written by {error}; wait for it to end, then record again"
            ) from None
        yield


@contextmanager
def _hold_file(place: Path, wait: float) -> Iterator[None]:
    from filelock import FileLock, Timeout

    # The holder is named in a file of its own: not every filelock leaves the lock's text alone.
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
        holder.unlink(missing_ok=True)
        lock.release()


def _read(holder: Path) -> str:
    try:
        who = json.loads(holder.read_text())
        return f"process {who['pid']} on {who['host']}"
    except (OSError, ValueError):
        return "another process"
