"""Rows gathered into bands, and bands written by threads while the next samples are computed."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unitlens.store.format.layout import StoredArray

Values = NDArray[Any]


@dataclass(frozen=True)
class Band:
    """All units of the rows of one chunk: band `number` of a shard, and whether it is its last."""

    shard: int
    number: int
    is_last: bool
    values: Values


class BandBuffer:
    """Gathers the rows of one array into the bands of those of its shards that are missing.

    Parameters
    ----------
    array
        The array.
    missing
        Numbers of its shards.
    samples
        Number of the sample that each row of the array is of, ascending.
    """

    def __init__(self, array: StoredArray, missing: Iterable[int], samples: Sequence[int]) -> None:
        self.array, self._samples = array, samples
        self._missing = deque(sorted(missing))
        self._memory: Values | None = None
        self._free: deque[Values] = deque()
        self._next = self._first_row()

    @property
    def next(self) -> int | None:
        """The sample that it waits for: it needs none before. None where it lacks nothing."""
        return self._samples[self._next] if self._missing else None

    def append(self, sample: int, rows: Values) -> Iterator[Band]:
        """Take `rows`, those of sample `sample` and on; yield every missing band they complete.

        Whoever has a band gives its memory back by :meth:`release`, from any thread.
        """
        height, first = self.array.chunks[0], bisect_left(self._samples, sample)
        while self._missing and self._next < first + len(rows):
            shard = self.array.rows(self._missing[0])
            number, filled = divmod(self._next - shard.start, height)
            end = min(shard.start + (number + 1) * height, shard.stop)
            taken = rows[self._next - first : end - first]
            if self._memory is None:
                self._memory = self._take()
            self._memory[filled : filled + len(taken)] = taken
            self._next += len(taken)
            if self._next < end:
                continue
            whole, self._memory = self._memory, None
            is_last = end == shard.stop
            band = Band(self._missing[0], number, is_last, whole[: filled + len(taken)])
            if is_last:
                self._missing.popleft()
                self._next = self._first_row()
            yield band

    def release(self, band: Band) -> None:
        """Take back the memory of a band: fresh memory is dear, for the system clears it."""
        self._free.append(band.values if band.values.base is None else band.values.base)

    def _take(self) -> Values:
        try:
            return self._free.popleft()
        except IndexError:
            return np.empty((self.array.chunks[0], *self.array.shape[1:]), self.array.dtype)

    @property
    def missing(self) -> list[slice | list[int]]:
        """Samples of each shard that is missing, as they index an array over all samples."""
        samples = (self._samples[self.array.rows(shard)] for shard in self._missing)
        return [slice(s.start, s.stop) if isinstance(s, range) else list(s) for s in samples]

    def _first_row(self) -> int:
        return self.array.rows(self._missing[0]).start if self._missing else self.array.shape[0]


# Bytes of bands that may wait to be written, beside those that are being filled.
PENDING_BYTES = 2**26
LANES = 2


class Background:
    """A few threads that work off what they are given, until something fails.

    What is given to one lane is done in that order. What waits is bounded: who gives more than
    `pending_bytes` waits, except for a single thing that is larger. After a failure nothing else is
    begun, and whoever comes gets the failure. Calls come from one thread.
    """

    def __init__(self, pending_bytes: int = PENDING_BYTES) -> None:
        self._limit = pending_bytes
        self._lanes = [
            ThreadPoolExecutor(1, thread_name_prefix="unitlens-shards") for _ in range(LANES)
        ]
        self._pending: deque[tuple[Future[None], int]] = deque()
        self._failure: BaseException | None = None

    def submit(self, action: Callable[[], None], nbytes: int, lane: int) -> None:
        """Have `action`, which holds so many bytes, worked off; raise what failed before it."""
        while self._pending and self._pending[0][0].done():
            self._pending.popleft()
        while self._pending and nbytes + sum(waits for _, waits in self._pending) > self._limit:
            self._pending.popleft()[0].result()
        self._raise()
        future = self._lanes[lane % LANES].submit(self._run, action)
        self._pending.append((future, nbytes))

    def drain(self) -> None:
        """Wait until all is done; raise what failed."""
        while self._pending:
            self._pending.popleft()[0].result()
        self._raise()

    def close(self) -> None:
        """Wait until all is done, or nothing more is begun, and end the threads."""
        for lane in self._lanes:
            lane.shutdown()
        self._pending.clear()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self, action: Callable[[], None]) -> None:
        if self._failure is not None:
            return
        try:
            action()
        except BaseException as failure:  # noqa: BLE001  it is raised where the next call comes
            self._failure = failure
