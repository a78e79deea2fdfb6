"""The measures and the importance of the units of some networks, joined unit by unit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.variables.schemas import SCHEMAS
from unitlens.variables.unit_index import UNIT_NAMES, UnitIndex

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("unit_measures", "unit_ablation")
# Coordinates that name and order the units, each to its dtype.
_COORDINATES: dict[str, Any] = {"layer": object, "depth": np.int64, "channel": np.int64}
# Kind of a dtype to the value of units on which nothing was measured.
_FILL = {"f": np.nan, "i": -1, "u": -1, "b": False, "U": "", "O": "", "T": ""}
NOT_MEASURED = "not measured"


def fill_value(variable: str, dtype: "np.dtype[Any]") -> object:
    """Return the value of a variable for the units on which nothing was measured."""
    return NOT_MEASURED if variable == "undefined" else _FILL[dtype.kind]


def unit_rows(parts: Mapping[str, Mapping[int, xr.Dataset]]) -> xr.Dataset:
    """Join the measures and the importance of the units of networks.

    Parameters
    ----------
    parts
        ``unit_measures`` and ``unit_ablation``, each to the position of a network to the network's
        table of that schema.

    Returns
    -------
    The variables of the schema ``units`` on the dimensions ``unit`` and ``class``, and the
    coordinates ``network`` (the position), ``layer``, ``depth`` and ``channel``: the units of one
    network after another, by depth and channel. Units are matched by layer and channel. A number
    that was not measured on a unit is NaN (-1 for classes), and ``undefined`` says "not measured".
    Data sets may have different classes, and a split may lack some: values are matched by the label
    of the class, and are NaN for the classes that a table lacks.
    """
    keys = _unit_keys(parts)
    size = len(keys), _class_count(parts)
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for name in PARTS:
        tables = parts.get(name, {})
        rows = {network: _unit_rows(keys, network, table) for network, table in tables.items()}
        rules = SCHEMAS[name]
        for variable in rules.names:
            having = {network: table for network, table in tables.items() if variable in table}
            if having and variable not in _COORDINATES:
                variables[variable] = _fill(variable, having, rows, size)
    columns = {"network": np.int64, **_COORDINATES}
    coords: dict[str, Any] = {
        name: ("unit", keys[name].to_numpy(kind)) for name, kind in columns.items()
    }
    return xr.Dataset(variables, coords=coords | {"class": np.arange(size[1])})


def _unit_keys(parts: Mapping[str, Mapping[int, xr.Dataset]]) -> "pd.DataFrame":
    """Return network, layer, depth and channel of each unit in any table, a row each."""
    import pandas as pd

    frames = [
        pd.DataFrame({"network": network} | {name: table[name].values for name in _COORDINATES})
        for tables in parts.values()
        for network, table in tables.items()
    ]
    keys = pd.concat(frames).drop_duplicates(["network", "layer", "channel"])
    return keys.sort_values(["network", "depth", "channel"], kind="stable", ignore_index=True)


def _unit_rows(keys: "pd.DataFrame", network: int, table: xr.Dataset) -> np.ndarray:
    """Return the row in `keys` of each unit of a network's table."""
    first, last = keys["network"].searchsorted([network, network + 1])
    own = keys[first:last]
    rows = _unit_index({name: own[name].to_numpy() for name in UNIT_NAMES})
    units = _unit_index({name: table[name].values for name in UNIT_NAMES})
    return first + rows.reindex_like(units)["unit"]


def _unit_index(names: Mapping[str, np.ndarray]) -> UnitIndex:
    return UnitIndex({name: xr.Variable("unit", values) for name, values in names.items()})


def _class_count(parts: Mapping[str, Mapping[int, xr.Dataset]]) -> int:
    labels = [_labels(table) for tables in parts.values() for table in tables.values()]
    return max((int(own.max()) + 1 for own in labels if own.size), default=0)


def _labels(table: xr.Dataset) -> np.ndarray:
    """Return the label of each place on `class`. A split may lack some classes."""
    size = table.sizes.get("class", 0)
    return table["class"].values if "class" in table.coords else np.arange(size)


def _fill(
    variable: str,
    tables: Mapping[int, xr.Dataset],
    rows: Mapping[int, np.ndarray],
    size: tuple[int, int],
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return dimensions and values of a variable over the units of all networks.

    Parameters
    ----------
    variable
        Name of the variable.
    tables
        Position of a network to its table, which has the variable.
    rows
        Position of a network to the row of each unit of its table.
    size
        Number of units and of classes.
    """
    first = next(iter(tables.values()))[variable]
    shape = size if "class" in first.dims else size[:1]
    fill = fill_value(variable, first.dtype)
    kinds = [table[variable].dtype for table in tables.values()]
    dtype = np.dtype(object) if first.dtype.kind in "UTO" else np.result_type(*kinds)
    out = np.full(shape, fill, dtype)
    for network, table in tables.items():
        values = table[variable].values
        if values.ndim == 1:
            out[rows[network]] = values
        else:
            out[rows[network][:, None], _labels(table)] = values
    return first.dims, out  # type: ignore[return-value]  # dims are names here
