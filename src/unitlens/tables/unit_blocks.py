"""The table of all units, written block by block: a block holds the units of some networks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from unitlens.extras import require
from unitlens.tables.storage import tidy_frame
from unitlens.tables.unit_table import PARTS, fill_value
from unitlens.variables.checks import annotate
from unitlens.variables.schemas import SCHEMAS

_NAMES = ("layer", "depth", "channel")  # coordinates of a unit beside the network's

Dims = tuple[str, ...]


@dataclass(frozen=True)
class UnitBlock:
    """A file with the joined units of some networks.

    Attributes
    ----------
    path
        The file.
    units, classes
        Number of units and of classes.
    variables
        Each variable to its dimensions and its dtype.
    """

    path: Path
    units: int
    classes: int
    variables: Mapping[str, tuple[Dims, "np.dtype[Any]"]]


def write_block(rows: xr.Dataset, path: Path) -> UnitBlock:
    """Write the joined units of some networks.

    Parameters
    ----------
    rows
        What :func:`unitlens.tables.unit_table.unit_rows` returns.
    path
        The file to write.
    """
    variables = {
        str(name): (tuple(map(str, array.dims)), array.dtype)
        for name, array in rows.data_vars.items()
    }
    arrays = {
        str(name): array.values.astype(str) if array.dtype.kind == "O" else array.values
        for name, array in rows.variables.items()
    }
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return UnitBlock(path, rows.sizes["unit"], rows.sizes.get("class", 0), variables)


class UnitBlocks:
    """The units of all networks as blocks that follow one another.

    Parameters
    ----------
    blocks
        The blocks, each with the position of its first network in `identity`; at least one.
    identity
        Coordinates ``run`` and ``epoch`` of all networks on the dimension ``run``.
    attributes
        Attributes of the table.
    """

    def __init__(
        self,
        blocks: Sequence[tuple[int, UnitBlock]],
        identity: xr.Dataset,
        attributes: Mapping[str, object],
    ) -> None:
        self._blocks, self._identity, self._attributes = blocks, identity, attributes
        self._units = sum(block.units for _, block in blocks)
        self._classes = max(block.classes for _, block in blocks)

    @cached_property
    def _variables(self) -> dict[str, tuple[Dims, "np.dtype[Any]", object]]:
        """Dimensions, dtype and filling value of each variable that any block has."""
        found = {}
        for name in dict.fromkeys(name for part in PARTS for name in SCHEMAS[part].names):
            having = [block.variables[name] for _, block in self._blocks if name in block.variables]
            if having:
                dims, first = having[0]
                dtype = np.result_type(*(dtype for _, dtype in having))
                found[name] = (dims, dtype, fill_value(name, first))
        return found

    @cached_property
    def _numbers(self) -> list[str]:
        return [name for name, (_, dtype, _) in self._variables.items() if dtype.kind != "O"]

    def write_zarr(self, path: Path) -> xr.Dataset:
        """Write the table as Zarr, and return it: its numbers are read whenever they are used.

        Parameters
        ----------
        path
            The folder to write.
        """
        import zarr

        table = self._empty_table()
        encoding = {name: {"chunks": _chunks(table[name])} for name in self._numbers}
        table.to_zarr(
            path,
            mode="w",
            zarr_format=3,
            consolidated=False,
            compute=False,
            encoding=encoding,
            safe_chunks=False,  # whole arrays of dask stand for what is written below
        )
        group, start = zarr.open_group(path, mode="r+"), 0
        for block in self._padded():
            stop = start + block.sizes["unit"]
            for name in self._numbers:
                group[name][start:stop] = block[name].values  # type: ignore[index]
            start = stop
        written = xr.open_dataset(
            path, engine="zarr", chunks=None, cache=False, backend_kwargs={"consolidated": False}
        )
        return table.assign({name: written[name].variable for name in self._numbers})

    def write_parquet(self, path: Path) -> None:
        """Write the tidy table as Parquet, a group of rows for each block.

        Parameters
        ----------
        path
            The file to write.
        """
        require("pyarrow")
        import pyarrow as pa
        import pyarrow.parquet as pq

        with ExitStack() as opened:
            writer: pq.ParquetWriter | None = None
            for block in self._padded():
                frame = tidy_frame(block, "units")
                schema = writer.schema if writer else None
                rows = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
                writer = writer or opened.enter_context(pq.ParquetWriter(path, rows.schema))
                writer.write_table(rows)

    def _padded(self) -> Iterator[xr.Dataset]:
        """Yield each block as a table of the schema ``units`` with all variables and classes."""
        for first, block in self._blocks:
            with np.load(block.path, allow_pickle=False) as file:
                arrays = {name: _plain(file[name]) for name in file.files}
            size = {"unit": block.units, "class": self._classes}
            variables = {}
            for name, (dims, dtype, fill) in self._variables.items():
                values = arrays.get(name)
                shape = tuple(size[dim] for dim in dims)
                if values is None or values.shape != shape or values.dtype != dtype:
                    padded = np.full(shape, fill, dtype)
                    if values is not None:
                        padded[tuple(map(slice, values.shape))] = values
                    values = padded
                variables[name] = (dims, values)
            yield self._assemble(variables, arrays, first)

    def _empty_table(self) -> xr.Dataset:
        """Return the table over all blocks, with text and coordinates, but zeros for numbers."""
        import dask.array as da

        text = [name for name in self._variables if name not in self._numbers]
        columns: dict[str, list[np.ndarray]] = {name: [] for name in ("network", *_NAMES, *text)}
        for first, block in self._blocks:
            with np.load(block.path, allow_pickle=False) as file:
                for name, parts in columns.items():
                    fill = self._variables[name][2] if name in text else None
                    missing = np.full(block.units, fill, object)
                    parts.append(_plain(file[name]) if name in file.files else missing)
                columns["network"][-1] += first
        arrays = {name: np.concatenate(columns.pop(name)) for name in list(columns)}
        size = {"unit": self._units, "class": self._classes}
        variables: dict[str, tuple[Dims, Any]] = {}
        for name, (dims, dtype, _) in self._variables.items():
            shape = tuple(size[dim] for dim in dims)
            zeros = None if name in text else da.zeros(shape, dtype=dtype, chunks=shape)
            variables[name] = (dims, arrays[name] if zeros is None else zeros)
        return self._assemble(variables, arrays, 0)

    def _assemble(
        self,
        variables: Mapping[str, tuple[Dims, Any]],
        arrays: Mapping[str, np.ndarray],
        first: int,
    ) -> xr.Dataset:
        """Return variables as a table with the names of its units, by the number of a network."""
        network = arrays["network"] + first
        columns = {name: self._identity[name].values[network] for name in ("run", "epoch")}
        columns |= {name: arrays[name] for name in _NAMES}
        table = xr.Dataset(
            {name: _variable(dims, values) for name, (dims, values) in variables.items()},
            coords={name: _variable(("unit",), values) for name, values in columns.items()},
        )
        if "class" in table.dims:
            table = table.assign_coords({"class": np.arange(table.sizes["class"])})
        return annotate(table.assign_attrs(self._attributes), "units")


def _variable(dims: Dims, values: Any) -> xr.Variable:
    # Without the short way, xarray looks for dates among objects and copies each word.
    return xr.Variable(dims, values, fastpath=values.dtype.kind == "O")


def _plain(values: np.ndarray) -> np.ndarray:
    """Return text as Python strings, of which equal words are one object."""
    if values.dtype.kind != "U":
        return values
    words, codes = np.unique(values, return_inverse=True)
    return words.astype(object)[codes]


def _chunks(array: xr.DataArray) -> tuple[int, ...]:
    """Return the chunks that Zarr chooses for an array whose values are in memory."""
    import zarr

    return zarr.create_array({}, shape=array.shape, dtype=array.dtype).chunks
