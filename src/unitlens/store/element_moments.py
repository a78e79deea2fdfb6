"""Moments of the elements of units: of all samples and positions of a feature map together."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ElementMoments:
    """The number, the mean and the sum of squared deviations of the elements of each unit.

    An element of a unit is its activation on one sample at one position.

    Attributes
    ----------
    count
        Number of elements of a unit.
    mean
        Their mean, (units,).
    deviations
        Sum of the squares of their deviations from the mean, (units,).
    """

    count: int
    mean: Floats
    deviations: Floats

    @property
    def variance(self) -> Floats:
        """The population variance of the elements of each unit, (units,)."""
        return self.deviations / self.count


def join_moments(parts: Iterable[ElementMoments]) -> ElementMoments:
    """Return the moments of several parts together, joined in their order.

    Parameters
    ----------
    parts
        Moments of different elements of the same units, at least one.

    Notes
    -----
    By the formulas of Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance",
    The American Statistician 37, 242-247, which subtract no large numbers of nearly equal size.

    Examples
    --------
    >>> two = ElementMoments(2, np.array([0.5]), np.array([0.5]))  # of 0 and 1
    >>> whole = join_moments([two, ElementMoments(1, np.array([5.0]), np.array([0.0]))])
    >>> whole.count, whole.mean.tolist(), whole.deviations.tolist()
    (3, [2.0], [14.0])
    """
    whole, *others = parts
    for part in others:
        count, apart = whole.count + part.count, part.mean - whole.mean
        mean = whole.mean + apart * (part.count / count)
        between = apart**2 * (whole.count * part.count / count)
        whole = ElementMoments(count, mean, whole.deviations + part.deviations + between)
    return whole


def moments_of(groups: Floats) -> list[ElementMoments]:
    """Return moments from their numbers, (groups, 3, units): counts, means, sums of deviations."""
    return [ElementMoments(int(count[0]), mean, sums) for count, mean, sums in groups]
