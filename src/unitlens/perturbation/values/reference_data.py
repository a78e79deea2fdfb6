"""Mean activations over a reference data set, and activations of other samples of it."""

import math

import numpy as np
import torch
from torch import Tensor

from unitlens.data.map_style import Indices
from unitlens.data.samples import Samples
from unitlens.errors import ArgumentError
from unitlens.model.inputs import AnyInputs
from unitlens.model.layers import UnitLayer, reduce_positions
from unitlens.perturbation.engine.repeatable_sums import add_at
from unitlens.perturbation.scores import are_classes
from unitlens.perturbation.session import Session
from unitlens.seeds import seeded

# Number of samples that are converted to float64 at once. A whole batch would take more than twice
# its memory.
_SAMPLES_AT_ONCE = 8


def unit_means(session: Session, reference: Samples) -> Tensor:
    """Return each unit's mean over samples and positions, float64 (units,)."""
    totals: dict[str, Tensor] = {}
    for inputs, _ in session.reference_batches(reference):
        _, batch_sums = session.network.capture(inputs, session.layers, _sum_by_unit)
        for name, sums in batch_sums.items():
            totals[name] = totals[name] + sums if name in totals else sums
    return torch.cat([totals[layer.name] for layer in session.layers]) / len(reference)


def position_means(session: Session, reference: Samples) -> dict[str, Tensor]:
    """Return the mean activation over samples at each position by layer, float64 (1, ...).

    Raises
    ------
    ArgumentError
        Where the activations of a layer have several shapes.
    """
    totals: dict[str, Tensor] = {}
    for inputs, _ in session.reference_batches(reference):
        _, batch_sums = session.network.capture(inputs, session.layers, _sum_by_position)
        for layer in session.layers:
            sums = batch_sums[layer.name]
            if layer.name in totals:
                sums = sums + match_shape("position_mean", layer, totals[layer.name], sums)
            totals[layer.name] = sums
    return {name: sums / len(reference) for name, sums in totals.items()}


def class_means(session: Session, reference: Samples) -> tuple[Indices, Tensor]:
    """Return each unit's mean over positions and over the samples of each label.

    Returns
    -------
    The labels of `reference`, ascending, (classes,); the means, float64 (classes, units).

    Raises
    ------
    ArgumentError
        Where the targets of the reference are not classes.
    """
    totals: dict[int, Tensor] = {}
    counts: dict[int, int] = {}
    for inputs, targets in session.reference_batches(reference):
        if not are_classes(targets):
            raise ArgumentError(
                f"reference has targets of {targets.dtype} and shape {tuple(targets.shape[1:])}, "
                "but value 'class_mean' needs integer labels, one a sample"
            )
        labels, sums, numbers = _sums_by_class(session, inputs, targets)
        for label, of_class, number in zip(labels, sums, numbers, strict=True):
            totals[label] = totals[label] + of_class if label in totals else of_class
            counts[label] = counts.get(label, 0) + number
    known = np.array(sorted(totals))
    return known, torch.stack([totals[label] / counts[label] for label in known.tolist()])


def _sums_by_class(
    session: Session, inputs: AnyInputs, targets: Tensor
) -> tuple[list[int], Tensor, list[int]]:
    """Return the labels of a batch, the sums over the samples of each label, and their counts."""
    labels, places, counts = torch.unique(targets.long(), return_inverse=True, return_counts=True)

    def sum_by_class(layer: UnitLayer, activation: Tensor) -> Tensor:
        by_sample = reduce_positions(activation, layer).double()
        sums = by_sample.new_zeros(len(labels), layer.units)
        add_at(sums, 0, places, by_sample)
        return sums

    _, by_layer = session.network.capture(inputs, session.layers, sum_by_class)
    sums = torch.cat([by_layer[layer.name] for layer in session.layers], dim=1)
    return labels.tolist(), sums, counts.tolist()


def _sum_by_unit(layer: UnitLayer, activation: Tensor) -> Tensor:
    return reduce_positions(activation, layer).sum(dim=0, dtype=torch.float64)


def _sum_by_position(_: UnitLayer, activation: Tensor) -> Tensor:
    sums = activation.new_zeros((1, *activation.shape[1:]), dtype=torch.float64)
    for part in torch.split(activation, _SAMPLES_AT_ONCE):
        sums += part.sum(dim=0, keepdim=True, dtype=torch.float64)
    return sums


def match_shape(value: str, layer: UnitLayer, values: Tensor, activation: Tensor) -> Tensor:
    """Return values of every position, if they have the positions of an activation.

    Parameters
    ----------
    value
        Name of the value, for messages.
    layer
        The layer.
    values, activation
        Shapes (samples or 1, ...) and (samples, ...).

    Raises
    ------
    ArgumentError
        Where the positions differ.
    """
    if values.shape[1:] != activation.shape[1:]:
        raise ArgumentError(
            f"layer '{layer.name}' has activations of shape {tuple(values.shape[1:])} and of "
            f"{tuple(activation.shape[1:])}, but value '{value}' needs inputs that all give one "
            "shape; clamp to 'mean' instead"
        )
    return values


def partners(indices: Indices, samples: int, seed: int, *, same: bool) -> Indices:
    """Return the index of the partner of each scored sample in a reference.

    Parameters
    ----------
    indices
        Indices of the scored samples in their data set.
    samples
        Number of samples of the reference.
    seed
        Seed of the permutation of the reference.
    same
        Whether the reference is the data set that is scored. Then the partner of a sample is the
        next sample in the permutation, and that of the last sample the first: never the sample
        itself, and each sample is the partner of one. Else the partner of sample `i` is at place
        `i` of the permutation, modulo its length.

    Raises
    ------
    ArgumentError
        Where the reference has no sample, or no other sample than the scored one.

    Examples
    --------
    >>> partners(np.arange(5), 5, 0, same=True).tolist()
    [3, 0, 4, 2, 1]
    """
    if samples == 0:
        raise ArgumentError("reference is empty, but must have at least one sample")
    order = seeded(seed, "partners").permutation(samples)
    if not same:
        return order[indices % samples]
    if samples < 2:
        raise ArgumentError(
            "the data set has one sample, but value 'resample' needs another one; give a reference"
        )
    next_in_order = np.empty_like(order)
    next_in_order[order] = np.roll(order, -1)
    return next_in_order[indices]


def partner_activations(
    session: Session, reference: Samples, indices: Indices
) -> dict[str, Tensor]:
    """Return the activations of some samples of a reference by layer, (samples, ...)."""
    inputs = session.inputs_at(reference, indices)
    _, by_layer = session.network.capture(inputs, session.layers, lambda _, activation: activation)
    return by_layer


def activation_bytes(session: Session) -> int:
    """Return the bytes per sample of the activations of the session's layers."""
    numbers = sum(math.prod(layer.shape) for layer in session.layers)
    return numbers * session.network.dtype.itemsize
