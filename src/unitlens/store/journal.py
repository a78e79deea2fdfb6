"""The journal of a store: which shards are complete, and what they hold.

Its first line says what is being recorded; each further line is one shard, appended after the
shard's file has got its final name. A line that a killed process left half written counts for
nothing, and neither does one whose check no longer fits. The journal stays after the end: where a
workflow has removed the manifest, the next recording of the same contents finds every shard
complete and only writes the manifest again.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unitlens.store.files import write_whole, writing


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


def read_journal(place: Path) -> tuple[dict[str, Any], list[CompleteShard]] | None:
    """Return the header and the shards of a journal, or None where there is no sound header."""
    try:
        first, *lines = place.read_bytes().split(b"\n")[:-1]
        header = _values(first)
    except (OSError, ValueError):
        return None
    shards = []
    for line in lines:
        try:
            shards.append(CompleteShard(**_values(line)))
        except (ValueError, TypeError):
            continue
    return header, shards


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
