"""The journal of a store: which shards are complete, and what they hold.

Its first line says what is being recorded; each further line is one shard, appended after the
shard's file has got its final name. A line that a killed process left half written counts for
nothing. The journal stays after the end: where a workflow has removed the manifest, the next
recording of the same contents finds every shard complete and only writes the manifest again.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unitlens.store.layout import journal_path
from unitlens.store.manifest import write_whole


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
    """The journal of the store at `path`, open for appending."""

    def __init__(self, path: Path, header: dict[str, Any], shards: Iterable[CompleteShard]) -> None:
        place = journal_path(path)
        lines = [header, *(asdict(shard) for shard in shards)]
        write_whole(place, b"".join(map(_line, lines)))
        self._file = place.open("ab", buffering=0)

    def append(self, shard: CompleteShard) -> None:
        """Note that a shard is complete."""
        self._file.write(_line(asdict(shard)))

    def close(self) -> None:
        """Flush to the disk and close; closing twice is once."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()


def read_journal(path: Path) -> tuple[dict[str, Any], list[CompleteShard]] | None:
    """Return the header and the shards of the journal of the store at `path`, if it has one."""
    try:
        lines = journal_path(path).read_bytes().split(b"\n")
        header = json.loads(lines[0])
    except (OSError, ValueError):
        return None
    shards = []
    for line in lines[1:-1]:
        try:
            shards.append(CompleteShard(**json.loads(line)))
        except (ValueError, TypeError):
            break
    return header, shards


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True).encode() + b"\n"
