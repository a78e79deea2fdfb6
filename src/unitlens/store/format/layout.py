"""Where everything of a store lies: its arrays, their chunks and shards, the files beside it.

A store is a Zarr v3 group. The sample arrays lie in its root, on the dimension ``sample``; each
layer is a sub-group with the layer's name that holds ``activation`` (sample, unit), its other
reductions beside it (``activation_max``), and each unit's ``minimum`` and ``maximum``. Where
feature maps of some samples are kept, layers have ``map`` (map_sample, unit, y, x) too, and the
root ``map_sample``, the samples' numbers. Beside the store ``x.zarr`` lie ``x.json``, the manifest
that is written last; ``x.journal``, the record of complete shards; and ``x.lock``.
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
ACTIVATION = "activation"
MAP = "map"
MAP_SAMPLE = "map_sample"
RANGES = ("minimum", "maximum")
_ALIKE = {"mean", "max"}  # where units have a single position
DTYPES = ("float32", "float16")

# A chunk spans only so many units, so that one unit's column is a small share of a wide layer.
CHUNK_UNITS = 128


@dataclass(frozen=True)
class Layout:
    """Sizes that a store aims at, in bytes before compression."""

    chunk_bytes: int = 2**20
    shard_bytes: int = 2**26


DEFAULT_LAYOUT = Layout()


class LayerShape(Protocol):
    """What a store needs to know of a layer."""

    @property
    def name(self) -> str:
        """Name of the layer, and of its group."""

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
    """The feature maps in a store.

    `positions` is the shape of a map by the name of its layer, (y, x) for instance; `samples` are
    the numbers of the samples whose maps are kept, ascending.
    """

    positions: Mapping[str, tuple[int, ...]]
    samples: tuple[int, ...]


@dataclass(frozen=True)
class StoredArray:
    """One array of a store.

    `path` is its place in the store; `chunks` is the shape of an inner chunk, `shards` of a
    shard. A shard holds whole rows: it is one file.
    """

    path: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    shards: tuple[int, ...]

    @property
    def is_filled(self) -> bool:
        """Whether it is filled while samples run, and not made of other arrays at the end."""
        return self.dims[0] in ("sample", MAP_SAMPLE)

    @property
    def nbytes(self) -> int:
        """Bytes before compression."""
        return prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def band_nbytes(self) -> int:
        """Bytes of all units' rows of one chunk before compression."""
        rows = min(self.chunks[0], self.shape[0])
        return rows * prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def shard_count(self) -> int:
        """Number of shards."""
        return ceil(self.shape[0] / self.shards[0])

    def rows(self, shard: int) -> slice:
        """Return the rows that a shard holds."""
        first = shard * self.shards[0]
        return slice(first, min(first + self.shards[0], self.shape[0]))

    def key(self, shard: int) -> str:
        """Return the place of a shard's file in the store."""
        return "/".join([self.path, "c", str(shard), *["0"] * (len(self.shape) - 1)])


def plan_arrays(
    layers: Sequence[LayerShape],
    samples: int,
    dtype: str,
    layout: Layout = DEFAULT_LAYOUT,
    *,
    reductions: Sequence[str] = ("mean",),
    maps: FeatureMaps | None = None,
) -> tuple[StoredArray, ...]:
    """Return the arrays that are filled while samples run: activations, the samples', and maps.

    Parameters
    ----------
    layers
        Layers, in the order of the forward pass.
    samples
        Number of samples.
    dtype
        Of the activations on disk.
    layout
        Sizes to aim at.
    reductions
        What is kept of each layer.
    maps
        Feature maps to keep.

    Returns
    -------
    The arrays of each layer (:func:`layer_arrays`), those of :data:`SAMPLE_ARRAYS`, the maps, and
    the numbers of their samples. The sample arrays' shards are as short as the shortest of the
    layers', so that they never hold a resumed recording back.

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
        _activation(f"{layer.name}/{name}", layer.units, samples, dtype, layout)
        for layer in layers
        for name in layer_arrays(layer, reductions)
    ]
    rows = min(array.shards[0] for array in activations)
    columns = [
        StoredArray(name, ("sample",), (samples,), kind, (rows,), (rows,))
        for name, kind in SAMPLE_ARRAYS.items()
    ]
    return (*activations, *columns, *_plan_maps(layers, dtype, layout, maps))


def plan_ranges(layers: Iterable[LayerShape], dtype: str) -> tuple[StoredArray, ...]:
    """Return the arrays of each layer's unit minima and maxima."""
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


def layer_arrays(layer: LayerShape, reductions: Sequence[str]) -> dict[str, str]:
    """Return which reduction each array of a layer's activations holds, by the array's name.

    ``activation`` holds the first of the `reductions`, and ``activation_max``, say, another one.
    Where units have a single position, mean and maximum are the same: only the first is there.
    """
    arrays = {ACTIVATION: reductions[0]}
    for reduction in reductions[1:]:
        alike = layer.positions == 1 and reduction in _ALIKE
        if not (alike and _ALIKE & set(arrays.values())):
            arrays[f"{ACTIVATION}_{reduction}"] = reduction
    return arrays


def _activation(path: str, units: int, samples: int, dtype: str, layout: Layout) -> StoredArray:
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
    layers: Sequence[LayerShape], dtype: str, layout: Layout, maps: FeatureMaps | None
) -> list[StoredArray]:
    if maps is None:
        return []
    kept = len(maps.samples)
    arrays = [
        _map(f"{layer.name}/{MAP}", (kept, layer.units, *positions), dtype, layout)
        for layer in layers
        if (positions := maps.positions.get(layer.name))
    ]
    rows = (min(array.shards[0] for array in arrays),)
    return [*arrays, StoredArray(MAP_SAMPLE, (MAP_SAMPLE,), (kept,), "int64", rows, rows)]


def _map(path: str, shape: tuple[int, ...], dtype: str, layout: Layout) -> StoredArray:
    """Plan the maps of a layer: a chunk spans few samples, and of them as many units as fit.

    So that all maps of one sample are read alone, and a band takes little memory.
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
    """Return the length of the fewest equal pieces of `size` that are not above `largest`."""
    return ceil(size / ceil(size / largest))


def check_layer_names(layers: Iterable[LayerShape]) -> None:
    """Raise StoreError where a layer's name cannot be that of a group in a store."""
    for layer in layers:
        name = layer.name
        if name in SAMPLE_ARRAYS:
            why = f"is also a sample array of every store ({', '.join(SAMPLE_ARRAYS)})"
        elif name == MAP_SAMPLE:
            why = "is also that of an array which says whose feature maps a store holds"
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
    """Raise ArgumentError where a store's path is also that of a file beside it."""
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
