"""Tables of one network as netCDF files, on a local disk or at a URL."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import xarray as xr

from unitlens.local_files import replacing, save_netcdf
from unitlens.store.backend.files import write_whole
from unitlens.store.backend.places import is_remote
from unitlens.variables.checks import validate
from unitlens.variables.unit_index import index_units


def write_netcdf(
    table: xr.Dataset, path: Path, encoding: Mapping[str, dict[str, Any]] | None = None
) -> None:
    """Write a table of one network as netCDF, whole or not at all.

    Parameters
    ----------
    table
        The table.
    path
        The file: a local path or the place of a URL.
    encoding
        How variables are stored, by their names, as :meth:`xarray.Dataset.to_netcdf` takes it.
    """
    if is_remote(path):
        content = table.to_netcdf(None, engine="h5netcdf", encoding=encoding)
        write_whole(path, bytes(content))
    else:
        save_netcdf(table, path, encoding)


def read_netcdf(path: Path) -> xr.Dataset:
    """Read a table of one network, from a local path or the place of a URL."""
    if not is_remote(path):
        return index_units(xr.load_dataset(path, engine="h5netcdf"))
    with path.open("rb") as file:
        return index_units(xr.load_dataset(file, engine="h5netcdf"))


def write_components(tables: Iterable[xr.Dataset], path: Path) -> None:
    """Write the principal components of every layer, whole or not at all.

    Each table is a group of its layer's name. One table at a time is in memory.

    Parameters
    ----------
    tables
        A table of schema ``principal_components`` for each layer, at least one.
    path
        The file: a local path or the place of a URL.
    """
    if is_remote(path):
        with TemporaryDirectory() as directory:
            local = Path(directory) / path.name
            write_components(tables, local)
            write_whole(path, local.read_bytes())
        return
    mode: Literal["w", "a"] = "w"
    with replacing(path) as partial:
        for table in tables:
            group = str(table["layer"].values[0])
            table.to_netcdf(partial, mode=mode, group=group, engine="h5netcdf")
            mode = "a"


def read_components(path: Path) -> dict[str, xr.Dataset]:
    """Read the principal components of every layer.

    Parameters
    ----------
    path
        The file that :func:`write_components` wrote.

    Returns
    -------
    A table of schema ``principal_components`` for each layer, in the order of the forward pass.

    Raises
    ------
    TableError
        Where a group is no such table.
    """
    with path.open("rb") as file, xr.open_datatree(file, engine="h5netcdf") as tree:
        tables = [node.to_dataset().load() for node in tree.children.values()]
    for table in tables:
        validate(table, "principal_components")
    tables.sort(key=lambda table: int(table["depth"][0]))
    return {str(table["layer"].values[0]): table for table in tables}
