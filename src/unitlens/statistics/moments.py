"""Class-wise moments of a block of activations, and how two blocks' moments become one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Values = NDArray[Any]  # activations as the store holds them: (samples, units) of any real dtype

# A slab's float64 copy stays in cache, but has some rows of each class, and at most 64 MB.
_CACHED, _MOST, _ROWS_A_CLASS = 2**19, 2**23, 16


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


def class_moments(values: Values, index: Integers, classes: int) -> ClassMoments:
    """Return the moments of a block.

    Parameters
    ----------
    values
        Activations, shape (samples, units).
    index
        Position of each sample's class, shape (samples,), from 0 to ``classes - 1``.
    classes
        Number of classes.

    Returns
    -------
    The moments, accumulated in float64. A unit with a NaN or an infinite activation in a class
    has a non-finite minimum or maximum there, and a mean and squares of no meaning.

    Notes
    -----
    Two passes over each slab of rows (mean, then deviations from it) and the update of Chan,
    Golub and LeVeque (1979) between slabs: the error does not grow with mean over deviation.
    """
    moments = no_moments(classes, values.shape[1])
    for rows in _slabs(values.shape[0], values.shape[1], classes):
        moments = merge_moments(moments, _slab_moments(values[rows], index[rows], classes))
    return moments


def merge_moments(one: ClassMoments, other: ClassMoments) -> ClassMoments:
    """Return the moments of the samples of both.

    Source: Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing
    sample variances", Stanford STAN-CS-79-773, 1979, equations 2.1.
    """
    count = one.count + other.count
    share = (other.count / np.maximum(count, 1))[:, None]
    with np.errstate(invalid="ignore", over="ignore"):  # infinite activations: see class_moments
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


def _slabs(samples: int, units: int, classes: int) -> Iterator[slice]:
    rows = max(_CACHED // max(units, 1), _ROWS_A_CLASS * classes)
    rows = max(min(rows, _MOST // max(units, 1)), 1)
    return (slice(start, start + rows) for start in range(0, samples, rows))


def _slab_moments(values: Values, index: Integers, classes: int) -> ClassMoments:
    """Return the moments of a few rows: rows sorted by class, then one slice a class."""
    moments = no_moments(classes, values.shape[1])
    order = np.argsort(index, kind="stable")
    # float16 has no fast comparison, and means in it would stay float16
    values = values[order].astype(np.promote_types(values.dtype, np.float32), copy=False)
    present, starts = np.unique(index[order], return_index=True)
    for which, rows in zip(present, np.split(values, starts[1:]), strict=False):
        moments.count[which] = len(rows)
        moments.minimum[which] = rows.min(axis=0)
        moments.maximum[which] = rows.max(axis=0)
        with np.errstate(invalid="ignore", over="ignore"):
            moments.mean[which] = rows.mean(axis=0, dtype=np.float64)
            deviations = rows - moments.mean[which]
            moments.squares[which] = np.einsum("ij,ij->j", deviations, deviations)
    return moments
