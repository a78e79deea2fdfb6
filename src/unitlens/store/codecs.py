"""How the chunks of a store are compressed; a checksum always stands behind it."""

from collections.abc import Callable
from typing import Literal

from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from unitlens.errors import ArgumentError

DEFAULT_CODEC = "lz4"


def _blosc(shuffle: Literal["noshuffle", "bitshuffle"], itemsize: int) -> BytesBytesCodec:
    return BloscCodec(cname="lz4", clevel=5, shuffle=shuffle, typesize=itemsize)


# Each by the bytes of a number. docs/codecs.md has their measured sizes and speeds.
_COMPRESSORS: dict[str, Callable[[int], tuple[BytesBytesCodec, ...]]] = {
    "lz4": lambda size: (_blosc("noshuffle", size),),
    "lz4-bitshuffle": lambda size: (_blosc("bitshuffle", size),),
    "zstd": lambda _: (ZstdCodec(level=1),),
    "none": lambda _: (),
}
CODECS = tuple(_COMPRESSORS)


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
    return (*_COMPRESSORS[codec](itemsize), Crc32cCodec())
