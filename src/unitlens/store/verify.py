"""Verifying a store: every file is read, and each bad file is named."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unitlens.errors import StoreError
from unitlens.progress import track
from unitlens.store.format.decoding import DamageError, ShardFiles
from unitlens.store.format.journal import CompleteShard, Values, describe_shard
from unitlens.store.format.layout import (
    MAP_SAMPLE,
    POSITION_ARRAYS,
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
from unitlens.store.located import locate_store as locate

CLASSED = ("label", "true_label", "prediction")


@dataclass(frozen=True)
class StoreReport:
    """The result of verifying a store.

    Attributes
    ----------
    path
        The store.
    shards
        Number of sound shards.
    bytes
        Bytes of the files of the sound shards.
    faults
        Each bad file (``place``, its path in the store) and its fault (``what``).
    """

    path: Path
    shards: int
    bytes: int
    faults: tuple[Fault, ...]

    @property
    def whole(self) -> bool:
        """Whether there is no fault."""
        return not self.faults

    def __str__(self) -> str:
        read = f"{self.shards:,} shards of {self.bytes:,} bytes"
        if self.whole:
            return f"{self.path} is whole: read {read}"
        return "\n".join(f"{self.path}: {fault}" for fault in self.faults)


def verify_activations(path: str | Path) -> StoreReport:
    """Read a finished store completely and name its bad files.

    The checks are: the hash of the manifest and of each metadata file; that each shard is there and
    has its size; the checksums of chunks and of indices of shards; that each chunk is the one that
    was recorded in its place; the hash of each shard's values; the number of activations that are
    not finite; the minimum and maximum of each unit; that samples are numbered in their order; and
    that labels, true labels and predictions are classes. One shard at a time is in memory.

    Parameters
    ----------
    path
        The store, as :func:`unitlens.record_activations` has written it: a path, or a URL such as
        ``s3://bucket/acts.zarr``.

    Returns
    -------
    A report. Its `whole` is true and its `faults` are empty where every file is sound; `shards` and
    `bytes` count what is sound. The text of the report has one line for each fault.

    Raises
    ------
    ArgumentError
        Where `path` is a URL of an unknown scheme, or a library for the scheme is missing.
    StoreError
        Where there is no store, or the store was not recorded to its end.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import torch, unitlens as ul
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> data = torch.utils.data.TensorDataset(torch.randn(10, 4), torch.arange(10) % 2)
    >>> with TemporaryDirectory() as directory:
    ...     path = ul.record_activations(model, data, f"{directory}/acts.zarr")
    ...     print(ul.verify_activations(path).whole)
    ...     (path / "1/activation/c/0/0").unlink()
    ...     print(ul.verify_activations(path).faults[0])
    True
    the shard '1/activation/c/0/0' is missing
    """
    path = locate(path)
    place = manifest_path(path)
    try:
        manifest = read_manifest(path)
    except StoreError as error:
        if not place.exists():
            raise
        problem = str(error).removeprefix(f"{place} ")
        return StoreReport(path, 0, 0, (Fault(place.name, problem),))
    reading = StoreReading(path, manifest)
    reading.run()
    return StoreReport(path, reading.shards, reading.bytes, tuple(reading.faults))


def verify_store(path: str | Path) -> StoreReport:
    """Call :func:`verify_activations` by its former name, which goes in the next version."""
    warnings.warn(
        "verify_store is called verify_activations now and goes in the next version of unitlens; "
        "call unitlens.verify_activations",
        FutureWarning,
        stacklevel=2,
    )
    return verify_activations(path)


class StoreReading:
    """One reading of a finished store, shard by shard.

    Parameters
    ----------
    path
        The store.
    manifest
        Its manifest.
    keep
        Whether the sound shards of filled arrays are kept in `sound`.

    Attributes
    ----------
    faults
        Faults of the store so far.
    shards
        Number of sound shards.
    bytes
        Bytes of the files of the sound shards.
    sound
        Sound shards by the path of the array and the number of the shard.
    checksums
        Checksums of the chunks of each sound shard, by the path of the array and the number of the
        shard.
    """

    def __init__(self, path: Path, manifest: Manifest, *, keep: bool = False) -> None:
        self.path, self.manifest, self.keep = path, manifest, keep
        self.faults = list(faults(path, manifest))
        self.shards = self.bytes = 0
        self.sound: dict[str, dict[int, CompleteShard]] = {}
        self.checksums: dict[tuple[str, int], str] = {}
        self._bad_files = {fault.place for fault in self.faults}

    def run(self) -> None:
        """Read all arrays."""
        files = {file.array.path: file for file in self.manifest.files}
        layers = self.manifest.contents.layers
        for layer in layers:
            self._read_layer(layer.name, files)
        columns = SAMPLE_ARRAYS | (POSITION_ARRAYS if self.manifest.contents.of_positions else {})
        for name in columns:
            for complete, values in self._sound_shards(files[name]):
                self._check_samples(files[name].array, complete.shard, values)
        checked = {f"{layer.name}/{name}" for layer in layers for name in ("activation", *RANGES)}
        for path in sorted(files.keys() - checked - columns.keys()):
            # Of further reductions and of maps only the hashes of values can be checked.
            for complete, values in self._sound_shards(files[path]):
                if path == MAP_SAMPLE:
                    self._check_map_samples(files[path].array, complete.shard, values)

    def _read_layer(self, name: str, files: Mapping[str, ShardedFile]) -> None:
        file = files[f"{name}/activation"]
        nonfinite = sound_count = 0
        ranges: dict[str, Values] = {}
        for complete, values in self._sound_shards(file):
            sound_count += 1
            nonfinite += complete.nonfinite
            for kind, reduce in zip(RANGES, (np.minimum, np.maximum), strict=True):
                ranges[kind] = reduce(ranges.get(kind, values[0]), reduce.reduce(values, axis=0))
        is_complete = sound_count == file.array.shard_count
        for kind in RANGES:
            for _, values in self._sound_shards(files[f"{name}/{kind}"]):
                if is_complete and not np.array_equal(values, ranges[kind], equal_nan=True):
                    problem = f"is not the {kind} of each unit's activations"
                    self._add_fault(files[f"{name}/{kind}"].array, 0, problem)
        stated = self.manifest.nonfinite[name]
        if is_complete and nonfinite != stated:
            problem = (
                f"counts {stated} activations of '{name}' that are not finite, but there are "
                f"{nonfinite}"
            )
            self.faults.append(Fault(manifest_path(self.path).name, problem))

    def _sound_shards(self, file: ShardedFile) -> Iterator[tuple[CompleteShard, Values]]:
        """Read the shards of an array, and yield those that hold the recorded values."""
        array = file.array
        if f"{array.path}/zarr.json" in self._bad_files:
            return  # the shards cannot be decoded
        shards = ShardFiles(self.path, array, self.manifest.contents.codec, file.stated_checksums)
        for shard in track(range(array.shard_count), f"verifying {array.path}"):
            if array.key(shard) in self._bad_files:
                continue
            try:
                values, checksums = shards.read_shard(shard)
            except DamageError as error:
                self._add_fault(array, shard, f"is damaged ({error})")
                continue
            complete = describe_shard(array, shard, values, file.sizes[shard], checksums)
            if complete.hash != file.hashes[shard]:
                self._add_fault(array, shard, "holds other values than were recorded")
                continue
            self._count(array, complete)
            yield complete, values

    def _count(self, array: StoredArray, complete: CompleteShard) -> None:
        self.shards += 1
        self.bytes += complete.size
        self.checksums[array.path, complete.shard] = complete.checksums
        if self.keep and array.is_filled:
            self.sound.setdefault(array.path, {})[complete.shard] = complete

    def _check_samples(self, array: StoredArray, shard: int, values: Values) -> None:
        rows = array.rows(shard)
        if array.path == "index" and not np.array_equal(values, np.arange(rows.start, rows.stop)):
            self._add_fault(array, shard, "does not number the samples in their order")
        classes = self.manifest.contents.classes
        wrong = np.flatnonzero((values < 0) | (values >= classes))
        if array.path in CLASSED and len(wrong):
            problem = (
                f"says {values[wrong[0]]} of sample {rows.start + wrong[0]}, but classes are "
                f"0..{classes - 1}"
            )
            self._add_fault(array, shard, problem)

    def _check_map_samples(self, array: StoredArray, shard: int, values: Values) -> None:
        samples = self.manifest.contents.samples_of(array)
        if not np.array_equal(values, samples[array.rows(shard)]):
            self._add_fault(array, shard, "does not name the samples whose maps the manifest says")

    def _add_fault(self, array: StoredArray, shard: int, problem: str) -> None:
        self.faults.append(Fault(array.key(shard), problem, is_shard=True))
