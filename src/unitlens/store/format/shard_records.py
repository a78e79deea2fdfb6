"""One shard: what is known of its values, and reading it."""

from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from unitlens.store.format.journal import CompleteShard
from unitlens.store.format.layout import StoredArray

Values = NDArray[Any]


class ShardDescription:
    """What the journal says of a shard, gathered from its rows in their order."""

    def __init__(self, array: StoredArray, shard: int) -> None:
        self._array, self._shard = array, shard
        self._hash = xxhash.xxh3_128()
        self._spans: tuple[Values, Values] | None = None
        self._nonfinite = 0

    def add(self, values: Values) -> None:
        """Take the next rows."""
        self._hash.update(np.ascontiguousarray(values).data)
        if self._array.dims != ("sample", "unit"):
            return
        minimum, maximum = values.min(axis=0), values.max(axis=0)
        if not (np.isfinite(minimum).all() and np.isfinite(maximum).all()):
            self._nonfinite += int(np.count_nonzero(~np.isfinite(values)))
        if self._spans is not None:
            minimum, maximum = (
                np.minimum(minimum, self._spans[0]),
                np.maximum(maximum, self._spans[1]),
            )
        self._spans = minimum, maximum

    def complete(self, size: int) -> CompleteShard:
        """Return the description of all rows, whose file has `size` bytes."""
        spans = () if self._spans is None else (span.tobytes().hex() for span in self._spans)
        found = self._hash.hexdigest(), self._nonfinite, *spans
        return CompleteShard(self._array.path, self._shard, size, *found)


def describe_shard(array: StoredArray, shard: int, values: Values, size: int) -> CompleteShard:
    """Return what the journal says of a shard with these values, and a file of `size` bytes."""
    description = ShardDescription(array, shard)
    description.add(values)
    return description.complete(size)


def hash_values(values: Values) -> str:
    """Return the hash of the values of a shard: it tells of faults, not of forgery."""
    return xxhash.xxh3_128(np.ascontiguousarray(values).data).hexdigest()
