"""Encoding whole shards: the bytes of their files, as Zarr reads them.

Zarr writes shards too, at the price of a task and of several copies for each chunk. Source of the
layout: the codec ``sharding_indexed`` of the Zarr v3 specification, with its index at the end.
"""

import math
from collections.abc import Iterator
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from unitlens.store.codecs import compress
from unitlens.store.layout import StoredArray

_CHECKSUM = 4  # bytes of a crc32c
_MISSING = 2**64 - 1


def fill_value(array: StoredArray) -> float:
    """Return what stands where an array holds nothing."""
    return math.nan if np.dtype(array.dtype).kind == "f" else -1


def encode_shard(array: StoredArray, codec: str, values: NDArray[Any]) -> Iterator[bytes]:
    """Yield the bytes of the file of a shard, piece by piece.

    Parameters
    ----------
    array
        Its array. Where chunks are as large as shards, the file is a chunk and nothing else.
    codec
        Of :data:`unitlens.store.codecs.CODECS`.
    values
        All rows of the shard.
    """
    grid = tuple(shard // chunk for shard, chunk in zip(array.shards, array.chunks, strict=True))
    # A chunk is written in full, also where the array ends within it.
    chunk = np.empty(array.chunks, np.dtype(array.dtype).newbyteorder("<"))
    index = np.full((*grid, 2), _MISSING, "<u8")  # chunks beyond the array
    place = 0
    for at in np.ndindex(grid):
        pairs = zip(at, array.chunks, strict=True)
        part = values[tuple(slice(number * size, (number + 1) * size) for number, size in pairs)]
        if not part.size:
            continue
        if part.shape != chunk.shape:
            chunk[...] = fill_value(array)
        chunk[tuple(map(slice, part.shape))] = part
        body = compress(codec, chunk)
        yield body
        yield _checksum(body)
        index[at] = place, len(body) + _CHECKSUM
        place += len(body) + _CHECKSUM
    if array.shards != array.chunks:
        raw = index.tobytes()
        yield raw
        yield _checksum(raw)


def _checksum(body: bytes) -> bytes:
    return int(google_crc32c.value(body)).to_bytes(_CHECKSUM, "little")
