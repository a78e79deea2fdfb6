"""Replacements of a batch's activations, for every value that units are clamped to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from unitlens.config.base import ValueName
from unitlens.data.samples import Samples
from unitlens.errors import ArgumentError
from unitlens.model.layers import UnitLayer
from unitlens.perturbation.engine.perturbed_directions import Replacement
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Batch, Session
from unitlens.perturbation.values.reference_data import (
    activation_bytes,
    class_means,
    match_shape,
    partner_activations,
    partners,
    position_means,
    unit_means,
)
from unitlens.perturbation.values.unit_values import align_with_activations, values_by_unit

Value = ValueName | npt.ArrayLike | xr.DataArray


@dataclass(frozen=True)
class Clamping:
    """Replacement of activations by a value.

    Attributes
    ----------
    replacement
        Function that returns the replacement of activations on a batch.
    constants
        The value of each unit, (units,), where it is one number for all samples and positions;
        else None.
    kept_bytes
        Bytes per sample that the replacement of a batch holds.
    """

    replacement: Callable[[Batch], Replacement]
    constants: Tensor | None = None
    kept_bytes: int = 0


def clamp_to(session: Session, value: Value, reference: Any) -> Clamping:
    """Return the replacement of activations by a value.

    Parameters
    ----------
    session
        The session, whose layers are replaced.
    value
        Name of a value, or one number per unit.
    reference
        Data set for means and partners; the session's data set if None.

    Raises
    ------
    ArgumentError
        Where the value is unknown, or numbers or the reference do not fit it.
    """
    if not isinstance(value, str):
        return _constant(session, _finite_numbers(session, value))
    if value not in MAKERS:
        names = ", ".join(f"'{name}'" for name in MAKERS)
        raise ArgumentError(
            f"value is '{value}', but must be {names} or an array of one value a unit"
        )
    return MAKERS[value](session, session.open_reference(reference))


def value_name(value: Value) -> str:
    """Return the name of a value in the attributes of a result."""
    return value if isinstance(value, str) else "array"


def _finite_numbers(session: Session, value: npt.ArrayLike | xr.DataArray) -> Floats:
    numbers = values_by_unit(session, value, "value")
    not_finite = np.flatnonzero(~np.isfinite(numbers))
    if not_finite.size:
        raise ArgumentError(
            f"value holds {numbers[not_finite[0]]} for unit {not_finite[0]}, but must be finite "
            "for every unit"
        )
    return numbers


def _constant(session: Session, values: Floats | Tensor) -> Clamping:
    constants = session.tensor(values)
    by_layer = session.split(constants)

    def replacement(layer: UnitLayer, activation: Tensor) -> Tensor:
        shape = [1] * activation.dim()
        shape[layer.axis] = layer.units
        return by_layer[layer.name].reshape(shape)

    return Clamping(lambda _: replacement, constants)


def _zero(session: Session, _: Samples) -> Clamping:
    return _constant(session, np.zeros(session.units))


def _mean(session: Session, reference: Samples) -> Clamping:
    return _constant(session, unit_means(session, reference))


def _position_mean(session: Session, reference: Samples) -> Clamping:
    if all(len(layer.shape) == 1 for layer in session.layers):  # there are no positions
        return _mean(session, reference)
    means = position_means(session, reference)
    by_layer = {name: session.tensor(values) for name, values in means.items()}

    def replacement(layer: UnitLayer, activation: Tensor) -> Tensor:
        return match_shape("position_mean", layer, by_layer[layer.name], activation)

    return Clamping(lambda _: replacement)


def _class_mean(session: Session, reference: Samples) -> Clamping:
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
            values = by_layer[layer.name].unsqueeze(0)  # with an axis of one variant
            return align_with_activations(values, layer, activation.dim() + 1).squeeze(0)

        return replacement

    return Clamping(of_batch)


def _resample(session: Session, reference: Samples) -> Clamping:
    same = reference is session.dataset
    partner_of = partners(session.indices, len(reference), session.seed, same=same)
    if session.identity is not None:
        for _ in session.reference_batches(reference):
            pass  # reading tells the identity which samples these are

    def of_batch(batch: Batch) -> Replacement:
        indices = partner_of[batch.positions]
        activations = partner_activations(session, reference, indices)

        def replacement(layer: UnitLayer, activation: Tensor) -> Tensor:
            return match_shape("resample", layer, activations[layer.name], activation)

        return replacement

    # The activations of a batch are held until the activations of the next batch are computed.
    return Clamping(of_batch, kept_bytes=2 * activation_bytes(session))


# The function of each value that `unitlens.catalogue.values` declares: session and reference to
# replacement.
MAKERS: dict[str, Callable[[Session, Samples], Clamping]] = {
    "zero": _zero,
    "mean": _mean,
    "position_mean": _position_mean,
    "class_mean": _class_mean,
    "resample": _resample,
}
