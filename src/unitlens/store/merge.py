"""Merging the parts of a recording: one journal, one manifest, and no shard moves."""

import logging
from contextlib import suppress
from pathlib import Path

from unitlens.errors import StoreError
from unitlens.store.backend.files import file_sizes, remove
from unitlens.store.backend.lock import only_writer
from unitlens.store.description import StoreDescription, describe_header
from unitlens.store.format.decoding import DamageError
from unitlens.store.format.hierarchy import restore_metadata, sweep
from unitlens.store.format.journal import CompleteShard, read_journal, remove_journal
from unitlens.store.format.layout import StoredArray, journal_path, manifest_path
from unitlens.store.format.manifest import read_manifest
from unitlens.store.format.parts import WHOLE, find_parts
from unitlens.store.located import locate_store as locate
from unitlens.store.resume import JournalEntries, Shards, WriteState, read_entries, read_entry
from unitlens.store.writer import StoreWriter, is_recorded

logger = logging.getLogger("unitlens")


def merge_activations(path: str | Path) -> Path:
    """Finish a store whose parts have been recorded.

    Shards stay as their parts have written them. The manifest is made from the journals of the
    parts, and no shard is read, except those that unitlens before 0.3 has written. The store
    equals a store that is recorded in one go.

    Parameters
    ----------
    path
        The store, of which :func:`unitlens.record_activations` has written all parts: a path, or a
        URL such as ``s3://bucket/acts.zarr``. A store that is finished already stays as it is.

    Returns
    -------
    The path of the store.

    Raises
    ------
    ArgumentError
        Where `path` is a URL of an unknown scheme, or a library for the scheme is missing.
    StoreError
        Where nothing has been recorded, shards are missing, or a part is still being written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import torch, unitlens as ul
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> data = torch.utils.data.TensorDataset(torch.randn(10, 4), torch.arange(10) % 2)
    >>> with TemporaryDirectory() as directory:
    ...     path = f"{directory}/acts.zarr"
    ...     for k in (1, 2):
    ...         _ = ul.record_activations(model, data, path, part=(k, 2))
    ...     store = ul.merge_activations(path)
    ...     ul.open_activations(store)["1"].activation.shape
    (10, 3)
    """
    path = locate(path)
    with only_writer(path):
        if _is_merged(path):
            logger.info("%s is recorded already", path)
            return path
        state = _merge_journals(path)
        description = describe_header(state.header)
        contents, conditions = description.contents, description.conditions
        if is_recorded(path, contents):
            logger.info("%s is recorded already", path)
            return path
        remove(manifest_path(path))
        with StoreWriter(path, contents, conditions, state=state) as writer:
            writer.finish()
        for part in find_parts(path, "journal"):
            remove_journal(part.journal(path))
    return path


def _is_merged(path: Path) -> bool:
    """Tell whether the store is finished and whole, whatever has become of its journals."""
    with suppress(StoreError):
        return is_recorded(path, read_manifest(path).contents)
    return False


def _merge_journals(path: Path) -> WriteState:
    """Return the state of a store all of whose shards are in the journals of its parts."""
    journal = read_journal(journal_path(path))
    if journal is None:
        raise StoreError(
            f"nothing of the store {path} has been recorded (it has no sound "
            f"{journal_path(path).name}); record its parts, then merge them"
        )
    header = journal[0]
    description = describe_header(header)
    if not restore_metadata(path, description.contents, description.arrays, header["metadata"]):
        raise StoreError(
            f"metadata files of {path} are missing or changed; record its parts again, then merge "
            "them"
        )
    shards = _collect_shards(path, description, read_entries(path, header))
    sweep(path, description.filled, shards, WHOLE)
    return WriteState(header, description.filled, description.ranges, shards)


def _collect_shards(path: Path, description: StoreDescription, entries: JournalEntries) -> Shards:
    """Return the journal entry of every shard, whose file must be there with the entry's size."""
    shards: Shards = {}
    missing = []
    sizes = file_sizes(path)
    for array in description.filled:
        shards[array.path] = {}
        for shard in range(array.shard_count):
            entry = entries.get((array.path, shard))
            if entry is not None and sizes(array.key(shard)) == entry.size:
                entry = _with_checksums(path, array, description.contents.codec, entry)
            else:
                entry = None
            if entry is None:
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


def _with_checksums(
    path: Path, array: StoredArray, codec: str, entry: CompleteShard
) -> CompleteShard | None:
    """Return an entry that states checksums, None where its shard is not the one it states."""
    if entry.checksums:
        return entry
    with suppress(DamageError):
        return read_entry(path, array, codec, entry)
    return None
