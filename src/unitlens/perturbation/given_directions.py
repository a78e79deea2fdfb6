"""Directions as arguments: rows over the units of a layer, by the layer's name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from unitlens.errors import ArgumentError
from unitlens.model.layers import UnitLayer

Directions = (
    xr.DataArray | Sequence[xr.DataArray] | Mapping[str, npt.ArrayLike] | Mapping[str, xr.DataArray]
)
"""Rows with coordinates `layer` and `channel`, several such arrays, or arrays by layer."""

_DIMS = ("direction", "unit")
_FORM = (
    "DataArrays on ('direction', 'unit') with the coordinates 'layer' and 'channel', or a mapping "
    "of layers to arrays (directions, units)"
)


def by_layer(given: Directions, what: str) -> dict[str, xr.DataArray]:
    """Sort directions by the name of their layer.

    Parameters
    ----------
    given
        The directions.
    what
        Name of the argument, for messages.

    Returns
    -------
    An array (direction, unit) for each layer; what is matched by channel has that coordinate.

    Raises
    ------
    ArgumentError
        Where a layer cannot be told, has two entries, or there are no directions at all.
    """
    if isinstance(given, xr.Dataset):
        raise ArgumentError(f"{what} is a Dataset, but must be {_FORM}: take its 'component'")
    found: dict[str, xr.DataArray] = {}
    pairs: Any = given.items() if isinstance(given, Mapping) else _with_names(given, what)
    for name, array in pairs:
        if name in found:
            raise ArgumentError(
                f"{what} has two entries for layer '{name}', but must have one a layer; join them "
                "along 'direction'"
            )
        found[name] = array if isinstance(array, xr.DataArray) else _as_rows(name, array, what)
        _check_layer(name, found[name], what)
    if not found:
        raise ArgumentError(f"{what} is empty, but must have directions of at least one layer")
    return found


def _with_names(given: Any, what: str) -> list[tuple[str, xr.DataArray]]:
    pairs = []
    for array in [given] if isinstance(given, xr.DataArray) else list(given):
        if not isinstance(array, xr.DataArray):
            raise ArgumentError(f"{what} holds a {type(array).__name__}, but must be {_FORM}")
        if not {"layer", "channel"} <= set(array.coords) or not array.coords["layer"].size:
            raise ArgumentError(
                f"{what} has the coordinates {sorted(map(str, array.coords))}, but must be {_FORM}"
            )
        pairs.append((str(array.coords["layer"].values.flat[0]), array))
    return pairs


def _as_rows(name: str, array: npt.ArrayLike, what: str) -> xr.DataArray:
    values = np.asarray(array)
    if values.ndim != len(_DIMS):
        raise ArgumentError(
            f"{what} has an array of shape {values.shape} for layer '{name}', but must have shape "
            "(directions, units)"
        )
    return xr.DataArray(values, dims=_DIMS)


def _check_layer(name: str, rows: xr.DataArray, what: str) -> None:
    if set(rows.dims) != set(_DIMS):
        raise ArgumentError(
            f"{what} has the dimensions {rows.dims} for layer '{name}', but must have {_DIMS}"
        )
    given = rows.coords["layer"].values if "layer" in rows.coords else name
    layers = {str(layer) for layer in np.ravel(given)}
    if layers != {name}:
        other = min(layers - {name})
        raise ArgumentError(
            f"{what} has units of layer '{other}' among those of '{name}', but a direction is of "
            "one layer; select it with sel(layer=...)"
        )


def matched(rows: xr.DataArray, layer: UnitLayer, what: str) -> npt.NDArray[Any]:
    """Return directions in the order of a layer's units, shape (directions, units).

    Parameters
    ----------
    rows
        As :func:`by_layer` gives them.
    layer
        The layer.
    what
        Name of the argument, for messages.

    Raises
    ------
    ArgumentError
        Where a unit has no entry or several, where there is no direction, or where an entry is
        no finite number.
    """
    values = rows.transpose(*_DIMS).values
    units = np.arange(layer.units)
    channels = rows.coords["channel"].values if "channel" in rows.coords else units
    if values.shape[1] != layer.units or not np.array_equal(np.sort(channels), units):
        raise ArgumentError(
            f"{what} has entries for {values.shape[1]} units of layer '{layer.name}', but must "
            f"have one for each of its {layer.units}; a unit that takes no part has 0"
        )
    if not len(values):
        raise ArgumentError(f"{what} has no direction of layer '{layer.name}'; give at least one")
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise ArgumentError(
            f"{what} holds entries of layer '{layer.name}' that are no finite numbers, but all "
            "must be"
        )
    ordered: npt.NDArray[Any] = values[:, np.argsort(channels)]
    return ordered
