"""Finding the damage of a store, and keeping the shards that are still sound."""

from dataclasses import replace
from pathlib import Path

from unitlens.errors import StoreError
from unitlens.store.description import StoreDescription
from unitlens.store.format.hierarchy import restore_metadata, sweep
from unitlens.store.format.layout import manifest_path
from unitlens.store.format.manifest import Fault, Manifest
from unitlens.store.format.parts import WHOLE
from unitlens.store.resume import WriteState, read_entries, resume_or_start
from unitlens.store.verify import StoreReading, StoreReport


def find_damage(path: Path, description: StoreDescription) -> tuple[WriteState, StoreReport]:
    """Read a store, and prepare it for the bad shards to be written again.

    Damaged metadata files are written again, and bad shards are removed. The caller holds the lock.

    Parameters
    ----------
    path
        The store.
    description
        Its description.

    Returns
    -------
    The state of the store with its sound shards, and the report of all faults.

    Raises
    ------
    StoreError
        Where the metadata files cannot be made again as they were.
    """
    metadata = description.header["metadata"]
    manifest = description.manifest
    if manifest is None:
        faults = [Fault(manifest_path(path).name, "is damaged")]
    else:
        faults = [f for f in StoreReading(path, manifest).faults if not f.is_shard]
    if not restore_metadata(path, description.contents, description.arrays, metadata):
        raise StoreError(
            f"metadata files of {path} are missing or changed and cannot be made again as they "
            "were, for other files lie there or other versions wrote it; remove the store and "
            "record it anew"
        )
    if manifest is None:
        state, report = _check_by_journal(path, description)
    else:
        state, report = _check_by_manifest(path, description, manifest)
    return state, replace(report, faults=(*faults, *report.faults))


def _check_by_manifest(
    path: Path, description: StoreDescription, manifest: Manifest
) -> tuple[WriteState, StoreReport]:
    reading = StoreReading(path, manifest, keep=True)
    reading.run()
    paths = {array.path for array in description.filled}
    expected_hashes = {
        (file.array.path, shard): expected_hash
        for file in manifest.files
        if file.array.path in paths
        for shard, expected_hash in enumerate(file.hashes)
    }
    shards = {array_path: reading.sound.get(array_path, {}) for array_path in paths}
    if reading.faults:
        sweep(path, description.filled, shards, WHOLE)
    state = WriteState(
        description.header, description.filled, description.ranges, shards, expected_hashes
    )
    return state, StoreReport(path, reading.shards, reading.bytes, tuple(reading.faults))


def _check_by_journal(path: Path, description: StoreDescription) -> tuple[WriteState, StoreReport]:
    entries = read_entries(path, description.header)
    state = resume_or_start(
        path,
        description.contents,
        description.conditions,
        description.filled,
        description.ranges,
    )
    bad_shards = tuple(
        Fault(array.key(shard), "is missing or damaged", is_shard=True)
        for array in description.filled
        for shard in range(array.shard_count)
        if shard not in state.shards[array.path]
    )
    expected_hashes = {key: entry.hash for key, entry in entries.items()}
    report = StoreReport(path, 0, 0, bad_shards)
    return replace(state, expected_hashes=expected_hashes), report
