"""The lock of a store at a URL: a lease that its holder renews.

A lock ``x.lock`` at a URL is a place with numbered objects. An object is made only under a number
that does not exist yet; the process that made the object with the largest number holds the lock.
The holder writes the time into its object again and again, because no system releases the lock of
a dead process. A lease that has not been renewed for :data:`LEASE_SECONDS`, or whose process is
gone from this machine, is taken over by the process that makes the next number first.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from unitlens.errors import StoreError
from unitlens.store.backend import objects

RENEW_SECONDS = 15.0
LEASE_SECONDS = 180.0
_RETRY_SECONDS = 0.25

_held: dict[Path, "Lease"] = {}


class HeldError(Exception):
    """Another process holds the lease; the text names that process."""


class Lease:
    """A lease of this process.

    Parameters
    ----------
    place
        Place of the lock.
    number
        Number of the object that stands for the lease.
    """

    def __init__(self, place: Path, number: int) -> None:
        self.place, self.number = place, number
        self.token = uuid4().hex
        self._renewed = time.time()
        self._lost = False
        self._ended = Event()
        self._thread = Thread(target=self._renew, name="unitlens-lease", daemon=True)

    def take(self) -> bool:
        """Make the object of the lease; return False where another process was first.

        Raises
        ------
        StoreError
            Where the driver or the server replaces an existing object instead of refusing.
        """
        try:
            self._make()
        except FileExistsError:  # perhaps our own object, whose first response was lost
            return _read(self.place, self.number).get("token") == self.token
        with suppress(FileExistsError):
            self._make()
            objects.remove(self.place / _name(self.number))
            raise StoreError(
                f"{self.place} cannot be a lock, for its driver or its server does not refuse to "
                "make an object that is there (If-None-Match); write the store elsewhere or by "
                "another driver, such as s3fs"
            )
        return True

    def begin(self) -> None:
        """Renew the lease from now on."""
        _held[self.place] = self
        self._thread.start()

    def end(self) -> None:
        """Release the lease, and remove the objects of earlier leases."""
        self._ended.set()
        self._thread.join()
        _held.pop(self.place, None)
        if not self._lost:
            with suppress(StoreError):  # unreachable: the lease runs out by itself
                for name in objects.names_in(self.place):
                    if name <= _name(self.number):
                        objects.remove(self.place / name)

    def check(self) -> None:
        """Raise StoreError where another process may have taken the lease over."""
        if self._lost or time.time() - self._renewed > LEASE_SECONDS - RENEW_SECONDS:
            raise StoreError(
                f"the lock {self.place} was not renewed in time, so another process may be writing "
                "the store; record again: it resumes"
            )

    def _make(self) -> None:
        objects.put(self.place / _name(self.number), self._text(), new=True)

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            with suppress(StoreError):  # unreachable for now: check() knows when it is too late
                now = time.time()
                latest = read_latest(self.place)
                if latest is None or latest[1].get("token") != self.token:
                    self._lost = True
                    return
                objects.put(self.place / _name(self.number), self._text())
                self._renewed = now

    def _text(self) -> bytes:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "machine": _machine()}
        return json.dumps({**holder, "token": self.token, "time": time.time()}).encode()


@contextmanager
def hold_lease(place: Path, wait: float) -> Iterator[None]:
    """Hold the lease at a place.

    Parameters
    ----------
    place
        Place of the lock.
    wait
        Seconds to wait for another holder.

    Raises
    ------
    HeldError
        Where another process still holds the lease after `wait` seconds.
    """
    lease = _take(place, time.monotonic() + wait)
    lease.begin()
    try:
        yield
    finally:
        lease.end()


def check_leases(path: Path) -> None:
    """Raise StoreError where this process has lost a lease on the store at `path` or on a part."""
    for place, lease in list(_held.items()):
        ours = place.name == f"{path.stem}.lock" or place.name.startswith(f"{path.stem}.part-")
        if ours and place.parent == path.parent:
            lease.check()


def _take(place: Path, deadline: float) -> Lease:
    while True:
        latest = read_latest(place)
        if latest is None or _is_over(latest[1]):
            lease = Lease(place, 1 if latest is None else latest[0] + 1)
            if lease.take():
                if latest is None or _read(place, latest[0]).get("token") == latest[1].get("token"):
                    return lease
                # Meanwhile the lease was released, and perhaps taken by a third process.
                objects.remove(place / _name(lease.number))
        elif time.monotonic() >= deadline:
            raise HeldError(_describe(place, latest))
        time.sleep(_RETRY_SECONDS)


def read_latest(place: Path) -> tuple[int, dict[str, Any]] | None:
    """Return the number and the text of the valid lease, None where there is no lease.

    The text of a lease that has just gone, or is damaged, is empty.
    """
    names = [name for name in objects.names_in(place) if name.isdecimal()]
    if not names:
        return None
    return int(names[-1]), _read(place, int(names[-1]))


def _read(place: Path, number: int) -> dict[str, Any]:
    (text,) = objects.get_all(place, [_name(number)])
    with suppress(ValueError):
        values = json.loads(text or b"")
        if isinstance(values, dict):
            return values
    return {}


def _is_over(holder: dict[str, Any]) -> bool:
    if time.time() - holder.get("time", 0.0) > LEASE_SECONDS:
        return True
    return holder.get("machine") == _machine() and not _is_alive(holder.get("pid", 0))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _machine() -> str:
    """Return a text that only those processes share that see each other by their numbers."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return uuid4().hex  # this system tells nothing of other processes


def _describe(place: Path, latest: tuple[int, dict[str, Any]]) -> str:
    number, holder = latest
    age = max(0, round(time.time() - holder.get("time", 0.0)))
    return (
        f"process {holder.get('pid')} on {holder.get('host')}, which renewed "
        f"{place / _name(number)} {age} s ago; if that process is gone, remove this object or wait "
        f"{LEASE_SECONDS:.0f} s"
    )


def _name(number: int) -> str:
    return f"{number:06d}"
