"""Writing a store: whole shards only, resumable after a kill at any moment."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from unitlens.errors import StoreError
from unitlens.store.backend.files import flush_files, remove
from unitlens.store.backend.lease import check_leases
from unitlens.store.format.encoding import GrowingShard
from unitlens.store.format.journal import CompleteShard, Values, open_journal
from unitlens.store.format.layout import (
    DEFAULT_LAYOUT,
    RANGES,
    Layout,
    StoredArray,
    check_layer_names,
    manifest_path,
    plan_arrays,
    plan_ranges,
)
from unitlens.store.format.manifest import (
    Contents,
    Manifest,
    ShardedFile,
    faults,
    metadata_key,
    read_manifest,
    write_manifest,
)
from unitlens.store.format.parts import WHOLE, Part
from unitlens.store.former_stores import adopt_store
from unitlens.store.resume import WriteState, resume_or_start
from unitlens.store.write_queue import Background, Band, BandBuffer

logger = logging.getLogger("unitlens")

REPLACE = "remove it or record to another path, or give overwrite=True"


def is_recorded(path: Path, contents: Contents) -> bool:
    """Tell whether the store at `path` is finished, whole, and holds `contents`.

    A store of unitlens before 0.3 is read, and gets a manifest of now. The caller holds the lock.

    Raises
    ------
    StoreError
        Where the store is finished and holds other contents: a finished store is never overwritten.
    """
    if not manifest_path(path).exists():
        return False
    manifest = read_manifest(path)
    stored = manifest.contents.to_json()
    for name, expected in contents.to_json().items():
        if stored[name] == expected:
            continue
        if not path.exists():
            return False  # the store itself was removed
        raise StoreError(
            f"the store {path} is finished and holds another recording, whose {name} is "
            f"{_short(stored[name])}, not {_short(expected)}; {REPLACE}"
        )
    if next(faults(path, manifest), None) is not None:
        return False
    return manifest.states_checksums or adopt_store(path, manifest)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


class StoreWriter:
    """Fills the store at `path`, and keeps the shards that are complete already.

    An unfinished store is resumed where its contents, conditions and layout are equal to those
    given, so that the result equals that of an undisturbed recording bit for bit. Any other store
    is started over. Threads write the shards while the next samples are computed; the next call
    raises an error of a thread. Memory holds at most one band of each array, and
    :data:`~unitlens.store.write_queue.PENDING_BYTES` of bands that wait. The caller holds the lock
    (:func:`unitlens.store.backend.lock.only_writer`) and has checked that the store is not finished
    (:func:`is_recorded`).

    Parameters
    ----------
    path
        The store.
    contents
        Contents of the store.
    conditions
        Conditions that can change the last bits of a number.
    layout
        Bytes of chunks and shards to aim at.
    part
        Part of the shards that is to be written.
    admit_parts
        Called as soon as writers of other parts may begin.
    state
        State of the store, where it is known already.
    """

    def __init__(
        self,
        path: Path,
        contents: Contents,
        conditions: Mapping[str, Any],
        *,
        layout: Layout = DEFAULT_LAYOUT,
        part: Part = WHOLE,
        admit_parts: Callable[[], None] = lambda: None,
        state: WriteState | None = None,
    ) -> None:
        check_layer_names(contents.layers)
        self.path, self.contents, self.conditions = path, contents, conditions
        if state is None:
            filled = plan_arrays(
                contents.layers,
                contents.samples,
                contents.dtype,
                layout,
                reductions=contents.reductions,
                maps=contents.maps,
                positions=contents.of_positions,
            )
            ranges = plan_ranges(contents.layers, contents.dtype)
            state = resume_or_start(path, contents, conditions, filled, ranges, part, admit_parts)
        self._filled, self._ranges, self._shards = state.filled, state.ranges, state.shards
        self.add_doubts(state.header["conditions"].get("doubts", ()))
        self._metadata, self._expected_hashes = state.header["metadata"], state.expected_hashes
        self._buffers = [
            BandBuffer(a, set(part.shards(a)) - set(self._shards[a.path]), contents.samples_of(a))
            for a in self._filled
        ]
        complete = [shard for shards in self._shards.values() for shard in shards.values()]
        self._journal = open_journal(part.journal(path), state.header, complete)
        self._growing: dict[tuple[str, int], GrowingShard] = {}
        self._background, self._noting = Background(), Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception: type[BaseException] | None, *_: object) -> None:
        """Close the journal. Complete shards stay, and the next writer keeps these shards."""
        try:
            if exception is None:
                self._background.drain()
        finally:
            self._background.close()
            for growing in self._growing.values():
                growing.discard()
            self._journal.close()

    def add_doubts(self, doubts: Iterable[str]) -> None:
        """Note what makes the numbers doubtful, in words, beside what is noted already."""
        if found := [*dict.fromkeys((*self.conditions.get("doubts", ()), *doubts))]:
            self.conditions = {**self.conditions, "doubts": found}

    @property
    def first(self) -> int:
        """The first sample that an array lacks; the number of samples where none is lacking."""
        lacking = (buffer.next for buffer in self._buffers)
        return min((s for s in lacking if s is not None), default=self.contents.samples)

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Of each sample, whether an array lacks the sample."""
        lacking = np.zeros(self.contents.samples, np.bool_)
        for buffer in self._buffers:
            for samples in buffer.missing:
                lacking[samples] = True
        return lacking

    def append(self, first: int, columns: Mapping[str, Values]) -> None:
        """Take the next samples, and have the shards written that these samples complete.

        Parameters
        ----------
        first
            Number of the first of these samples. It may lie before :attr:`first`: rows that an
            array has already are ignored. Samples that no array lacks may be left out.
        columns
            Rows of these samples by the path of the array. An array of some samples only gets the
            rows of those that are among these samples.

        Raises
        ------
        StoreError
            Where this or an earlier shard cannot be written, or samples are left out.
        """
        if first > self.first:
            raise StoreError(
                f"samples {self.first} to {first} of {self.path} are left out; append them in "
                "their order"
            )
        for lane, buffer in enumerate(self._buffers):
            for band in buffer.append(first, columns[buffer.array.path]):
                write = partial(self._write, buffer, band)
                self._background.submit(write, band.values.nbytes, lane)

    def _write(self, buffer: BandBuffer, band: Band) -> None:
        array, key = buffer.array, (buffer.array.path, band.shard)
        if band.number == 0:
            self._growing[key] = GrowingShard(self.path, array, band.shard, self.contents.codec)
        self._growing[key].add(band.number, band.values)
        buffer.release(band)
        if band.is_last:
            check_leases(self.path)
            self._note(array, self._growing.pop(key).finish())

    def _note(self, array: StoredArray, complete: CompleteShard) -> None:
        """Append a complete shard to the journal."""
        shard = complete.shard
        if self._expected_hashes.get((array.path, shard), complete.hash) != complete.hash:
            remove(self.path / array.key(shard))
            raise StoreError(
                f"the shard '{array.key(shard)}' of {self.path}, made again, holds other values "
                f"than it had under {json.dumps(dict(self.conditions))}; repair under these "
                "conditions, or remove the store and record it anew"
            )
        with self._noting:
            self._journal.append(complete)
        self._shards[array.path][shard] = complete

    def complete(self) -> None:
        """Wait until every shard is written, and close the journal.

        Raises
        ------
        StoreError
            Where samples are missing, or a shard cannot be written.
        """
        self._drain()
        self._settle()

    def _drain(self) -> None:
        """Wait until every shard is written.

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

    def _settle(self, ranges: Iterable[StoredArray] = ()) -> None:
        """Wait until the store is on the disk, and close the journal, which vouches for it."""
        keys = [a.key(shard) for a in self._filled for shard in self._shards[a.path]]
        keys += [array.key(0) for array in ranges]
        flush_files(self.path, [*keys, *map(metadata_key, self._metadata)])
        self._journal.close()

    def finish(self) -> Manifest:
        """Write the ranges of units and, as the last file, the manifest of the whole store.

        Raises
        ------
        StoreError
            Where samples are missing.
        """
        self._drain()
        check_leases(self.path)
        files = [self._describe(array, self._shards[array.path]) for array in self._filled]
        files += [self._describe(array, {0: self._write_range(array)}) for array in self._ranges]
        nonfinite = {
            layer.name: sum(s.nonfinite for s in self._shards[f"{layer.name}/activation"].values())
            for layer in self.contents.layers
        }
        self._settle(self._ranges)
        groups = {group: self._metadata[group] for group in ("", *nonfinite)}
        manifest = Manifest(groups, self.contents, self.conditions, nonfinite, tuple(files))
        write_manifest(self.path, manifest)
        return manifest

    def _write_range(self, array: StoredArray) -> CompleteShard:
        layer, name = array.path.rsplit("/", 1)
        parts = [
            np.frombuffer(bytes.fromhex(getattr(shard, name)), array.dtype)
            for shard in self._shards[f"{layer}/activation"].values()
        ]
        values = (np.minimum if name == RANGES[0] else np.maximum).reduce(parts, axis=0)
        growing = GrowingShard(self.path, array, 0, self.contents.codec)
        growing.add(0, values)
        return growing.finish()

    def _describe(self, array: StoredArray, shards: dict[int, CompleteShard]) -> ShardedFile:
        ordered = [shards[shard] for shard in range(array.shard_count)]
        sizes = tuple(shard.size for shard in ordered)
        hashes = tuple(shard.hash for shard in ordered)
        checksums = tuple(shard.checksums for shard in ordered)
        return ShardedFile(array, self._metadata[array.path], sizes, hashes, checksums)
