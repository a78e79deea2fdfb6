"""The Zarr hierarchy of a store: creating, opening, restoring and clearing it."""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.storage import LocalStore, MemoryStore

from unitlens.errors import StoreError
from unitlens.local_files import PARTIAL_SUFFIX
from unitlens.store.backend import objects
from unitlens.store.backend.files import (
    file_sizes,
    make_directory,
    names_in,
    remove,
    remove_partials,
    remove_tree,
    write_whole,
    writing,
)
from unitlens.store.backend.places import is_remote
from unitlens.store.format.encoding import compressors, fill_value
from unitlens.store.format.layout import (
    POSITION_ARRAYS,
    SAMPLE_ARRAYS,
    StoredArray,
    manifest_path,
)
from unitlens.store.format.manifest import (
    SCHEMA,
    Contents,
    hash_metadata,
    metadata_key,
)
from unitlens.store.format.parts import WHOLE, Part, find_parts

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer

ROOT = "zarr.json"
# Of the groups and arrays alone: the manifests of several versions describe one hierarchy.
_HIERARCHY_VERSION = 3


def create_hierarchy(path: Path, contents: Contents, arrays: Iterable[StoredArray]) -> None:
    """Create the groups and the empty arrays of a store where none exists yet.

    The root is on the disk before any other file: after a power failure within the recording, what
    lies at `path` is still known to be a store.

    Parameters
    ----------
    path
        The store.
    contents
        Its contents.
    arrays
        Its arrays.
    """
    if is_remote(path):
        _upload_hierarchy(path, contents, arrays)
        return
    store = LocalStore(path)
    # Keys are sorted, so that equal contents that were read from a manifest give the same bytes.
    values = json.loads(json.dumps(contents.to_json(), sort_keys=True))
    attributes = {
        "schema": SCHEMA,
        "schema_version": _HIERARCHY_VERSION,
        **{name: value for name, value in values.items() if name != "layers"},
        "coordinates": " ".join(  # so that xarray itself reads them as coordinates
            SAMPLE_ARRAYS | (POSITION_ARRAYS if contents.of_positions else {})
        ),
    }
    make_directory(path)
    write_whole(path / ROOT, _group_metadata(attributes))  # on the disk first: it marks a store
    with writing(path):
        for layer in values["layers"]:
            attributes = {"layer": layer["name"], "depth": layer["depth"]}
            zarr.create_group(store, path=layer["name"], zarr_format=3, attributes=attributes)
        for array in arrays:
            _create_array(store, array, contents.codec)


def _group_metadata(attributes: dict[str, Any]) -> bytes:
    """Return the metadata file of a group as zarr writes it."""
    files: dict[str, Buffer] = {}
    zarr.create_group(MemoryStore(files), zarr_format=3, attributes=attributes)
    return files[ROOT].to_bytes()


def _upload_hierarchy(path: Path, contents: Contents, arrays: Iterable[StoredArray]) -> None:
    """Create a hierarchy locally and send it, the root first: the root marks a store."""
    with TemporaryDirectory() as directory:
        fresh = Path(directory) / path.name
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


def hash_hierarchy(path: Path, arrays: Iterable[StoredArray]) -> dict[str, str | None]:
    """Return the hash of each metadata file of a store's groups and arrays."""
    paths = [array.path for array in arrays]
    groups = {array_path.rpartition("/")[0] for array_path in paths}
    return hash_metadata(path, (*sorted(groups), *paths))


def clear(path: Path) -> None:
    """Remove the store at `path`, its root last, so that a killed removal can be completed.

    Raises
    ------
    StoreError
        Where something other than a store lies at `path`.
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
    if all(name.endswith(PARTIAL_SUFFIX) for name in names_in(path)):
        return True  # a recording was killed before its first file
    try:
        attributes = json.loads((path / ROOT).read_bytes())["attributes"]
        return bool(attributes["schema"] == SCHEMA)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def restore_metadata(
    path: Path,
    contents: Contents,
    arrays: Sequence[StoredArray],
    expected: Mapping[str, str | None],
) -> bool:
    """Write missing and changed metadata files again; return whether all are as expected.

    No file is written where the metadata of `contents` would differ from the expected hashes, or
    where files that do not belong to the store lie at `path`.

    Parameters
    ----------
    path
        The store.
    contents
        Its contents.
    arrays
        Its arrays.
    expected
        Hash of the metadata file of each group and array.
    """
    hashes = hash_hierarchy(path, arrays)
    if hashes == expected:
        return True
    ours = {array.path.partition("/")[0] for array in arrays} | {ROOT}
    if any(name not in ours and not name.endswith(PARTIAL_SUFFIX) for name in names_in(path)):
        return False
    with TemporaryDirectory() as directory:
        fresh = Path(directory) / path.name
        create_hierarchy(fresh, contents, arrays)
        if hash_hierarchy(fresh, arrays) != expected:
            return False
        for node in expected:
            if hashes[node] != expected[node]:
                make_directory(path / node)
                key = metadata_key(node)
                write_whole(path / key, (fresh / key).read_bytes())
    return True


def sweep(
    path: Path, arrays: Iterable[StoredArray], complete: Mapping[str, Container[int]], part: Part
) -> None:
    """Remove the leftovers of a killed writer: partial files and incomplete shards.

    Parameters
    ----------
    path
        The store.
    arrays
        Its arrays.
    complete
        Numbers of each array's complete shards, by the path of the array.
    part
        Part whose shards are swept.
    """
    is_local = not is_remote(path)  # objects appear whole, so a URL has no partial files
    if part == WHOLE and is_local:
        for partial in path.rglob(f"*{PARTIAL_SUFFIX}"):
            remove(partial)
        remove_partials(manifest_path(path))
    if is_local:
        others = find_parts(path, "lock") if part == WHOLE else ()  # none of which is held now
        for one in (part, *others):
            remove_partials(one.journal(path))
    sizes = file_sizes(path)
    for array in arrays:
        for shard in part.shards(array):
            if shard not in complete[array.path]:
                place = path / array.key(shard)
                if sizes(array.key(shard)) is not None:
                    remove(place)
                if is_local:
                    remove_partials(place)
