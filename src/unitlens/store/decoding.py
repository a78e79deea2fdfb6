"""Reading rows and units of sharded arrays straight from their files.

Zarr reads any array of a store too, at the price of a task for each chunk. Here the chunks of a
selection are found in the index of their shard, read, checked and decompressed one by one, by the
calling thread. Source of the layout: the codec ``sharding_indexed`` of the Zarr v3 specification,
with its index at the end.
"""

from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from unitlens.store.codecs import decompress
from unitlens.store.files import Ranges, open_ranges
from unitlens.store.layout import StoredArray
from unitlens.store.shards import DamageError

_CHECKSUM = 4  # bytes of a crc32c
_ENTRY = 16  # bytes of a chunk's place and length in the index
_MISSING = 2**64 - 1


def reads_directly(array: StoredArray) -> bool:
    """Tell whether an array is one of sharded rows of units."""
    return len(array.shape) == 2 and array.shards != array.chunks


class ShardFiles:
    """The shards of one array, read without Zarr.

    Parameters
    ----------
    path
        The store.
    array
        An array of it that :func:`reads_directly`.
    codec
        Of :data:`unitlens.store.codecs.CODECS`.
    """

    def __init__(self, path: Path, array: StoredArray, codec: str) -> None:
        self._path, self._array, self._codec = path, array, codec
        self._dtype = np.dtype(array.dtype).newbyteorder("<")
        pairs = zip(array.shards, array.chunks, strict=True)
        self._grid = tuple(shard // chunk for shard, chunk in pairs)

    def read(self, rows: range, units: range) -> NDArray[Any]:
        """Return consecutive rows of consecutive units, reading just the chunks that hold them.

        Raises
        ------
        DamageError
            Where a checksum is wrong, a chunk is missing, or a file is no shard.
        OSError
            Where a file cannot be read.
        """
        found = np.empty((len(rows), len(units)), np.dtype(self._array.dtype))
        height = self._array.shards[0]
        for shard in range(rows.start // height, ceil(rows.stop / height)):
            first = shard * height
            here = range(max(rows.start - first, 0), min(rows.stop - first, height))
            start = first + here.start - rows.start
            with open_ranges(self._path / self._array.key(shard)) as file:
                self._read_shard(file, here, units, found[start : start + len(here)])
        return found

    def _read_shard(self, file: Ranges, rows: range, units: range, found: NDArray[Any]) -> None:
        index = self._read_index(file)
        wanted = [
            (band, column)
            for band in _chunks(rows, self._array.chunks[0])
            for column in _chunks(units, self._array.chunks[1])
        ]
        spans = [
            (int(index[band, column, 0]), int(index[band, column, 1]))
            for (band, _), (column, _) in wanted
        ]
        if any(place == _MISSING for place, _ in spans):
            raise DamageError("it lacks a chunk")
        for at, raw in zip(wanted, file.pieces(spans), strict=True):
            (band, of_rows), (column, of_units) = at
            chunk = self._decode(raw)
            top, left = band * self._array.chunks[0], column * self._array.chunks[1]
            part = chunk[
                of_rows.start - top : of_rows.stop - top,
                of_units.start - left : of_units.stop - left,
            ]
            found[
                of_rows.start - rows.start : of_rows.stop - rows.start,
                of_units.start - units.start : of_units.stop - units.start,
            ] = part

    def _read_index(self, file: Ranges) -> NDArray[np.uint64]:
        size = self._grid[0] * self._grid[1] * _ENTRY
        tail = file.tail(size + _CHECKSUM)
        if len(tail) < size + _CHECKSUM:
            raise DamageError("it is shorter than its index")
        return np.frombuffer(_checked(tail, "its index"), "<u8").reshape(*self._grid, 2)

    def _decode(self, chunk: bytes) -> NDArray[Any]:
        body = _checked(chunk, "a chunk")
        try:
            raw = decompress(self._codec, body)
            return np.frombuffer(raw, self._dtype).reshape(self._array.chunks)
        except (ValueError, RuntimeError) as error:
            raise DamageError(f"a chunk cannot be decompressed: {error}") from error


def _checked(raw: bytes, what: str) -> bytes:
    """Return what stands before the checksum."""
    body, checksum = raw[:-_CHECKSUM], raw[-_CHECKSUM:]
    if google_crc32c.value(body) != int.from_bytes(checksum, "little"):
        raise DamageError(f"the checksum of {what} is wrong")
    return body


def _chunks(span: range, size: int) -> Iterator[tuple[int, range]]:
    """Yield the number of each chunk that a span meets, and what of the span lies in it."""
    for number in range(span.start // size, ceil(span.stop / size)):
        yield number, range(max(span.start, number * size), min(span.stop, (number + 1) * size))
