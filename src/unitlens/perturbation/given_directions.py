"""Directions that are given as arguments: rows over the units of a layer, by the layer's name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from unitlens.errors import ArgumentError
from unitlens.given_arrays import as_array
from unitlens.model.layers import UnitLayer
from unitlens.perturbation.values.unit_values import unit_keys, units_of
from unitlens.variables.unit_index import unit_coordinates

DirectionRows = (
    xr.DataArray | Sequence[xr.DataArray] | Mapping[str, npt.ArrayLike] | Mapping[str, xr.DataArray]
)
"""Rows with the coordinates `layer` and `channel`, several such arrays, or arrays by layer."""

_DIMS = ("direction", "unit")
_FORM = (
    "DataArrays on ('direction', 'unit') with the coordinates 'layer' and 'channel', or a mapping "
    "of layers to arrays (directions, units)"
)


def directions_by_layer(given: DirectionRows, argument: str) -> dict[str, xr.DataArray]:
    """Return directions by the name of their layer.

    Parameters
    ----------
    given
        The directions.
    argument
        Name of the argument, for messages.

    Returns
    -------
    An array (direction, unit) for each layer, with the coordinate ``channel`` where it is given.

    Raises
    ------
    ArgumentError
        Where a layer is unknown, has two entries, or where no direction is given.
    """
    if isinstance(given, xr.Dataset):
        raise ArgumentError(f"{argument} is a Dataset, but must be {_FORM}: take its 'component'")
    by_layer: dict[str, xr.DataArray] = {}
    pairs: Any = given.items() if isinstance(given, Mapping) else _with_layers(given, argument)
    for layer, array in pairs:
        if layer in by_layer:
            raise ArgumentError(
                f"{argument} has two entries for layer '{layer}', but must have one a layer; join "
                "them along 'direction'"
            )
        rows = array if isinstance(array, xr.DataArray) else _as_rows(layer, array, argument)
        _check_layer(layer, rows, argument)
        by_layer[layer] = rows
    if not by_layer:
        raise ArgumentError(f"{argument} is empty, but must have directions of at least one layer")
    return by_layer


def _with_layers(given: Any, argument: str) -> list[tuple[str, xr.DataArray]]:
    pairs = []
    for array in [given] if isinstance(given, xr.DataArray) else list(given):
        if not isinstance(array, xr.DataArray):
            raise ArgumentError(f"{argument} holds a {type(array).__name__}, but must be {_FORM}")
        if not {"layer", "channel"} <= set(array.coords) or not array.coords["layer"].size:
            raise ArgumentError(
                f"{argument} has the coordinates {sorted(map(str, array.coords))}, but must be "
                f"{_FORM}"
            )
        pairs.append((str(array.coords["layer"].values.flat[0]), array))
    return pairs


def _as_rows(layer: str, array: npt.ArrayLike, argument: str) -> xr.DataArray:
    if isinstance(array, xr.Dataset):
        raise ArgumentError(
            f"{argument} holds a Dataset for layer '{layer}', but must be {_FORM}: take the "
            "'component' of each"
        )
    values = as_array(array)
    if values.ndim != len(_DIMS):
        raise ArgumentError(
            f"{argument} has an array of shape {values.shape} for layer '{layer}', but must have "
            "shape (directions, units)"
        )
    return xr.DataArray(values, dims=_DIMS)


def _check_layer(layer: str, rows: xr.DataArray, argument: str) -> None:
    if set(rows.dims) != set(_DIMS):
        raise ArgumentError(
            f"{argument} has the dimensions {rows.dims} for layer '{layer}', but must have {_DIMS}"
        )
    given = rows.coords["layer"].values if "layer" in rows.coords else layer
    layers = {str(name) for name in np.ravel(given)}
    if layers != {layer}:
        other = min(layers - {layer})
        raise ArgumentError(
            f"{argument} has units of layer '{other}' among those of '{layer}', but a direction "
            "is of one layer; select the layer with sel(layer=...)"
        )


def match_units_of_layer(rows: xr.DataArray, layer: UnitLayer, argument: str) -> npt.NDArray[Any]:
    """Return directions with their units in the order of a layer, (directions, units).

    Parameters
    ----------
    rows
        Directions of the layer, from :func:`directions_by_layer`.
    layer
        The layer.
    argument
        Name of the argument, for messages.

    Raises
    ------
    ArgumentError
        Where a unit has no entry or several entries, where there is no direction, or where an
        entry is not a finite number.
    """
    values = rows.transpose(*_DIMS).values
    places = _places(rows, layer, argument)
    if values.shape[1] != layer.units or (places < 0).any():
        raise ArgumentError(
            f"{argument} has entries for {values.shape[1]} units of layer '{layer.name}', but must "
            f"have one for each of its {layer.units}; a unit that takes no part has 0"
        )
    if not len(values):
        raise ArgumentError(
            f"{argument} has no direction of layer '{layer.name}'; give at least one"
        )
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise ArgumentError(
            f"{argument} holds entries of layer '{layer.name}' that are no finite numbers, but "
            "all must be"
        )
    ordered: npt.NDArray[Any] = values[:, places]
    return ordered


def _places(rows: xr.DataArray, layer: UnitLayer, argument: str) -> npt.NDArray[np.int64]:
    """Return the place of each of the layer's units among those of the directions."""
    if "channel" not in rows.coords:
        return np.arange(layer.units)
    channels = np.ravel(rows.coords["channel"].values)
    given = xr.Dataset(coords=unit_coordinates([(layer.name, layer.depth, channels)]))
    units = unit_keys(units_of([layer]), "layers")
    places: npt.NDArray[np.int64] = unit_keys(given, argument).get_indexer(units)
    return places
