"""How the chunks of a store are compressed; a checksum always stands behind it."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from numcodecs import blosc, zstd
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from unitlens.errors import ArgumentError

DEFAULT_CODEC = "lz4"


def _blosc(shuffle: Literal["noshuffle", "bitshuffle"], itemsize: int) -> BytesBytesCodec:
    return BloscCodec(cname="lz4", clevel=5, shuffle=shuffle, typesize=itemsize)


class _Codec(NamedTuple):
    """What Zarr puts chunks through, by the bytes of a number, and how one is read without it."""

    compressors: Callable[[int], tuple[BytesBytesCodec, ...]]
    decompress: Callable[[bytes], Any]


# docs/codecs.md has their measured sizes and speeds.
_CODECS = {
    "lz4": _Codec(lambda size: (_blosc("noshuffle", size),), blosc.decompress),
    "lz4-bitshuffle": _Codec(lambda size: (_blosc("bitshuffle", size),), blosc.decompress),
    "zstd": _Codec(lambda _: (ZstdCodec(level=1),), zstd.decompress),
    "none": _Codec(lambda _: (), lambda body: body),
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


def decompress(codec: str, body: bytes) -> Any:
    """Return the bytes of a chunk from what stands before its checksum."""
    return _CODECS[codec].decompress(body)
