"""How tables lie on disk: netCDF for one network; Zarr and a tidy Parquet twin for all."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from unitlens.store.backend.files import write_whole
from unitlens.store.backend.places import is_remote, zarr_store
from unitlens.variables.checks import validate
from unitlens.variables.schemas import SCHEMAS
from unitlens.variables.unit_index import RUN_UNIT_NAMES, index_units

if TYPE_CHECKING:
    import pandas as pd

# Name of each table to the schema that it follows.
TABLES = {
    "runs": "runs",
    "units": "units",
    "curves": "curves",
    "noise": "noise",
    "history": "histories",
    "correlations": "correlations",
}


def write_tables(tables: Mapping[str, xr.Dataset], directory: Path) -> None:
    """Write tables as ``{name}.zarr`` and ``{name}.parquet``.

    Parameters
    ----------
    tables
        Name of each table, one of :data:`TABLES`, to the table.
    directory
        Where to. A table that lies there from an earlier call and is not among `tables` is
        removed, so that the tables of one directory always belong together.
    """
    directory.mkdir(parents=True, exist_ok=True)
    remove_tables(directory)
    for name, table in tables.items():
        plain = _with_object_text(table)
        plain.to_zarr(directory / f"{name}.zarr", mode="w", zarr_format=3, consolidated=False)
        tidy_frame(table, name).to_parquet(directory / f"{name}.parquet", index=False)


def remove_tables(directory: Path) -> None:
    """Remove the tables of a directory, if there are any."""
    for name in TABLES:
        rmtree(directory / f"{name}.zarr", ignore_errors=True)
        (directory / f"{name}.parquet").unlink(missing_ok=True)


def read_table(path: Path) -> xr.Dataset:
    """Open one table; its text is read at once, its numbers when they are used.

    The variables come in the order of the table's schema: a Zarr group has none of its own.
    """
    table = _with_object_text(xr.open_zarr(zarr_store(path), chunks=None, consolidated=False))
    rules = SCHEMAS[TABLES[path.stem]]
    declared = [name for name in (*rules.required, *rules.optional) if name in table.data_vars]
    rest = sorted(str(name) for name in table.data_vars if name not in declared)
    return table[[*rest, *declared]]


def _with_object_text(table: xr.Dataset) -> xr.Dataset:
    # NumPy's fixed-width text has no Zarr v3 specification, and its variable-width text no
    # support in most of pandas: plain Python strings work in both.
    text = [name for name, array in table.variables.items() if array.dtype.kind in "UT"]
    return table.assign(
        {
            name: (table[name].dims, table[name].values.astype(object), table[name].attrs)
            for name in text
        }
    )


def write_netcdf(
    table: xr.Dataset, path: Path, encoding: Mapping[str, dict[str, Any]] | None = None
) -> None:
    """Write a table of one network as netCDF, here or at a URL."""
    if is_remote(path):
        content = table.to_netcdf(None, engine="h5netcdf", encoding=encoding)
        write_whole(path, bytes(content))
    else:
        table.to_netcdf(path, engine="h5netcdf", encoding=encoding)


def read_netcdf(path: Path) -> xr.Dataset:
    """Read a table that :func:`write_netcdf` wrote."""
    if not is_remote(path):
        return index_units(xr.load_dataset(path, engine="h5netcdf"))
    with path.open("rb") as file:
        return index_units(xr.load_dataset(file, engine="h5netcdf"))


def tidy_frame(table: xr.Dataset, name: str) -> "pd.DataFrame":
    """Return a table as a data frame: one row a unit, run, step of a curve, draw or epoch.

    Parameters
    ----------
    table
        A table.
    name
        Which one, of :data:`TABLES`.

    Returns
    -------
    The frame. What a unit has one value a class of is left out (it is in the Zarr store), as is
    the padding of runs whose curves or histories are shorter than others'. The experiments of a
    run are columns ``member_{experiment}``.
    """
    if name == "units":
        # A column for each name of a unit: indexed coordinates would be left out.
        unindexed = _without(table, "class").drop_indexes(RUN_UNIT_NAMES, errors="ignore")
        return unindexed.to_dataframe().reset_index(drop=True)
    if name == "runs":
        frame = _without(table, "experiment").to_dataframe().reset_index()
        for experiment in table["experiment"].values:
            frame[f"member_{experiment}"] = table["member"].sel(experiment=experiment).values
        return frame
    if name == "correlations":
        return table.to_dataframe().reset_index(drop=True)
    return _long(table)


def _without(table: xr.Dataset, dim: str) -> xr.Dataset:
    return table.drop_vars([key for key, array in table.variables.items() if dim in array.dims])


def _long(table: xr.Dataset) -> "pd.DataFrame":
    # Runs are numbered meanwhile: the kept epochs of one run share its name.
    names = table["run"].values
    frame = table.drop_vars("run").to_dataframe().reset_index()
    frame["run"] = np.asarray(names, object)[frame["run"]]
    frame = frame.dropna(subset=_padded(table)).reset_index(drop=True)
    return frame[["run", *frame.columns.drop("run")]]


def _padded(table: xr.Dataset) -> list[str]:
    return [name for name in ("accuracy", "train_loss") if name in table]


def same_attributes(tables: Iterable[xr.Dataset], *, prefix: str = "") -> dict[str, object]:
    """Return the attributes on which all tables agree, apart from their schema's."""
    rows = [table.attrs for table in tables]
    first = rows[0] if rows else {}
    return {
        f"{prefix}{key}": _plain(value)
        for key, value in first.items()
        if key not in ("schema", "schema_version")
        and all(key in row and np.array_equal(row[key], value) for row in rows)
    }


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def write_components(tables: Iterable[xr.Dataset], path: Path) -> None:
    """Write a table of schema ``principal_components`` for each layer, here or at a URL.

    Each is a group of the layer's name, written when it comes: only one is in memory.
    """
    if is_remote(path):
        with TemporaryDirectory() as room:
            here = Path(room) / path.name
            write_components(tables, here)
            write_whole(path, here.read_bytes())
        return
    mode: Literal["w", "a"] = "w"
    for table in tables:
        table.to_netcdf(path, mode=mode, group=str(table["layer"].values[0]), engine="h5netcdf")
        mode = "a"


def read_components(path: Path) -> dict[str, xr.Dataset]:
    """Read the principal components of every layer.

    Parameters
    ----------
    path
        What :func:`write_components` wrote.

    Returns
    -------
    A table of schema ``principal_components`` for each layer, in the order of the forward pass.

    Raises
    ------
    TableError
        Where one is no such table.
    """
    with path.open("rb") as file, xr.open_datatree(file, engine="h5netcdf") as tree:
        tables = [node.to_dataset().load() for node in tree.children.values()]
    for table in tables:
        validate(table, "principal_components")
    tables.sort(key=lambda table: int(table["depth"][0]))
    return {str(table["layer"].values[0]): table for table in tables}
