"""The states of blocks of activations: moments and strongest samples, and how to merge two."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from dask.delayed import delayed
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Values = NDArray[Any]  # activations as the store holds them: (samples, units) of any real dtype

_MERGED_AT_ONCE = 4  # states that one task of the merging tree merges


def merge_by_tree(states: list[Any], merge: Callable[[Any, Any], Any]) -> Any:
    """Return the delayed state of all samples.

    Parameters
    ----------
    states
        Delayed states, at least one, each of some of the samples.
    merge
        Function of two states that returns the state of the samples of both; associative.

    Notes
    -----
    The states are merged by a tree, which dask works off depth first. The number of states in
    memory at a time therefore grows only with the logarithm of the number of states.
    """
    merge_all = delayed(reduce)
    while len(states) > 1:
        states = [
            merge_all(merge, states[first : first + _MERGED_AT_ONCE])
            for first in range(0, len(states), _MERGED_AT_ONCE)
        ]
    return states[0]


@dataclass(frozen=True)
class ClassMoments:
    """Mergeable moments of each unit over the samples of each class.

    A class without samples has count, mean and squares 0, minimum inf and maximum -inf.

    Attributes
    ----------
    count
        Number of samples, shape (classes,).
    mean
        Mean, shape (classes, units).
    squares
        Sum of squared deviations from the mean, shape (classes, units).
    minimum, maximum
        Smallest and largest activation, shape (classes, units).
    """

    count: Integers
    mean: Floats
    squares: Floats
    minimum: Floats
    maximum: Floats


def no_moments(classes: int, units: int) -> ClassMoments:
    """Return the moments of no samples, which are neutral in a merge."""
    shape = (classes, units)
    return ClassMoments(
        count=np.zeros(classes, np.int64),
        mean=np.zeros(shape),
        squares=np.zeros(shape),
        minimum=np.full(shape, np.inf),
        maximum=np.full(shape, -np.inf),
    )


def merge_moments(one: ClassMoments, other: ClassMoments) -> ClassMoments:
    """Return the moments of the samples of two states.

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
    """The strongest samples of each unit, in descending order of the activation.

    Of equal activations the first sample is the strongest.

    Attributes
    ----------
    values
        Activations, shape (units, ranks); minus infinity where there are fewer samples.
    samples
        Numbers of the samples, shape (units, ranks); -1 where there are fewer samples.
    """

    values: Floats
    samples: Integers


def no_strongest(units: int, ranks: int) -> Strongest:
    """Return the strongest samples of no samples, which are neutral in a merge."""
    shape = (units, ranks)
    return Strongest(np.full(shape, -np.inf), np.full(shape, -1))


def ranked(unordered: Strongest, first: int) -> Strongest:
    """Return the strongest samples of a block in descending order.

    Parameters
    ----------
    unordered
        The strongest samples in the order of the samples, numbered from 0 within the block.
    first
        Number of the block's first sample.
    """
    values, samples = unordered.values, unordered.samples
    order = np.argsort(-values, axis=1, kind="stable")
    samples = np.where(samples >= 0, samples + first, -1)
    return Strongest(np.take_along_axis(values, order, 1), np.take_along_axis(samples, order, 1))


def merge_strongest(one: Strongest, other: Strongest) -> Strongest:
    """Return the strongest of the samples of two states."""
    from unitlens.statistics.block_kernels import merge_strongest as kernel

    merged = no_strongest(*one.values.shape)
    kernel(one.values, one.samples, other.values, other.samples, merged.values, merged.samples)
    return merged
