"""Reading a store: lazily, and only where no file is missing or damaged."""

import hashlib
import json
import logging
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from unitlens.errors import StoreError, first_line
from unitlens.store.format.decoding import DamageError, Index, ShardFiles
from unitlens.store.format.layout import (
    ACTIVATION,
    MAP,
    MAP_SAMPLE,
    POSITION_ARRAYS,
    RANGES,
    SAMPLE_ARRAYS,
    StoredArray,
)
from unitlens.store.format.manifest import (
    RECORD_AGAIN,
    Manifest,
    RecordedLayer,
    ShardedFile,
    check_whole,
    read_manifest,
)
from unitlens.store.located import locate_store as locate
from unitlens.variables.declarations import VARIABLES

logger = logging.getLogger("unitlens")

_FEWEST_BLOCKS = 4  # of a layer, for as many threads
_BLOCK_BYTES = 2**24  # of the largest block, unless the chunks of a shard's rows are larger

_LOSS = {
    "long_name": "loss",
    "units": "nats",
    "description": "cross-entropy of the sample and its label",
}

_SCORES = ("prediction", "loss")  # sample arrays that are computed from logits


def open_activations(path: str | Path) -> xr.DataTree:
    """Open a store of activations lazily.

    Parameters
    ----------
    path
        The store, as :func:`unitlens.record_activations` has written it: a path, or a URL such as
        ``s3://bucket/acts.zarr``.

    Returns
    -------
    A tree. Its root holds the coordinates of the dimension ``sample``: ``index``, ``label`` (as
    trained on), ``true_label``, ``prediction`` and ``loss`` (nats); with ``positions="samples"``
    also ``item``, the index of the sample's item in the data set, and ``position``, its index in
    the target of the item: of pixels, row after row of the shape that the attribute
    ``position_shape`` gives. Each layer is a child with the
    name of the layer, in the order of the forward pass. A layer holds

    * ``activation`` (sample, unit), a dask array; each of its chunks is one shard of the store, or
      some units of a shard where the layer has few shards;
    * ``activation_max``, ``activation_mean`` or ``activation_active`` (sample, unit), where further
      reductions were recorded;
    * ``minimum`` and ``maximum`` (unit) over all samples, NaN where an activation is NaN;
    * ``map`` (map_sample, unit, y, x), a dask array too, where feature maps were kept. It has as
      many axes of positions as the layer, and the coordinate ``map_sample``, the ``index`` of the
      samples;
    * the coordinate ``channel`` (unit), the coordinates of the samples again, and the attributes
      ``layer`` and ``depth``.

    The attributes of the root describe the recording: ``reduce`` (of ``activation``), ``also``
    (further reductions), ``dtype``, ``codec``, ``classes``, ``content_hash``, and the provenance:
    ``weights_hash``, ``dataset_identity``, ``modules_hash`` of stores recorded from Python, and all
    entries that were given. Where targets were no labels, ``no_classes`` tells why, and all labels
    are 0; where the network put out no logits, ``no_scores`` tells why, and ``prediction`` and
    ``loss`` are not there. ``class_names`` are the names of the classes by label, where the data
    set states them; ``ignore_index`` and ``ignored`` tell of samples that were left out.
    ``doubts`` says in words what makes the numbers doubtful, where something does.

    Raises
    ------
    ArgumentError
        Where `path` is a URL of an unknown scheme, or a library for the scheme is missing.
    StoreError
        Where the store is not finished, or one of its files is missing or of the wrong size; and,
        when data is read, where a shard has gone missing or its checksum is wrong.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import torch, unitlens as ul
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> data = torch.utils.data.TensorDataset(torch.randn(10, 4), torch.arange(10) % 2)
    >>> with TemporaryDirectory() as directory:
    ...     path = ul.record_activations(model, data, f"{directory}/acts.zarr")
    ...     activations = ul.open_activations(path)
    ...     print(list(activations.children), activations["1"].activation.shape)
    ...     print(activations["1"].activation.isel(unit=0).compute().min().item() >= 0)
    ['1'] (10, 3)
    True
    """
    path = locate(path)
    manifest = read_manifest(path)
    check_whole(path, manifest)
    if not manifest.states_checksums:
        logger.warning(
            "%s is of unitlens before 0.3: a shard that was put in the place of another is not "
            "noticed; record again: the store is read once and kept",
            path,
        )
    place = path.absolute()  # dask may read in a process that works in another directory
    codec = manifest.contents.codec
    opened = {file.array.path: _Shards(place, file, codec) for file in manifest.files}
    left_out = _SCORES if "no_scores" in manifest.contents.attributes else ()
    samples = {
        name: ("sample", opened[name][:], _attributes(name))
        for name in (*SAMPLE_ARRAYS, *POSITION_ARRAYS)
        if name in opened and name not in left_out
    }
    tree = {"/": xr.Dataset(coords=samples, attrs=_root_attributes(manifest))}
    token = hashlib.sha256(f"{manifest.content_hash} {path.resolve()}".encode()).hexdigest()[:16]
    for layer in manifest.contents.layers:
        tree[layer.name] = xr.Dataset(
            _layer_variables(opened, layer.name, token, manifest.contents.also),
            coords={**tree["/"].coords, **_layer_coordinates(opened, layer)},
            attrs={"layer": layer.name, "depth": layer.depth},
        )
    return xr.DataTree.from_dict(tree)


def _layer_coordinates(opened: "dict[str, _Shards]", layer: RecordedLayer) -> dict[str, Any]:
    coordinates: dict[str, Any] = {"channel": ("unit", np.arange(layer.units))}
    if f"{layer.name}/{MAP}" in opened:
        samples = opened[MAP_SAMPLE][:]
        coordinates[MAP_SAMPLE] = (MAP_SAMPLE, samples, _attributes(MAP_SAMPLE))
    return coordinates


def _layer_variables(
    opened: "dict[str, _Shards]", layer: str, token: str, also: tuple[str, ...]
) -> dict[str, Any]:
    import dask.array as da

    variables: dict[str, Any] = {
        name: ("unit", opened[f"{layer}/{name}"][:], _attributes(name)) for name in RANGES
    }
    for name in (ACTIVATION, *(f"{ACTIVATION}_{reduction}" for reduction in also), MAP):
        shards = opened.get(f"{layer}/{name}")
        if shards is None:
            continue  # a dense layer's mean is its maximum, and it has no maps
        values = da.from_array(  # type: ignore[no-untyped-call]
            shards,
            chunks=_block(shards.array),
            name=f"{name}-{token}-{layer}",
            meta=np.empty((0,) * shards.ndim, shards.dtype),
            inline_array=True,
        )
        variables[name] = (shards.array.dims, values, _attributes(name))
    return variables


def _block(array: StoredArray) -> tuple[int, ...]:
    """Return the shape of dask's blocks: a shard, or whole chunks of some units of activations."""
    rows = array.shards[0]
    if len(array.shape) > 2:
        return (rows, *array.shape[1:])
    size = rows * array.shape[1] * np.dtype(array.dtype).itemsize
    columns = max(ceil(_FEWEST_BLOCKS / array.shard_count), ceil(size / _BLOCK_BYTES))
    chunks = ceil(array.shape[1] / columns / array.chunks[1])
    return rows, min(int(chunks) * array.chunks[1], array.shape[1])


def _attributes(name: str) -> dict[str, str]:
    if name == "loss":
        return _LOSS
    declared = VARIABLES[name]
    return {
        "long_name": declared.long_name,
        "units": declared.units,
        "description": declared.description,
    }


def _root_attributes(manifest: Manifest) -> dict[str, str | int | float]:
    contents, doubts = manifest.contents, manifest.conditions.get("doubts")
    provenance = {
        name: value if isinstance(value, str | int | float) else json.dumps(value)
        for name, value in {**contents.attributes, **contents.provenance}.items()
    }
    return {
        **provenance,
        "reduce": contents.reduce,
        "also": ", ".join(contents.also),
        "dtype": contents.dtype,
        "codec": contents.codec,
        "classes": contents.classes,
        "content_hash": manifest.content_hash,
        **({"doubts": "; ".join(doubts)} if doubts else {}),
    }


class _Shards:
    """One array of a store, for dask: reading a damaged shard raises an error that names it."""

    def __init__(self, path: Path, file: ShardedFile, codec: str) -> None:
        self.path, self.array = path, file.array
        self.shape, self.ndim = file.array.shape, len(file.array.shape)
        self.dtype = np.dtype(file.array.dtype)
        self._files = ShardFiles(path, file.array, codec, file.stated_checksums)

    def __getitem__(self, selection: Any) -> NDArray[Any]:
        index, dropped = _parse_selection(selection, self.shape)
        try:
            return self._files.read(index).squeeze(dropped)
        except DamageError as error:
            raise StoreError(
                f"the shard '{error.key}' of {self.path} is damaged ({error}); remove this file "
                f"and {RECORD_AGAIN}"
            ) from error
        except FileNotFoundError as error:
            key = self._key(error)
            raise StoreError(
                f"the shard '{key}' of {self.path} is missing; {RECORD_AGAIN}"
            ) from error
        except OSError as error:
            raise StoreError(
                f"the shard '{self._key(error)}' of {self.path} cannot be read "
                f"({first_line(error)}); remove this file and {RECORD_AGAIN}"
            ) from error

    def _key(self, error: OSError) -> str:
        return str(error.filename).removeprefix(f"{self.path}/")


def _parse_selection(
    selection: Any, shape: tuple[int, ...]
) -> tuple[tuple[Index, ...], tuple[int, ...]]:
    """Return the places of a selection on each axis, and the axes that numbers select.

    A selection has a slice, a number or a list for each of the first axes, as dask passes it.
    """
    parts = selection if isinstance(selection, tuple) else (selection,)
    parts = (*parts, *[slice(None)] * (len(shape) - len(parts)))
    places = tuple(_parse_part(part, size) for part, size in zip(parts, shape, strict=True))
    dropped = (at for at, part in enumerate(parts) if isinstance(part, int | np.integer))
    return places, tuple(dropped)


def _parse_part(part: Any, size: int) -> Index:
    if isinstance(part, slice):
        span = range(*part.indices(size))
        return span if span.step == 1 else np.asarray(span, np.int64)
    return np.atleast_1d(np.arange(size)[part])
