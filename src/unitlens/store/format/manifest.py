"""The manifest of a finished store: its contents, and hashes that reveal damage."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from unitlens.errors import StoreError, first_line
from unitlens.store.backend.files import file_sizes, names_in, read_files, write_whole
from unitlens.store.format.layout import (
    DEFAULT_CODEC,
    MAP_SAMPLE,
    FeatureMaps,
    StoredArray,
    manifest_path,
)

SCHEMA = "activations"
SCHEMA_VERSION = 4
# Manifests of version 3, of unitlens before 0.3, state no checksums of chunks.
_READABLE_VERSIONS = (3, SCHEMA_VERSION)
# No codec makes more of one byte. A file that claims to hold more is not read into memory.
_LARGEST_RATIO = 2**20

RECORD_AGAIN = "record again: it resumes"


@dataclass(frozen=True)
class RecordedLayer:
    """A layer in a store.

    Attributes
    ----------
    name
        Name of the layer.
    depth
        Index of the layer in the forward pass, from 0.
    units
        Number of units.
    positions
        Number of positions of a unit.
    """

    name: str
    depth: int
    units: int
    positions: int = 1


@dataclass(frozen=True)
class Contents:
    """Everything that determines the numbers of a store.

    Two recordings with equal contents under the same conditions hold the same numbers.

    Attributes
    ----------
    samples
        Number of samples.
    classes
        Number of classes.
    layers
        Recorded layers, in the order of the forward pass.
    reduce
        Reduction that ``activation`` holds.
    dtype
        Dtype of the activations.
    provenance
        Origin of the activations: at least ``weights_hash`` and ``dataset_identity``.
    also
        Further reductions.
    codec
        Compression.
    maps
        Feature maps that are kept, if any.
    attributes
        What the store tells of its classes, labels and logits.
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
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reductions(self) -> tuple[str, ...]:
        """All reductions, that of ``activation`` first."""
        return (self.reduce, *self.also)

    @property
    def of_positions(self) -> bool:
        """Whether samples are positions of items, each with its item and its position."""
        return "position_shape" in self.attributes  # not in stores of unitlens 0.4

    def samples_of(self, array: StoredArray) -> Sequence[int]:
        """Return the number of the sample of each row of a filled array, ascending."""
        if self.maps is not None and array.dims[0] == MAP_SAMPLE:
            return self.maps.samples
        return range(self.samples)

    def to_json(self) -> dict[str, Any]:
        """Return the contents as JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        if not self.attributes:  # as in stores of unitlens before 0.4
            del values["attributes"]
        return values


@dataclass(frozen=True)
class ShardedFile:
    """The expected files of one array.

    Attributes
    ----------
    array
        The array.
    metadata_hash
        Hash of its metadata file.
    sizes
        Bytes of each shard's file.
    hashes
        Hash of each shard's values.
    checksums
        Checksums of the chunks of each shard in the order of their places, each as eight
        hexadecimal digits; empty where the manifest is of version 3.
    """

    array: StoredArray
    metadata_hash: str
    sizes: tuple[int, ...]
    hashes: tuple[str, ...]
    checksums: tuple[str, ...]

    @property
    def stated_checksums(self) -> dict[int, str]:
        """The checksums of the chunks of each shard by the number of the shard."""
        return dict(enumerate(self.checksums))


@dataclass(frozen=True)
class Manifest:
    """The manifest of a store.

    Attributes
    ----------
    metadata
        Hash of each group's metadata file, that of the root under the name "".
    contents
        Contents of the store.
    conditions
        Conditions that can change the last bits of a number: batch size, device, threads, versions.
    nonfinite
        Number of each layer's activations that are not finite.
    files
        Expected files of each array.
    """

    metadata: Mapping[str, str]
    contents: Contents
    conditions: Mapping[str, Any]
    nonfinite: Mapping[str, int]
    files: tuple[ShardedFile, ...]

    @property
    def states_checksums(self) -> bool:
        """Whether the checksum of every chunk is stated, as of version 4."""
        return all(file.checksums for file in self.files)

    @property
    def content_hash(self) -> str:
        """Hash of the values of all arrays, independent of codecs and of provenance."""
        digest = hashlib.sha256()
        for file in sorted(self.files, key=lambda file: file.array.path):
            array = file.array
            head = [array.path, array.dtype, list(array.shape), array.shards[0], *file.hashes]
            digest.update(json.dumps(head).encode() + b"\n")
        return digest.hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values, with a hash of all of them."""
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
                    "checksums": file.checksums,
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
        Where there is no manifest, or the file is no manifest of a store or has been changed.
    """
    place = manifest_path(path)
    if not place.exists():
        state = "was not recorded to its end" if path.exists() else "does not exist"
        raise StoreError(f"the store {path} {state} (it has no {place.name}); {RECORD_AGAIN}")
    try:
        values = json.loads(place.read_bytes())
        is_ours = values["schema"] == SCHEMA and values["schema_version"] in _READABLE_VERSIONS
        stated_hash = values.pop("manifest_hash")
        is_sound = is_ours and _hash_json(values) == stated_hash
        manifest = _parse(values) if is_sound else None
    except OSError as error:
        raise StoreError(
            f"{place} cannot be read ({first_line(error)}); move it away and {RECORD_AGAIN}"
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        is_ours, manifest = False, None
    if not is_ours:
        raise StoreError(
            f"{place} is not the manifest of an activation store of version {SCHEMA_VERSION}, or "
            f"is damaged; move it away and {RECORD_AGAIN}, or record to another path"
        )
    if manifest is None:
        raise StoreError(
            f"{place} has been changed, for its hash is another; remove it and {RECORD_AGAIN}"
        )
    return manifest


def _hash_json(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _parse(values: dict[str, Any]) -> Manifest:
    files = tuple(_parse_file(dict(entry)) for entry in values["arrays"])
    contents, conditions = parse_contents(values), values["conditions"]
    return Manifest(values["metadata"], contents, conditions, values["nonfinite"], files)


def _parse_file(entry: dict[str, Any]) -> ShardedFile:
    sizes, hashes = tuple(entry.pop("sizes")), tuple(entry.pop("hashes"))
    checksums = tuple(entry.pop("checksums", ()))
    metadata_hash = entry.pop("metadata_hash")
    file = ShardedFile(parse_array(entry), metadata_hash, sizes, hashes, checksums)
    _check_consistent(file)
    return file


def _check_consistent(file: ShardedFile) -> None:
    """Raise ValueError where the shards are not those of the array, or cannot hold its values."""
    array = file.array
    if not len(file.sizes) == len(file.hashes) == array.shard_count:
        raise ValueError(f"{array.path} has other shards")
    if array.nbytes > _LARGEST_RATIO * sum(file.sizes):
        raise ValueError(f"{array.path} is larger than its files can be")
    if file.checksums:
        expected = [8 * array.chunk_count(shard) for shard in range(array.shard_count)]
        if [len(bytes.fromhex(text)) * 2 for text in file.checksums] != expected:
            raise ValueError(f"{array.path} has other chunks")


def parse_contents(values: Mapping[str, Any]) -> Contents:
    """Return contents from the JSON values of :meth:`Contents.to_json`."""
    layers = tuple(RecordedLayer(**layer) for layer in values["layers"])
    given = {of.name: values[of.name] for of in fields(Contents) if of.name != "attributes"}
    given["attributes"] = values.get("attributes", {})
    maps = _parse_maps(given["maps"])
    return Contents(**{**given, "layers": layers, "also": tuple(given["also"]), "maps": maps})


def _parse_maps(values: Mapping[str, Any] | None) -> FeatureMaps | None:
    if values is None:
        return None
    positions = {layer: tuple(shape) for layer, shape in values["positions"].items()}
    return FeatureMaps(positions, tuple(values["samples"]))


def parse_array(values: Mapping[str, Any]) -> StoredArray:
    """Return an array from the JSON values of its fields."""
    lists = ("dims", "shape", "chunks", "shards")
    return StoredArray(**{**values, **{name: tuple(values[name]) for name in lists}})


@dataclass(frozen=True)
class Fault:
    """A fault of one file of a store.

    Attributes
    ----------
    place
        Path of the file in the store.
    what
        What is wrong with the file.
    is_shard
        Whether the file is a shard.
    """

    place: str
    what: str
    is_shard: bool = False

    def __str__(self) -> str:
        return f"{'the shard ' if self.is_shard else ''}'{self.place}' {self.what}"


def faults(path: Path, manifest: Manifest) -> Iterator[Fault]:
    """Yield the files of a store that are missing or of the wrong size, without reading data."""
    paths = [file.array.path for file in manifest.files]
    hashes, sizes = hash_metadata(path, (*manifest.metadata, *paths)), file_sizes(path)
    for group, expected_hash in manifest.metadata.items():
        if hashes[group] != expected_hash:
            yield Fault(metadata_key(group), "is missing, changed, or of another recording")
    for file in manifest.files:
        array = file.array
        if hashes[array.path] != file.metadata_hash:
            yield Fault(metadata_key(array.path), "is missing or changed")
        for shard, expected_size in enumerate(file.sizes):
            size = sizes(array.key(shard))
            if size is None:
                yield Fault(array.key(shard), "is missing", is_shard=True)
            elif size != expected_size:
                problem = f"has {size} bytes, but {expected_size} were written"
                yield Fault(array.key(shard), problem, is_shard=True)


def check_whole(path: Path, manifest: Manifest) -> None:
    """Raise StoreError where a file of the store is missing or of the wrong size."""
    problems = list(faults(path, manifest))
    if problems and not names_in(path):
        raise StoreError(
            f"the store {path} is gone, though its manifest {manifest_path(path)} is there; remove "
            "the manifest and record again, with snakemake where it recorded the store"
        )
    if problems:
        more = f", and {len(problems) - 1} faults more" if len(problems) > 1 else ""
        raise StoreError(f"the store {path} is not whole: {problems[0]}{more}; {RECORD_AGAIN}")


def metadata_key(node: str) -> str:
    """Return the path of the metadata file of a group or an array in a store; "" is the root."""
    return f"{node}/zarr.json".lstrip("/")


def hash_metadata(path: Path, nodes: Sequence[str]) -> dict[str, str | None]:
    """Return the hash of each metadata file by its group or array, None for a missing file."""
    contents = read_files(path, [metadata_key(node) for node in nodes])
    return {
        node: None if content is None else hashlib.sha256(content).hexdigest()
        for node, content in zip(nodes, contents, strict=True)
    }
