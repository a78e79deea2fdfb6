"""What a damaged store was to be, and which of its shards are still sound."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unitlens.errors import StoreError
from unitlens.store.format.hierarchy import ROOT, restore_metadata, sweep
from unitlens.store.format.journal import read_journal
from unitlens.store.format.layout import (
    StoredArray,
    journal_path,
    manifest_path,
    plan_ranges,
)
from unitlens.store.format.manifest import (
    RECORD_AGAIN,
    SCHEMA,
    Contents,
    Fault,
    Manifest,
    parse_array,
    parse_contents,
    read_manifest,
)
from unitlens.store.format.parts import WHOLE
from unitlens.store.resume import (
    Salvage,
    gather,
    make_header,
    resume_or_start,
)
from unitlens.store.verify import StoreReading, StoreReport


@dataclass(frozen=True)
class StoreRecord:
    """What is known of a store that was finished once.

    From its manifest, or from its journal where that is damaged: then `manifest` is None.
    `header` is that of its journal.
    """

    contents: Contents
    conditions: Mapping[str, Any]
    filled: tuple[StoredArray, ...]
    ranges: tuple[StoredArray, ...]
    header: dict[str, Any]
    manifest: Manifest | None


def read_known(path: Path) -> StoreRecord:
    """Return what is known of the finished store at `path`.

    Raises
    ------
    StoreError
        Where there is none, or its manifest is another store's, or nothing can be told.
    """
    journal = read_journal(journal_path(path))
    header = journal[0] if journal else None
    try:
        manifest = read_manifest(path)
    except StoreError:
        if header is None or not _was_ours(manifest_path(path)):
            raise
        return _from_journal(header)
    if _is_foreign(path, header, manifest.contents):
        raise StoreError(
            f"{manifest_path(path)} is the manifest of another store than {path}; put its own "
            f"back, or remove it and {RECORD_AGAIN}"
        )
    return _from_manifest(manifest)


def _from_manifest(manifest: Manifest) -> StoreRecord:
    arrays = [file.array for file in manifest.files]
    filled = tuple(array for array in arrays if array.is_filled)
    ranges = tuple(array for array in arrays if not array.is_filled)
    hashes = {file.array.path: file.metadata_hash for file in manifest.files}
    contents, conditions = manifest.contents, manifest.conditions
    header = make_header(contents, conditions, filled)
    header["metadata"] = {**manifest.metadata, **hashes}
    return StoreRecord(contents, conditions, filled, ranges, header, manifest)


def _from_journal(header: dict[str, Any]) -> StoreRecord:
    contents = parse_contents(header["contents"])
    filled = tuple(parse_array(values) for values in header["arrays"])
    ranges = plan_ranges(contents.layers, contents.dtype)
    return StoreRecord(contents, header["conditions"], filled, ranges, header, None)


def _was_ours(place: Path) -> bool:
    """Say whether a file that is no sound manifest may have been one."""
    if not place.is_file():
        return False
    try:
        values = json.loads(place.read_bytes())
    except ValueError:
        return True
    return isinstance(values, dict) and values.get("schema") == SCHEMA


def _is_foreign(path: Path, header: Mapping[str, Any] | None, contents: Contents) -> bool:
    if header is not None:
        return bool(header["contents"] != contents.to_json())
    try:
        attributes = json.loads((path / ROOT).read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    about = {name: value for name, value in contents.to_json().items() if name != "layers"}
    return any(attributes.get(name) != value for name, value in about.items())


def find_damage(path: Path, known: StoreRecord) -> tuple[Salvage, StoreReport]:
    """Read a store, and make it ready for the shards that are bad to be written again.

    Metadata files are made again, and bad shards are removed. The caller holds the lock.

    Returns
    -------
    What is sound of it, and the report of what was not.

    Raises
    ------
    StoreError
        Where its metadata files cannot be made again as they were.
    """
    metadata = known.header["metadata"]
    place = manifest_path(path)
    first = [] if known.manifest else [Fault(place.name, "is damaged")]
    if known.manifest:
        first += [f for f in StoreReading(path, known.manifest).faults if not f.is_shard]
    if not restore_metadata(path, known.contents, (*known.filled, *known.ranges), metadata):
        raise StoreError(
            f"metadata files of {path} are missing or changed and cannot be made again as they "
            "were, for other files lie there or other versions wrote it; remove the store and "
            "record it anew"
        )
    if known.manifest:
        left, report = _left_by_manifest(path, known, known.manifest)
    else:
        left, report = _left_by_journal(path, known)
    return left, replace(report, faults=(*first, *report.faults))


def _left_by_manifest(
    path: Path, known: StoreRecord, manifest: Manifest
) -> tuple[Salvage, StoreReport]:
    reading = StoreReading(path, manifest, keep=True)
    reading.run()
    names = {array.path for array in known.filled}
    expected = {
        (file.array.path, shard): known_hash
        for file in manifest.files
        if file.array.path in names
        for shard, known_hash in enumerate(file.hashes)
    }
    shards = {name: reading.sound.get(name, {}) for name in names}
    if reading.faults:
        sweep(path, known.filled, shards, WHOLE)
    left = Salvage(known.header, known.filled, known.ranges, shards, expected)
    return left, StoreReport(path, reading.shards, reading.bytes, tuple(reading.faults))


def _left_by_journal(path: Path, known: StoreRecord) -> tuple[Salvage, StoreReport]:
    expected = {key: entry.hash for key, entry in gather(path, known.header).items()}
    left = resume_or_start(path, known.contents, known.conditions, known.filled, known.ranges)
    bad = tuple(
        Fault(array.key(shard), "is missing or damaged", is_shard=True)
        for array in known.filled
        for shard in range(array.shard_count)
        if shard not in left.shards[array.path]
    )
    return replace(left, expected=expected), StoreReport(path, 0, 0, bad)
