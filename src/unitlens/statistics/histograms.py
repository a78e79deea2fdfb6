"""The bins of each unit's activation histogram."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unitlens.statistics.block_states import Floats, Integers

_LARGEST_SCALE = 1e300  # bins of a subnormal range would be narrower than a float


@dataclass(frozen=True)
class Bins:
    """The bins of some units: a bin for zero alone, and bins of equal width on either side of zero.

    Bins of a unit that is adapted (:mod:`unitlens.statistics.adapted_bins`) have edges of their own
    in place of equal widths. All arrays but `edges` have shape (units,).

    Attributes
    ----------
    fine
        Number of bins of each unit beside zero's bin.
    finite
        Whether the range of the unit is finite; otherwise no activation of the unit is counted.
    below, above
        Number of bins below and above zero's bin. The number of zero's bin is therefore `below`.
    near_below, near_above
        Magnitude at which the bins of a side begin, seen from zero.
    far_below, far_above
        Magnitude at which the bins of a side end, seen from zero.
    scale_below, scale_above
        Bins per unit of activation on a side, 0 where the side is a single value.
    row
        Row of `edges` that holds the edges of an adapted unit; -1 for bins of equal width.
    edges
        Edges of adapted units, shape (adapted units, fine + 2), as :func:`bin_edges` returns them.
    """

    fine: int
    finite: NDArray[np.bool_]
    below: Integers
    above: Integers
    near_below: Floats
    near_above: Floats
    far_below: Floats
    far_above: Floats
    scale_below: Floats
    scale_above: Floats
    row: Integers
    edges: Floats

    @property
    def range(self) -> tuple[Floats, Floats]:
        """The smallest and the largest activation that the bins hold."""
        lowest = np.where(self.far_below > 0, -self.far_below, self.near_above)
        highest = np.where(self.far_above > 0, self.far_above, -self.near_below)
        return lowest, highest

    def for_kernel(self) -> Floats:
        """Return the bins as :mod:`unitlens.statistics.block_kernels` takes them, (7, units)."""
        near, scale = (self.near_below, self.near_above), (self.scale_below, self.scale_above)
        return np.array((self.below, self.above, *near, *scale, self.row), np.float64)

    def __getitem__(self, units: slice) -> "Bins":
        arrays = [field.name for field in fields(self) if field.name not in ("fine", "edges")]
        return replace(self, **{name: getattr(self, name)[units] for name in arrays})


def make_bins(minimum: Floats, maximum: Floats, fine: int) -> Bins:
    """Return the bins of units whose activations lie between `minimum` and `maximum`.

    Parameters
    ----------
    minimum
        Smallest activation of each unit, shape (units,).
    maximum
        Largest activation of each unit, shape (units,).
    fine
        Number of bins beside zero's bin, at least 2. For a unit with activations of both signs, the
        bins of each sign, at least one, are in proportion to the largest magnitude of the sign.
    """
    finite = np.isfinite(minimum) & np.isfinite(maximum)
    minimum, maximum = np.where(finite, minimum, 0.0), np.where(finite, maximum, 0.0)
    far_below, far_above = np.maximum(-minimum, 0.0), np.maximum(maximum, 0.0)
    near_below, near_above = np.maximum(-maximum, 0.0), np.maximum(minimum, 0.0)
    reach = np.maximum(far_below / 2 + far_above / 2, np.finfo(np.float64).smallest_subnormal)
    proportional = np.rint(fine * (far_below / 2 / reach)).astype(np.int64)
    below = np.where(far_above > 0, np.clip(proportional, 1, fine - 1), fine)
    below = np.where(far_below > 0, below, 0)
    above = fine - below
    return Bins(
        fine=fine,
        finite=finite,
        below=below,
        above=above,
        near_below=near_below,
        near_above=near_above,
        far_below=far_below,
        far_above=far_above,
        scale_below=_scale(below, far_below - near_below),
        scale_above=_scale(above, far_above - near_above),
        row=np.full(len(finite), -1),
        edges=np.empty((0, fine + 2)),
    )


def bin_edges(bins: Bins) -> Floats:
    """Return the edges, shape (units, fine + 2), never descending; NaN where a range is not finite.

    Bin b runs from edge b to edge b + 1. A bin below zero holds its lower edge, a bin above zero
    its upper edge. Where a unit does not reach zero, its activation nearest to zero belongs to the
    bin next to zero's bin. Zero's bin has width 0, or fills the gap to zero and is empty.
    """
    number = np.arange(bins.fine + 2)[None, :]
    below, above = bins.below[:, None], bins.above[:, None]
    left = _side((below - number), below, bins.near_below, bins.far_below)
    right = _side((number - below - 1), above, bins.near_above, bins.far_above)
    edges = np.where(number <= below, -left, right) + 0.0  # no negative zeros
    adapted = bins.row >= 0
    edges[adapted] = bins.edges[bins.row[adapted]]
    return np.where(bins.finite[:, None], edges, np.nan)


def search_keys(bins: Bins, dtype: np.dtype[Any], multiple: int) -> NDArray[np.floating[Any]]:
    """Return the keys by which the bins of adapted units are found.

    Parameters
    ----------
    bins
        The bins.
    dtype
        Type of the activations, which holds the edges within either side of zero exactly.
    multiple
        A number that the number of keys of a unit is a multiple of.

    Returns
    -------
    Ascending keys, shape (adapted units, keys). The number of the bin of an activation of the type
    is the number of keys below the activation; keys beyond the `fine` ones are infinite.
    """
    adapted = np.flatnonzero(bins.row >= 0)
    below = np.zeros((len(bins.edges), 1), np.int64)
    below[bins.row[adapted], 0] = bins.below[adapted]
    number = np.arange(bins.fine)[None, :]
    keys = bins.edges[:, 1:-1].astype(dtype)
    keys[(number == below - 1) | (number == below)] = 0  # zero's bin holds zero alone
    under = np.nextafter(keys, dtype.type(-np.inf))  # bins below zero hold their lower edge
    keys = np.where(number < below, under, keys)
    padding = -bins.fine % multiple or multiple
    return np.pad(keys, ((0, 0), (0, padding)), constant_values=np.inf)


def _scale(bins: Integers, width: Floats) -> Floats:
    with np.errstate(over="ignore"):
        scale = np.divide(bins, width, out=np.zeros_like(width), where=width > 0)
    return np.minimum(scale, _LARGEST_SCALE)


def _side(step: Integers, bins: Integers, near: Floats, far: Floats) -> Floats:
    """Return the magnitudes of a side's edges, `step` bins away from zero; exact at both ends."""
    share = np.clip(step, 0, bins) / np.maximum(bins, 1)
    near, far = near[:, None], far[:, None]
    return np.where(share < 1, np.minimum(near + (far - near) * share, far), far)
