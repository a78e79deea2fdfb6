"""The coordinates that name the units of a table, and the index that selects and aligns by them."""

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
RUN_UNIT_NAMES = ("run", "epoch", *UNIT_NAMES)

Indexers = dict[Hashable, npt.NDArray[np.int64]]


def unit_coordinates(
    layers: Iterable[tuple[str, int, int | npt.NDArray[np.int64]]],
) -> dict[str, xr.DataArray]:
    """Return the coordinates of the `unit` dimension.

    Parameters
    ----------
    layers
        Name, depth and units of each layer, in the order of the forward pass: the number of
        units, or the channel of each unit.

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
    """Return a table whose units are selected and aligned by the coordinates that name them.

    Parameters
    ----------
    table
        A table; one that does not name its units on the dimension ``unit`` stays as it is.

    Returns
    -------
    The table with a :class:`UnitIndex` over ``layer`` and ``channel``, and over ``run`` and
    ``epoch`` where they are coordinates of the units too.

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


class UnitIndex(Index):
    """Index over the coordinates that name the units of the dimension ``unit``.

    ``units.sel(layer=..., channel=...)`` keeps the units for which every coordinate is the value,
    or is among the values, that was asked for. Unlike pandas' MultiIndex it takes several values
    and always keeps the dimension. Tables are combined unit by unit, never by position: arithmetic
    keeps the units of both tables, in the order of the first one.
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
        """Make the index from one-dimensional coordinates."""
        return cls(variables)

    @classmethod
    def concat(
        cls,
        indexes: Sequence["UnitIndex"],
        dim: Hashable,
        positions: Any = None,  # noqa: ARG003  (xarray passes it)
    ) -> "UnitIndex":
        """Join indexes one after another."""
        joined = {}
        for name in indexes[0].variables:
            parts = [index.variables[name] for index in indexes]
            joined[name] = xr.Variable.concat(parts, dim)  # type: ignore[no-untyped-call]
        return cls(joined)

    def create_variables(
        self,
        variables: Any = None,  # noqa: ARG002  (xarray passes it)
    ) -> dict[Hashable, xr.Variable]:
        """Return the coordinates that the index stands for."""
        return dict(self.variables)

    def isel(self, indexers: Mapping[Any, Any]) -> "UnitIndex | None":
        """Follow a selection by position; a single unit needs no index."""
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
        """Return the positions of the units that have all of the labels."""
        matching = np.ones(len(self), bool)
        for name, label in labels.items():
            values = self.variables[name].values
            known = list(dict.fromkeys(values.tolist()))
            asked = np.atleast_1d(np.asarray(label)).tolist()
            for one in asked:
                if one not in known:
                    raise TableError(
                        f"no unit has {name} = {one!r}; {nearest(str(one), map(str, known))}"
                    )
            matching &= np.isin(values, np.array(asked, values.dtype))
        return IndexSelResult({"unit": np.flatnonzero(matching)})

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
        """Return the units of both indexes, or of either one, in the order of this one."""
        theirs = self._like_this(other).keys()
        ours = self.keys()
        if how == "inner":
            return self._taken(np.flatnonzero(ours.isin(theirs)))
        added = other._taken(np.flatnonzero(~theirs.isin(ours)))  # noqa: SLF001
        return self.concat([self, self._like_this(added)], "unit")

    def reindex_like(self, other: "UnitIndex") -> Indexers:
        """Return where each unit of another index stands in this one, -1 where it does not."""
        return {"unit": self.keys().get_indexer(self._like_this(other).keys())}

    def __len__(self) -> int:
        """Return the number of units."""
        return int(next(iter(self.variables.values())).size)

    def _taken(self, positions: Any) -> "UnitIndex":
        taken = {name: variable.isel(unit=positions) for name, variable in self.variables.items()}
        return type(self)(taken)

    def _like_this(self, other: "UnitIndex") -> "UnitIndex":
        """Return another index with its coordinates in the order of this one's."""
        return type(self)({name: other.variables[name] for name in self.variables})

    def keys(self) -> pd.MultiIndex:
        """Return the names of every unit.

        Raises
        ------
        TableError
            Where two units have the same names.
        """
        arrays = [variable.values for variable in self.variables.values()]
        keys = pd.MultiIndex.from_arrays(arrays, names=list(self.variables))
        if not keys.is_unique:
            again = keys[keys.duplicated()][0]
            pairs = zip(keys.names, again, strict=True)
            named = ", ".join(f"{name} = {value}" for name, value in pairs)
            raise TableError(
                f"a table holds the unit {named} more than once, so its units cannot be combined "
                "with others by name; keep one row a unit"
            )
        return keys
