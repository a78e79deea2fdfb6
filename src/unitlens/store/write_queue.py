"""Rows gathered into bands, and threads that write bands while the next samples are computed."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from unitlens.store.format.journal import Values
from unitlens.store.format.layout import StoredArray


@dataclass(frozen=True)
class Band:
    """A band of a shard: the rows of one chunk, over all units.

    Attributes
    ----------
    shard
        Number of the shard.
    number
        Number of the band in the shard.
    is_last
        Whether the band is the last of the shard.
    values
        Its rows.
    """

    shard: int
    number: int
    is_last: bool
    values: Values


class BandBuffer:
    """Gathers the rows of one array into the bands of its missing shards.

    Parameters
    ----------
    array
        The array.
    missing
        Numbers of its missing shards.
    samples
        Number of the sample of each row of the array, ascending.
    """

    def __init__(self, array: StoredArray, missing: Iterable[int], samples: Sequence[int]) -> None:
        self.array, self._samples = array, samples
        self._missing = deque(sorted(missing))
        self._memory: Values | None = None
        self._free: deque[Values] = deque()
        self._next = self._first_row()

    @property
    def next(self) -> int | None:
        """The first sample that the array still needs, None where the array lacks no shard."""
        return self._samples[self._next] if self._missing else None

    def append(self, sample: int, rows: Values) -> Iterator[Band]:
        """Take rows; yield every missing band that these rows complete.

        The receiver of a band returns its memory by :meth:`release`, from any thread.

        Parameters
        ----------
        sample
            Number of the sample of the first row.
        rows
            Rows of this sample and of the following samples of the array.
        """
        height, first = self.array.chunks[0], bisect_left(self._samples, sample)
        while self._missing and self._next < first + len(rows):
            shard = self.array.rows(self._missing[0])
            number, filled = divmod(self._next - shard.start, height)
            end = min(shard.start + (number + 1) * height, shard.stop)
            taken = rows[self._next - first : end - first]
            if self._memory is None:
                self._memory = self._take_memory()
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
        """Take back the memory of a band for reuse: the system is slow to give fresh memory."""
        self._free.append(band.values if band.values.base is None else band.values.base)

    def _take_memory(self) -> Values:
        try:
            return self._free.popleft()
        except IndexError:
            return np.empty((self.array.chunks[0], *self.array.shape[1:]), self.array.dtype)

    @property
    def missing(self) -> list[slice | list[int]]:
        """Samples of each missing shard, as an index of an array over all samples."""
        samples = (self._samples[self.array.rows(shard)] for shard in self._missing)
        return [slice(s.start, s.stop) if isinstance(s, range) else list(s) for s in samples]

    def _first_row(self) -> int:
        return self.array.rows(self._missing[0]).start if self._missing else self.array.shape[0]


# Bytes of bands that may wait to be written, beside those that are being filled.
PENDING_BYTES = 2**26
LANES = 2


class Background:
    """Threads that execute submitted actions until an action fails.

    Actions of one lane are executed in their order. The waiting actions hold at most
    `pending_bytes`, except for a single larger action: a submission that would exceed the limit
    waits. After a failure no further action begins, and the next call raises the failure. All calls
    come from one thread.

    Parameters
    ----------
    pending_bytes
        Most bytes that waiting actions hold.
    """

    def __init__(self, pending_bytes: int = PENDING_BYTES) -> None:
        self._limit = pending_bytes
        self._lanes = [
            ThreadPoolExecutor(1, thread_name_prefix="unitlens-shards") for _ in range(LANES)
        ]
        self._pending: deque[tuple[Future[None], int]] = deque()
        self._failure: BaseException | None = None

    def submit(self, action: Callable[[], None], nbytes: int, lane: int) -> None:
        """Queue an action; raise an earlier failure.

        Parameters
        ----------
        action
            The action.
        nbytes
            Bytes that the action holds.
        lane
            Number of the lane, modulo the number of lanes.
        """
        while self._pending and self._pending[0][0].done():
            self._pending.popleft()
        while self._pending and nbytes + sum(size for _, size in self._pending) > self._limit:
            self._pending.popleft()[0].result()
        self._raise_failure()
        future = self._lanes[lane % LANES].submit(self._run, action)
        self._pending.append((future, nbytes))

    def drain(self) -> None:
        """Wait until all actions are done; raise an earlier failure."""
        while self._pending:
            self._pending.popleft()[0].result()
        self._raise_failure()

    def close(self) -> None:
        """Wait until all actions are done, or none begins any more, and end the threads."""
        for lane in self._lanes:
            lane.shutdown()
        self._pending.clear()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self, action: Callable[[], None]) -> None:
        if self._failure is not None:
            return
        try:
            action()
        except BaseException as failure:  # noqa: BLE001  the next call raises the failure
            self._failure = failure
