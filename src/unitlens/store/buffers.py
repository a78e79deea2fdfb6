"""Gathering rows into whole shards."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unitlens.store.layout import StoredArray

Values = NDArray[Any]


class ShardBuffer:
    """Gathers the rows of one array into whole shards.

    Attributes
    ----------
    array
        The array.
    next
        The row that it waits for: it has all before.
    """

    def __init__(self, array: StoredArray, complete: int) -> None:
        self.array = array
        self.next = min(complete * array.shards[0], array.shape[0])
        self._values: Values | None = None

    def append(self, first: int, rows: Values) -> Iterator[tuple[int, Values]]:
        """Take `rows`, which begin at sample `first`; yield every shard that they complete.

        What is yielded is the receiver's: the next shard gets memory of its own.
        """
        rows = rows[max(0, self.next - first) :]
        while len(rows):
            shard = self.next // self.array.shards[0]
            span = self.array.rows(shard)
            taken = rows[: span.stop - self.next]
            start = self.next - span.start
            if self._values is None:
                self._values = np.empty(
                    (span.stop - span.start, *self.array.shape[1:]), self.array.dtype
                )
            self._values[start : start + len(taken)] = taken
            self.next += len(taken)
            rows = rows[len(taken) :]
            if self.next == span.stop:
                values, self._values = self._values, None
                yield shard, values
