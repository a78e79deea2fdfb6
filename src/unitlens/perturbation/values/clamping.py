"""What stands in for the activations of a batch, for every kind of value."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from unitlens.config.base import ValueName
from unitlens.data.batches import MapStyle
from unitlens.errors import ArgumentError
from unitlens.model.layers import UnitLayer
from unitlens.perturbation.engine.perturbed_directions import Replacement
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Batch, Session
from unitlens.perturbation.values.reference_data import (
    activation_bytes,
    class_means,
    fitting,
    partner_activations,
    partners,
    position_means,
    unit_means,
)
from unitlens.perturbation.values.unit_values import by_unit, on_axis

Value = ValueName | npt.ArrayLike | xr.DataArray


@dataclass(frozen=True)
class Clamping:
    """What units are clamped to.

    Attributes
    ----------
    replacement
        Returns, for a batch, what stands in for activations.
    constants
        The value of each unit, shape (units,), where it is the same for all samples and
        positions; else None.
    kept_bytes
        Bytes that a batch's replacement keeps for each sample.
    """

    replacement: Callable[[Batch], Replacement]
    constants: Tensor | None = None
    kept_bytes: int = 0


def clamp_to(session: Session, value: Value, reference: MapStyle | None) -> Clamping:
    """Return what the units of a session's layers are clamped to.

    Parameters
    ----------
    session
        The session.
    value, reference
        As :mod:`unitlens.perturbation` says.

    Raises
    ------
    ArgumentError
        Where the value is unknown, or numbers or reference do not suit it.
    """
    if not isinstance(value, str):
        return _constant(session, _given(session, value))
    if value not in get_args(ValueName):
        names = ", ".join(f"'{name}'" for name in get_args(ValueName))
        raise ArgumentError(
            f"value is '{value}', but must be {names} or an array of one value a unit"
        )
    if value == "zero":
        return _constant(session, np.zeros(session.units))
    chosen = session.dataset if reference is None else reference
    if len(chosen) == 0:
        raise ArgumentError(
            f"reference is empty, but must have at least one sample for value '{value}'"
        )
    return _FROM_REFERENCE[value](session, chosen)


def value_name(value: Value) -> str:
    """Return how the value is called in the attributes of a result."""
    return value if isinstance(value, str) else "array"


def _given(session: Session, value: npt.ArrayLike | xr.DataArray) -> Floats:
    given = by_unit(session, value, "value")
    wrong = np.flatnonzero(~np.isfinite(given))
    if wrong.size:
        raise ArgumentError(
            f"value holds {given[wrong[0]]} for unit {wrong[0]}, but must be finite for every unit"
        )
    return given


def _constant(session: Session, values: Floats | Tensor) -> Clamping:
    constants = session.tensor(values)
    by_layer = session.split(constants)

    def replacement(layer: UnitLayer, activation: Tensor) -> Tensor:
        shape = [1] * activation.dim()
        shape[layer.axis] = layer.units
        return by_layer[layer.name].reshape(shape)

    return Clamping(lambda _: replacement, constants)


def _mean(session: Session, reference: MapStyle) -> Clamping:
    return _constant(session, unit_means(session, reference))


def _position_mean(session: Session, reference: MapStyle) -> Clamping:
    if all(len(layer.shape) == 1 for layer in session.layers):  # there are no positions
        return _mean(session, reference)
    means = position_means(session, reference)
    by_layer = {name: session.tensor(values) for name, values in means.items()}

    def replacement(layer: UnitLayer, activation: Tensor) -> Tensor:
        return fitting("position_mean", layer, by_layer[layer.name], activation)

    return Clamping(lambda _: replacement)


def _class_mean(session: Session, reference: MapStyle) -> Clamping:
    if not session.by_class:
        raise ArgumentError(
            "value is 'class_mean', but the targets are no classes: give integer labels, one a "
            "sample, or another value"
        )
    labels, means = class_means(session, reference)
    known = torch.as_tensor(labels, device=session.device)
    table = session.tensor(means)

    def of_batch(batch: Batch) -> Replacement:
        missing = batch.classes[~torch.isin(batch.classes, known)]
        if len(missing):
            raise ArgumentError(
                f"reference has no sample of the label {int(missing[0])}, but value 'class_mean' "
                "needs one of every label that is scored; give another reference"
            )
        by_layer = session.split(table[torch.searchsorted(known, batch.classes)])

        def replacement(layer: UnitLayer, activation: Tensor) -> Tensor:
            values = by_layer[layer.name].unsqueeze(0)  # as of one variant
            return on_axis(values, layer, activation.dim() + 1).squeeze(0)

        return replacement

    return Clamping(of_batch)


def _resample(session: Session, reference: MapStyle) -> Clamping:
    own = reference is session.dataset
    chosen = partners(session.indices, len(reference), session.seed, own=own)

    def of_batch(batch: Batch) -> Replacement:
        of_samples = chosen[batch.start : batch.start + len(batch.inputs)]
        activations = partner_activations(session, reference, of_samples)

        def replacement(layer: UnitLayer, activation: Tensor) -> Tensor:
            return fitting("resample", layer, activations[layer.name], activation)

        return replacement

    # Those of the batch before are there until its successor's are.
    return Clamping(of_batch, kept_bytes=2 * activation_bytes(session))


_FROM_REFERENCE: dict[str, Callable[[Session, MapStyle], Clamping]] = {
    "mean": _mean,
    "position_mean": _position_mean,
    "class_mean": _class_mean,
    "resample": _resample,
}
