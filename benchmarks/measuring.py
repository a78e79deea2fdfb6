"""Seconds, memory and the speed of the machine, all within one process."""

import ctypes
import re
import statistics
import time
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import torch

SELF = Path("/proc/self")


def seconds(action):
    """Return how long `action` takes, and what it returns."""
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def fastest(candidates, trial, *, patience=20.0):
    """Return the candidate of which `trial` takes the fewest seconds a sample.

    `trial(candidate)` works on one batch and returns how many samples it held. Candidates take
    turns, so that a busy moment of the machine hits none of them alone, and the best turn counts:
    five turns, or at least two within `patience` seconds.
    """
    best = dict.fromkeys(candidates, float("inf"))
    start = time.perf_counter()
    for turn in range(5):
        for candidate in candidates:
            taken, samples = seconds(lambda c=candidate: trial(c))
            best[candidate] = min(best[candidate], taken / samples)
        if turn > 0 and time.perf_counter() - start > patience:
            break
    return min(best, key=best.get)


@dataclass
class Times:
    """Seconds of one side, run by run, and what the first run returned."""

    seconds: list = field(default_factory=list)
    result: object = None
    peak_mb: float | None = None

    def add(self, taken, result, grown):
        """Add a run; `grown` lists what memory rose by, or nothing."""
        self.result = self.result if self.seconds else result
        self.seconds.append(taken)
        known = [mb for mb in (self.peak_mb, *grown) if mb is not None]
        self.peak_mb = max(known, default=None)

    @property
    def median(self):
        return statistics.median(self.seconds)

    @property
    def spread(self):
        """Range over the median: 0 where all runs took the same."""
        return (max(self.seconds) - min(self.seconds)) / self.median


def alternate(ours, peer, repeats, *, memory=True):
    """Run both sides so many times; who goes first changes each time.

    Where that is once, `ours` runs before and after `peer`, so that a drift of the machine shows.
    To see `memory`, free memory goes back to the system first, which then clears it anew: short
    runs are slower for it.
    """
    turns = [(ours, peer) if number % 2 == 0 else (peer, ours) for number in range(repeats)]
    if repeats == 1:
        turns.append((ours,))
    times = {ours: Times(), peer: Times()}
    for side in chain.from_iterable(turns):
        with peak_memory() if memory else nullcontext([]) as grown:
            taken, result = seconds(side)
        times[side].add(taken, result, grown)
    return times[ours], times[peer]


@contextmanager
def peak_memory():
    """Append to the list it gives by how many MB resident memory rose above where it began.

    Linux only: memory that is free goes back first, and the kernel's high-water mark is reset.
    Elsewhere the list stays empty.
    """
    grown = []
    before = None
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        (SELF / "clear_refs").write_text("5")
        before = _status_mb("VmRSS")
    yield grown
    if before is not None:
        grown.append(_status_mb("VmHWM") - before)


def _status_mb(key):
    return int(re.search(rf"{key}:\s+(\d+) kB", (SELF / "status").read_text())[1]) / 1e3


def matmul_gflops(size=2048, repeats=7):
    """Return what a plain product of two float32 matrices reaches, in 10^9 operations a second."""
    one, other = torch.rand(2, size, size)
    times = [seconds(lambda: one @ other)[0] for _ in range(repeats)]
    return 2 * size**3 / statistics.median(times) / 1e9
