"""Stores that lie elsewhere than beside their manifest: the manifest says where.

Where a store lies changes no number: the store must have the very manifest that names its place.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

from unitlens.errors import StoreError
from unitlens.local_files import flush_directory
from unitlens.store.backend.files import names_in
from unitlens.store.backend.places import is_remote, locate, reaching
from unitlens.store.format.journal import remove_journal
from unitlens.store.format.layout import journal_path, manifest_path
from unitlens.store.format.manifest import Manifest, read_manifest, write_manifest

LOCATION = "location"  # the condition of a manifest that says where its store lies
_PLACED: ContextVar[Mapping[Path, Path]] = ContextVar("placed")


def locate_store(path: str | Path) -> Path:
    """Return the place of a store: that of a path or of a URL, or where the manifest there says.

    Parameters
    ----------
    path
        A path or a URL. The store lies elsewhere where :func:`placing_stores` says so, or where
        there is a manifest that :func:`write_location` has written, and no store.

    Raises
    ------
    ArgumentError
        As :func:`unitlens.store.backend.places.locate`.
    StoreError
        As `locate`, and where the store that a manifest names is gone, or has another manifest.

    Examples
    --------
    >>> locate_store("acts.zarr").name
    'acts.zarr'
    """
    place = locate(path)
    placed = None if is_remote(place) else _PLACED.get({}).get(place.absolute())
    if placed is not None:
        return placed
    manifest = _sound_manifest(place)
    location = named_location(manifest) if manifest is not None else None
    if manifest is None or location is None:
        return place
    return _check_same(place, manifest, locate(location))


def reach_location(path: Path) -> None:
    """Raise StoreError where the store of a manifest lies at a place that cannot be reached.

    Parameters
    ----------
    path
        Where the store would lie beside the manifest.
    """
    manifest = _sound_manifest(path)
    location = named_location(manifest) if manifest is not None else None
    if location is not None:
        store = locate(location)
        with reaching(store):
            manifest_path(store).exists()


@contextmanager
def placing_stores(places: Mapping[Path, Path]) -> Iterator[None]:
    """Have stores recorded at other places.

    Parameters
    ----------
    places
        Path of each store to the place where it is recorded.
    """
    token = _PLACED.set({path.absolute(): store for path, store in places.items()})
    try:
        yield
    finally:
        _PLACED.reset(token)


def write_location(path: Path, store: Path) -> None:
    """Write the manifest of a store to another place, from where the store is found.

    Parameters
    ----------
    path
        Where the store would lie beside the manifest. A store there is removed.
    store
        The place of the finished store.

    Raises
    ------
    StoreError
        Where the store is not finished, or the manifest cannot be written.
    """
    manifest = read_manifest(store)
    location = str(store) if is_remote(store) else str(store.absolute())
    conditions = {**manifest.conditions, LOCATION: location}
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest_path(path).unlink(missing_ok=True)  # before its store
    if path.is_dir():
        shutil.rmtree(path)
        flush_directory(path.parent)
    remove_journal(journal_path(path))
    write_manifest(path, replace(manifest, conditions=conditions))


def named_location(manifest: Manifest) -> str | None:
    """Return the place of the store that a manifest names, None where the store lies beside it."""
    location = manifest.conditions.get(LOCATION)
    return None if location is None else str(location)


def _sound_manifest(path: Path) -> Manifest | None:
    """Return the manifest of a store that is not there; None where there is none, or a damaged one.

    Whoever reads the store tells what is missing or damaged.
    """
    if names_in(path):
        return None
    with suppress(StoreError):
        return read_manifest(path)
    return None


def _check_same(path: Path, manifest: Manifest, store: Path) -> Path:
    """Return the place of a store, whose manifest must be the one that names the place."""
    named, remedy = manifest_path(path), _remedy(path)
    with reaching(store):
        is_there = manifest_path(store).exists()
    if not is_there:
        raise StoreError(f"the store {store}, which {named} names, is gone; {remedy}")
    own = {name: of for name, of in manifest.conditions.items() if name != LOCATION}
    if read_manifest(store).to_json() != replace(manifest, conditions=own).to_json():
        raise StoreError(
            f"the store {store} is another one than {named} was written for: it has been recorded "
            f"again since; {remedy}"
        )
    return store


def _remedy(path: Path) -> str:
    manifest = manifest_path(path)
    return (
        f"remove {manifest} and record again; where snakemake recorded the store, name the file: "
        f"snakemake --cores all {manifest}"
    )
