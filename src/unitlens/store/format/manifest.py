"""The manifest of a finished store: what it holds, and by what it can be told to be whole."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from unitlens.errors import StoreError
from unitlens.store.backend.files import file_sizes, read_files, write_whole
from unitlens.store.format.encoding import DEFAULT_CODEC
from unitlens.store.format.layout import (
    MAP_SAMPLE,
    FeatureMaps,
    StoredArray,
    manifest_path,
)

SCHEMA = "activations"
SCHEMA_VERSION = 3

RECORD_AGAIN = "record again: it resumes"


@dataclass(frozen=True)
class RecordedLayer:
    """A layer in a store."""

    name: str
    depth: int
    units: int
    positions: int = 1


@dataclass(frozen=True)
class Contents:
    """All that determines what a store holds; two recordings with equal contents are the same.

    `reduce` is the reduction that ``activation`` holds, and `also` are those beside it.
    `provenance` says where the activations come from: at least ``weights_hash`` and
    ``dataset_identity``. `maps` are the feature maps that are kept beside them.
    """

    samples: int
    classes: int
    layers: tuple[RecordedLayer, ...]
    reduce: str
    dtype: str
    provenance: Mapping[str, Any]
    also: tuple[str, ...] = ()
    codec: str = DEFAULT_CODEC
    maps: FeatureMaps | None = None

    @property
    def reductions(self) -> tuple[str, ...]:
        """All reductions, that of ``activation`` first."""
        return (self.reduce, *self.also)

    def samples_of(self, array: StoredArray) -> Sequence[int]:
        """Return the number of the sample that each row of a filled array is of, ascending."""
        if self.maps is not None and array.dims[0] == MAP_SAMPLE:
            return self.maps.samples
        return range(self.samples)

    def to_json(self) -> dict[str, Any]:
        """Return the contents as they stand in JSON."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values


@dataclass(frozen=True)
class ShardedFile:
    """How the files of one array must look: bytes of each shard and hash of its values."""

    array: StoredArray
    metadata_hash: str
    sizes: tuple[int, ...]
    hashes: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """What stands in the manifest.

    `metadata` holds the hash of each group's metadata file, the root's under ""; `nonfinite`
    counts each layer's activations that are not finite; `conditions` holds what can change the
    last bits of a number: batch size, device, threads, versions.
    """

    metadata: Mapping[str, str]
    contents: Contents
    conditions: Mapping[str, Any]
    nonfinite: Mapping[str, int]
    files: tuple[ShardedFile, ...]

    @property
    def content_hash(self) -> str:
        """Hash over the values of all arrays, independent of codecs and of where they come from."""
        digest = hashlib.sha256()
        for file in sorted(self.files, key=lambda file: file.array.path):
            array = file.array
            head = [array.path, array.dtype, list(array.shape), array.shards[0], *file.hashes]
            digest.update(json.dumps(head).encode() + b"\n")
        return digest.hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as it is written, with a hash over all of it."""
        values = {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "content_hash": self.content_hash,
            **self.contents.to_json(),
            "metadata": dict(self.metadata),
            "nonfinite": dict(self.nonfinite),
            "conditions": dict(self.conditions),
            "arrays": [
                {
                    **asdict(file.array),
                    "metadata_hash": file.metadata_hash,
                    "sizes": file.sizes,
                    "hashes": file.hashes,
                }
                for file in self.files
            ],
        }
        return {**values, "manifest_hash": _hash_json(values)}


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest of the store at `path`, whole or not at all."""
    text = json.dumps(manifest.to_json(), indent=1, sort_keys=True) + "\n"
    write_whole(manifest_path(path), text.encode())


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of the store at `path`.

    Raises
    ------
    StoreError
        Where there is none, or it is not one of an activation store, or it has been changed.
    """
    place = manifest_path(path)
    if not place.exists():
        what = "was not recorded to its end" if path.exists() else "does not exist"
        raise StoreError(f"the store {path} {what} (it has no {place.name}); {RECORD_AGAIN}")
    try:
        values = json.loads(place.read_bytes())
        known = (values["schema"], values["schema_version"]) == (SCHEMA, SCHEMA_VERSION)
        stated = values.pop("manifest_hash")
    except (ValueError, KeyError, TypeError, AttributeError):
        known = False
    if not known:
        raise StoreError(
            f"{place} is not the manifest of an activation store of version {SCHEMA_VERSION}, or "
            "is damaged; move it away and record again: it resumes, or record to another path"
        )
    if _hash_json(values) != stated:
        raise StoreError(
            f"{place} has been changed, for its hash is another; remove it and {RECORD_AGAIN}"
        )
    return _parse(values)


def _hash_json(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _parse(values: dict[str, Any]) -> Manifest:
    files = tuple(_parse_file(dict(entry)) for entry in values["arrays"])
    contents, conditions = parse_contents(values), values["conditions"]
    return Manifest(values["metadata"], contents, conditions, values["nonfinite"], files)


def _parse_file(entry: dict[str, Any]) -> ShardedFile:
    sizes, hashes = tuple(entry.pop("sizes")), tuple(entry.pop("hashes"))
    metadata_hash = entry.pop("metadata_hash")
    return ShardedFile(parse_array(entry), metadata_hash, sizes, hashes)


def parse_contents(values: Mapping[str, Any]) -> Contents:
    """Return contents from what :meth:`Contents.to_json` has made of them."""
    layers = tuple(RecordedLayer(**layer) for layer in values["layers"])
    given = {of.name: values[of.name] for of in fields(Contents)}
    maps = _parse_maps(given["maps"])
    return Contents(**{**given, "layers": layers, "also": tuple(given["also"]), "maps": maps})


def _parse_maps(values: Mapping[str, Any] | None) -> FeatureMaps | None:
    if values is None:
        return None
    positions = {layer: tuple(shape) for layer, shape in values["positions"].items()}
    return FeatureMaps(positions, tuple(values["samples"]))


def parse_array(values: Mapping[str, Any]) -> StoredArray:
    """Return an array from its fields as they stand in JSON."""
    lists = ("dims", "shape", "chunks", "shards")
    return StoredArray(**{**values, **{name: tuple(values[name]) for name in lists}})


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file of a store: its place there, and what it is that is wrong."""

    place: str
    what: str
    is_shard: bool = False

    def __str__(self) -> str:
        return f"{'the shard ' if self.is_shard else ''}'{self.place}' {self.what}"


def faults(path: Path, manifest: Manifest) -> Iterator[Fault]:
    """Yield what is missing or of the wrong size in a store, without reading any data."""
    paths = [file.array.path for file in manifest.files]
    hashes, sizes = hash_metadata(path, (*manifest.metadata, *paths)), file_sizes(path)
    for place, known in manifest.metadata.items():
        if hashes[place] != known:
            what = "is missing, changed, or of another recording"
            yield Fault(metadata_key(place), what)
    for file in manifest.files:
        array = file.array
        if hashes[array.path] != file.metadata_hash:
            yield Fault(metadata_key(array.path), "is missing or changed")
        for shard, size in enumerate(file.sizes):
            found = sizes(array.key(shard))
            if found is None:
                yield Fault(array.key(shard), "is missing", is_shard=True)
            elif found != size:
                what = f"has {found} bytes, but {size} were written"
                yield Fault(array.key(shard), what, is_shard=True)


def check_whole(path: Path, manifest: Manifest) -> None:
    """Raise StoreError where a file of the store is missing or of the wrong size."""
    found = list(faults(path, manifest))
    if found:
        more = f", and {len(found) - 1} faults more" if len(found) > 1 else ""
        raise StoreError(f"the store {path} is not whole: {found[0]}{more}; {RECORD_AGAIN}")


def metadata_key(place: str) -> str:
    """Return where the metadata file of a group or an array lies in a store; "" is the root."""
    return f"{place}/zarr.json".lstrip("/")


def hash_metadata(path: Path, places: Sequence[str]) -> dict[str, str | None]:
    """Return the hash of each metadata file by its group or array, "" the root; None if missing."""
    found = read_files(path, [metadata_key(place) for place in places])
    return {
        place: None if content is None else hashlib.sha256(content).hexdigest()
        for place, content in zip(places, found, strict=True)
    }
