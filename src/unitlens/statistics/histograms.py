"""Class-by-bin histograms of activations: where the bins lie, and the counting."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from unitlens.statistics.moments import Floats, Integers, Values

_TILE_ROWS, _TILE_UNITS = 8192, 32  # a tile's bin numbers (2 MB) stay in cache
_LARGEST_SCALE = 1e300  # of a subnormal range, whose bins would be narrower than a float


@dataclass(frozen=True)
class Bins:
    """The bins of some units: equal ones on either side of zero, which has one of its own.

    `fine` counts the bins beside zero's. All arrays have shape (units,): `finite` is False where
    the range is not, so that no activation of the unit may be counted. There are `below` bins
    under zero's bin, whose number is therefore `below`, and `above` bins over it. On each side
    bins of equal width run from `near` to `far` in magnitude; `scale` is bins per activation, 0
    where the side is a single value.
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

    @property
    def range(self) -> tuple[Floats, Floats]:
        """Return the smallest and the largest activation that the bins hold."""
        lowest = np.where(self.far_below > 0, -self.far_below, self.near_above)
        highest = np.where(self.far_above > 0, self.far_above, -self.near_below)
        return lowest, highest

    def __getitem__(self, units: slice) -> "Bins":
        arrays = [field.name for field in fields(self) if field.name != "fine"]
        return replace(self, **{name: getattr(self, name)[units] for name in arrays})


def make_bins(minimum: Floats, maximum: Floats, fine: int) -> Bins:
    """Return the bins for units whose activations lie from `minimum` to `maximum`.

    Parameters
    ----------
    minimum, maximum
        Range of each unit, shape (units,).
    fine
        Number of bins beside zero's own, at least 2. Units with both signs share them out in
        proportion to how far each sign reaches, at least one each.
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
    )


def bin_edges(bins: Bins) -> Floats:
    """Return the edges, shape (units, fine + 2), never descending; NaN where a range is not finite.

    Bin b runs from edge b to edge b + 1. Under zero it holds its lower edge, above zero its
    upper edge; the outermost value on the side of zero (where a unit never comes down to it)
    belongs to the bin next to it. Zero's bin has width 0, or fills the gap to zero and is empty.
    """
    number = np.arange(bins.fine + 2)[None, :]
    below, above = bins.below[:, None], bins.above[:, None]
    left = _side((below - number), below, bins.near_below, bins.far_below)
    right = _side((number - below - 1), above, bins.near_above, bins.far_above)
    edges = np.where(number <= below, -left, right) + 0.0  # no negative zeros
    return np.where(bins.finite[:, None], edges, np.nan)


def bin_numbers(values: Values, bins: Bins) -> Integers:
    """Return the number of the bin that each activation falls in, same shape as `values`.

    `values` has shape (samples, units) and lies within the range that the bins were made for.
    """
    wide = values.astype(np.float64)
    if bins.below.any():
        return _signed_numbers(wide, bins)
    wide -= bins.near_above
    wide *= bins.scale_above
    np.ceil(wide, out=wide)
    np.clip(wide, bins.near_above > 0, bins.above, out=wide)
    return wide.astype(np.int64)


def class_histogram(values: Values, index: Integers, classes: int, bins: Bins) -> NDArray[np.int32]:
    """Return how many samples of each class fall in each bin.

    Parameters
    ----------
    values
        Finite activations, shape (samples, units), within the range of `bins`.
    index
        Position of each sample's class, shape (samples,), from 0 to ``classes - 1``.
    classes
        Number of classes.
    bins
        The bins of the units.

    Returns
    -------
    Counts of shape (units, classes, bins).
    """
    samples, units = values.shape
    size = bins.fine + 1
    table = np.zeros((units, classes, size), np.int32)
    class_offset = index[:, None] * size
    for first in range(0, units, _TILE_UNITS):
        part = slice(first, first + _TILE_UNITS)
        cells = table[part].reshape(-1)  # a view: the table is contiguous
        unit_offset = np.arange(len(table[part])) * (classes * size)
        for start in range(0, samples, _TILE_ROWS):
            rows = slice(start, start + _TILE_ROWS)
            numbers = bin_numbers(values[rows, part], bins[part])
            numbers += class_offset[rows]
            numbers += unit_offset
            _count(cells, numbers.reshape(-1))
    return table


def _count(cells: NDArray[np.int32], numbers: Integers) -> None:
    """Add one to each of the numbered cells, by whichever way touches less memory."""
    if cells.size <= numbers.size:
        cells += np.bincount(numbers, minlength=cells.size).astype(np.int32)
    else:
        np.add.at(cells, numbers, np.int32(1))


def _scale(bins: Integers, width: Floats) -> Floats:
    with np.errstate(over="ignore"):
        scale = np.divide(bins, width, out=np.zeros_like(width), where=width > 0)
    return np.minimum(scale, _LARGEST_SCALE)


def _side(step: Integers, bins: Integers, near: Floats, far: Floats) -> Floats:
    """Return the magnitudes of one side's edges, `step` bins away from zero; exact at the ends."""
    share = np.clip(step, 0, bins) / np.maximum(bins, 1)
    near, far = near[:, None], far[:, None]
    return np.where(share < 1, np.minimum(near + (far - near) * share, far), far)


def _signed_numbers(wide: Floats, bins: Bins) -> Integers:
    negative = wide < 0
    magnitude = np.abs(wide)
    number = np.ceil(
        (magnitude - np.where(negative, bins.near_below, bins.near_above))
        * np.where(negative, bins.scale_below, bins.scale_above)
    )
    np.clip(number, wide != 0, np.where(negative, bins.below, bins.above), out=number)
    np.negative(number, where=negative, out=number)
    return np.asarray(number.astype(np.int64) + bins.below)
