"""Class-wise moments of a block of activations, and how two blocks' moments become one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Values = NDArray[Any]  # activations as the store holds them: (samples, units) of any real dtype


@dataclass(frozen=True)
class ClassMoments:
    """Mergeable moments of each unit over the samples of each class.

    `count` has shape (classes,), the others (classes, units): mean, sum of squared deviations
    from it, smallest and largest value. A class without samples has count, mean and squares 0,
    minimum inf, maximum -inf.
    """

    count: Integers
    mean: Floats
    squares: Floats
    minimum: Floats
    maximum: Floats


def no_moments(classes: int, units: int) -> ClassMoments:
    """Return the moments of no samples at all, with which any merge changes nothing."""
    shape = (classes, units)
    return ClassMoments(
        count=np.zeros(classes, np.int64),
        mean=np.zeros(shape),
        squares=np.zeros(shape),
        minimum=np.full(shape, np.inf),
        maximum=np.full(shape, -np.inf),
    )


def merge_moments(one: ClassMoments, other: ClassMoments) -> ClassMoments:
    """Return the moments of the samples of both.

    Source: Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", Stanford STAN-CS-79-773, 1979, equations 2.1.
    """
    count = one.count + other.count
    share = (other.count / np.maximum(count, 1))[:, None]
    with np.errstate(invalid="ignore", over="ignore"):  # infinite activations: see block_statistics
        delta = other.mean - one.mean
        mean = one.mean + delta * share
        squares = one.squares + other.squares + delta**2 * (one.count[:, None] * share)
    return ClassMoments(
        count=count,
        mean=mean,
        squares=squares,
        minimum=np.minimum(one.minimum, other.minimum),
        maximum=np.maximum(one.maximum, other.maximum),
    )
