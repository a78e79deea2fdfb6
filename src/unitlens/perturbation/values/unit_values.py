"""Numbers given by unit, and their place in an activation."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import xarray as xr
from torch import Tensor

from unitlens.errors import ArgumentError
from unitlens.model.layers import UnitLayer
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Session


def by_unit(session: Session, values: npt.ArrayLike | xr.DataArray, what: str) -> Floats:
    """Return numbers in the order of the session's units, shape (units,).

    Parameters
    ----------
    session
        The session.
    values
        A DataArray on `unit` with coordinates `layer` and `channel`, by which it is matched; or
        one number a unit, in order.
    what
        Name of the argument, for messages.

    Raises
    ------
    ArgumentError
        Where a unit has no number or several, or their number is wrong.
    """
    if isinstance(values, xr.DataArray):
        return _matched(session, values, what)
    array = np.asarray(values, np.float64)
    if array.shape != (session.units,):
        raise ArgumentError(
            f"{what} has shape {array.shape}, but must have one number for each of the "
            f"{session.units} units of the chosen layers"
        )
    return array


def _matched(session: Session, values: xr.DataArray, what: str) -> Floats:
    missing = {"layer", "channel"} - set(values.coords)
    if values.dims != ("unit",) or missing:
        raise ArgumentError(
            f"{what} has dimensions {values.dims} and lacks the coordinates {sorted(missing)}, but "
            "must lie on ('unit',) with the coordinates 'layer' and 'channel'"
        )
    columns = (values[name].values.tolist() for name in ("layer", "channel"))
    units = list(zip(*columns, strict=True))
    place = {unit: index for index, unit in enumerate(units)}
    if len(place) < len(values):
        name, channel = next(unit for unit, count in Counter(units).items() if count > 1)
        raise ArgumentError(
            f"{what} has several entries for channel {channel} of layer '{name}', but must have "
            "one for each unit; select one run first"
        )
    wanted = [(layer.name, channel) for layer in session.layers for channel in range(layer.units)]
    for name, channel in wanted:
        if (name, channel) not in place:
            raise ArgumentError(
                f"{what} has no entry for channel {channel} of layer '{name}', but must have one "
                "for every unit of the chosen layers"
            )
    numbers = values.values.astype(np.float64)
    return numbers[[place[unit] for unit in wanted]]


def on_axis(values: Tensor, layer: UnitLayer, dims: int) -> Tensor:
    """Shape values (variants, samples or 1, units) so that they broadcast over activations.

    The activations have `dims` axes: variants, samples, and those of one sample.
    """
    shape = [1] * dims
    shape[0], shape[1] = values.shape[:2]
    shape[2 if layer.axis == 1 else -1] = layer.units
    return values.reshape(shape)
