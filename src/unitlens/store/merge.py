"""Merging the parts of a recording: journals become one, a manifest is written, no shard moves."""

import logging
from collections.abc import Sequence
from pathlib import Path

from unitlens.errors import StoreError
from unitlens.store.backend.files import file_sizes, remove
from unitlens.store.backend.lock import only_writer
from unitlens.store.backend.places import locate
from unitlens.store.format.hierarchy import restore_metadata
from unitlens.store.format.journal import read_journal, remove_journal
from unitlens.store.format.layout import (
    StoredArray,
    journal_path,
    manifest_path,
    plan_ranges,
)
from unitlens.store.format.manifest import parse_array, parse_contents
from unitlens.store.format.parts import find_parts
from unitlens.store.resume import (
    Entries,
    Salvage,
    Shards,
    gather,
)
from unitlens.store.writer import StoreWriter, is_recorded

logger = logging.getLogger("unitlens")


def merge_activations(path: str | Path) -> Path:
    """Finish a store whose parts have been recorded.

    Each shard stays where its part has written it and is not read: what the manifest says of them
    comes from the parts' journals. The store equals the one that is recorded in one go.

    Parameters
    ----------
    path
        The store, of which :func:`unitlens.record_activations` has written all parts: a path or
        a URL.

    Returns
    -------
    The path of the store.

    Raises
    ------
    StoreError
        Where nothing has been recorded, shards are missing, or a part is still being written.
    """
    path = locate(path)
    with only_writer(path):
        left = _find(path)
        contents, conditions = parse_contents(left.header["contents"]), left.header["conditions"]
        if is_recorded(path, contents):
            logger.info("%s is recorded already", path)
            return path
        remove(manifest_path(path))
        with StoreWriter(path, contents, conditions, left=left) as writer:
            writer.finish()
        for part in find_parts(path, "journal"):
            remove_journal(part.journal(path))
    return path


def _find(path: Path) -> Salvage:
    journal = read_journal(journal_path(path))
    if journal is None:
        raise StoreError(
            f"nothing of the store {path} has been recorded (it has no sound "
            f"{journal_path(path).name}); record its parts, then merge them"
        )
    header = journal[0]
    contents = parse_contents(header["contents"])
    filled = tuple(parse_array(values) for values in header["arrays"])
    ranges = plan_ranges(contents.layers, contents.dtype)
    if not restore_metadata(path, contents, (*filled, *ranges), header["metadata"]):
        raise StoreError(
            f"metadata files of {path} are missing or changed; record its parts again, then merge "
            "them"
        )
    return Salvage(header, filled, ranges, _present(path, filled, gather(path, header)))


def _present(path: Path, arrays: Sequence[StoredArray], known: Entries) -> Shards:
    """Return what is known of every shard; each must be there and of the right size."""
    shards: Shards = {}
    missing = []
    sizes = file_sizes(path)
    for array in arrays:
        shards[array.path] = {}
        for shard in range(array.shard_count):
            entry = known.get((array.path, shard))
            if entry is None or sizes(array.key(shard)) != entry.size:
                missing.append(array.key(shard))
            else:
                shards[array.path][shard] = entry
    if missing:
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise StoreError(
            f"the shard '{missing[0]}' of {path}{more} is missing or not whole; record the parts "
            "again: they resume, then merge them"
        )
    return shards
