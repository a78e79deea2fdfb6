"""The lock of a store at a URL: a lease that its holder renews, for no system lets go of it.

A lock ``x.lock`` is a place with numbered objects, each made only where there is none yet; whoever
made the last one holds it. The holder writes the time into it again and again. A lease that has
not been renewed for :data:`LEASE_SECONDS`, or whose process is gone from this machine, is taken
over by whoever makes the next number first.
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
    """Another process holds the lease; the text names it."""


class Lease:
    """A lease that this process holds, under a number."""

    def __init__(self, place: Path, number: int) -> None:
        self.place, self.number = place, number
        self.token = uuid4().hex
        self._renewed = time.time()
        self._lost = False
        self._ended = Event()
        self._thread = Thread(target=self._renew, name="unitlens-lease", daemon=True)

    def take(self) -> bool:
        """Make the object of this number; False where another process was first.

        Raises
        ------
        StoreError
            Where the driver or the server makes objects anew that are there.
        """
        try:
            self._make()
        except FileExistsError:  # it may be ours, whose first answer was lost
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
        """Renew it from now on."""
        _held[self.place] = self
        self._thread.start()

    def end(self) -> None:
        """Let go of it, and of what it was taken over from."""
        self._ended.set()
        self._thread.join()
        _held.pop(self.place, None)
        if not self._lost:
            with suppress(StoreError):  # unreachable: it runs out by itself
                for name in objects.names_in(self.place):
                    if name <= _name(self.number):
                        objects.remove(self.place / name)

    def check(self) -> None:
        """Raise StoreError where another process may have taken it over."""
        if self._lost or time.time() - self._renewed > LEASE_SECONDS - RENEW_SECONDS:
            raise StoreError(
                f"the lock {self.place} was not renewed in time, so another process may be writing "
                "the store; record again: it resumes"
            )

    def _make(self) -> None:
        objects.put(self.place / _name(self.number), self._text(), new=True)

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            with suppress(StoreError):  # unreachable for now; check() knows when it is too late
                now = time.time()
                last = read_last(self.place)
                if last is None or last[1].get("token") != self.token:
                    self._lost = True
                    return
                objects.put(self.place / _name(self.number), self._text())
                self._renewed = now

    def _text(self) -> bytes:
        about = {"pid": os.getpid(), "host": socket.gethostname(), "machine": _machine()}
        return json.dumps({**about, "token": self.token, "time": time.time()}).encode()


@contextmanager
def hold_lease(place: Path, wait: float) -> Iterator[None]:
    """Hold the lease at `place`.

    Raises
    ------
    HeldError
        Where another process still holds it after `wait` seconds.
    """
    lease = _take(place, time.monotonic() + wait)
    lease.begin()
    try:
        yield
    finally:
        lease.end()


def check_leases(path: Path) -> None:
    """Raise StoreError where this process has lost a lease on the store at `path` or a part."""
    for place, lease in list(_held.items()):
        ours = place.name == f"{path.stem}.lock" or place.name.startswith(f"{path.stem}.part-")
        if ours and place.parent == path.parent:
            lease.check()


def _take(place: Path, deadline: float) -> Lease:
    while True:
        last = read_last(place)
        if last is None or _is_over(last[1]):
            lease = Lease(place, 1 if last is None else last[0] + 1)
            if lease.take():
                if last is None or _read(place, last[0]).get("token") == last[1].get("token"):
                    return lease
                # Meanwhile it was let go of, and may be held anew.
                objects.remove(place / _name(lease.number))
        elif time.monotonic() >= deadline:
            raise HeldError(_describe(place, last))
        time.sleep(_RETRY_SECONDS)


def read_last(place: Path) -> tuple[int, dict[str, Any]] | None:
    """Return the number of the lease that counts and what stands in it; None where there is none.

    The text of one that is gone or damaged counts as empty.
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


def _is_over(about: dict[str, Any]) -> bool:
    if time.time() - about.get("time", 0.0) > LEASE_SECONDS:
        return True
    return about.get("machine") == _machine() and not _is_alive(about.get("pid", 0))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _machine() -> str:
    """Return what only those processes share that see each other by their numbers."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return uuid4().hex  # nothing is known of other processes here


def _describe(place: Path, last: tuple[int, dict[str, Any]]) -> str:
    number, about = last
    ago = max(0, round(time.time() - about.get("time", 0.0)))
    return (
        f"process {about.get('pid')} on {about.get('host')}, which renewed {place / _name(number)} "
        f"{ago} s ago; if that process is gone, remove this object or wait {LEASE_SECONDS:.0f} s"
    )


def _name(number: int) -> str:
    return f"{number:06d}"
