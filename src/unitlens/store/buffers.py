"""Gathering rows into whole shards."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unitlens.store.layout import StoredArray

Values = NDArray[Any]


class ShardBuffer:
    """Gathers the rows of one array into those of its shards that are missing.

    Attributes
    ----------
    array
        The array.
    next
        The row that it waits for: it needs none before.
    """

    def __init__(self, array: StoredArray, missing: Iterable[int]) -> None:
        self.array = array
        self._missing = deque(sorted(missing))
        self._values: Values | None = None
        self.next = self._first_row()

    def append(self, first: int, rows: Values) -> Iterator[tuple[int, Values]]:
        """Take `rows`, which begin at sample `first`; yield every missing shard they complete.

        What is yielded is the receiver's: the next shard gets memory of its own.
        """
        while self._missing and self.next < first + len(rows):
            shard = self._missing[0]
            span = self.array.rows(shard)
            taken = rows[self.next - first : span.stop - first]
            start = self.next - span.start
            if self._values is None:
                self._values = np.empty(
                    (span.stop - span.start, *self.array.shape[1:]), self.array.dtype
                )
            self._values[start : start + len(taken)] = taken
            self.next += len(taken)
            if self.next == span.stop:
                values, self._values = self._values, None
                self._missing.popleft()
                self.next = self._first_row()
                yield shard, values

    @property
    def missing(self) -> list[slice]:
        """Rows of each shard that is missing."""
        return [self.array.rows(shard) for shard in self._missing]

    def _first_row(self) -> int:
        return self.array.rows(self._missing[0]).start if self._missing else self.array.shape[0]
