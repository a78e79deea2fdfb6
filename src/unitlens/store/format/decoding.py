"""Decoding of shards: whole shards through Zarr, or ranges of rows straight from the files."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from math import ceil, prod
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from unitlens.store.backend.files import Ranges, open_ranges
from unitlens.store.format.encoding import CHECKSUM, MISSING, decompress
from unitlens.store.format.journal import Values
from unitlens.store.format.layout import StoredArray


class DamageError(Exception):
    """A shard cannot be decoded; the text gives the reason."""


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


_ENTRY = 16  # bytes of the offset and length of a chunk in the index
_Piece = tuple[int, range]  # number of a chunk on an axis, and the part of a span in that chunk


class ShardFiles:
    """The shards of one array, read without Zarr.

    Parameters
    ----------
    path
        The store.
    array
        An array of the store.
    codec
        One of :data:`unitlens.store.format.encoding.CODECS`.
    """

    def __init__(self, path: Path, array: StoredArray, codec: str) -> None:
        self._path, self._array, self._codec = path, array, codec
        self._dtype = np.dtype(array.dtype).newbyteorder("<")
        pairs = zip(array.shards, array.chunks, strict=True)
        self._grid = tuple(shard // chunk for shard, chunk in pairs)

    def read(self, spans: Sequence[range]) -> NDArray[Any]:
        """Return a block of the array. Only the chunks that hold a part of the block are read.

        Parameters
        ----------
        spans
            Consecutive indices of the block on each axis, at least one on each.

        Raises
        ------
        DamageError
            Where a checksum is wrong, a chunk is missing, or a file is no shard.
        OSError
            Where a file cannot be read.
        """
        rows, *others = spans
        block = np.empty([len(span) for span in spans], np.dtype(self._array.dtype))
        height = self._array.shards[0]
        for shard in range(rows.start // height, ceil(rows.stop / height)):
            first = shard * height
            here = range(max(rows.start - first, 0), min(rows.stop - first, height))
            start = first + here.start - rows.start
            with open_ranges(self._path / self._array.key(shard)) as file:
                self._read_shard(file, (here, *others), block[start : start + len(here)])
        return block

    def _read_shard(self, file: Ranges, spans: Sequence[range], block: NDArray[Any]) -> None:
        sizes = self._array.chunks
        chunks = list(product(*map(_chunks, spans, sizes)))
        for chunk, raw in zip(chunks, self._raw_chunks(file, chunks), strict=True):
            values = self._decode(raw)
            inner, outer = [], []
            for (number, part), span, size in zip(chunk, spans, sizes, strict=True):
                inner.append(slice(part.start - number * size, part.stop - number * size))
                outer.append(slice(part.start - span.start, part.stop - span.start))
            block[*outer] = values[*inner]

    def _raw_chunks(self, file: Ranges, chunks: Sequence[Sequence[_Piece]]) -> Iterable[bytes]:
        if self._array.chunks == self._array.shards:
            return [file.whole()]
        index = self._read_index(file)
        entries = [index[*(number for number, _ in chunk)].tolist() for chunk in chunks]
        if any(offset == MISSING for offset, _ in entries):
            raise DamageError("it lacks a chunk")
        return file.pieces([(offset, length) for offset, length in entries])

    def _read_index(self, file: Ranges) -> NDArray[np.uint64]:
        size = prod(self._grid) * _ENTRY
        tail = file.tail(size + CHECKSUM)
        if len(tail) < size + CHECKSUM:
            raise DamageError("it is shorter than its index")
        return np.frombuffer(_checked(tail, "its index"), "<u8").reshape(*self._grid, 2)

    def _decode(self, chunk: bytes) -> NDArray[Any]:
        body = _checked(chunk, "a chunk")
        try:
            raw = decompress(self._codec, body)
            return np.frombuffer(raw, self._dtype).reshape(self._array.chunks)
        except (ValueError, RuntimeError) as error:
            raise DamageError(f"a chunk cannot be decompressed: {error}") from error


def _checked(raw: bytes, label: str) -> bytes:
    """Return the bytes before the checksum."""
    body, checksum = raw[:-CHECKSUM], raw[-CHECKSUM:]
    if google_crc32c.value(body) != int.from_bytes(checksum, "little"):
        raise DamageError(f"the checksum of {label} is wrong")
    return body


def _chunks(span: range, size: int) -> Iterator[_Piece]:
    """Yield the number of each chunk that a span meets, and the part of the span in that chunk."""
    for number in range(span.start // size, ceil(span.stop / size)):
        yield number, range(max(span.start, number * size), min(span.stop, (number + 1) * size))
