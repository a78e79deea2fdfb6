"""Writing a store: whole shards only, resumable after a kill at any moment."""

import hashlib
import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from zarr.storage import LocalStore

from unitlens.errors import StoreError
from unitlens.store.background import Background
from unitlens.store.buffers import ShardBuffer, Values
from unitlens.store.hierarchy import open_array
from unitlens.store.journal import CompleteShard, Journal
from unitlens.store.layout import (
    DEFAULT_LAYOUT,
    RANGES,
    Layout,
    StoredArray,
    check_layer_names,
    manifest_path,
    plan_arrays,
    plan_ranges,
)
from unitlens.store.manifest import (
    Contents,
    Manifest,
    ShardedFile,
    faults,
    read_manifest,
    write_manifest,
)
from unitlens.store.resume import resume_or_start

logger = logging.getLogger("unitlens")


def is_recorded(path: Path, contents: Contents) -> bool:
    """Say whether the store at `path` is finished, whole, and holds `contents`.

    Raises
    ------
    StoreError
        Where it is finished and holds something else: a finished store is not written again.
    """
    if not manifest_path(path).exists():
        return False
    manifest = read_manifest(path)
    found = manifest.contents.to_json()
    for name, wanted in contents.to_json().items():
        if found[name] != wanted:
            raise StoreError(
                f"the store {path} is finished and holds another recording, whose {name} is "
                f"{_short(found[name])}, not {_short(wanted)}; remove it or record to another path"
            )
    return next(faults(path, manifest), None) is None


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


class StoreWriter:
    """Fills the store at `path`, going on after the shards that are complete already.

    A store that is not finished goes on where its contents, conditions and layout are the same
    as here, so that the result equals an undisturbed recording's bit for bit; any other one is
    started over. Shards are written by a thread, so that their samples' successors can be
    computed meanwhile: what fails there is raised by the next call. At most one shard of each array
    and what may wait (:data:`~unitlens.store.background.PENDING_BYTES`) are held in memory. The
    caller holds the lock (:func:`unitlens.store.lock.only_writer`) and has made sure that the store
    is not finished (:func:`is_recorded`).

    Parameters
    ----------
    path
        The store.
    contents
        What it will hold.
    conditions
        What else could change the last bits of a number.
    layout
        Sizes to aim at.
    """

    def __init__(
        self,
        path: Path,
        contents: Contents,
        conditions: Mapping[str, Any],
        *,
        layout: Layout = DEFAULT_LAYOUT,
    ) -> None:
        check_layer_names(contents.layers)
        self.path, self.contents, self.conditions = path, contents, conditions
        self._filled = plan_arrays(
            contents.layers,
            contents.samples,
            contents.dtype,
            layout,
            reductions=contents.reductions,
        )
        self._ranges = plan_ranges(contents.layers, contents.dtype)
        header, self._shards = resume_or_start(
            path, contents, conditions, self._filled, self._ranges
        )
        self._metadata = header["metadata"]
        store = LocalStore(path)
        self._open = {a.path: open_array(store, a) for a in (*self._filled, *self._ranges)}
        self._buffers = [ShardBuffer(a, len(self._shards[a.path])) for a in self._filled]
        self._journal = Journal(path, header, [s for of in self._shards.values() for s in of])
        self._background = Background()
        self._describing = ThreadPoolExecutor(1, thread_name_prefix="unitlens-hashes")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception: type[BaseException] | None, *_: object) -> None:
        """Let go of the journal; complete shards stay, and the next writer goes on after them."""
        try:
            if exception is None:
                self._background.drain()
        finally:
            self._background.close()
            self._describing.shutdown()
            self._journal.close()

    @property
    def first(self) -> int:
        """The sample to go on from: all before it are complete in every array."""
        return min(buffer.next for buffer in self._buffers)

    def append(self, first: int, columns: Mapping[str, Values]) -> None:
        """Take the next samples, and have the shards written that they complete.

        Parameters
        ----------
        first
            Index of the first of these samples. It may lie before :attr:`first`: rows that an
            array has already are left out.
        columns
            Path of each array in the store to its rows for these samples.

        Raises
        ------
        StoreError
            Where a shard, perhaps an earlier one, cannot be written, or samples are left out.
        """
        if first > self.first:
            raise StoreError(
                f"samples {self.first} to {first} of {self.path} are left out; append them in "
                "their order"
            )
        for buffer in self._buffers:
            for shard, values in buffer.append(first, columns[buffer.array.path]):
                write = partial(self._write, buffer.array, shard, values)
                self._background.submit(write, values.nbytes)

    def _write(self, array: StoredArray, shard: int, values: Values) -> None:
        # Both take long, and neither needs the other: a processor each.
        description = self._describing.submit(_describe, array, shard, values)
        size = self._store_values(array, shard, values)
        complete = replace(description.result(), size=size)
        self._journal.append(complete)
        self._shards[array.path].append(complete)

    def _store_values(self, array: StoredArray, shard: int, values: Values) -> int:
        key = array.key(shard)
        try:
            self._open[array.path][array.rows(shard)] = values
            return (self.path / key).stat().st_size
        except OSError as error:
            raise StoreError(
                f"the shard '{key}' of {self.path} cannot be written ({error}); mend this and "
                "record again: it resumes"
            ) from error

    def finish(self) -> Manifest:
        """Write the units' ranges and, last of all, the manifest.

        Raises
        ------
        StoreError
            Where samples are missing, or a shard cannot be written.
        """
        if self.first < self.contents.samples:
            raise StoreError(
                f"the store {self.path} has {self.first} of {self.contents.samples} samples; "
                "record again: it resumes"
            )
        self._background.drain()
        files = [self._described(array, self._shards[array.path]) for array in self._filled]
        files += [self._described(array, [self._write_range(array)]) for array in self._ranges]
        nonfinite = {
            layer.name: sum(s.nonfinite for s in self._shards[f"{layer.name}/activation"])
            for layer in self.contents.layers
        }
        self._journal.close()
        manifest = Manifest(
            self._metadata[""], self.contents, self.conditions, nonfinite, tuple(files)
        )
        write_manifest(self.path, manifest)
        return manifest

    def _write_range(self, array: StoredArray) -> CompleteShard:
        layer, name = array.path.rsplit("/", 1)
        parts = [
            np.frombuffer(bytes.fromhex(getattr(shard, name)), array.dtype)
            for shard in self._shards[f"{layer}/activation"]
        ]
        values = (np.minimum if name == RANGES[0] else np.maximum).reduce(parts, axis=0)
        return CompleteShard(array.path, 0, self._store_values(array, 0, values), _hash(values))

    def _described(self, array: StoredArray, shards: list[CompleteShard]) -> ShardedFile:
        sizes = tuple(shard.size for shard in shards)
        hashes = tuple(shard.hash for shard in shards)
        return ShardedFile(array, self._metadata[array.path], sizes, hashes)


def _describe(array: StoredArray, shard: int, values: Values) -> CompleteShard:
    """Return what the journal says of a shard, but for the bytes of its file."""
    if array.dims != ("sample", "unit"):
        return CompleteShard(array.path, shard, 0, _hash(values))
    minimum, maximum = values.min(axis=0), values.max(axis=0)
    nonfinite = 0
    if not (np.isfinite(minimum).all() and np.isfinite(maximum).all()):
        nonfinite = int(np.count_nonzero(~np.isfinite(values)))
    spans = minimum.tobytes().hex(), maximum.tobytes().hex()
    return CompleteShard(array.path, shard, 0, _hash(values), nonfinite, *spans)


def _hash(values: Values) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
