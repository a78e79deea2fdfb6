"""The journal of a store: which shards are complete, and what they hold.

Its first line says what is being recorded; each further line is one shard, appended after the
shard's file has got its final name. A line that a killed process left half written counts for
nothing, and neither does one whose check no longer fits. The journal stays after the end: where a
workflow has removed the manifest, the next recording of the same contents finds every shard
complete and only writes the manifest again.

At a URL nothing can be appended: there the journal is a place with an object for the first lines
and one for each further line, under names ``{generation}-{number}``. A journal that is begun anew
is the next generation, whose first object holds all that is known; only the last one counts. Either
form is read where a store has been copied.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unitlens.store.backend import objects
from unitlens.store.backend.files import (
    names_in,
    read_files,
    remove,
    write_whole,
    writing,
)
from unitlens.store.backend.places import is_remote


@dataclass(frozen=True)
class CompleteShard:
    """One shard: bytes of its file, hash of its values, and, of activations, what they span.

    `minimum` and `maximum` are the units' own, as hexadecimal bytes of the store's dtype.
    """

    path: str
    shard: int
    size: int
    hash: str
    nonfinite: int = 0
    minimum: str = ""
    maximum: str = ""


class Journal:
    """The journal at `place`, begun with what is known and open for appending."""

    def __init__(
        self, place: Path, header: dict[str, Any], shards: Iterable[CompleteShard]
    ) -> None:
        lines = [header, *(asdict(shard) for shard in shards)]
        self._place = place
        write_whole(place, b"".join(map(_line, lines)))
        self._file = place.open("ab", buffering=0)

    def append(self, shard: CompleteShard) -> None:
        """Note that a shard is complete.

        Raises
        ------
        StoreError
            Where the line cannot be written, or only a part of it.
        """
        line = _line(asdict(shard))
        with writing(self._place):
            while line:  # on a full disk a part is written, and what is left raises
                line = line[self._file.write(line) :]

    def close(self) -> None:
        """Flush to the disk and close; closing twice is once."""
        if not self._file.closed:
            with writing(self._place), self._file:
                os.fsync(self._file.fileno())


class JournalObjects:
    """The journal at `place`, a URL's, begun with what is known."""

    def __init__(
        self, place: Path, header: dict[str, Any], shards: Iterable[CompleteShard]
    ) -> None:
        older = _names(place)
        self._place, self._number = place, 0
        self._generation = int(older[-1].partition("-")[0]) + 1 if older else 1
        self._put(header, *(asdict(shard) for shard in shards))
        objects.remove_all(place, older)
        remove(place)  # the file of a store that was copied here

    def append(self, shard: CompleteShard) -> None:
        """Note that a shard is complete.

        Raises
        ------
        StoreError
            Where the object cannot be written.
        """
        self._put(asdict(shard))

    def close(self) -> None:
        """Do nothing: each object is there when it is written."""

    def _put(self, *values: dict[str, Any]) -> None:
        name = f"{self._generation:06d}-{self._number:08d}"
        write_whole(self._place / name, b"".join(map(_line, values)))
        self._number += 1


def open_journal(
    place: Path, header: dict[str, Any], shards: Iterable[CompleteShard]
) -> Journal | JournalObjects:
    """Begin the journal at `place` with what is known, to append to it."""
    if is_remote(place):
        return JournalObjects(place, header, shards)
    if place.is_dir():  # of a store that was copied from a URL
        shutil.rmtree(place)
    return Journal(place, header, shards)


def remove_journal(place: Path) -> None:
    """Remove a journal, if it is there."""
    if is_remote(place):
        objects.remove_all(place, _names(place))
    elif place.is_dir():
        shutil.rmtree(place)
        return
    remove(place)


def read_journal(place: Path) -> tuple[dict[str, Any], list[CompleteShard]] | None:
    """Return the header and the shards of a journal, or None where there is no sound header."""
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


def _names(place: Path) -> list[str]:
    """Return the names of a journal's objects, in their order; none where it is a file."""
    return sorted(filter(re.compile(r"\d{6}-\d{8}").fullmatch, names_in(place)))


def _content(place: Path) -> bytes:
    names = _names(place)
    last = [name for name in names if name.partition("-")[0] == names[-1].partition("-")[0]]
    found = read_files(place, last) if names else read_files(place.parent, [place.name])
    return b"".join(content or b"" for content in found)


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
