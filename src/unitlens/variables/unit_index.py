"""The coordinates that name the units of a table, and the index that selects units by them."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from xarray.core.indexing import IndexSelResult
from xarray.indexes import Index

from unitlens.errors import TableError, nearest


def unit_coordinates(layers: Iterable[tuple[str, int, int]]) -> dict[str, xr.DataArray]:
    """Return the coordinates of the `unit` dimension.

    Parameters
    ----------
    layers
        Name, depth and number of units of each layer, in the order of the forward pass.

    Returns
    -------
    ``layer``, ``depth`` and ``channel``, each of shape (units,).
    """
    rows = list(layers)
    counts = [units for _, _, units in rows]
    channels = [np.arange(units) for units in counts]
    values = {
        "layer": np.repeat(np.array([name for name, _, _ in rows], dtype=object), counts),
        "depth": np.repeat(np.array([depth for _, depth, _ in rows], dtype=np.int64), counts),
        "channel": np.concatenate(channels) if channels else np.empty(0, np.int64),
    }
    return {name: xr.DataArray(array, dims="unit") for name, array in values.items()}


NAMES = ("run", "epoch", "layer", "channel")


class UnitIndex(Index):
    """Index over the coordinates of the dimension ``unit``.

    ``units.sel(run=..., layer=...)`` keeps the units for which every coordinate is the value, or
    is among the values, that was asked for. Unlike pandas' MultiIndex it takes several values and
    always keeps the dimension.
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
        wanted = indexers.get("unit", slice(None))
        if isinstance(wanted, xr.Variable) and wanted.dims != ("unit",):
            return None
        if np.ndim(wanted) == 0 and not isinstance(wanted, slice):
            return None
        chosen = {name: variable.isel(unit=wanted) for name, variable in self.variables.items()}
        return type(self)(chosen)

    def sel(
        self,
        labels: dict[Any, Any],
        **options: Any,  # noqa: ARG002  (xarray passes it)
    ) -> IndexSelResult:
        """Return the positions of the units that have all of the labels."""
        there = np.ones(next(iter(self.variables.values())).size, bool)
        for name, label in labels.items():
            values = self.variables[name].values
            known = list(dict.fromkeys(values.tolist()))
            wanted = np.atleast_1d(np.asarray(label)).tolist()
            for one in wanted:
                if one not in known:
                    raise TableError(
                        f"no unit has {name} = {one!r}; {nearest(str(one), map(str, known))}"
                    )
            there &= np.isin(values, np.array(wanted, values.dtype))
        return IndexSelResult({"unit": np.flatnonzero(there)})

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
        """Refuse to combine different units."""
        sizes = [next(iter(index.variables.values())).size for index in (self, other)]
        raise TableError(
            f"values of {sizes[0]} and of {sizes[1]} units cannot be combined ({how}); take the "
            "same units of both"
        )
