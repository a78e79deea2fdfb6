"""Gathering rows into bands: the rows of a shard that are encoded at a time."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unitlens.store.layout import StoredArray

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
