"""Files that carry the hash of their own content, so that damage is noticed when they are read.

A binary file ends in a trailer: the hash of all before it, and the provenance of the content. HDF5
ignores what follows its data, so such a netCDF file opens in other programs. A JSON file has the
hash of its values under the key ``hash``. The hash is XXH3 of 128 bits, in hexadecimal digits: it
reveals damage, not a forgery.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from unitlens.errors import UnitlensError, first_line
from unitlens.local_files import replacing, write_whole

HASH = "hash"
_MAGIC = b"UNITLENS"
_FOOTER = (
    len(_MAGIC) + 8
)  # the size of the trailer's JSON in eight hexadecimal digits, then the mark
_PIECE = 2**24


@dataclass(frozen=True)
class Trailer:
    """The end of a hashed file.

    Attributes
    ----------
    hash
        Hash of the content and of the provenance.
    provenance
        What the content was computed from; empty where the writer gave nothing.
    size
        Number of bytes of the trailer.
    """

    hash: str
    provenance: dict[str, Any]
    size: int


def hash_bytes(*parts: bytes | memoryview) -> str:
    """Return the hash of bytes, one part after another.

    Examples
    --------
    >>> hash_bytes(b"ab", b"c") == hash_bytes(b"abc")
    True
    """
    total = xxhash.xxh3_128()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def hash_file(path: Path) -> str:
    """Return the hash of all bytes of a file."""
    return _hash_content(path).hexdigest()


def _hash_content(path: Path) -> xxhash.xxh3_128:
    total = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            total.update(piece)
    return total


def hash_values(values: Any) -> str:
    """Return the hash of plain values, whatever the order of their keys.

    Examples
    --------
    >>> hash_values({"a": 1, "b": 2}) == hash_values({"b": 2, "a": 1})
    True
    """
    return hash_bytes(_canonical(values))


def _canonical(values: Any) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def _make_trailer(total: xxhash.xxh3_128, provenance: Mapping[str, Any]) -> bytes:
    total = total.copy()
    total.update(_canonical(provenance))
    text = _canonical({HASH: total.hexdigest(), "provenance": provenance})
    return text + b"%08x" % len(text) + _MAGIC


@contextmanager
def replacing_hashed(path: Path, provenance: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Replace a binary file by a new one that the caller writes, and append its trailer.

    Parameters
    ----------
    path
        The file; its directory exists.
    provenance
        What the content is computed from, as plain values.

    Yields
    ------
    The temporary path to write to, as :func:`unitlens.local_files.replacing` does.
    """
    with replacing(path) as partial:
        yield partial
        trailer = _make_trailer(_hash_content(partial), provenance or {})
        with partial.open("ab") as file:
            file.write(trailer)


def write_hashed(path: Path, content: bytes, provenance: Mapping[str, Any] | None = None) -> None:
    """Write a binary file with its trailer.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from unitlens.errors import TableError
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "numbers.bin"
    ...     write_hashed(path, b"1 2 3", {"step": "count"})
    ...     read_hashed(path, error=TableError, remedy="count again")
    ...     read_trailer(path).provenance
    b'1 2 3'
    {'step': 'count'}
    """
    write_whole(path, add_trailer(content, provenance))


def add_trailer(content: bytes, provenance: Mapping[str, Any] | None = None) -> bytes:
    """Return bytes followed by their trailer."""
    return content + _make_trailer(xxhash.xxh3_128(content), provenance or {})


def read_hashed(path: Path, *, error: type[UnitlensError], remedy: str) -> bytes:
    """Read a file that :func:`write_hashed` or :func:`replacing_hashed` wrote.

    Parameters
    ----------
    path
        The file: a local path or the place of a URL.
    error
        Class of the error that is raised.
    remedy
        What to do about a missing or damaged file, for the end of the message.

    Returns
    -------
    The content, without the trailer.

    Raises
    ------
    UnitlensError
        Of the class `error`: where the file is missing, unreadable, or differs from what was
        written.
    """
    with reading(path, error=error, remedy=remedy), path.open("rb") as file:
        raw = file.read()
    trailer = _parse_trailer(raw)
    if trailer is None:
        raise error(
            f"{path} carries no hash at its end: it is cut off, or of unitlens before 0.3; {remedy}"
        )
    content = raw[: len(raw) - trailer.size]
    if _make_trailer(xxhash.xxh3_128(content), trailer.provenance) != raw[len(content) :]:
        raise error(f"{path} is damaged: its content differs from what was written; {remedy}")
    return content


@contextmanager
def opened_hashed(path: Path, *, error: type[UnitlensError], remedy: str) -> Iterator[BinaryIO]:
    """Open a local file that :func:`replacing_hashed` wrote, after a check of its content.

    The file is read once for the check, piece by piece: a large file needs no memory. The steps of
    the workflow compute with :func:`read_hashed`, a change of which has finished networks made
    again.

    Parameters
    ----------
    path
        The file.
    error, remedy
        As for :func:`read_hashed`.

    Yields
    ------
    The file, at its beginning; its trailer is still at its end.

    Raises
    ------
    UnitlensError
        As for :func:`read_hashed`.
    """
    with reading(path, error=error, remedy=remedy):
        file = path.open("rb")
    with file:
        with reading(path, error=error, remedy=remedy):
            trailer = read_trailer(path)
            left = file.seek(0, 2) - (trailer.size if trailer else 0)
            file.seek(0)
            total = xxhash.xxh3_128()
            while piece := file.read(min(_PIECE, left)):
                total.update(piece)
                left -= len(piece)
            tail = file.read()
            file.seek(0)
        if trailer is None:
            raise error(
                f"{path} carries no hash at its end: it is cut off, or of unitlens before 0.3; "
                f"{remedy}"
            )
        if _make_trailer(total, trailer.provenance) != tail:
            raise error(f"{path} is damaged: its content differs from what was written; {remedy}")
        yield file


@contextmanager
def reading(path: Path, *, error: type[UnitlensError], remedy: str) -> Iterator[None]:
    """Raise a one-line error where the system cannot read a file.

    Parameters
    ----------
    path
        The file that the block reads, for the message.
    error
        Class of the error that is raised.
    remedy
        What to do about it, for the end of the message.
    """
    try:
        yield
    except FileNotFoundError:
        raise error(f"{path} is missing; {remedy}") from None
    except OSError as problem:
        raise error(f"{path} cannot be read ({first_line(problem)}); {remedy}") from problem


def read_trailer(path: Path) -> Trailer | None:
    """Read the end of a local file, without checking what is before it.

    Returns
    -------
    The trailer; None where the file is missing or has no trailer.
    """
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - 2**12))
            tail = file.read()
            size = _trailer_size(tail)
            if size is not None and size > len(tail):
                file.seek(max(0, end - size))
                tail = file.read()
    except OSError:
        return None
    return _parse_trailer(tail)


def _trailer_size(raw: bytes) -> int | None:
    if len(raw) < _FOOTER or not raw.endswith(_MAGIC):
        return None
    try:
        return int(raw[-_FOOTER : -len(_MAGIC)], 16) + _FOOTER
    except ValueError:
        return None


def _parse_trailer(raw: bytes) -> Trailer | None:
    size = _trailer_size(raw)
    if size is None or size > len(raw):
        return None
    try:
        values = json.loads(raw[len(raw) - size : -_FOOTER])
        return Trailer(str(values[HASH]), dict(values["provenance"]), size)
    except (ValueError, TypeError, KeyError):
        return None


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values as JSON, with their hash under the key ``hash``.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from unitlens.errors import TableError
    >>> with TemporaryDirectory() as directory:
    ...     path = Path(directory) / "tables.json"
    ...     write_json(path, {"runs": 3})
    ...     read_json(path, error=TableError, remedy="make it again")
    {'runs': 3}
    """
    plain = json.loads(json.dumps(dict(values)))
    text = json.dumps({**plain, HASH: hash_values(plain)}, indent=1, ensure_ascii=False)
    write_whole(path, f"{text}\n".encode())


def read_json(
    path: Path, *, error: type[UnitlensError], remedy: str, require_hash: bool = True
) -> dict[str, Any]:
    """Read a JSON file that :func:`write_json` wrote.

    Parameters
    ----------
    path
        The file: a local path or the place of a URL.
    error
        Class of the error that is raised.
    remedy
        What to do about a missing or damaged file, for the end of the message.
    require_hash
        Whether a file without a hash is refused; unitlens before 0.3 wrote such files.

    Returns
    -------
    The values, without the hash.

    Raises
    ------
    UnitlensError
        Of the class `error`: where the file is missing, unreadable, not JSON, or differs from
        what was written.
    """
    with reading(path, error=error, remedy=remedy), path.open("rb") as file:
        raw = file.read()
    return parse_json(raw, path, error=error, remedy=remedy, require_hash=require_hash)


def parse_json(
    raw: bytes, path: Path, *, error: type[UnitlensError], remedy: str, require_hash: bool = True
) -> dict[str, Any]:
    """Check and return the values of the bytes of a JSON file, as :func:`read_json` does."""
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise error(f"{path} is damaged: it is not a JSON object; {remedy}")
    stated = values.pop(HASH, None)
    if stated is None and require_hash:
        raise error(f"{path} has no hash: it was changed, or is of unitlens before 0.3; {remedy}")
    if stated is not None and stated != hash_values(values):
        raise error(f"{path} is damaged: its content differs from what was written; {remedy}")
    return values


def check_files(
    directory: Path, hashes: Mapping[str, str], *, error: type[UnitlensError], remedy: str
) -> None:
    """Check local files against hashes that a record beside them states.

    Parameters
    ----------
    directory
        Directory of the files.
    hashes
        Path of each file in the directory to the hash of its bytes.
    error
        Class of the error that is raised.
    remedy
        What to do about a missing or damaged file, for the end of the message.

    Raises
    ------
    UnitlensError
        Of the class `error`, which names the first file that does not fit.
    """
    for name, stated in hashes.items():
        path = directory / name
        with reading(path, error=error, remedy=remedy):
            actual = hash_file(path)
        if actual != stated:
            raise error(f"{path} is damaged: its content differs from what was written; {remedy}")
