"""One shard: what is known of its values, and reading it."""

from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from unitlens.store.journal import CompleteShard
from unitlens.store.layout import StoredArray

Values = NDArray[Any]


class DamageError(Exception):
    """A shard cannot be decoded; the text says why."""


def read_shard(opened: Any, array: StoredArray, shard: int) -> Values:
    """Read and decode one shard of an opened array.

    Raises
    ------
    DamageError
        Where a checksum is wrong or the file is no shard.
    """
    try:
        return np.asarray(opened[array.rows(shard)])
    except (ValueError, RuntimeError, OSError) as error:
        raise DamageError(str(error).partition("\n")[0]) from error


def describe_shard(array: StoredArray, shard: int, values: Values) -> CompleteShard:
    """Return what the journal says of a shard, but for the bytes of its file."""
    if array.dims != ("sample", "unit"):
        return CompleteShard(array.path, shard, 0, hash_values(values))
    minimum, maximum = values.min(axis=0), values.max(axis=0)
    nonfinite = 0
    if not (np.isfinite(minimum).all() and np.isfinite(maximum).all()):
        nonfinite = int(np.count_nonzero(~np.isfinite(values)))
    spans = minimum.tobytes().hex(), maximum.tobytes().hex()
    return CompleteShard(array.path, shard, 0, hash_values(values), nonfinite, *spans)


def hash_values(values: Values) -> str:
    """Return the hash of the values of a shard: it tells of faults, not of forgery."""
    return xxhash.xxh3_128(np.ascontiguousarray(values).data).hexdigest()
