"""Tables of one network as netCDF files, on a local disk or at a URL, with their hash.

Each file carries its hash and its provenance at its end (:mod:`unitlens.hashed_files`); the
provenance is the attribute ``provenance`` of the table as well, as JSON.
"""

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import xarray as xr

from unitlens.errors import TableError, first_line
from unitlens.extras import require
from unitlens.hashed_files import add_trailer, opened_hashed, read_hashed, replacing_hashed
from unitlens.provenance.file_provenance import FileProvenance
from unitlens.store.backend.files import write_whole
from unitlens.store.backend.places import is_remote
from unitlens.variables.checks import validate
from unitlens.variables.unit_index import index_units

PROVENANCE = "provenance"
ENGINE: Final = "h5netcdf"
AGAIN = "remove the file and run snakemake again: it computes just what is missing"


def write_netcdf(
    table: xr.Dataset,
    path: Path,
    encoding: Mapping[str, dict[str, Any]] | None = None,
    *,
    provenance: FileProvenance | None = None,
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
    provenance
        What the table was computed from.
    """
    require(ENGINE)
    values = provenance.to_values() if provenance else {}
    if values:
        table = table.assign_attrs({PROVENANCE: json.dumps(values)})
    if is_remote(path):
        content = table.to_netcdf(None, engine=ENGINE, encoding=encoding)
        write_whole(path, add_trailer(bytes(content), values))
        return
    with replacing_hashed(path, values) as partial:
        table.to_netcdf(partial, engine=ENGINE, encoding=encoding)


def read_netcdf(path: Path) -> xr.Dataset:
    """Read a table of one network, from a local path or the place of a URL.

    Raises
    ------
    TableError
        Where the file is missing, or differs from what was written.
    MissingPackageError
        Where h5netcdf is not installed.
    """
    require(ENGINE)
    content = read_hashed(path, error=TableError, remedy=AGAIN)
    try:
        return index_units(xr.load_dataset(io.BytesIO(content), engine=ENGINE))
    except (OSError, ValueError, KeyError) as error:
        raise TableError(f"{path} is no table ({first_line(error)}); {AGAIN}") from error


def read_variables(path: Path, variables: Iterable[str]) -> xr.Dataset:
    """Read some variables of a table of one network. Of a local file, only these need memory.

    Parameters
    ----------
    path
        The file, at a local path or the place of a URL.
    variables
        Names of the variables.

    Raises
    ------
    TableError
        Where the file is damaged or has not all of the variables.
    MissingPackageError
        Where h5netcdf is not installed.
    """
    names = list(variables)
    if is_remote(path):
        return read_netcdf(path)[names]
    require(ENGINE)
    with opened_hashed(path, error=TableError, remedy=AGAIN) as file:
        try:
            with xr.open_dataset(file, engine=ENGINE) as table:
                return index_units(table[names].load())
        except (OSError, ValueError, KeyError) as error:
            raise TableError(f"{path} is no table ({first_line(error)}); {AGAIN}") from error


def write_components(
    tables: Iterable[xr.Dataset], path: Path, *, provenance: FileProvenance | None = None
) -> None:
    """Write the principal components of every layer, whole or not at all.

    Each table is a group of its layer's name. One table at a time is in memory.

    Parameters
    ----------
    tables
        A table of schema ``principal_components`` for each layer, at least one.
    path
        The file: a local path or the place of a URL.
    provenance
        What the tables were computed from.
    """
    if is_remote(path):
        with TemporaryDirectory() as directory:
            local = Path(directory) / path.name
            write_components(tables, local, provenance=provenance)
            write_whole(path, local.read_bytes())
        return
    require(ENGINE)
    mode: Literal["w", "a"] = "w"
    values = provenance.to_values() if provenance else {}
    with replacing_hashed(path, values) as partial:
        for table in tables:
            if values:
                table = table.assign_attrs({PROVENANCE: json.dumps(values)})
            group = str(table["layer"].values[0])
            table.to_netcdf(partial, mode=mode, group=group, engine=ENGINE)
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
        Where the file is missing, differs from what was written, or a group is no such table.
    MissingPackageError
        Where h5netcdf is not installed.
    """
    require(ENGINE)
    content = read_hashed(path, error=TableError, remedy=AGAIN)
    with xr.open_datatree(io.BytesIO(content), engine=ENGINE) as tree:
        tables = [node.to_dataset().load() for node in tree.children.values()]
    for table in tables:
        validate(table, "principal_components")
    tables.sort(key=lambda table: int(table["depth"][0]))
    return {str(table["layer"].values[0]): table for table in tables}
