"""Where the bins of each unit's histogram lie."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from unitlens.statistics.block_states import Floats, Integers

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

    def for_kernel(self) -> Floats:
        """Return what :mod:`unitlens.statistics.block_kernels` knows of the bins, (6, units)."""
        near, scale = (self.near_below, self.near_above), (self.scale_below, self.scale_above)
        return np.array((self.below, self.above, *near, *scale), np.float64)

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


def _scale(bins: Integers, width: Floats) -> Floats:
    with np.errstate(over="ignore"):
        scale = np.divide(bins, width, out=np.zeros_like(width), where=width > 0)
    return np.minimum(scale, _LARGEST_SCALE)


def _side(step: Integers, bins: Integers, near: Floats, far: Floats) -> Floats:
    """Return the magnitudes of one side's edges, `step` bins away from zero; exact at the ends."""
    share = np.clip(step, 0, bins) / np.maximum(bins, 1)
    near, far = near[:, None], far[:, None]
    return np.where(share < 1, np.minimum(near + (far - near) * share, far), far)
