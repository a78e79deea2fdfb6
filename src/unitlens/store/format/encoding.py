"""Encoding of a shard, band by band, into the bytes of its file: codecs, checksums, index."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import google_crc32c
import numpy as np
from numcodecs import blosc, zstd
from numpy.typing import NDArray
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from unitlens.errors import ArgumentError
from unitlens.store.backend.files import growing_file, writing
from unitlens.store.format.journal import CompleteShard, ShardDescription, Values
from unitlens.store.format.layout import StoredArray

_LZ4_LEVEL = 5
_ZSTD_LEVEL = 1


class _Codec(NamedTuple):
    """A compression: Zarr's codecs by the bytes of a number, and the same without Zarr."""

    compressors: Callable[[int], tuple[BytesBytesCodec, ...]]
    compress: Callable[[NDArray[Any]], bytes]
    decompress: Callable[[bytes], Any]


def _lz4(shuffle: Literal["noshuffle", "bitshuffle"]) -> _Codec:
    number = {"noshuffle": blosc.NOSHUFFLE, "bitshuffle": blosc.BITSHUFFLE}[shuffle]

    def described(itemsize: int) -> tuple[BytesBytesCodec]:
        return (BloscCodec(cname="lz4", clevel=_LZ4_LEVEL, shuffle=shuffle, typesize=itemsize),)

    def compress(chunk: NDArray[Any]) -> bytes:
        return bytes(blosc.compress(chunk, b"lz4", _LZ4_LEVEL, number, typesize=chunk.itemsize))

    return _Codec(described, compress, blosc.decompress)


# docs/codecs.md has the measured sizes and speeds.
_CODECS = {
    "lz4": _lz4("noshuffle"),
    "lz4-bitshuffle": _lz4("bitshuffle"),
    "zstd": _Codec(
        lambda _: (ZstdCodec(level=_ZSTD_LEVEL),),
        lambda chunk: bytes(zstd.compress(chunk, _ZSTD_LEVEL)),
        zstd.decompress,
    ),
    "none": _Codec(lambda _: (), lambda chunk: chunk.tobytes(), lambda body: body),
}
CODECS = tuple(_CODECS)


def check_codec(codec: str) -> None:
    """Raise ArgumentError where there is no such codec."""
    if codec not in CODECS:
        raise ArgumentError(f"codec is {codec!r}, but must be one of {', '.join(CODECS)}")


def compressors(codec: str, itemsize: int) -> tuple[BytesBytesCodec, ...]:
    """Return Zarr's codecs for the bytes of a chunk.

    Parameters
    ----------
    codec
        One of :data:`CODECS`.
    itemsize
        Bytes of a number.
    """
    check_codec(codec)
    return (*_CODECS[codec].compressors(itemsize), Crc32cCodec())


def compress(codec: str, chunk: NDArray[Any]) -> bytes:
    """Return the body of a chunk, the bytes before its checksum; its numbers are little-endian."""
    return _CODECS[codec].compress(chunk)


def decompress(codec: str, body: bytes) -> Any:
    """Return the bytes of a chunk's numbers from its body."""
    return _CODECS[codec].decompress(body)


CHECKSUM = 4  # bytes of a crc32c
MISSING = 2**64 - 1  # offset and length, in the index, of a chunk that is not there


def fill_value(array: StoredArray) -> float:
    """Return the value of elements that an array does not hold."""
    return math.nan if np.dtype(array.dtype).kind == "f" else -1


class ShardEncoder:
    """Encodes the file of one shard.

    Parameters
    ----------
    array
        Array of the shard. Where chunks are as large as shards, the file is one chunk alone.
    codec
        One of :data:`CODECS`.

    Attributes
    ----------
    checksums
        Checksums of the chunks so far, in the order of their places in the shard.
    """

    def __init__(self, array: StoredArray, codec: str) -> None:
        self._array, self._codec = array, codec
        self.checksums = b""
        # Chunks beyond the array stay missing.
        self._index = np.full((*array.grid, 2), MISSING, "<u8")
        self._chunk = np.empty(array.chunks, np.dtype(array.dtype).newbyteorder("<"))
        self._offset = 0

    def encode(self, number: int, values: NDArray[Any]) -> Iterator[bytes]:
        """Yield the next bytes of the file, those of the chunks of a band.

        Parameters
        ----------
        number
            Number of the band; a band is all chunks of the same rows.
        values
            Rows of the band, fewer than a chunk has where the array ends in the band.
        """
        for place in np.ndindex(self._index.shape[1:-1]):
            spans = (
                slice(at * width, (at + 1) * width)
                for at, width in zip(place, self._array.chunks[1:], strict=True)
            )
            part = values[:, *spans]
            if part.shape != self._chunk.shape:  # a chunk at the edge of the array is whole, too
                self._chunk[...] = fill_value(self._array)
            self._chunk[tuple(map(slice, part.shape))] = part
            body = compress(self._codec, self._chunk)
            checksum = _checksum(body)
            yield body
            yield checksum
            self.checksums += checksum
            length = len(body) + CHECKSUM
            self._index[number, *place] = self._offset, length
            self._offset += length

    def index(self) -> Iterator[bytes]:
        """Yield the last bytes of the file, the index of offsets and lengths of its chunks."""
        if self._array.shards != self._array.chunks:
            raw = self._index.tobytes()
            yield raw
            yield _checksum(raw)


def _checksum(body: bytes) -> bytes:
    return int(google_crc32c.value(body)).to_bytes(CHECKSUM, "little")


class GrowingShard:
    """One shard of a store, written and described while its rows come.

    Parameters
    ----------
    path
        The store.
    array
        Array of the shard.
    shard
        Number of the shard.
    codec
        One of :data:`CODECS`.
    """

    def __init__(self, path: Path, array: StoredArray, shard: int, codec: str) -> None:
        self._label = f"the shard '{array.key(shard)}' of {path}"
        self._file = growing_file(path / array.key(shard))
        self._encoder = ShardEncoder(array, codec)
        self._description = ShardDescription(array, shard)

    def add(self, number: int, values: Values) -> None:
        """Write the next rows, those of band `number`.

        Raises
        ------
        StoreError
            Where the system refuses to write.
        """
        with writing(self._label):
            self._file.append(self._encoder.encode(number, values))
        self._description.add(values)

    def finish(self) -> CompleteShard:
        """Give the file its name, and return the journal's statement of the shard."""
        with writing(self._label):
            self._file.append(self._encoder.index())
            self._file.finish()
        return self._description.complete(self._file.size, self._encoder.checksums.hex())

    def discard(self) -> None:
        """Abandon the file."""
        self._file.discard()
