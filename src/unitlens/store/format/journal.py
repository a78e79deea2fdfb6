"""The journal of a store: the list of its complete shards, with hash and range of their values.

The first line of a journal is its header, the description of the recording. Each further line is
one shard, appended after the shard's file has got its final name. A line that was cut off by a
kill, or whose check does not fit, is ignored. The journal stays after the end of a recording: where
a workflow has removed the manifest, the next recording of the same contents finds every shard
complete and writes only the manifest.

Nothing can be appended to an object at a URL. There the journal is a place with one object for the
first lines and one object for each further line, named ``{generation}-{number}``. A journal that is
begun anew is the next generation. The first object of a generation holds everything known by then,
and only the last generation is read. Both forms are read anywhere, because stores are copied.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from unitlens.store.backend import objects
from unitlens.store.backend.files import (
    names_in,
    read_files,
    remove,
    write_whole,
    writing,
)
from unitlens.store.backend.places import is_remote
from unitlens.store.format.layout import StoredArray

Values = NDArray[Any]


@dataclass(frozen=True)
class CompleteShard:
    """A complete shard, as a line of the journal states it.

    Attributes
    ----------
    path
        Path of its array in the store.
    shard
        Number of the shard.
    size
        Bytes of its file.
    hash
        Hash of its values.
    nonfinite
        Number of activations that are not finite.
    minimum, maximum
        Minimum and maximum of each unit's activations, as hexadecimal bytes of the store's dtype;
        empty for arrays other than activations.
    checksums
        Checksums of the chunks in the order of their places, each as eight hexadecimal digits;
        empty in the journals of unitlens before 0.3.
    """

    path: str
    shard: int
    size: int
    hash: str
    nonfinite: int = 0
    minimum: str = ""
    maximum: str = ""
    checksums: str = ""


class ShardDescription:
    """The journal's statement of a shard, gathered from its rows in their order.

    Parameters
    ----------
    array
        Array of the shard.
    shard
        Number of the shard.
    """

    def __init__(self, array: StoredArray, shard: int) -> None:
        self._array, self._shard = array, shard
        self._hash = xxhash.xxh3_128()
        self._ranges: tuple[Values, Values] | None = None
        self._nonfinite = 0

    def add(self, values: Values) -> None:
        """Take the next rows into account."""
        self._hash.update(np.ascontiguousarray(values).data)
        if self._array.dims != ("sample", "unit"):
            return
        minimum, maximum = values.min(axis=0), values.max(axis=0)
        if not (np.isfinite(minimum).all() and np.isfinite(maximum).all()):
            self._nonfinite += int(np.count_nonzero(~np.isfinite(values)))
        if self._ranges is not None:
            minimum = np.minimum(minimum, self._ranges[0])
            maximum = np.maximum(maximum, self._ranges[1])
        self._ranges = minimum, maximum

    def complete(self, size: int, checksums: str) -> CompleteShard:
        """Return the statement of all rows.

        Parameters
        ----------
        size
            Bytes of the shard's file.
        checksums
            Checksums of its chunks.
        """
        ranges = () if self._ranges is None else (r.tobytes().hex() for r in self._ranges)
        figures = self._hash.hexdigest(), self._nonfinite, *ranges
        complete = CompleteShard(self._array.path, self._shard, size, *figures)
        return replace(complete, checksums=checksums)


def describe_shard(
    array: StoredArray, shard: int, values: Values, size: int, checksums: str
) -> CompleteShard:
    """Return the journal's statement of a shard.

    Parameters
    ----------
    array
        Array of the shard.
    shard
        Number of the shard.
    values
        All its rows.
    size
        Bytes of its file.
    checksums
        Checksums of its chunks.
    """
    description = ShardDescription(array, shard)
    description.add(values)
    return description.complete(size, checksums)


def hash_values(values: Values) -> str:
    """Return the hash of a shard's values, which reveals faults but not forgery."""
    return xxhash.xxh3_128(np.ascontiguousarray(values).data).hexdigest()


class Journal:
    """A journal on a local disk, open for appending.

    Parameters
    ----------
    place
        Its path.
    header
        Header of the new journal.
    shards
        Complete shards that are known already.
    """

    def __init__(
        self, place: Path, header: dict[str, Any], shards: Iterable[CompleteShard]
    ) -> None:
        lines = [header, *(asdict(shard) for shard in shards)]
        self._place = place
        write_whole(place, b"".join(map(_line, lines)))
        self._file = place.open("ab", buffering=0)

    def append(self, shard: CompleteShard) -> None:
        """Append a complete shard.

        Raises
        ------
        StoreError
            Where the line cannot be written, or only a part of the line.
        """
        line = _line(asdict(shard))
        with writing(self._place):
            while line:  # a full disk takes a part of the line, and refuses the rest
                line = line[self._file.write(line) :]

    def close(self) -> None:
        """Flush the journal to the disk and close it; a second call does nothing."""
        if not self._file.closed:
            with writing(self._place), self._file:
                os.fsync(self._file.fileno())


class JournalObjects:
    """A journal at a URL, to which objects are added.

    Parameters
    ----------
    place
        Its place.
    header
        Header of the new journal.
    shards
        Complete shards that are known already.
    """

    def __init__(
        self, place: Path, header: dict[str, Any], shards: Iterable[CompleteShard]
    ) -> None:
        older = _object_names(place)
        self._place, self._number = place, 0
        self._generation = int(older[-1].partition("-")[0]) + 1 if older else 1
        self._put(header, *(asdict(shard) for shard in shards))
        objects.remove_all(place, older)
        remove(place)  # the journal file of a store that was copied to this URL

    def append(self, shard: CompleteShard) -> None:
        """Append a complete shard.

        Raises
        ------
        StoreError
            Where the object cannot be written.
        """
        self._put(asdict(shard))

    def close(self) -> None:
        """Do nothing: each object is complete when it is written."""

    def _put(self, *lines: dict[str, Any]) -> None:
        name = f"{self._generation:06d}-{self._number:08d}"
        write_whole(self._place / name, b"".join(map(_line, lines)))
        self._number += 1


def open_journal(
    place: Path, header: dict[str, Any], shards: Iterable[CompleteShard]
) -> Journal | JournalObjects:
    """Begin the journal at `place` with the shards that are known, and open it for appending."""
    if is_remote(place):
        return JournalObjects(place, header, shards)
    if place.is_dir():  # of a store that was copied from a URL
        shutil.rmtree(place)
    return Journal(place, header, shards)


def remove_journal(place: Path) -> None:
    """Remove a journal where it exists."""
    if is_remote(place):
        objects.remove_all(place, _object_names(place))
    elif place.is_dir():
        shutil.rmtree(place)
        return
    remove(place)


def read_journal(place: Path) -> tuple[dict[str, Any], list[CompleteShard]] | None:
    """Return the header and the shards of a journal, None where there is no sound header."""
    try:
        first, *lines = _content(place).split(b"\n")[:-1]
        header = _values(first)
    except ValueError:
        return None
    shards = []
    for line in lines:
        try:
            shards.append(CompleteShard(**_values(line)))
        except (ValueError, TypeError):
            continue
    return header, shards


def _object_names(place: Path) -> list[str]:
    """Return the names of a journal's objects in their order, none where the journal is a file."""
    return sorted(filter(re.compile(r"\d{6}-\d{8}").fullmatch, names_in(place)))


def _content(place: Path) -> bytes:
    names = _object_names(place)
    last = [name for name in names if name.partition("-")[0] == names[-1].partition("-")[0]]
    pieces = read_files(place, last) if names else read_files(place.parent, [place.name])
    return b"".join(piece or b"" for piece in pieces)


def _line(values: dict[str, Any]) -> bytes:
    text = json.dumps(values, sort_keys=True).encode()
    return _check(text) + b" " + text + b"\n"


def _values(line: bytes) -> dict[str, Any]:
    check, _, text = line.partition(b" ")
    if check != _check(text):
        raise ValueError("the line is damaged")
    values: dict[str, Any] = json.loads(text)
    return values


def _check(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()
