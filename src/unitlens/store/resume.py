"""Finding out what a killed recording has left, and going on from there or starting over."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unitlens.store.hierarchy import clear, create_hierarchy, hash_metadata, sweep
from unitlens.store.journal import CompleteShard, read_journal
from unitlens.store.layout import StoredArray, journal_path, manifest_path
from unitlens.store.manifest import Contents, file_size

logger = logging.getLogger("unitlens")

Shards = dict[str, list[CompleteShard]]


def resume_or_start(
    path: Path,
    contents: Contents,
    conditions: Mapping[str, Any],
    filled: Sequence[StoredArray],
    ranges: Sequence[StoredArray],
) -> tuple[dict[str, Any], Shards]:
    """Make the hierarchy of a store ready to be filled.

    A store whose journal tells of the same contents, conditions and arrays, and whose metadata
    files are as they were written, goes on: of each array, the longest run of complete shards
    from the first one stays, and all else is swept away. Any other store is started over.

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

    Returns
    -------
    The header of the store's journal, and the complete shards of each of the `filled` arrays.
    """
    header = {
        "contents": contents.to_json(),
        "conditions": dict(conditions),
        "arrays": [asdict(array) for array in filled],
    }
    header = json.loads(json.dumps(header))
    every = (*filled, *ranges)
    left = read_journal(path)
    if left is not None and left[0] == {**header, "metadata": hash_metadata(path, every)}:
        shards = _complete(path, filled, left[1])
    else:
        _start_over(path, contents, every)
        shards = {array.path: [] for array in filled}
    manifest_path(path).unlink(missing_ok=True)
    sweep(path, filled, {name: len(complete) for name, complete in shards.items()})
    return {**header, "metadata": hash_metadata(path, every)}, shards


def _complete(
    path: Path, arrays: Iterable[StoredArray], entries: Iterable[CompleteShard]
) -> Shards:
    known = {(entry.path, entry.shard): entry for entry in entries}
    shards: Shards = {}
    for array in arrays:
        run = shards[array.path] = []
        for shard in range(array.shard_count):
            entry = known.get((array.path, shard))
            if entry is None or file_size(path / array.key(shard)) != entry.size:
                break
            run.append(entry)
    return shards


def _start_over(path: Path, contents: Contents, arrays: Iterable[StoredArray]) -> None:
    if path.exists():
        logger.info("%s: an unfinished recording of something else is removed", path)
    clear(path)
    journal_path(path).unlink(missing_ok=True)
    create_hierarchy(path, contents, arrays)
