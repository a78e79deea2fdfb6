"""The description of a store on disk: its contents and arrays, from its manifest or its journal."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unitlens.errors import StoreError
from unitlens.store.format.hierarchy import ROOT
from unitlens.store.format.journal import read_journal
from unitlens.store.format.layout import (
    StoredArray,
    journal_path,
    manifest_path,
    plan_ranges,
)
from unitlens.store.format.manifest import (
    RECORD_AGAIN,
    SCHEMA,
    Contents,
    Manifest,
    parse_array,
    parse_contents,
    read_manifest,
)


@dataclass(frozen=True)
class StoreDescription:
    """The description of a store.

    Attributes
    ----------
    contents
        Contents of the store.
    conditions
        Conditions of its recording.
    filled
        Arrays that are filled shard by shard.
    ranges
        Arrays that are written at the end.
    header
        Header of its journal.
    manifest
        Its manifest; None where the description is from the journal.
    """

    contents: Contents
    conditions: Mapping[str, Any]
    filled: tuple[StoredArray, ...]
    ranges: tuple[StoredArray, ...]
    header: dict[str, Any]
    manifest: Manifest | None

    @property
    def arrays(self) -> tuple[StoredArray, ...]:
        """All arrays."""
        return (*self.filled, *self.ranges)


def make_header(
    contents: Contents, conditions: Mapping[str, Any], filled: Sequence[StoredArray]
) -> dict[str, Any]:
    """Return the header of a recording's journals, without the hashes of metadata files.

    Parameters
    ----------
    contents
        Contents of the store.
    conditions
        Conditions that can change the last bits of a number.
    filled
        Arrays that are filled shard by shard.
    """
    header = {
        "contents": contents.to_json(),
        "conditions": dict(conditions),
        "arrays": [asdict(array) for array in filled],
    }
    values: dict[str, Any] = json.loads(json.dumps(header))
    return values


def describe_header(header: dict[str, Any]) -> StoreDescription:
    """Return the description in the header of a journal."""
    contents = parse_contents(header["contents"])
    filled = tuple(parse_array(values) for values in header["arrays"])
    ranges = plan_ranges(contents.layers, contents.dtype)
    return StoreDescription(contents, header["conditions"], filled, ranges, header, None)


def describe_manifest(manifest: Manifest) -> StoreDescription:
    """Return the description in a manifest."""
    arrays = [file.array for file in manifest.files]
    filled = tuple(array for array in arrays if array.is_filled)
    ranges = tuple(array for array in arrays if not array.is_filled)
    hashes = {file.array.path: file.metadata_hash for file in manifest.files}
    contents, conditions = manifest.contents, manifest.conditions
    header = make_header(contents, conditions, filled)
    header["metadata"] = {**manifest.metadata, **hashes}
    return StoreDescription(contents, conditions, filled, ranges, header, manifest)


def describe_store(path: Path) -> StoreDescription:
    """Return the description of the finished store at `path`.

    Raises
    ------
    StoreError
        Where there is no finished store, its manifest is that of another store, or neither
        manifest nor journal is sound.
    """
    journal = read_journal(journal_path(path))
    header = journal[0] if journal else None
    try:
        manifest = read_manifest(path)
    except StoreError:
        if header is None or not _may_be_manifest(manifest_path(path)):
            raise
        return describe_header(header)
    if _is_foreign(path, header, manifest.contents):
        raise StoreError(
            f"{manifest_path(path)} is the manifest of another store than {path}; put its own "
            f"back, or remove it and {RECORD_AGAIN}"
        )
    return describe_manifest(manifest)


def find_description(path: Path) -> StoreDescription | None:
    """Return the description of the store at `path`, finished or begun, None where unknown."""
    with suppress(StoreError):
        return describe_manifest(read_manifest(path))
    journal = read_journal(journal_path(path))
    with suppress(LookupError, TypeError, AttributeError):  # the header of another version
        return None if journal is None else describe_header(journal[0])
    return None


def _may_be_manifest(place: Path) -> bool:
    """Tell whether a file that is no sound manifest may be a damaged manifest of ours."""
    if not place.is_file():
        return False
    try:
        values = json.loads(place.read_bytes())
    except ValueError:
        return True
    return isinstance(values, dict) and values.get("schema") == SCHEMA


def _is_foreign(path: Path, header: Mapping[str, Any] | None, contents: Contents) -> bool:
    """Tell whether journal or root metadata of a store state other contents than its manifest."""
    if header is not None:
        return bool(header["contents"] != contents.to_json())
    try:
        attributes = json.loads((path / ROOT).read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    values = {name: value for name, value in contents.to_json().items() if name != "layers"}
    return any(attributes.get(name) != value for name, value in values.items())
