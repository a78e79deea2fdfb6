"""Decoding of shards: rows, units and positions straight from the files, each chunk checked twice.

A chunk ends in its checksum. The checksum reveals flipped bits; where the manifest states the
checksum of every chunk, it also reveals a sound chunk of another place.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from math import ceil, prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from unitlens.store.backend.files import Ranges, open_ranges
from unitlens.store.format.encoding import CHECKSUM, MISSING, decompress
from unitlens.store.format.journal import Values
from unitlens.store.format.layout import StoredArray


class DamageError(Exception):
    """A shard cannot be decoded.

    Parameters
    ----------
    reason
        What is wrong.
    key
        Path of the shard's file in the store.
    """

    def __init__(self, reason: str, key: str = "") -> None:
        super().__init__(reason)
        self.key = key


Index = range | NDArray[np.integer[Any]]  # of an axis: consecutive places, or places in any order

_Places = slice | NDArray[np.integer[Any]]
_Piece = tuple[int, _Places, _Places]  # a chunk or shard on an axis, places in it, and in the block
_UNSTATED: Mapping[int, str] = MappingProxyType({})
_ENTRY = 16  # bytes of the offset and length of a chunk in the index


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
    checksums
        The checksums of the chunks of a shard by the number of the shard, as
        :attr:`unitlens.store.format.manifest.ShardedFile.checksums` has them. In a shard without
        checksums, a sound chunk of another place is not noticed.
    """

    def __init__(
        self, path: Path, array: StoredArray, codec: str, checksums: Mapping[int, str] = _UNSTATED
    ) -> None:
        self._path, self._array, self._codec = path, array, codec
        self._dtype = np.dtype(array.dtype).newbyteorder("<")
        self._expected = {shard: bytes.fromhex(text) for shard, text in checksums.items()}

    def read(self, selection: Sequence[Index]) -> NDArray[Any]:
        """Return a block of the array. Only the chunks that hold a part of the block are read.

        Parameters
        ----------
        selection
            The places of the block on each axis.

        Raises
        ------
        DamageError
            Where a checksum is wrong, a chunk is missing or of another place, or a file is no
            shard.
        OSError
            Where a file cannot be read.
        """
        rows, *others = selection
        block = np.empty([len(index) for index in selection], np.dtype(self._array.dtype))
        if not block.size:
            return block
        for shard, inner, outer in _pieces(rows, self._array.shards[0]):
            here = range(inner.start, inner.stop) if isinstance(inner, slice) else inner
            part = block[outer]
            self._read_shard(shard, (here, *others), part)
            if not isinstance(outer, slice):  # the part is a copy
                block[outer] = part
        return block

    def read_shard(self, shard: int) -> tuple[Values, str]:
        """Return a whole shard, and the checksums of its chunks as a manifest has them.

        Parameters
        ----------
        shard
            Number of the shard.

        Raises
        ------
        DamageError
            As :meth:`read`, and where the file is missing or cannot be read.
        """
        rows = self._array.rows(shard)
        spans = (range(rows.stop - rows.start), *map(range, self._array.shape[1:]))
        block = np.empty([len(span) for span in spans], np.dtype(self._array.dtype))
        try:
            return block, self._read_shard(shard, spans, block).hex()
        except OSError as error:
            raise DamageError(str(error), self._array.key(shard)) from error

    def _read_shard(self, shard: int, selection: Sequence[Index], block: NDArray[Any]) -> bytes:
        """Fill a block with places of a shard; return the checksums of its chunks."""
        key = self._array.key(shard)
        try:
            with open_ranges(self._path / key) as file:
                return b"".join(self._read_chunks(file, shard, selection, block))
        except DamageError as error:
            raise DamageError(str(error), key) from error

    def _read_chunks(
        self, file: Ranges, shard: int, selection: Sequence[Index], block: NDArray[Any]
    ) -> Iterator[bytes]:
        chunks = list(product(*map(_pieces, selection, self._array.chunks)))
        numbers = [tuple(number for number, _, _ in chunk) for chunk in chunks]
        raw_chunks = self._raw_chunks(file, numbers)
        for chunk, place, raw in zip(chunks, numbers, raw_chunks, strict=True):
            checksum = raw[-CHECKSUM:]
            values = self._decode(raw)
            if shard in self._expected and self._stated(shard, place) != checksum:
                raise DamageError("a chunk is another than was recorded there")
            inner, outer = zip(*((within, at) for _, within, at in chunk), strict=True)
            block[_crossed(outer)] = values[_crossed(inner)]
            yield checksum

    def _stated(self, shard: int, place: tuple[int, ...]) -> bytes:
        at = int(np.ravel_multi_index(place, self._array.grid)) * CHECKSUM
        return self._expected[shard][at : at + CHECKSUM]

    def _raw_chunks(self, file: Ranges, chunks: Sequence[tuple[int, ...]]) -> Iterable[bytes]:
        if self._array.chunks == self._array.shards:
            return [file.whole()]
        index = self._read_index(file)
        entries = [index[chunk].tolist() for chunk in chunks]
        if any(offset == MISSING for offset, _ in entries):
            raise DamageError("it lacks a chunk")
        return file.pieces([(offset, length) for offset, length in entries])

    def _read_index(self, file: Ranges) -> NDArray[np.uint64]:
        size = prod(self._array.grid) * _ENTRY
        tail = file.tail(size + CHECKSUM)
        if len(tail) < size + CHECKSUM:
            raise DamageError("it is shorter than its index")
        return np.frombuffer(_checked(tail, "its index"), "<u8").reshape(*self._array.grid, 2)

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


def _pieces(index: Index, size: int) -> Iterator[_Piece]:
    """Yield the number of each piece of an axis that an index meets, and the places of both.

    Parameters
    ----------
    index
        Places on the axis.
    size
        Length of a piece, which is a chunk or a shard.
    """
    if isinstance(index, range):
        for number in range(index.start // size, ceil(index.stop / size)):
            first, start = number * size, max(index.start, number * size)
            stop = min(index.stop, first + size)
            outer = slice(start - index.start, stop - index.start)
            yield number, slice(start - first, stop - first), outer
        return
    numbers = index // size
    for number in np.unique(numbers).tolist():
        at = np.flatnonzero(numbers == number)
        yield number, index[at] - number * size, at


def _crossed(places: Sequence[_Places]) -> tuple[Any, ...]:
    """Return the index of a block that crosses the places of all axes."""
    if all(isinstance(part, slice) for part in places):
        return tuple(places)
    return np.ix_(
        *(np.arange(part.start, part.stop) if isinstance(part, slice) else part for part in places)
    )
