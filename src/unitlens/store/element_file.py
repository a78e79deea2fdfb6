"""The file beside a store that holds the moments of the elements of feature maps, shard by shard.

Beside ``x.zarr`` it is called ``x.elements``, and of a part that was recorded by itself
``x.part-2-of-4.elements``. The moments of a shard are those of its samples. So moments of parts,
and of a recording that went on after a kill, join to the very numbers of a recording in one go.
"""

import io
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from unitlens.errors import StoreError
from unitlens.hashed_files import add_trailer, hash_values, read_hashed
from unitlens.store.backend.files import names_in, remove, write_whole
from unitlens.store.element_moments import ElementMoments, Floats, join_moments, moments_of
from unitlens.store.format.manifest import Contents, Manifest, read_manifest
from unitlens.store.format.parts import WHOLE, Part
from unitlens.store.located import locate_store

logger = logging.getLogger("unitlens")

# Moments of each shard by the name of the layer and the number of the shard.
ShardMoments = Mapping[str, Mapping[int, ElementMoments]]


def element_file(path: Path, part: Part = WHOLE) -> Path:
    """Return the file of the moments of a store, or of a part of it.

    Examples
    --------
    >>> element_file(Path("a.zarr")).name, element_file(Path("a.zarr"), Part(2, 4)).name
    ('a.elements', 'a.part-2-of-4.elements')
    """
    of_part = "" if part == WHOLE else f".part-{part.number}-of-{part.of}"
    return path.with_suffix(f"{of_part}.elements")


def write_elements(place: Path, contents: Contents, moments: ShardMoments) -> None:
    """Write the moments of the shards of a recording, whole or not at all.

    Parameters
    ----------
    place
        The file.
    contents
        Contents of the store.
    moments
        The moments.

    Raises
    ------
    StoreError
        Where the file cannot be written.
    """
    arrays = {"contents": np.array(_identity(contents)), "layers": np.array([*moments], dtype=str)}
    for number, shards in enumerate(moments.values()):
        of = shards.values()
        groups = [[np.full(len(m.mean), m.count), m.mean, m.deviations] for m in of]
        arrays[f"shards{number}"] = np.array([*shards], np.int64)
        arrays[f"moments{number}"] = np.array(groups, np.float64)
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_whole(place, add_trailer(content.getvalue()))


def read_elements(place: Path, contents: Contents) -> dict[str, dict[int, ElementMoments]]:
    """Read the moments of the shards of a recording; none where the file does not hold them.

    Parameters
    ----------
    place
        The file.
    contents
        Contents of the store. A file of other contents holds nothing of this store.
    """
    if not place.exists():
        return {}
    try:
        content = read_hashed(place, error=StoreError, remedy="it is left out of account")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            if str(arrays["contents"]) != _identity(contents):
                return {}
            return {
                name: dict(
                    zip(
                        arrays[f"shards{number}"].tolist(),
                        moments_of(arrays[f"moments{number}"]),
                        strict=True,
                    )
                )
                for number, name in enumerate(arrays["layers"].tolist())
            }
    except (StoreError, ValueError, LookupError, BadZipFile) as error:
        logger.warning("%s", error)
        return {}


def recorded_variances(path: Path, **provenance: str) -> dict[str, Floats]:
    """Return the variance of the elements of each unit, as it was recorded with a store.

    Parameters
    ----------
    path
        The store, which may lie elsewhere.
    **provenance
        Entries that the provenance of the store must have.

    Returns
    -------
    As :func:`element_variances`. Nothing where there is no such store.
    """
    try:
        store = locate_store(path)
        manifest = read_manifest(store)
    except StoreError:
        return {}
    stated = manifest.contents.provenance
    if any(stated.get(name) != value for name, value in provenance.items()):
        return {}
    return element_variances(store, manifest)


def element_variances(path: Path, manifest: Manifest) -> dict[str, Floats]:
    """Return the variance of the elements of each unit, by the name of the layer.

    Parameters
    ----------
    path
        A finished store.
    manifest
        Its manifest.

    Returns
    -------
    The population variances over samples and positions, (units,) each; of those layers of feature
    maps whose every shard has moments.
    """
    found: dict[str, dict[int, ElementMoments]] = {}
    for place in _element_files(path):
        for name, shards in read_elements(place, manifest.contents).items():
            found[name] = found.get(name, {}) | shards
    counts = {file.array.path: file.array.shard_count for file in manifest.files}
    whole = {name: of for name, of in found.items() if len(of) == counts.get(f"{name}/activation")}
    return {
        name: join_moments(shards[shard] for shard in sorted(shards)).variance
        for name, shards in whole.items()
    }


def remove_elements(path: Path) -> None:
    """Remove the files of the moments of a store."""
    for place in _element_files(path):
        remove(place)


def _element_files(path: Path) -> Iterator[Path]:
    pattern = re.compile(rf"{re.escape(path.stem)}(\.part-\d+-of-\d+)?\.elements")
    yield from (path.parent / name for name in names_in(path.parent) if pattern.fullmatch(name))


def _identity(contents: Contents) -> str:
    return hash_values(contents.to_json())
