"""Encoding a shard, band by band, into the bytes of its file: codecs, checksums, index."""

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
from unitlens.store.format.journal import CompleteShard
from unitlens.store.format.layout import StoredArray
from unitlens.store.format.shard_records import ShardDescription, Values

DEFAULT_CODEC = "lz4"
_LZ4_LEVEL = 5
_ZSTD_LEVEL = 1


class _Codec(NamedTuple):
    """What Zarr puts chunks through, by the bytes of a number, and the same without Zarr."""

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


# docs/codecs.md has their measured sizes and speeds.
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
    """Return what Zarr puts the bytes of a chunk through.

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
    """Return what stands before the checksum of a chunk; its numbers are little-endian."""
    return _CODECS[codec].compress(chunk)


def decompress(codec: str, body: bytes) -> Any:
    """Return the bytes of a chunk from what stands before its checksum."""
    return _CODECS[codec].decompress(body)


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
        Of :data:`unitlens.store.format.encoding.CODECS`.
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


class GrowingShard:
    """One shard of a store: its file grows, and is described, while its rows come.

    Parameters
    ----------
    path
        The store.
    array, shard
        An array of it, and the number of the shard.
    codec
        Of :data:`unitlens.store.format.encoding.CODECS`.
    """

    def __init__(self, path: Path, array: StoredArray, shard: int, codec: str) -> None:
        self._what = f"the shard '{array.key(shard)}' of {path}"
        self._file = growing_file(path / array.key(shard))
        self._encoder = ShardEncoder(array, codec)
        self._description = ShardDescription(array, shard)

    def add(self, number: int, values: Values) -> None:
        """Write the next rows: those of band `number`.

        Raises
        ------
        StoreError
            Where the system refuses to write.
        """
        with writing(self._what):
            self._file.append(self._encoder.encode(number, values))
        self._description.add(values)

    def finish(self) -> CompleteShard:
        """Give the file its name, and return what the journal says of the shard."""
        with writing(self._what):
            self._file.append(self._encoder.index())
            self._file.finish()
        return self._description.complete(self._file.size)

    def discard(self) -> None:
        """Give the file up."""
        self._file.discard()
