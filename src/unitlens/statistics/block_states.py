"""The states of blocks of activations, moments and strongest samples, and how two become one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from dask.delayed import delayed
from numpy.typing import NDArray

_MERGED_AT_ONCE = 4  # states that one task of the merging tree takes in


def merged(states: list[Any], merge: Callable[[Any, Any], Any]) -> Any:
    """Return the delayed state of all samples.

    Parameters
    ----------
    states
        Delayed states, at least one, each of some of the samples.
    merge
        Makes the state of both of two; associative.

    Notes
    -----
    Merged by a tree: dask works it off depth first, so that the number of states that are held
    at a time grows with the logarithm of their number only.
    """
    merge_all = delayed(reduce)
    while len(states) > 1:
        states = [
            merge_all(merge, states[first : first + _MERGED_AT_ONCE])
            for first in range(0, len(states), _MERGED_AT_ONCE)
        ]
    return states[0]


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


@dataclass(frozen=True)
class Strongest:
    """The strongest samples of each unit, (units, ranks) each, descending.

    `values` are their activations and `samples` their numbers; minus infinity and -1 where there
    are fewer. Of equal activations the first sample is the strongest.
    """

    values: Floats
    samples: Integers


def no_strongest(units: int, ranks: int) -> Strongest:
    """Return none."""
    shape = (units, ranks)
    return Strongest(np.full(shape, -np.inf), np.full(shape, -1))


def ranked(unordered: Strongest, first: int) -> Strongest:
    """Return those of a block, whose samples are numbered from `first` on, in descending order.

    Unordered they are in the order of their samples.
    """
    values, samples = unordered.values, unordered.samples
    order = np.argsort(-values, axis=1, kind="stable")
    samples = np.where(samples >= 0, samples + first, -1)
    return Strongest(np.take_along_axis(values, order, 1), np.take_along_axis(samples, order, 1))


def merge_strongest(one: Strongest, other: Strongest) -> Strongest:
    """Return the strongest samples of both."""
    from unitlens.statistics.block_kernels import merge_strongest as kernel

    merged = no_strongest(*one.values.shape)
    kernel(one.values, one.samples, other.values, other.samples, merged.values, merged.samples)
    return merged
