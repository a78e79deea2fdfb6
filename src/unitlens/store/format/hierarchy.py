"""The Zarr hierarchy of a store: created, opened for writing, cleared away."""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.core.array import Array
from zarr.storage import LocalStore

from unitlens.errors import StoreError
from unitlens.store.backend import objects
from unitlens.store.backend.files import (
    file_sizes,
    make_directory,
    names_in,
    partial_path,
    remove,
    remove_tree,
    write_whole,
    writing,
)
from unitlens.store.backend.places import is_remote
from unitlens.store.format.encoding import compressors, fill_value
from unitlens.store.format.layout import SAMPLE_ARRAYS, StoredArray
from unitlens.store.format.manifest import (
    SCHEMA,
    SCHEMA_VERSION,
    Contents,
    hash_metadata,
    metadata_key,
)
from unitlens.store.format.parts import WHOLE, Part

ROOT = "zarr.json"


def create_hierarchy(path: Path, contents: Contents, arrays: Iterable[StoredArray]) -> None:
    """Create the groups and the empty arrays of a store; there must be none yet."""
    if is_remote(path):
        _upload_hierarchy(path, contents, arrays)
        return
    store = LocalStore(path)
    # In one order, so that the same contents, read from a manifest, make the same file again.
    about = json.loads(json.dumps(contents.to_json(), sort_keys=True))
    attributes = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        **{name: value for name, value in about.items() if name != "layers"},
        "coordinates": " ".join(SAMPLE_ARRAYS),  # so that xarray itself takes them as such
    }
    with writing(path):
        zarr.create_group(store, zarr_format=3, attributes=attributes)
        for layer in about["layers"]:
            attributes = {"layer": layer["name"], "depth": layer["depth"]}
            zarr.create_group(store, path=layer["name"], zarr_format=3, attributes=attributes)
        for array in arrays:
            _create_array(store, array, contents.codec)


def _upload_hierarchy(path: Path, contents: Contents, arrays: Iterable[StoredArray]) -> None:
    """Create a hierarchy here and send it, its root first: it tells that this is a store."""
    with TemporaryDirectory() as room:
        fresh = Path(room) / path.name
        create_hierarchy(fresh, contents, arrays)
        files = {
            file.relative_to(fresh).as_posix(): file.read_bytes()
            for file in fresh.rglob("zarr.json")
        }
    objects.put(path / ROOT, files.pop(ROOT))
    objects.put_all(path, files)


def _create_array(store: LocalStore, array: StoredArray, codec: str) -> None:
    zarr.create_array(
        store,
        name=array.path,
        shape=array.shape,
        dtype=array.dtype,
        chunks=array.chunks,
        shards=None if array.shards == array.chunks else array.shards,
        filters=None,
        compressors=compressors(codec, np.dtype(array.dtype).itemsize),
        fill_value=fill_value(array),
        dimension_names=array.dims,
    )


def open_array(store: Store, array: StoredArray) -> Array[Any]:
    """Open an array of a store for reading."""
    # Without the format, the files of an older one are looked for too.
    return zarr.open_array(store, path=array.path, mode="r", zarr_format=3)


def hash_hierarchy(path: Path, arrays: Iterable[StoredArray]) -> dict[str, str | None]:
    """Return the hash of each metadata file of a store's groups and arrays."""
    paths = [array.path for array in arrays]
    groups = {place.rpartition("/")[0] for place in paths}
    return hash_metadata(path, (*sorted(groups), *paths))


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
    remove_tree(path, ROOT)


def _is_store(path: Path) -> bool:
    if not path.is_dir():
        return False
    if all(name.endswith(".partial") for name in names_in(path)):
        return True  # a recording was killed before it had written anything
    try:
        attributes = json.loads((path / ROOT).read_bytes())["attributes"]
        return bool(attributes["schema"] == SCHEMA)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def restore_metadata(
    path: Path, contents: Contents, arrays: Sequence[StoredArray], known: Mapping[str, str | None]
) -> bool:
    """Make metadata files again that are missing or changed, and say whether all are as known.

    They are left as they are where those of `contents` would be others, or where files lie at
    `path` that are not the store's.
    """
    found = hash_hierarchy(path, arrays)
    if found == known:
        return True
    ours = {array.path.partition("/")[0] for array in arrays} | {ROOT}
    if any(name not in ours and not name.endswith(".partial") for name in names_in(path)):
        return False
    with TemporaryDirectory() as room:
        fresh = Path(room) / path.name
        create_hierarchy(fresh, contents, arrays)
        if hash_hierarchy(fresh, arrays) != known:
            return False
        for place in known:
            if found[place] != known[place]:
                make_directory(path / place)
                key = metadata_key(place)
                write_whole(path / key, (fresh / key).read_bytes())
    return True


def sweep(
    path: Path, arrays: Iterable[StoredArray], complete: Mapping[str, Container[int]], part: Part
) -> None:
    """Remove what a killed writer left behind: partial files, and shards not known as complete.

    Parameters
    ----------
    path
        The store.
    arrays
        Its arrays.
    complete
        Numbers of each array's complete shards.
    part
        Only the shards of this part are looked at.
    """
    partials = not is_remote(path)
    if part == WHOLE and partials:
        for partial in path.rglob("*.partial"):
            partial.unlink()
    sizes = file_sizes(path)
    for array in arrays:
        for shard in part.shards(array):
            if shard not in complete[array.path]:
                place = path / array.key(shard)
                if sizes(array.key(shard)) is not None:
                    remove(place)
                if partials:
                    partial_path(place).unlink(missing_ok=True)
