"""Scatter matrix of a block of activations, and how two blocks' become one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from unitlens.statistics.block_states import Floats, Values

# A slab's float64 copy has at least so many entries, so that its product is worth a call.
_LEAST = 2**20


@dataclass(frozen=True)
class Scatter:
    """Mergeable joint moments of the units of a layer over some samples.

    `mean` has shape (units,), `scatter` (units, units): the sum over the samples of the outer
    products of the deviations from the mean. Without samples all are 0.
    """

    count: int
    mean: Floats
    scatter: Floats


def scatter_of(values: Values) -> Scatter:
    """Return the scatter of a block.

    Parameters
    ----------
    values
        Activations, shape (samples, units).

    Returns
    -------
    The scatter, accumulated in float64. A unit with a NaN or an infinite activation, or one whose
    square is beyond float64, is not finite on the diagonal.

    Notes
    -----
    Two passes over each slab of rows (mean, then deviations from it) and :func:`merge_scatters`
    between slabs, so that rounding does not grow with mean over deviation.
    """
    units = values.shape[1]
    state = Scatter(0, np.zeros(units), np.zeros((units, units)))
    for rows in _slabs(*values.shape):
        state = merge_scatters(state, _slab_scatter(values[rows]))
    return state


def merge_scatters(one: Scatter, other: Scatter) -> Scatter:
    """Return the scatter of the samples of both.

    Source: as :func:`unitlens.statistics.block_states.merge_moments`, with the outer product of the
    difference of the means in place of its square.
    """
    count = one.count + other.count
    share = other.count / max(count, 1)
    with np.errstate(invalid="ignore", over="ignore"):  # infinite activations: see scatter_of
        delta = other.mean - one.mean
        mean = one.mean + delta * share
        scaled = delta * np.sqrt(one.count * share)  # on both sides: exactly symmetric
        scatter = np.outer(scaled, scaled)
        scatter += one.scatter
        scatter += other.scatter
    return Scatter(count, mean, scatter)


def _slabs(samples: int, units: int) -> Iterator[slice]:
    """Return slabs of rows whose copies are no larger than the scatter matrix, or than 8 MB."""
    rows = max(units, _LEAST // max(units, 1))
    return (slice(start, start + rows) for start in range(0, samples, rows))


def _slab_scatter(values: Values) -> Scatter:
    """Return the scatter of a few rows, exactly 0 for a unit that is the same in all of them."""
    first = values[0].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        deviations = values - first  # a float64 copy
        offset = deviations.mean(axis=0)
        deviations -= offset
        return Scatter(len(values), first + offset, deviations.T @ deviations)
