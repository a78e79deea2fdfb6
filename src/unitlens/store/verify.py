"""Verifying a store: everything of it is read, and each file that is bad is named."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unitlens.errors import StoreError
from unitlens.progress import track
from unitlens.store.backend.places import locate, zarr_store
from unitlens.store.format.decoding import DamageError, read_shard
from unitlens.store.format.hierarchy import open_array
from unitlens.store.format.journal import CompleteShard
from unitlens.store.format.layout import (
    MAP_SAMPLE,
    RANGES,
    SAMPLE_ARRAYS,
    StoredArray,
    manifest_path,
)
from unitlens.store.format.manifest import (
    Fault,
    Manifest,
    ShardedFile,
    faults,
    read_manifest,
)
from unitlens.store.format.shard_records import Values, describe_shard

CLASSED = ("label", "true_label", "prediction")


@dataclass(frozen=True)
class StoreReport:
    """What verifying a store has found.

    `shards` is the number of shards that were read and are sound, `bytes` those of their files,
    and `faults` names each bad file with what is wrong.
    """

    path: Path
    shards: int
    bytes: int
    faults: tuple[Fault, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def __str__(self) -> str:
        read = f"{self.shards:,} shards of {self.bytes:,} bytes"
        if self.whole:
            return f"{self.path} is whole: read {read}"
        return "\n".join(f"{self.path}: {fault}" for fault in self.faults)


def verify_store(path: str | Path) -> StoreReport:
    """Read everything of a finished store and name what is wrong with it.

    Checked are the manifest's own hash; each metadata file's; that no shard is missing or of
    another size; the checksums of chunks and of shards' indices; the hash of each shard's values;
    the number of activations that are not finite; each unit's minimum and maximum; that samples
    are numbered in their order, and that labels, true labels and predictions are classes. One
    shard at a time is held in memory.

    Parameters
    ----------
    path
        The store, as :func:`unitlens.record_activations` has written it: a path or a URL.

    Returns
    -------
    A report: its `faults` are empty where all is well.

    Raises
    ------
    StoreError
        Where there is no store, or it was not recorded to its end.
    """
    path = locate(path)
    place = manifest_path(path)
    try:
        manifest = read_manifest(path)
    except StoreError as error:
        if not place.exists():
            raise
        return StoreReport(path, 0, 0, (Fault(place.name, _unsound(error, place)),))
    reading = StoreReading(path, manifest)
    reading.run()
    return StoreReport(path, reading.shards, reading.bytes, tuple(reading.faults))


def _unsound(error: StoreError, place: Path) -> str:
    return str(error).removeprefix(f"{place} ")


class StoreReading:
    """One reading of a finished store, shard by shard.

    Parameters
    ----------
    path, manifest
        The store and what it should be.
    keep
        Whether the sound shards of what is filled sample by sample are kept in `sound`.

    Attributes
    ----------
    faults
        What is wrong.
    shards, bytes
        Number of sound shards, and the bytes of their files.
    sound
        Path of each array to its sound shards by number.
    """

    def __init__(self, path: Path, manifest: Manifest, *, keep: bool = False) -> None:
        self.path, self.manifest, self.keep = path, manifest, keep
        self.faults = list(faults(path, manifest))
        self.shards = self.bytes = 0
        self.sound: dict[str, dict[int, CompleteShard]] = {}
        self._bad = {fault.place for fault in self.faults}
        self._store = zarr_store(path)

    def run(self) -> None:
        """Read all of it."""
        files = {file.array.path: file for file in self.manifest.files}
        layers = self.manifest.contents.layers
        for layer in layers:
            self._read_layer(layer.name, files)
        for name in SAMPLE_ARRAYS:
            for complete, values in self._sound_shards(files[name]):
                self._check_samples(files[name].array, complete.shard, values)
        judged = {f"{layer.name}/{name}" for layer in layers for name in ("activation", *RANGES)}
        for path in sorted(files.keys() - judged - SAMPLE_ARRAYS.keys()):
            # Of other arrays only the hashes of their values are known.
            for complete, values in self._sound_shards(files[path]):
                if path == MAP_SAMPLE:
                    self._check_map_samples(files[path].array, complete.shard, values)

    def _read_layer(self, name: str, files: Mapping[str, ShardedFile]) -> None:
        file = files[f"{name}/activation"]
        nonfinite = found = 0
        spans: dict[str, Values] = {}
        for complete, values in self._sound_shards(file):
            found += 1
            nonfinite += complete.nonfinite
            for kind, reduce in zip(RANGES, (np.minimum, np.maximum), strict=True):
                spans[kind] = reduce(spans.get(kind, values[0]), reduce.reduce(values, axis=0))
        complete_layer = found == file.array.shard_count
        for kind in RANGES:
            for _, values in self._sound_shards(files[f"{name}/{kind}"]):
                if complete_layer and not np.array_equal(values, spans[kind], equal_nan=True):
                    what = f"is not the {kind} of each unit's activations"
                    self._blame(files[f"{name}/{kind}"].array, 0, what)
        counted = self.manifest.nonfinite[name]
        if complete_layer and nonfinite != counted:
            what = (
                f"counts {counted} activations of '{name}' that are not finite, but there are "
                f"{nonfinite}"
            )
            self.faults.append(Fault(manifest_path(self.path).name, what))

    def _sound_shards(self, file: ShardedFile) -> Iterator[tuple[CompleteShard, Values]]:
        """Read an array's shards, and yield those that hold what was recorded."""
        array = file.array
        if f"{array.path}/zarr.json" in self._bad:
            return  # how to decode them is not known
        opened = open_array(self._store, array)
        for shard in track(range(array.shard_count), f"verifying {array.path}"):
            if array.key(shard) in self._bad:
                continue
            try:
                values = read_shard(opened, array, shard)
            except DamageError as error:
                self._blame(array, shard, f"is damaged ({error})")
                continue
            complete = describe_shard(array, shard, values, file.sizes[shard])
            if complete.hash != file.hashes[shard]:
                self._blame(array, shard, "holds other values than were recorded")
                continue
            self._count(array, complete)
            yield complete, values

    def _count(self, array: StoredArray, complete: CompleteShard) -> None:
        self.shards += 1
        self.bytes += complete.size
        if self.keep and array.is_filled:
            self.sound.setdefault(array.path, {})[complete.shard] = complete

    def _check_samples(self, array: StoredArray, shard: int, values: Values) -> None:
        rows = array.rows(shard)
        if array.path == "index" and not np.array_equal(values, np.arange(rows.start, rows.stop)):
            self._blame(array, shard, "does not number the samples in their order")
        classes = self.manifest.contents.classes
        wrong = np.flatnonzero((values < 0) | (values >= classes))
        if array.path in CLASSED and len(wrong):
            what = (
                f"says {values[wrong[0]]} of sample {rows.start + wrong[0]}, but classes are "
                f"0..{classes - 1}"
            )
            self._blame(array, shard, what)

    def _check_map_samples(self, array: StoredArray, shard: int, values: Values) -> None:
        chosen = self.manifest.contents.samples_of(array)
        if not np.array_equal(values, chosen[array.rows(shard)]):
            self._blame(array, shard, "does not name the samples whose maps the manifest says")

    def _blame(self, array: StoredArray, shard: int, what: str) -> None:
        self.faults.append(Fault(array.key(shard), what, is_shard=True))
