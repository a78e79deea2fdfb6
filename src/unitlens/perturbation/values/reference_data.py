"""What a reference data set gives: mean activations, and partners of the scored samples."""

import math

import numpy as np
import torch
from torch import Tensor

from unitlens.data.batches import Indices, MapStyle
from unitlens.errors import ArgumentError
from unitlens.model.layers import UnitLayer, reduce_positions
from unitlens.perturbation.session import Session, are_classes
from unitlens.seeds import seeded

# Samples that are brought to float64 at once: all of a batch would double what it takes, and more.
_SAMPLES_AT_ONCE = 8


def unit_means(session: Session, reference: MapStyle) -> Tensor:
    """Return each unit's mean over samples and positions, float64 (units,)."""
    totals: dict[str, Tensor] = {}
    for inputs, _ in session.samples_of(reference, "mean activations"):
        _, kept = session.network.capture(inputs, session.layers, _unit_sums)
        for name, sums in kept.items():
            totals[name] = totals[name] + sums if name in totals else sums
    return torch.cat([totals[layer.name] for layer in session.layers]) / len(reference)


def position_means(session: Session, reference: MapStyle) -> dict[str, Tensor]:
    """Return the mean activation over samples by layer, float64 (1, ...).

    Raises
    ------
    ArgumentError
        Where the activations of a layer have several shapes.
    """
    totals: dict[str, Tensor] = {}
    for inputs, _ in session.samples_of(reference, "mean activations"):
        _, kept = session.network.capture(inputs, session.layers, _position_sums)
        for layer in session.layers:
            sums = kept[layer.name]
            if layer.name in totals:
                sums = sums + fitting("position_mean", layer, totals[layer.name], sums)
            totals[layer.name] = sums
    return {name: sums / len(reference) for name, sums in totals.items()}


def class_means(session: Session, reference: MapStyle) -> tuple[Indices, Tensor]:
    """Return labels and each unit's mean over samples of each and positions.

    Returns
    -------
    Labels that `reference` has, ascending, (classes,); means, float64 (classes, units).

    Raises
    ------
    ArgumentError
        Where the reference's targets are no classes.
    """
    totals: dict[int, Tensor] = {}
    counts: dict[int, int] = {}
    for inputs, targets in session.samples_of(reference, "mean activations"):
        if not are_classes(targets):
            raise ArgumentError(
                f"reference has targets of {targets.dtype} and shape {tuple(targets.shape[1:])}, "
                "but value 'class_mean' needs integer labels, one a sample"
            )
        labels, sums, numbers = _class_sums(session, inputs, targets)
        for label, of_class, number in zip(labels, sums, numbers, strict=True):
            totals[label] = totals[label] + of_class if label in totals else of_class
            counts[label] = counts.get(label, 0) + number
    known = np.array(sorted(totals))
    return known, torch.stack([totals[label] / counts[label] for label in known.tolist()])


def _class_sums(
    session: Session, inputs: Tensor, targets: Tensor
) -> tuple[list[int], Tensor, list[int]]:
    """Return the labels of a batch, the sums over the samples of each, and their numbers."""
    labels, places, numbers = torch.unique(targets.long(), return_inverse=True, return_counts=True)

    def summed(layer: UnitLayer, activation: Tensor) -> Tensor:
        by_sample = reduce_positions(activation, layer).double()
        sums = by_sample.new_zeros(len(labels), layer.units)
        return sums.index_add_(0, places, by_sample)

    _, kept = session.network.capture(inputs, session.layers, summed)
    sums = torch.cat([kept[layer.name] for layer in session.layers], dim=1)
    return labels.tolist(), sums, numbers.tolist()


def _unit_sums(layer: UnitLayer, activation: Tensor) -> Tensor:
    return reduce_positions(activation, layer).sum(dim=0, dtype=torch.float64)


def _position_sums(_: UnitLayer, activation: Tensor) -> Tensor:
    sums = activation.new_zeros((1, *activation.shape[1:]), dtype=torch.float64)
    for some in torch.split(activation, _SAMPLES_AT_ONCE):
        sums += some.sum(dim=0, keepdim=True, dtype=torch.float64)
    return sums


def fitting(value: str, layer: UnitLayer, values: Tensor, activation: Tensor) -> Tensor:
    """Return values of every position, shape (samples or 1, ...), if they fit an activation's.

    Raises
    ------
    ArgumentError
        Where the positions are others.
    """
    if values.shape[1:] != activation.shape[1:]:
        raise ArgumentError(
            f"layer '{layer.name}' has activations of shape {tuple(values.shape[1:])} and of "
            f"{tuple(activation.shape[1:])}, but value '{value}' needs inputs that all give one "
            "shape; clamp to 'mean' instead"
        )
    return values


def partners(indices: Indices, samples: int, seed: int, *, own: bool) -> Indices:
    """Return which sample of the reference stands in for each scored sample.

    Parameters
    ----------
    indices
        Places of the scored samples in their data set.
    samples
        Samples of the reference.
    seed
        Of the permutation of the reference.
    own
        Whether the reference is the data set that is scored. Then each sample has the one that
        follows it in the permutation, and the last one the first: never itself, and over all
        samples everyone is somebody's partner once. Else sample `i` has the one at place `i`,
        counted from the start again behind the end.

    Raises
    ------
    ArgumentError
        Where there is no other sample.

    Examples
    --------
    >>> partners(np.arange(5), 5, 0, own=True).tolist()
    [3, 0, 4, 2, 1]
    """
    order = seeded(seed, "partners").permutation(samples)
    if not own:
        return order[indices % samples]
    if samples < 2:
        raise ArgumentError(
            "the data set has one sample, but value 'resample' needs another one; give a reference"
        )
    follower = np.empty_like(order)
    follower[order] = np.roll(order, -1)
    return follower[indices]


def partner_activations(
    session: Session, reference: MapStyle, chosen: Indices
) -> dict[str, Tensor]:
    """Return the activations of the `chosen` samples of a reference by layer, (samples, ...)."""
    inputs = session.inputs_at(reference, chosen)
    _, kept = session.network.capture(inputs, session.layers, lambda _, activation: activation)
    return kept


def activation_bytes(session: Session) -> int:
    """Return the bytes that the activations of the session's layers take for each sample."""
    numbers = sum(math.prod(layer.shape) for layer in session.layers)
    return numbers * session.network.dtype.itemsize
