"""How the chunks of a store are compressed; a checksum always stands behind it."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from numcodecs import blosc, zstd
from numpy.typing import NDArray
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from unitlens.errors import ArgumentError

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
