"""Resuming a recording: the state of a store that is being written, kept or started over."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unitlens.errors import StoreError
from unitlens.store.backend.files import file_sizes, remove
from unitlens.store.backend.lock import check_unwritten
from unitlens.store.description import make_header
from unitlens.store.format.decoding import DamageError, ShardFiles
from unitlens.store.format.hierarchy import (
    clear,
    create_hierarchy,
    hash_hierarchy,
    restore_metadata,
    sweep,
)
from unitlens.store.format.journal import (
    CompleteShard,
    hash_values,
    open_journal,
    read_journal,
    remove_journal,
)
from unitlens.store.format.layout import StoredArray, journal_path, manifest_path
from unitlens.store.format.manifest import Contents, read_manifest
from unitlens.store.format.parts import WHOLE, Part, find_parts

logger = logging.getLogger("unitlens")

Shards = dict[str, dict[int, CompleteShard]]  # by the path of the array and the number of the shard
JournalEntries = dict[tuple[str, int], CompleteShard]


@dataclass(frozen=True)
class WriteState:
    """The state of a store that is being written.

    Attributes
    ----------
    header
        Header of its journals.
    filled
        Arrays that are filled shard by shard.
    ranges
        Arrays that are written at the end.
    shards
        Complete shards.
    expected_hashes
        Hashes that the values of shards must have, where these are known.
    """

    header: dict[str, Any]
    filled: tuple[StoredArray, ...]
    ranges: tuple[StoredArray, ...]
    shards: Shards
    expected_hashes: Mapping[tuple[str, int], str] = field(default_factory=dict)


def resume_or_start(
    path: Path,
    contents: Contents,
    conditions: Mapping[str, Any],
    filled: Sequence[StoredArray],
    ranges: Sequence[StoredArray],
    part: Part = WHOLE,
    admit_parts: Callable[[], None] = lambda: None,
) -> WriteState:
    """Prepare the hierarchy of a store for being filled.

    A store whose journals state the same contents, conditions and arrays is resumed: shards that
    hold the values of their journal entries stay, and all other files of the part are removed.
    Damaged metadata files are written again. Any other store is started over.

    Parameters
    ----------
    path
        The store, which is not finished.
    contents
        Contents of the store.
    conditions
        Conditions that can change the last bits of a number.
    filled
        Arrays that are filled shard by shard.
    ranges
        Arrays that are written at the end.
    part
        Part of the shards that is to be written.
    admit_parts
        Called when the hierarchy stands, before any shard is read: admits the writers of other
        parts.

    Returns
    -------
    The state of the store; the shards are those of the `part`.
    """
    expected = make_header(contents, conditions, filled)
    journal = read_journal(journal_path(path))
    header = journal[0] if journal else {}
    arrays = (*filled, *ranges)
    is_same = _compared(header) == _compared({**expected, "metadata": header.get("metadata")})
    if not (is_same and restore_metadata(path, contents, arrays, header["metadata"])):
        header = _start_over(path, contents, expected, arrays, part)
    entries = _take_journals(path, header, part)
    remove(manifest_path(path))
    admit_parts()
    sizes = file_sizes(path)
    shards = {
        array.path: _sound_shards(path, array, contents.codec, entries, part, sizes)
        for array in filled
    }
    sweep(path, filled, shards, part)
    return WriteState(header, tuple(filled), tuple(ranges), shards)


def _compared(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a header must be equal for a recording to go on.

    Doubts come up while samples run. A recording goes on with another GPU.
    """
    told = ("doubts", "hardware")
    conditions = {n: of for n, of in header.get("conditions", {}).items() if n not in told}
    return {**header, "conditions": conditions}


def _start_over(
    path: Path,
    contents: Contents,
    header: dict[str, Any],
    arrays: Sequence[StoredArray],
    part: Part,
) -> dict[str, Any]:
    if part != WHOLE:
        check_unwritten(path, part)
        _keep_other_parts(path, header, arrays, part)
    if path.exists():
        logger.info("%s: an unfinished recording of something else is removed", path)
    clear(path)
    for other in (WHOLE, *find_parts(path, "journal")):
        remove_journal(other.journal(path))
    create_hierarchy(path, contents, arrays)
    header = {**header, "metadata": hash_hierarchy(path, arrays)}
    if part != WHOLE:  # the writer of the whole store begins this journal itself
        open_journal(journal_path(path), header, ()).close()
    return header


def _keep_other_parts(
    path: Path, header: Mapping[str, Any], arrays: Sequence[StoredArray], own: Part
) -> None:
    """Raise StoreError where other parts of the same were recorded under other conditions.

    Their shards would be removed, though the jobs that recorded them have finished.
    """
    sizes, by_path = file_sizes(path), {array.path: array for array in arrays}
    for part in find_parts(path, "journal"):
        found, entries = (part != own and read_journal(part.journal(path))) or ({}, ())
        there = (
            sizes(by_path[entry.path].key(entry.shard)) == entry.size
            for entry in entries
            if entry.path in by_path
        )
        then, now = (_compared(of).get("conditions", {}) for of in (found, header))
        if found.get("contents") != header["contents"] or then == now or not any(there):
            continue
        flat = [_flat(of) for of in (then, now)]
        differences = ", ".join(
            f"{name} {flat[0].get(name)!r}, not {flat[1].get(name)!r}"
            for name in dict.fromkeys((*flat[0], *flat[1]))
            if flat[0].get(name) != flat[1].get(name)
        )
        raise StoreError(
            f"{path}: other parts were recorded with {differences}; record this part under their "
            "conditions, or delete the store and record all parts again"
        )


def _flat(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions with one entry for each version."""
    flat = {name: of for name, of in conditions.items() if name != "versions"}
    return flat | {f"{name} version": of for name, of in conditions.get("versions", {}).items()}


def remove_store(path: Path) -> None:
    """Remove the store at `path`, finished or begun, with its manifest and its journals.

    The caller holds the lock. A removal that is killed leaves what counts as no finished store.

    Raises
    ------
    StoreError
        Where something other than a store lies at `path`, or something other than a sound manifest
        beside it.
    """
    if manifest_path(path).exists():
        read_manifest(path)
    clear(path)
    remove(manifest_path(path))
    for part in (WHOLE, *find_parts(path, "journal")):
        remove_journal(part.journal(path))


def read_entries(path: Path, header: dict[str, Any]) -> JournalEntries:
    """Return the entries of all journals of a store that begin with `header`.

    The journal of a part is younger than that of the store. The last entry of a shard counts.
    """
    entries: JournalEntries = {}
    for part in (WHOLE, *find_parts(path, "journal")):
        journal = read_journal(part.journal(path))
        if journal is not None and journal[0] == header:
            entries |= {(entry.path, entry.shard): entry for entry in journal[1]}
    return entries


def _take_journals(path: Path, header: dict[str, Any], part: Part) -> JournalEntries:
    """Read all journals, and move the entries of other divisions to the store's own journal."""
    entries = read_entries(path, header)
    others = [other for other in find_parts(path, "journal") if other.of != part.of]
    if others:
        open_journal(journal_path(path), header, entries.values()).close()
    for other in others:
        remove_journal(other.journal(path))
    return entries


def _sound_shards(
    path: Path,
    array: StoredArray,
    codec: str,
    entries: JournalEntries,
    part: Part,
    sizes: Callable[[str], int | None],
) -> dict[int, CompleteShard]:
    """Read the shards of a part; return those that hold the values of their journal entries."""
    sound = {}
    for shard in part.shards(array):
        entry = entries.get((array.path, shard))
        if entry is None or sizes(array.key(shard)) != entry.size:
            continue
        with suppress(DamageError):
            sound[shard] = read_entry(path, array, codec, entry)
    return sound


def read_entry(path: Path, array: StoredArray, codec: str, entry: CompleteShard) -> CompleteShard:
    """Read a shard that a journal states; return the entry with the checksums of its chunks.

    Parameters
    ----------
    path
        The store.
    array
        Array of the shard.
    codec
        Compression of the store.
    entry
        Entry of the journal. Journals of unitlens before 0.3 state no checksums.

    Raises
    ------
    DamageError
        Where the shard does not hold what the entry states.
    """
    stated = {entry.shard: entry.checksums} if entry.checksums else {}
    values, checksums = ShardFiles(path, array, codec, stated).read_shard(entry.shard)
    if hash_values(values) != entry.hash:
        raise DamageError("it holds other values than were recorded", array.key(entry.shard))
    return replace(entry, checksums=checksums)
