"""Rows of a store, finished or begun, as far as their shards are complete and sound."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unitlens.store.backend.files import file_sizes
from unitlens.store.description import StoreDescription
from unitlens.store.format.decoding import DamageError, ShardFiles
from unitlens.store.format.layout import StoredArray
from unitlens.store.resume import read_entries

Rows = NDArray[np.int64]


class StoredRows:
    """Rows of the arrays of a store.

    Parameters
    ----------
    path
        The store, finished or begun.
    description
        Description of the store.

    Attributes
    ----------
    description
        Description of the store.
    arrays
        Arrays that are filled sample by sample, by their paths.
    """

    def __init__(self, path: Path, description: StoreDescription) -> None:
        self.description = description
        self.arrays = {array.path: array for array in description.filled}
        self._path = path

    def complete_rows(self, name: str) -> NDArray[np.bool_]:
        """Return of each row of an array whether its shard is complete.

        Parameters
        ----------
        name
            Path of the array in the store.
        """
        array = self.arrays[name]
        complete = np.zeros(array.shape[0], np.bool_)
        for shard in self._complete[name]:
            complete[array.rows(shard)] = True
        return complete

    def read(self, name: str, rows: Rows) -> tuple[Rows, NDArray[Any]]:
        """Read some rows of an array.

        Parameters
        ----------
        name
            Path of the array in the store.
        rows
            Numbers of the rows, ascending.

        Returns
        -------
        The positions in `rows` of the rows that could be read, and these rows. Rows of missing and
        of damaged shards are left out: whatever reads the whole store tells about damage.
        """
        array, checksums = self.arrays[name], self._complete[name]
        stated = {shard: text for shard, text in checksums.items() if text}
        # Not through Zarr, which a damaged metadata file could have read other values.
        files = ShardFiles(self._path, array, self.description.contents.codec, stated)
        positions = [np.empty(0, np.int64)]
        values = [np.empty((0, *array.shape[1:]), array.dtype)]
        shards = rows // array.shards[0]
        for shard in np.intersect1d(shards, list(checksums)).tolist():
            at = np.flatnonzero(shards == shard)
            try:
                values.append(files.read([rows[at], *map(range, array.shape[1:])]))
            except (DamageError, OSError):
                continue
            positions.append(at)
        return np.concatenate(positions), np.concatenate(values)

    @cached_property
    def _complete(self) -> dict[str, dict[int, str]]:
        """The checksums of each complete shard, whose file has the size that is stated."""
        sizes = file_sizes(self._path)
        complete: dict[str, dict[int, str]] = {name: {} for name in self.arrays}
        for name, shard, size, checksums in self._stated():
            if name in self.arrays and sizes(self.arrays[name].key(shard)) == size:
                complete[name][shard] = checksums
        return complete

    def _stated(self) -> list[tuple[str, int, int, str]]:
        """Return array, number, size and checksums of each shard that the store states."""
        manifest = self.description.manifest
        if manifest is None:
            entries = read_entries(self._path, self.description.header).values()
            return [(entry.path, entry.shard, entry.size, entry.checksums) for entry in entries]
        return [
            (file.array.path, shard, size, file.stated_checksums.get(shard, ""))
            for file in manifest.files
            for shard, size in enumerate(file.sizes)
        ]


def make_rows(array: StoredArray, samples: Rows, numbers: Any) -> tuple[Rows, Rows]:
    """Return which of some samples an array holds, and the rows of these samples in the array.

    Parameters
    ----------
    array
        The array.
    samples
        Numbers of samples, ascending.
    numbers
        Number of the sample of each row of the array, ascending.

    Returns
    -------
    Positions in `samples`, and rows of the array.
    """
    if array.dims[0] == "sample":
        return np.arange(len(samples)), samples
    held = np.flatnonzero(np.isin(samples, numbers))
    return held, np.searchsorted(np.asarray(numbers), samples[held])
