"""One writer a store."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unitlens.errors import StoreError
from unitlens.store.layout import lock_path

WAIT_SECONDS = 5.0


@contextmanager
def only_writer(path: Path, *, wait: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock of the store at `path`.

    Parameters
    ----------
    path
        The store; its directory need not exist.
    wait
        Seconds to wait for another writer.

    Raises
    ------
    StoreError
        Where another process still holds the lock; it is named.
    """
    from filelock import FileLock, Timeout

    place = lock_path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    # The holder is named in a file of its own: not every filelock leaves the lock's text alone.
    holder = place.with_suffix(".holder")
    lock = FileLock(place)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise StoreError(
            f"the store {path} is being written by {_read(holder)}; wait for it to end, then "
            "record again"
        ) from None
    try:
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
