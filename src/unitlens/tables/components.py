"""The principal components of a network's layers, as the workflow stores them."""

from pathlib import Path

import xarray as xr

from unitlens.variables import validate


def read_components(path: Path) -> dict[str, xr.Dataset]:
    """Read the principal components of every layer.

    Parameters
    ----------
    path
        A file with a group a layer.

    Returns
    -------
    A table of schema ``principal_components`` for each layer, in the order of the forward pass.

    Raises
    ------
    TableError
        Where one is no such table.
    """
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        tables = [node.to_dataset().load() for node in tree.children.values()]
    for table in tables:
        validate(table, "principal_components")
    tables.sort(key=lambda table: int(table["depth"][0]))
    return {str(table["layer"].values[0]): table for table in tables}
