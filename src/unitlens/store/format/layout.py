"""The layout of a store: its arrays with their chunks and shards, and the files beside it.

A store is a Zarr v3 group. The sample arrays lie in the root group, on the dimension ``sample``.
Each layer is a sub-group of the layer's name. It holds ``activation`` (sample, unit), an array for
each further reduction (``activation_max``), and the ``minimum`` and ``maximum`` of each unit. Where
feature maps of some samples are kept, layers hold ``map`` (map_sample, unit, y, x) too, and the
root group holds ``map_sample``, the numbers of those samples.

Beside the store ``x.zarr`` lie ``x.json``, the manifest, which is written last; ``x.journal``, the
list of complete shards; and ``x.lock``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import Protocol

import numpy as np

from unitlens.errors import ArgumentError, StoreError

SAMPLE_ARRAYS = {
    "index": "int64",
    "label": "int64",
    "true_label": "int64",
    "prediction": "int64",
    "loss": "float64",
}
POSITION_ARRAYS = {"item": "int64", "position": "int64"}  # where samples are positions of items
ACTIVATION = "activation"
MAP = "map"
MAP_SAMPLE = "map_sample"
RANGES = ("minimum", "maximum")
_EQUAL_AT_ONE_POSITION = {"mean", "max"}
DTYPES = ("float32", "float16")
DEFAULT_CODEC = "lz4"  # of the codecs of encoding.py

# Most units of a chunk, so that one unit's column is a small share of the bytes of a wide layer.
CHUNK_UNITS = 128


@dataclass(frozen=True)
class Layout:
    """Bytes of a chunk and of a shard that a store aims at, before compression."""

    chunk_bytes: int = 2**20
    shard_bytes: int = 2**26


DEFAULT_LAYOUT = Layout()


class LayerLike(Protocol):
    """A layer, as far as the layout of a store depends on the layer."""

    @property
    def name(self) -> str:
        """Name of the layer and of its group."""

    @property
    def depth(self) -> int:
        """Index of the layer in the forward pass, from 0."""

    @property
    def units(self) -> int:
        """Number of units."""

    @property
    def positions(self) -> int:
        """Number of positions of a unit."""


@dataclass(frozen=True)
class FeatureMaps:
    """The feature maps of a store.

    Attributes
    ----------
    positions
        Shape of a map by the name of its layer, (y, x) for instance.
    samples
        Numbers of the samples whose maps are kept, ascending.
    """

    positions: Mapping[str, tuple[int, ...]]
    samples: tuple[int, ...]


@dataclass(frozen=True)
class StoredArray:
    """One array of a store.

    Attributes
    ----------
    path
        Path of the array in the store.
    dims
        Names of its dimensions.
    shape
        Its shape.
    dtype
        Its dtype.
    chunks
        Shape of an inner chunk.
    shards
        Shape of a shard, which is one file and holds whole rows.
    """

    path: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...]

    @property
    def is_filled(self) -> bool:
        """Whether the array is filled while samples run; ranges are written at the end instead."""
        return self.dims[0] in ("sample", MAP_SAMPLE)

    @property
    def nbytes(self) -> int:
        """Bytes before compression."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def band_nbytes(self) -> int:
        """Bytes before compression of a band: the rows of one chunk, over all units."""
        rows = min(self.chunks[0], self.shape[0])
        return rows * prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def shard_count(self) -> int:
        """Number of shards."""
        return ceil(self.shape[0] / self.shards[0])

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks of a shard on each axis."""
        pairs = zip(self.shards, self.chunks, strict=True)
        return tuple(shard // chunk for shard, chunk in pairs)

    def chunk_count(self, shard: int) -> int:
        """Return the number of chunks that the file of a shard holds."""
        rows = self.rows(shard)
        bands = ceil(int(rows.stop - rows.start) / self.chunks[0])
        return bands * prod(self.grid[1:])

    def rows(self, shard: int) -> slice:
        """Return the rows of a shard."""
        first = shard * self.shards[0]
        return slice(first, min(first + self.shards[0], self.shape[0]))

    def key(self, shard: int) -> str:
        """Return the path of a shard's file in the store."""
        return "/".join([self.path, "c", str(shard), *["0"] * (len(self.shape) - 1)])


def plan_arrays(
    layers: Sequence[LayerLike],
    samples: int,
    dtype: str,
    layout: Layout = DEFAULT_LAYOUT,
    *,
    reductions: Sequence[str] = ("mean",),
    maps: FeatureMaps | None = None,
    positions: bool = False,
) -> tuple[StoredArray, ...]:
    """Return the arrays that are filled while samples run.

    Parameters
    ----------
    layers
        Layers, in the order of the forward pass.
    samples
        Number of samples.
    dtype
        Dtype of the activations on disk.
    layout
        Bytes of chunks and shards to aim at.
    reductions
        Reductions of each activation that are kept.
    maps
        Feature maps that are kept.
    positions
        Whether samples are positions of items.

    Returns
    -------
    The arrays of each layer (:func:`layer_arrays`), those of :data:`SAMPLE_ARRAYS`, and of
    :data:`POSITION_ARRAYS` where samples are positions, the maps, and the numbers of the maps'
    samples. The shards of sample arrays are as short as the shortest
    shards of layers, so that sample arrays never delay the point where a recording resumes.

    Raises
    ------
    ArgumentError
        Where `dtype` is not one of :data:`DTYPES`, or there is no layer or no sample.
    """
    check_dtype(dtype)
    if samples < 1 or not layers:
        raise ArgumentError(
            f"{samples} samples of {len(layers)} layers are to be stored, but at least one of "
            "each is needed"
        )
    activations = [
        _plan_activation(f"{layer.name}/{name}", layer.units, samples, dtype, layout)
        for layer in layers
        for name in layer_arrays(layer, reductions)
    ]
    rows = min(array.shards[0] for array in activations)
    columns = [
        StoredArray(name, ("sample",), (samples,), kind, (rows,), (rows,))
        for name, kind in (SAMPLE_ARRAYS | (POSITION_ARRAYS if positions else {})).items()
    ]
    return (*activations, *columns, *_plan_maps(layers, dtype, layout, maps))


def plan_ranges(layers: Iterable[LayerLike], dtype: str) -> tuple[StoredArray, ...]:
    """Return the arrays of the minimum and maximum of each layer's units."""
    return tuple(
        StoredArray(
            f"{layer.name}/{name}",
            ("unit",),
            (layer.units,),
            dtype,
            (layer.units,),
            (layer.units,),
        )
        for layer in layers
        for name in RANGES
    )


def layer_arrays(layer: LayerLike, reductions: Sequence[str]) -> dict[str, str]:
    """Return the reduction of each array of a layer's activations, by the name of the array.

    ``activation`` holds the first of the `reductions`, ``activation_max`` a further maximum. The
    mean and the maximum of a unit with a single position are equal: only the first is stored.
    """
    arrays = {ACTIVATION: reductions[0]}
    for reduction in reductions[1:]:
        redundant = layer.positions == 1 and reduction in _EQUAL_AT_ONE_POSITION
        if not (redundant and _EQUAL_AT_ONE_POSITION & set(arrays.values())):
            arrays[f"{ACTIVATION}_{reduction}"] = reduction
    return arrays


def _plan_activation(
    path: str, units: int, samples: int, dtype: str, layout: Layout
) -> StoredArray:
    item = np.dtype(dtype).itemsize
    row_bytes = units * item
    shards = max(1, samples * row_bytes // layout.shard_bytes)
    shard_rows = ceil(samples / shards)
    narrow = min(units, CHUNK_UNITS)
    chunk_rows = _even(shard_rows, max(1, layout.chunk_bytes // (narrow * item)))
    wide = max(narrow, layout.chunk_bytes // (chunk_rows * item))
    chunk = (chunk_rows, _even(units, wide))
    shard = _whole_chunks((shard_rows, units), chunk)
    return StoredArray(path, ("sample", "unit"), (samples, units), dtype, chunk, shard)


def _plan_maps(
    layers: Sequence[LayerLike], dtype: str, layout: Layout, maps: FeatureMaps | None
) -> list[StoredArray]:
    if maps is None:
        return []
    kept = len(maps.samples)
    arrays = [
        _plan_map(f"{layer.name}/{MAP}", (kept, layer.units, *positions), dtype, layout)
        for layer in layers
        if (positions := maps.positions.get(layer.name))
    ]
    rows = (min(array.shards[0] for array in arrays),)
    return [*arrays, StoredArray(MAP_SAMPLE, (MAP_SAMPLE,), (kept,), "int64", rows, rows)]


def _plan_map(path: str, shape: tuple[int, ...], dtype: str, layout: Layout) -> StoredArray:
    """Plan the maps of a layer: a chunk spans few samples, and as many units of them as fit.

    All maps of one sample can then be read alone, and a band takes little memory.
    """
    samples, units, *positions = shape
    map_bytes = prod(positions) * np.dtype(dtype).itemsize
    shards = max(1, samples * units * map_bytes // layout.shard_bytes)
    shard_rows = ceil(samples / shards)
    chunk_rows = _even(shard_rows, max(1, layout.chunk_bytes // (units * map_bytes)))
    wide = _even(units, max(1, layout.chunk_bytes // (chunk_rows * map_bytes)))
    chunk = (chunk_rows, wide, *positions)
    shard = _whole_chunks((shard_rows, *shape[1:]), chunk)
    return StoredArray(path, (MAP_SAMPLE, "unit", *_axes(positions)), shape, dtype, chunk, shard)


def _axes(positions: Sequence[int]) -> tuple[str, ...]:
    if len(positions) <= len("zyx"):
        return tuple("zyx"[-len(positions) :])
    return tuple(f"position_{axis}" for axis in range(len(positions)))


def _whole_chunks(shape: Sequence[int], chunk: Sequence[int]) -> tuple[int, ...]:
    return tuple(ceil(size / step) * step for size, step in zip(shape, chunk, strict=True))


def _even(size: int, largest: int) -> int:
    """Return the length of the fewest equal pieces of `size` that are at most `largest` long."""
    return ceil(size / ceil(size / largest))


def check_layer_names(layers: Iterable[LayerLike]) -> None:
    """Raise StoreError where the name of a layer cannot be the name of a group in a store."""
    for layer in layers:
        name = layer.name
        if name in SAMPLE_ARRAYS | POSITION_ARRAYS:
            names = ", ".join(SAMPLE_ARRAYS | POSITION_ARRAYS)
            why = f"is also that of a sample array ({names})"
        elif name == MAP_SAMPLE:
            why = "is also the array of the samples whose feature maps a store holds"
        elif not name.strip(".") or "/" in name or name.startswith("__") or name == "zarr.json":
            why = "is no valid name of a Zarr group"
        else:
            continue
        raise StoreError(
            f"layer {name!r} cannot be stored, for its name {why}; rename the module or leave "
            "the layer out"
        )


def check_dtype(dtype: str) -> None:
    """Raise ArgumentError where activations are not stored in `dtype`."""
    if dtype not in DTYPES:
        raise ArgumentError(f"dtype is {dtype!r}, but must be one of {', '.join(DTYPES)}")


def check_path(path: Path) -> None:
    """Raise ArgumentError where the path of a store is also that of a file beside the store."""
    if path in (manifest_path(path), journal_path(path), lock_path(path)):
        raise ArgumentError(
            f"the store's path {path} ends in {path.suffix}, which is the suffix of a file beside "
            "each store; let it end in .zarr"
        )


def manifest_path(path: Path) -> Path:
    """Return the path of a store's manifest."""
    return path.with_suffix(".json")


def journal_path(path: Path) -> Path:
    """Return the path of a store's journal of complete shards."""
    return path.with_suffix(".journal")


def lock_path(path: Path) -> Path:
    """Return the path of a store's lock."""
    return path.with_suffix(".lock")
