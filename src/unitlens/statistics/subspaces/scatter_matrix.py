"""Scatter matrix of the units of a layer, block by block."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from dask.delayed import delayed

from unitlens.errors import TableError
from unitlens.statistics.activation_layers import ActivationLayer, computed
from unitlens.statistics.block_states import Floats, Integers, Values, merge_by_tree

# Least number of entries of a slab's float64 copy: fewer would not be worth a matrix product.
_LEAST = 2**20


@dataclass(frozen=True)
class Scatter:
    """Mergeable joint moments of the units of a layer over some samples.

    Without samples all numbers are 0.

    Attributes
    ----------
    count
        Number of samples.
    mean
        Mean of each unit, shape (units,).
    scatter
        Sum over the samples of the outer products of the deviations from the mean, shape
        (units, units).
    """

    count: int
    mean: Floats
    scatter: Floats


def layer_scatter(layer: ActivationLayer, *, finite: bool = False) -> Scatter:
    """Compute the scatter of a layer's activations over all samples, in one pass.

    Parameters
    ----------
    layer
        The layer.
    finite
        Whether activations that are not finite are refused, as soon as their block is read.

    Raises
    ------
    TableError
        Where `finite` and a unit has activations that are NaN, infinite, or too large to be
        squared.
    """
    blocks = layer.activation.data.rechunk({1: -1}).to_delayed()[:, 0]  # whole rows
    if finite:
        state = delayed(_finite_block_scatter, traverse=False)
        states = [state(block, layer.name, layer.channel) for block in blocks]
    else:
        state = delayed(block_scatter, traverse=False)
        states = [state(block) for block in blocks]
    scatter: Scatter = computed(merge_by_tree(states, merge_scatters))
    if finite:
        _check_finite(scatter, layer.name, layer.channel)
    return scatter


def block_scatter(values: Values) -> Scatter:
    """Return the scatter of a block.

    Parameters
    ----------
    values
        Activations, shape (samples, units).

    Returns
    -------
    The scatter, accumulated in float64. The diagonal is not finite for a unit with a NaN, an
    infinite activation, or an activation whose square is beyond float64.

    Notes
    -----
    Two passes over each slab of rows (mean, then deviations from the mean), and
    :func:`merge_scatters` between slabs, so that rounding does not grow with the ratio of mean and
    deviation.
    """
    units = values.shape[1]
    state = Scatter(0, np.zeros(units), np.zeros((units, units)))
    for rows in _slabs(*values.shape):
        state = merge_scatters(state, _slab_scatter(values[rows]))
    return state


def merge_scatters(one: Scatter, other: Scatter) -> Scatter:
    """Return the scatter of the samples of two states.

    Source: as :func:`unitlens.statistics.block_states.merge_moments`, with the outer product of the
    difference of the means in place of its square.
    """
    count = one.count + other.count
    share = other.count / max(count, 1)
    with np.errstate(invalid="ignore", over="ignore"):  # infinite activations: see block_scatter
        delta = other.mean - one.mean
        mean = one.mean + delta * share
        scaled = delta * np.sqrt(one.count * share)  # on both sides: exactly symmetric
        scatter = np.outer(scaled, scaled)
        scatter += one.scatter
        scatter += other.scatter
    return Scatter(count, mean, scatter)


def _finite_block_scatter(values: Values, layer: str, channels: Integers) -> Scatter:
    scatter = block_scatter(values)
    _check_finite(scatter, layer, channels)  # before the end of a pass that may be long
    return scatter


def _check_finite(state: Scatter, layer: str, channels: Integers) -> None:
    wrong = channels[~np.isfinite(state.scatter.diagonal())]
    if wrong.size:
        named = f"channel {', '.join(map(str, wrong[:5]))}{' and others' if wrong.size > 5 else ''}"
        raise TableError(
            f"layer '{layer}' has activations that are NaN, infinite or too large to be squared "
            f"({named}), but principal components need finite activations; leave these units out "
            "of the layer's 'activation' with isel, or choose another layer"
        )


def _slabs(samples: int, units: int) -> Iterator[slice]:
    """Return slabs of rows whose copies are at most as large as the scatter matrix, or as 8 MB."""
    rows = max(units, _LEAST // max(units, 1))
    return (slice(start, start + rows) for start in range(0, samples, rows))


def _slab_scatter(values: Values) -> Scatter:
    """Return the scatter of a few rows, exactly 0 for a unit with equal values in all rows."""
    first = values[0].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        deviations = values - first  # a float64 copy
        offset = deviations.mean(axis=0)
        deviations -= offset
        return Scatter(len(values), first + offset, deviations.T @ deviations)
