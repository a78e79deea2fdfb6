"""What units are clamped to, and numbers given by unit."""

from collections import Counter
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from unitlens.errors import ArgumentError
from unitlens.networks.batches import MapStyle
from unitlens.networks.layers import UnitLayer, reduce_positions
from unitlens.perturbation.engine import Replacement
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Session

Value = Literal["zero", "mean"] | npt.ArrayLike | xr.DataArray


def clamp_values(session: Session, value: Value, reference: MapStyle) -> Tensor:
    """Return the value that each unit of the session's layers is clamped to, shape (units,)."""
    if isinstance(value, str):
        if value not in ("zero", "mean"):
            raise ArgumentError(
                f"value is '{value}', but must be 'zero', 'mean' or an array of one value a unit"
            )
        means = unit_means(session, reference) if value == "mean" else np.zeros(session.units)
        return session.tensor(means)
    given = by_unit(session, value, "value")
    wrong = np.flatnonzero(~np.isfinite(given))
    if wrong.size:
        raise ArgumentError(
            f"value holds {given[wrong[0]]} for unit {wrong[0]}, but must be finite for every unit"
        )
    return session.tensor(given)


def constant(session: Session, values: Tensor) -> Replacement:
    """Return what stands in for activations where each unit has one value, shape (units,)."""
    by_layer = session.split(values)

    def replacement(layer: UnitLayer, activation: Tensor) -> Tensor:
        shape = [1] * activation.dim()
        shape[layer.axis] = layer.units
        return by_layer[layer.name].reshape(shape)

    return replacement


def value_name(value: Value) -> str:
    """Return how the value is called in the attributes of a result."""
    return value if isinstance(value, str) else "array"


def unit_means(session: Session, dataset: MapStyle) -> Floats:
    """Return each unit's mean activation over positions and samples, shape (units,)."""
    if len(dataset) == 0:
        raise ArgumentError("reference is empty, but must have at least one sample for the means")
    totals: dict[str, Tensor] = {}
    for inputs in session.inputs_of(dataset, "mean activations"):
        _, kept = session.network.capture(inputs, session.layers, _summed)
        for name, sums in kept.items():
            totals[name] = totals[name] + sums if name in totals else sums
    sums = torch.cat([totals[layer.name] for layer in session.layers])
    return (sums / len(dataset)).cpu().numpy()


def _summed(layer: UnitLayer, activation: Tensor) -> Tensor:
    return reduce_positions(activation, layer).sum(dim=0, dtype=torch.float64)


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
