"""Units matched by their names, and numbers of units shaped like activations."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from torch import Tensor

from unitlens.errors import ArgumentError, TableError
from unitlens.given_arrays import as_array
from unitlens.model.layers import UnitLayer
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Session
from unitlens.variables.unit_index import layer_channel_index, unit_coordinates


def units_of(layers: Iterable[UnitLayer]) -> xr.Dataset:
    """Return the coordinates ``layer``, ``depth`` and ``channel`` of the units of some layers."""
    rows = ((layer.name, layer.depth, layer.units) for layer in layers)
    return xr.Dataset(coords=unit_coordinates(rows))


def unit_keys(units: xr.Dataset | xr.DataArray, argument: str) -> pd.MultiIndex:
    """Return the names of units, (layer, channel), by which units of two tables are matched.

    Parameters
    ----------
    units
        Table or array with the coordinates ``layer`` and ``channel`` on ``unit``.
    argument
        Name of the argument, for messages.

    Raises
    ------
    ArgumentError
        Where two units have the same name.

    Examples
    --------
    >>> units = units_of([UnitLayer("relu", 0, units=3, shape=(3,), axis=1)])
    >>> unit_keys(units, "units").get_indexer([("relu", 2), ("relu", 3)]).tolist()
    [2, -1]
    """
    try:
        return layer_channel_index(units).keys()
    except TableError as error:
        raise ArgumentError(f"{argument} cannot be matched by layer and channel: {error}") from None


def values_by_unit(session: Session, values: npt.ArrayLike | xr.DataArray, argument: str) -> Floats:
    """Return numbers in the order of the session's units, (units,).

    Parameters
    ----------
    session
        The session.
    values
        One number per unit in order, or a DataArray on ``unit`` that is matched by its coordinates
        ``layer`` and ``channel``.
    argument
        Name of the argument, for messages.

    Raises
    ------
    ArgumentError
        Where the number of values is wrong, a unit has no value or several values, a layer has more
        units than are chosen, or a Dataset is given.
    """
    if isinstance(values, xr.Dataset):
        raise ArgumentError(
            f"{argument} is a Dataset, but must be a DataArray; take one of its variables: "
            f"{', '.join(map(str, values.data_vars))}"
        )
    if isinstance(values, xr.DataArray):
        return _matched(session, values, argument)
    array = as_array(values, np.float64)
    if array.shape != (session.units,):
        raise ArgumentError(
            f"{argument} has shape {array.shape}, but must have one number for each of the "
            f"{session.units} units of the chosen layers"
        )
    return array


def _matched(session: Session, values: xr.DataArray, argument: str) -> Floats:
    missing = {"layer", "channel"} - set(values.coords)
    if values.dims != ("unit",) or missing:
        raise ArgumentError(
            f"{argument} has dimensions {values.dims} and lacks the coordinates "
            f"{sorted(missing)}, but must lie on ('unit',) with the coordinates 'layer' and "
            "'channel'"
        )
    keys = unit_keys(units_of(session.layers), "layers")
    places = unit_keys(values, argument).get_indexer(keys)
    if (places < 0).any():
        layer, channel = keys[places < 0][0]
        raise ArgumentError(
            f"{argument} has no entry for channel {channel} of layer '{layer}', but must have one "
            "for every unit of the chosen layers; measure this layer too, or choose other layers"
        )
    counts = pd.Series(values["layer"].values).value_counts()
    for one in session.layers:
        if counts[one.name] > one.units:
            raise ArgumentError(
                f"{argument} has {counts[one.name]} units of layer '{one.name}', but the chosen "
                f"layer has {one.units}; choose the layer with the axis and the heads that "
                f"{argument} was measured with"
            )
    numbers: Floats = values.values.astype(np.float64)[places]
    return numbers


def align_with_activations(values: Tensor, layer: UnitLayer, dims: int) -> Tensor:
    """Return values of units in a shape that broadcasts over activations.

    Parameters
    ----------
    values
        Shape (variants, samples or 1, units).
    layer
        The layer of the units.
    dims
        Number of axes of the activations (variants, samples, ...).
    """
    shape = [1] * dims
    shape[0], shape[1] = values.shape[:2]
    shape[2 if layer.axis == 1 else -1] = layer.units
    return values.reshape(shape)
