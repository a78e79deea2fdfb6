"""Finding out what a killed recording has left, and going on from there or starting over."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unitlens.store.backend.files import file_sizes, remove
from unitlens.store.backend.lock import check_unwritten
from unitlens.store.backend.places import zarr_store
from unitlens.store.format.decoding import DamageError, read_shard
from unitlens.store.format.hierarchy import (
    clear,
    create_hierarchy,
    hash_hierarchy,
    open_array,
    restore_metadata,
    sweep,
)
from unitlens.store.format.journal import (
    CompleteShard,
    open_journal,
    read_journal,
    remove_journal,
)
from unitlens.store.format.layout import StoredArray, journal_path, manifest_path
from unitlens.store.format.manifest import Contents
from unitlens.store.format.parts import WHOLE, Part, find_parts
from unitlens.store.format.shard_records import hash_values

logger = logging.getLogger("unitlens")

Shards = dict[str, dict[int, CompleteShard]]
Entries = dict[tuple[str, int], CompleteShard]


@dataclass(frozen=True)
class Salvage:
    """What is there of a store.

    `header` begins its journals; `filled` are the arrays that are filled shard by shard, `ranges`
    those that are written at the end; `shards` are the complete ones by array and number.
    `expected` are the hashes of values that shards must have, where they are known.
    """

    header: dict[str, Any]
    filled: tuple[StoredArray, ...]
    ranges: tuple[StoredArray, ...]
    shards: Shards
    expected: Mapping[tuple[str, int], str] = field(default_factory=dict)


def resume_or_start(
    path: Path,
    contents: Contents,
    conditions: Mapping[str, Any],
    filled: Sequence[StoredArray],
    ranges: Sequence[StoredArray],
    part: Part = WHOLE,
    share: Callable[[], None] = lambda: None,
) -> Salvage:
    """Make the hierarchy of a store ready to be filled.

    A store whose journals tell of the same contents, conditions and arrays goes on: the shards
    that hold what the journals say stay, and all else of the part is swept away. Any other store
    is started over. Metadata files that have been damaged are made again.

    Parameters
    ----------
    path
        The store, which is not finished.
    contents, conditions
        What it will hold, and what else could change the last bits of a number.
    filled
        Arrays that are filled shard by shard.
    ranges
        Arrays that are written at the end.
    part
        Which part of the shards is to be written.
    share
        Called when the hierarchy stands, before any shard is looked at.

    Returns
    -------
    What there is of it: of the `part`, where it is not the whole.
    """
    wanted = make_header(contents, conditions, filled)
    journal = read_journal(journal_path(path))
    header = journal[0] if journal else {}
    every = (*filled, *ranges)
    same = header == {**wanted, "metadata": header.get("metadata")}
    if not (same and restore_metadata(path, contents, every, header["metadata"])):
        header = _start_over(path, contents, wanted, every, part)
    known = _gather(path, header, part)
    remove(manifest_path(path))
    share()
    sizes = file_sizes(path)
    shards = {array.path: _sound(path, array, known, part, sizes) for array in filled}
    sweep(path, filled, shards, part)
    return Salvage(header, tuple(filled), tuple(ranges), shards)


def make_header(
    contents: Contents, conditions: Mapping[str, Any], filled: Sequence[StoredArray]
) -> dict[str, Any]:
    """Return what the journals of a recording begin with, but for the metadata's hashes."""
    header = {
        "contents": contents.to_json(),
        "conditions": dict(conditions),
        "arrays": [asdict(array) for array in filled],
    }
    values: dict[str, Any] = json.loads(json.dumps(header))
    return values


def _start_over(
    path: Path,
    contents: Contents,
    wanted: dict[str, Any],
    arrays: Sequence[StoredArray],
    part: Part,
) -> dict[str, Any]:
    if part != WHOLE:
        check_unwritten(path, part)
    if path.exists():
        logger.info("%s: an unfinished recording of something else is removed", path)
    clear(path)
    for other in (WHOLE, *find_parts(path, "journal")):
        remove_journal(other.journal(path))
    create_hierarchy(path, contents, arrays)
    header = {**wanted, "metadata": hash_hierarchy(path, arrays)}
    if part != WHOLE:  # the writer of the whole begins this journal itself
        open_journal(journal_path(path), header, ()).close()
    return header


def gather(path: Path, header: dict[str, Any]) -> Entries:
    """Return what all journals of a store that begin with `header` say of its shards.

    A part's own journal is younger than the store's, and of one shard the last line counts.
    """
    known: Entries = {}
    for part in (WHOLE, *find_parts(path, "journal")):
        journal = read_journal(part.journal(path))
        if journal is not None and journal[0] == header:
            known |= {(entry.path, entry.shard): entry for entry in journal[1]}
    return known


def _gather(path: Path, header: dict[str, Any], part: Part) -> Entries:
    """Gather all journals, and take those of other divisions into the store's own."""
    known = gather(path, header)
    others = [other for other in find_parts(path, "journal") if other.of != part.of]
    if others:
        open_journal(journal_path(path), header, known.values()).close()
    for other in others:
        remove_journal(other.journal(path))
    return known


def _sound(
    path: Path,
    array: StoredArray,
    known: Entries,
    part: Part,
    sizes: Callable[[str], int | None],
) -> dict[int, CompleteShard]:
    """Return those shards of a part whose files hold what is known of them: each is read."""
    opened = open_array(zarr_store(path), array)
    sound = {}
    for shard in part.shards(array):
        entry = known.get((array.path, shard))
        if entry is None or sizes(array.key(shard)) != entry.size:
            continue
        with suppress(DamageError):
            if hash_values(read_shard(opened, array, shard)) == entry.hash:
                sound[shard] = entry
    return sound
