"""The Zarr hierarchy of a store: created, opened for writing, cleared away."""

import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.array import Array
from zarr.storage import LocalStore

from unitlens.errors import StoreError
from unitlens.store.codecs import compressors
from unitlens.store.layout import SAMPLE_ARRAYS, StoredArray
from unitlens.store.manifest import SCHEMA, SCHEMA_VERSION, Contents, metadata_hash


def create_hierarchy(path: Path, contents: Contents, arrays: Iterable[StoredArray]) -> None:
    """Create the groups and the empty arrays of a store; there must be none yet."""
    store = LocalStore(path)
    about = contents.to_json()
    attributes = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        **{name: value for name, value in about.items() if name != "layers"},
        "coordinates": " ".join(SAMPLE_ARRAYS),  # so that xarray itself takes them as such
    }
    zarr.create_group(store, zarr_format=3, attributes=attributes)
    for layer in about["layers"]:
        attributes = {"layer": layer["name"], "depth": layer["depth"]}
        zarr.create_group(store, path=layer["name"], zarr_format=3, attributes=attributes)
    for array in arrays:
        _create_array(store, array, contents.codec)


def _create_array(store: LocalStore, array: StoredArray, codec: str) -> None:
    dtype = np.dtype(array.dtype)
    zarr.create_array(
        store,
        name=array.path,
        shape=array.shape,
        dtype=array.dtype,
        chunks=array.chunks,
        shards=None if array.shards == array.chunks else array.shards,
        filters=None,
        compressors=compressors(codec, dtype.itemsize),
        fill_value=math.nan if dtype.kind == "f" else -1,
        dimension_names=array.dims,
    )


def open_array(store: LocalStore, array: StoredArray) -> Array[Any]:
    """Open an array of a store so that all that is written to it becomes a file, NaNs as well."""
    opened = zarr.open_array(store, path=array.path, mode="r" if store.read_only else "r+")
    return opened.with_config({"write_empty_chunks": True})


def hash_metadata(path: Path, arrays: Iterable[StoredArray]) -> dict[str, str | None]:
    """Return the hash of each array's metadata file and, under "", the root's; None if missing."""
    places = ["", *(array.path for array in arrays)]
    return {place: metadata_hash(path, place) for place in places}


def clear(path: Path) -> None:
    """Remove the store at `path`, its root last, so that a killed removal can go on.

    Raises
    ------
    StoreError
        Where something else than a store lies there.
    """
    if not path.exists():
        return
    if not _is_store(path):
        raise StoreError(
            f"{path} exists and is no activation store, so it is not overwritten; move it away or "
            "record to another path"
        )
    for entry in path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
    shutil.rmtree(path)


def _is_store(path: Path) -> bool:
    if not path.is_dir():
        return False
    if all(entry.suffix == ".partial" for entry in path.iterdir()):
        return True  # a recording was killed before it had written anything
    try:
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
        return bool(attributes["schema"] == SCHEMA)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def sweep(path: Path, arrays: Iterable[StoredArray], complete: dict[str, int]) -> None:
    """Remove what a killed writer left behind: partial files, and shards not known as complete.

    Parameters
    ----------
    path
        The store.
    arrays
        Its arrays.
    complete
        Of each array, how many of its first shards are complete.
    """
    for partial in path.rglob("*.partial"):
        partial.unlink()
    for array in arrays:
        for shard in range(complete.get(array.path, 0), array.shard_count):
            (path / array.key(shard)).unlink(missing_ok=True)
