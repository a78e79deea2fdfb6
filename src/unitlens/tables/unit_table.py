"""The table of all units: measures and importance of every unit of every network."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.tables.storage import same_attributes
from unitlens.variables.checks import annotate
from unitlens.variables.schemas import SCHEMAS

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("unit_measures", "unit_ablation")
_WHERE = ("layer", "depth", "channel")
_FILL = {"f": np.nan, "i": -1, "u": -1, "b": False, "U": "", "O": "", "T": ""}
NOT_MEASURED = "not measured"


def unit_table(parts: Mapping[str, Mapping[int, xr.Dataset]], identity: xr.Dataset) -> xr.Dataset:
    """Join what is known of the units of networks.

    Parameters
    ----------
    parts
        ``unit_measures`` and ``unit_ablation``, each: position of a network in `identity` to
        its table of that schema.
    identity
        Coordinates ``run`` and ``epoch`` of all networks on the dimension ``run``.

    Returns
    -------
    A table of the schema ``units``: the units of the networks one after another, each network's
    by depth and channel. Units are matched by layer and channel; what was not measured on a
    unit is NaN (-1 for classes, ``undefined`` says "not measured"). Data sets may have
    different classes, and a split may lack some: values are matched by the class's label, and
    those of the classes that a table lacks are NaN.
    """
    keys = _keys(parts)
    size = len(keys), _class_count(parts)
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for name in PARTS:
        tables = parts.get(name, {})
        places = {network: _places(keys, network, table) for network, table in tables.items()}
        rules = SCHEMAS[name]
        for variable in (*rules.required, *rules.optional):
            having = {network: table for network, table in tables.items() if variable in table}
            if having and variable not in _WHERE:
                variables[variable] = _filled(variable, having, places, size)
    network = keys["network"].to_numpy()
    table = xr.Dataset(
        variables,
        coords={
            "run": ("unit", identity["run"].values[network]),
            "epoch": ("unit", identity["epoch"].values[network]),
            **{name: ("unit", keys[name].to_numpy(_kind(name))) for name in _WHERE},
        },
    )
    if "class" in table.dims:
        table = table.assign_coords({"class": np.arange(table.sizes["class"])})
    return annotate(table.assign_attrs(_attributes(parts)), "units")


def _kind(name: str) -> Any:
    return object if name == "layer" else np.int64


def _attributes(parts: Mapping[str, Mapping[int, xr.Dataset]]) -> dict[str, object]:
    attributes: dict[str, object] = {}
    for name, tables in parts.items():
        attributes |= same_attributes(tables.values(), prefix=f"{name}_")
    return attributes


def _keys(parts: Mapping[str, Mapping[int, xr.Dataset]]) -> "pd.DataFrame":
    """Return one row a unit that is in any table: network, layer, depth and channel."""
    import pandas as pd

    frames = [
        pd.DataFrame({"network": network} | {name: table[name].values for name in _WHERE})
        for tables in parts.values()
        for network, table in tables.items()
    ]
    keys = pd.concat(frames).drop_duplicates(["network", "layer", "channel"])
    return keys.sort_values(["network", "depth", "channel"], kind="stable", ignore_index=True)


def _places(keys: "pd.DataFrame", network: int, table: xr.Dataset) -> np.ndarray:
    import pandas as pd

    first = int(keys["network"].searchsorted(network))
    own = keys[keys["network"] == network]
    index = pd.MultiIndex.from_frame(own[["layer", "channel"]])
    wanted = pd.MultiIndex.from_arrays([table["layer"].values, table["channel"].values])
    return first + index.get_indexer(wanted)


def _class_count(parts: Mapping[str, Mapping[int, xr.Dataset]]) -> int:
    labels = [_labels(table) for tables in parts.values() for table in tables.values()]
    return max((int(own.max()) + 1 for own in labels if own.size), default=0)


def _labels(table: xr.Dataset) -> np.ndarray:
    """Return the label of each place on `class`: a split without a class has none for it."""
    size = table.sizes.get("class", 0)
    return table["class"].values if "class" in table.coords else np.arange(size)


def _filled(
    variable: str,
    tables: Mapping[int, xr.Dataset],
    places: Mapping[int, np.ndarray],
    size: tuple[int, int],
) -> tuple[tuple[str, ...], np.ndarray]:
    first = next(iter(tables.values()))[variable]
    shape = size if "class" in first.dims else size[:1]
    fill = NOT_MEASURED if variable == "undefined" else _FILL[first.dtype.kind]
    kinds = [table[variable].dtype for table in tables.values()]
    dtype = np.dtype(object) if first.dtype.kind in "UTO" else np.result_type(*kinds)
    out = np.full(shape, fill, dtype)
    for network, table in tables.items():
        values = table[variable].values
        if values.ndim == 1:
            out[places[network]] = values
        else:
            out[places[network][:, None], _labels(table)] = values
    return first.dims, out  # type: ignore[return-value]  # dims are names here
