"""Reading shards: whole through Zarr, or single ranges straight from their files."""

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
from unitlens.store.format.layout import StoredArray
from unitlens.store.format.shard_records import Values


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


_ENTRY = 16  # bytes of a chunk's place and length in the index
_Piece = tuple[int, range]  # number of a chunk on an axis, and what of a span lies in it


class ShardFiles:
    """The shards of one array, read without Zarr.

    Parameters
    ----------
    path
        The store.
    array
        An array of it.
    codec
        Of :data:`unitlens.store.format.encoding.CODECS`.
    """

    def __init__(self, path: Path, array: StoredArray, codec: str) -> None:
        self._path, self._array, self._codec = path, array, codec
        self._dtype = np.dtype(array.dtype).newbyteorder("<")
        pairs = zip(array.shards, array.chunks, strict=True)
        self._grid = tuple(shard // chunk for shard, chunk in pairs)

    def read(self, spans: Sequence[range]) -> NDArray[Any]:
        """Return consecutive rows, and what follows each other on the other axes.

        Just the chunks that hold it are read. No span is empty.

        Raises
        ------
        DamageError
            Where a checksum is wrong, a chunk is missing, or a file is no shard.
        OSError
            Where a file cannot be read.
        """
        rows, *others = spans
        found = np.empty([len(span) for span in spans], np.dtype(self._array.dtype))
        height = self._array.shards[0]
        for shard in range(rows.start // height, ceil(rows.stop / height)):
            first = shard * height
            here = range(max(rows.start - first, 0), min(rows.stop - first, height))
            start = first + here.start - rows.start
            with open_ranges(self._path / self._array.key(shard)) as file:
                self._read_shard(file, (here, *others), found[start : start + len(here)])
        return found

    def _read_shard(self, file: Ranges, spans: Sequence[range], found: NDArray[Any]) -> None:
        sizes = self._array.chunks
        wanted = list(product(*map(_chunks, spans, sizes)))
        for chunk, raw in zip(wanted, self._pieces(file, wanted), strict=True):
            values = self._decode(raw)
            inner, outer = [], []
            for (number, of), span, size in zip(chunk, spans, sizes, strict=True):
                inner.append(slice(of.start - number * size, of.stop - number * size))
                outer.append(slice(of.start - span.start, of.stop - span.start))
            found[*outer] = values[*inner]

    def _pieces(self, file: Ranges, wanted: Sequence[Sequence[_Piece]]) -> Iterable[bytes]:
        """Return the bytes of chunks."""
        if self._array.chunks == self._array.shards:
            return [file.whole()]
        index = self._read_index(file)
        entries = [index[*(number for number, _ in chunk)].tolist() for chunk in wanted]
        if any(place == MISSING for place, _ in entries):
            raise DamageError("it lacks a chunk")
        return file.pieces([(place, length) for place, length in entries])

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


def _checked(raw: bytes, what: str) -> bytes:
    """Return what stands before the checksum."""
    body, checksum = raw[:-CHECKSUM], raw[-CHECKSUM:]
    if google_crc32c.value(body) != int.from_bytes(checksum, "little"):
        raise DamageError(f"the checksum of {what} is wrong")
    return body


def _chunks(span: range, size: int) -> Iterator[_Piece]:
    """Yield the number of each chunk that a span meets, and what of the span lies in it."""
    for number in range(span.start // size, ceil(span.stop / size)):
        yield number, range(max(span.start, number * size), min(span.stop, (number + 1) * size))
