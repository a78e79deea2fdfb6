"""What a plot needs of a table, and the error that names the function which gives it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from unitlens.errors import ArgumentError, TableError


def need_variables(table: Any, names: Sequence[str], source: str, what: str = "the table") -> None:
    """Refuse a table that lacks a variable, or has no value of one.

    Parameters
    ----------
    table
        What the user passed.
    names
        Variables that the plot draws.
    source
        What gives such a table, for the error: "unitlens.unit_ablation(...)".
    what
        Name of the argument in the error.
    """
    if not isinstance(table, xr.Dataset):
        raise ArgumentError(
            f"{what} is a {type(table).__name__}, but must be an xarray Dataset; pass {source}"
        )
    for name in names:
        if name not in table.variables:
            raise TableError(f"{what} has no '{name}'; pass {source}")
        values = table[name].values
        if not values.size:
            raise TableError(f"{what} has no row; pass {source} with at least one")
        if values.dtype.kind == "f" and not np.isfinite(values).any():
            raise TableError(f"'{name}' is NaN everywhere in {what}; pass {source}")


def need_dimensions(table: xr.Dataset, name: str, allowed: Sequence[str], source: str) -> None:
    """Refuse a variable on other dimensions than those that the plot averages or draws over."""
    dims = tuple(map(str, table[name].dims))
    others = [dim for dim in dims if dim not in allowed]
    if others or allowed[-1] not in dims:
        raise TableError(
            f"'{name}' has dimensions ({', '.join(dims)}), but must be on "
            f"({', '.join(allowed)}), of which only the last is needed; pass {source}"
        )


def one_unit(table: xr.Dataset, function: str) -> xr.Dataset:
    """Return the row of the only unit of a table."""
    if "unit" not in table.dims:
        return table
    if table.sizes["unit"] != 1:
        raise TableError(
            f"the table has {table.sizes['unit']:,} units, but {function} draws one; select it, "
            "for example with .isel(unit=0)"
        )
    return table.isel(unit=0)


def unit_name(unit: xr.Dataset) -> str:
    """Return layer and channel of a unit; empty where the table does not name them."""
    if "layer" not in unit.variables or "channel" not in unit.variables:
        return ""
    return f"unit {unit['channel'].item()} of layer {unit['layer'].item()}"
