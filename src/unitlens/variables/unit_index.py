"""The coordinates that name the units of a table, and the index over these coordinates."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from xarray.core.indexing import IndexSelResult
from xarray.indexes import Index

from unitlens.errors import TableError, nearest

UNIT_NAMES = ("layer", "channel")
RUN_NAMES = ("run", "epoch")
RUN_UNIT_NAMES = (*RUN_NAMES, *UNIT_NAMES)

Positions = npt.NDArray[np.int64]


def unit_coordinates(
    layers: Iterable[tuple[str, int, int | npt.NDArray[np.int64]]],
) -> dict[str, xr.DataArray]:
    """Return the coordinates of the `unit` dimension.

    Parameters
    ----------
    layers
        Name, depth and units of each layer, in the order of the forward pass. The units are given
        by their number or by the channel of each unit.

    Returns
    -------
    ``layer``, ``depth`` and ``channel``, each of shape (units,).

    Examples
    --------
    >>> coordinates = unit_coordinates([("relu1", 0, 2), ("relu2", 1, np.array([3]))])
    >>> coordinates["layer"].values.tolist(), coordinates["channel"].values.tolist()
    (['relu1', 'relu1', 'relu2'], [0, 1, 3])
    """
    rows = list(layers)
    channels = [np.arange(units) if isinstance(units, int) else units for _, _, units in rows]
    counts = [len(units) for units in channels]
    values = {
        "layer": np.repeat(np.array([name for name, _, _ in rows], dtype=object), counts),
        "depth": np.repeat(np.array([depth for _, depth, _ in rows], dtype=np.int64), counts),
        "channel": np.concatenate(channels) if channels else np.empty(0, np.int64),
    }
    return {name: xr.DataArray(array, dims="unit") for name, array in values.items()}


def index_units(table: xr.Dataset) -> xr.Dataset:
    """Set the index over the coordinates that name the units of a table.

    Parameters
    ----------
    table
        A table. A table without ``layer`` and ``channel`` on ``unit``, or with an index over
        either, stays as it is.

    Returns
    -------
    The table with a :class:`UnitIndex` over ``layer`` and ``channel``, and also over ``run`` and
    ``epoch`` where the table has a coordinate ``run``.

    Examples
    --------
    >>> units = index_units(xr.Dataset(coords=unit_coordinates([("relu1", 0, 2), ("relu2", 1, 3)])))
    >>> units.sel(layer="relu2", channel=[0, 2]).sizes["unit"]
    2
    """
    names = RUN_UNIT_NAMES if "run" in table.coords else UNIT_NAMES
    named = all(name in table.coords and table[name].dims == ("unit",) for name in names)
    if not named or any(name in table.xindexes for name in names):
        return table
    return table.set_xindex(names, UnitIndex)


def layer_channel_index(table: xr.Dataset | xr.DataArray) -> "UnitIndex":
    """Return the index over the layer and channel of the units of one network.

    Parameters
    ----------
    table
        A table with the coordinates ``layer`` and ``channel`` on ``unit``.

    Raises
    ------
    TableError
        Where the table lacks one of the two coordinates.
    """
    for name in UNIT_NAMES:
        if name not in table.coords:
            raise TableError(
                f"a table of units has no coordinate '{name}', by which units are matched; "
                "assign it on 'unit'"
            )
    return UnitIndex({name: table.coords[name].variable for name in UNIT_NAMES})


class UnitIndex(Index):
    """Index over the coordinates that name the units of the dimension ``unit``.

    ``units.sel(layer=..., channel=...)`` keeps the units for which every coordinate equals the
    label asked for, or one of the labels asked for. Unlike pandas' MultiIndex, the index takes
    several labels and always keeps the dimension. Tables are combined unit by unit, never by
    position: arithmetic keeps the units that both tables have, in the order of the first table.
    The units of one network, ``units.sel(run="...")``, are named by layer and channel alone, as in
    a table of one network: the two are combined as they are.

    xarray leaves the coordinates of an index that is not of pandas out of a data frame:
    ``table.drop_indexes(["layer", "channel"]).to_dataframe()`` has them as columns.
    """

    def __init__(self, variables: Mapping[Any, xr.Variable]) -> None:
        self.variables = {name: variable.copy(deep=False) for name, variable in variables.items()}

    @classmethod
    def from_variables(
        cls,
        variables: Mapping[Any, xr.Variable],
        *,
        options: Mapping[str, Any],  # noqa: ARG003  (xarray passes it)
    ) -> "UnitIndex":
        """Return the index over one-dimensional coordinates."""
        return cls(variables)

    @classmethod
    def concat(
        cls,
        indexes: Sequence["UnitIndex"],
        dim: Hashable,
        positions: Any = None,  # noqa: ARG003  (xarray passes it)
    ) -> "UnitIndex":
        """Return the index over the units of several indexes, one index after another."""
        joined = {}
        for name in indexes[0].variables:
            parts = [index.variables[name] for index in indexes]
            joined[name] = xr.Variable.concat(parts, dim)  # type: ignore[no-untyped-call]
        return cls(joined)

    def create_variables(
        self,
        variables: Any = None,  # noqa: ARG002  (xarray passes it)
    ) -> dict[Hashable, xr.Variable]:
        """Return the coordinates that the index is over."""
        return dict(self.variables)

    def isel(self, indexers: Mapping[Any, Any]) -> "UnitIndex | None":
        """Return the index over the units at some positions; None for a single unit."""
        positions = indexers.get("unit", slice(None))
        if isinstance(positions, xr.Variable) and positions.dims != ("unit",):
            return None
        if np.ndim(positions) == 0 and not isinstance(positions, slice):
            return None
        return self._taken(positions)

    def sel(
        self,
        labels: dict[Any, Any],
        **options: Any,  # noqa: ARG002  (xarray passes it)
    ) -> IndexSelResult:
        """Return the positions of the units that have all of the labels.

        Raises
        ------
        TableError
            Where no unit has one of the labels.
        """
        matching = np.ones(len(self), bool)
        for name, label in labels.items():
            values = self.variables[name].values
            known = list(dict.fromkeys(values.tolist()))
            labels_of_name = np.atleast_1d(np.asarray(label)).tolist()
            for value in labels_of_name:
                if value not in known:
                    raise TableError(
                        f"no unit has {name} = {value!r}; {nearest(str(value), map(str, known))}"
                    )
            matching &= np.isin(values, np.array(labels_of_name, values.dtype))
        positions = np.flatnonzero(matching)
        if np.ndim(labels.get("run", ())) == 0 and self._is_one_network(positions):
            return self._select_network(positions)
        return IndexSelResult({"unit": positions})

    def _is_one_network(self, positions: Positions) -> bool:
        networks = zip(*(self.variables[name].values[positions] for name in RUN_NAMES), strict=True)
        return len(set(networks)) == 1

    def _select_network(self, positions: Positions) -> IndexSelResult:
        """Return the units of one network, which need no name of the network."""
        taken = self._taken(positions).variables
        index = type(self)({name: taken[name] for name in UNIT_NAMES})
        return IndexSelResult(
            {"unit": positions},
            indexes=dict.fromkeys(UNIT_NAMES, index),
            variables=index.create_variables(),
            drop_indexes=list(RUN_NAMES),
        )

    def equals(
        self,
        other: Index,
        **options: Any,  # noqa: ARG002  (xarray passes it)
    ) -> bool:
        """Tell whether two indexes are over the same units in the same order."""
        if not isinstance(other, UnitIndex) or set(self.variables) != set(other.variables):
            return False
        return all(
            np.array_equal(variable.values, other.variables[name].values)
            for name, variable in self.variables.items()
        )

    def join(self, other: Any, how: Any = "inner") -> "UnitIndex":
        """Return the index over the units that both indexes have (inner), or that either has.

        The units of this index come first, in their order.
        """
        keys, other_keys = self.keys(), self._like_this(other).keys()
        if how == "inner":
            return self._taken(np.flatnonzero(keys.isin(other_keys)))
        added = other._taken(np.flatnonzero(~other_keys.isin(keys)))  # noqa: SLF001
        return self.concat([self, self._like_this(added)], "unit")

    def reindex_like(self, other: "UnitIndex") -> dict[Hashable, Positions]:
        """Return the position in this index of each unit of another index, -1 without one."""
        return {"unit": self.keys().get_indexer(self._like_this(other).keys())}

    def __len__(self) -> int:
        """Return the number of units."""
        return int(next(iter(self.variables.values())).size)

    def _taken(self, positions: Any) -> "UnitIndex":
        taken = {name: variable.isel(unit=positions) for name, variable in self.variables.items()}
        return type(self)(taken)

    def _like_this(self, other: "UnitIndex") -> "UnitIndex":
        """Return another index with its coordinates in the order of this index."""
        return type(self)({name: other.variables[name] for name in self.variables})

    def keys(self) -> pd.MultiIndex:
        """Return the names of every unit, such as its layer and channel.

        Raises
        ------
        TableError
            Where two units have the same names.
        """
        arrays = [variable.values for variable in self.variables.values()]
        keys = pd.MultiIndex.from_arrays(arrays, names=list(self.variables))
        if not keys.is_unique:
            repeated = keys[keys.duplicated()][0]
            pairs = zip(keys.names, repeated, strict=True)
            unit = ", ".join(f"{name} = {value}" for name, value in pairs)
            raise TableError(
                f"a table holds the unit {unit} more than once, so its units cannot be matched "
                "with those of other tables by name; keep one row a unit"
            )
        return keys
