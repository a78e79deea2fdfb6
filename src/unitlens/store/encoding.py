"""Encoding a shard, band by band, into the bytes of its file, as Zarr reads them.

Zarr writes shards too, at the price of a task and of several copies for each chunk, and only when
all of a shard lies in memory. Source of the layout: the codec ``sharding_indexed`` of the Zarr v3
specification, with its index at the end.
"""

import math
from collections.abc import Iterator
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from unitlens.store.codecs import compress
from unitlens.store.layout import StoredArray

CHECKSUM = 4  # bytes of a crc32c
MISSING = 2**64 - 1  # place and length, in the index, of a chunk that is not there


def fill_value(array: StoredArray) -> float:
    """Return what stands where an array holds nothing."""
    return math.nan if np.dtype(array.dtype).kind == "f" else -1


class ShardEncoder:
    """Makes the file of one shard.

    Parameters
    ----------
    array
        Its array. Where chunks are as large as shards, the file is a chunk and nothing else.
    codec
        Of :data:`unitlens.store.codecs.CODECS`.
    """

    def __init__(self, array: StoredArray, codec: str) -> None:
        self._array, self._codec = array, codec
        pairs = zip(array.shards, array.chunks, strict=True)
        grid = tuple(shard // chunk for shard, chunk in pairs)
        self._index = np.full((*grid, 2), MISSING, "<u8")  # as of chunks beyond the array
        self._chunk = np.empty(array.chunks, np.dtype(array.dtype).newbyteorder("<"))
        self._place = 0

    def encode(self, number: int, values: NDArray[Any]) -> Iterator[bytes]:
        """Yield the next bytes of the file: those of the chunks of a band.

        Parameters
        ----------
        number
            Of the band: all chunks of the same rows.
        values
            Its rows; fewer than a chunk has, where the array ends in it.
        """
        for at in np.ndindex(self._index.shape[1:-1]):
            spans = (
                slice(place * width, (place + 1) * width)
                for place, width in zip(at, self._array.chunks[1:], strict=True)
            )
            part = values[:, *spans]
            if part.shape != self._chunk.shape:  # a chunk is whole also where the array is not
                self._chunk[...] = fill_value(self._array)
            self._chunk[tuple(map(slice, part.shape))] = part
            body = compress(self._codec, self._chunk)
            yield body
            yield _checksum(body)
            length = len(body) + CHECKSUM
            self._index[number, *at] = self._place, length
            self._place += length

    def index(self) -> Iterator[bytes]:
        """Yield the last bytes of the file, which say where its chunks lie."""
        if self._array.shards != self._array.chunks:
            raw = self._index.tobytes()
            yield raw
            yield _checksum(raw)


def _checksum(body: bytes) -> bytes:
    return int(google_crc32c.value(body)).to_bytes(CHECKSUM, "little")
