"""The principal components of a network's layers, as the workflow stores them."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import xarray as xr

from unitlens.store.files import write_whole
from unitlens.store.places import is_remote
from unitlens.variables import validate


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
