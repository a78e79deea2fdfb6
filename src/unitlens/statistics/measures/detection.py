"""How well a threshold on a unit's activation finds the samples of one class among all others."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from unitlens.statistics.block_states import Floats, Integers
from unitlens.statistics.class_table import (
    Flags,
    constant_units,
    finite_units,
    labels_at,
    on_units,
    seen_classes,
)
from unitlens.variables.checks import validate

_CELLS_AT_ONCE = 2**18  # of the histogram, so that the arrays beside it stay in cache

# Samples of each class and of all others by bin, (units, classes, bins), and which bins hold a
# single value (units, bins); to the score of each class and the least and the most it can be.
Score = Callable[[Integers, Integers, Flags], tuple[Floats, Floats, Floats]]


def roc_auc(stats: xr.Dataset) -> xr.Dataset:
    """Compute the area under the ROC curve of every unit as a detector of its best class.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    On ``unit``: ``roc_auc``, the largest over the classes; ``roc_auc_bound``, by how much binning
    may have changed it at most; ``roc_auc_class``, the label of that class, the first of equal
    ones. NaN and -1 where a unit has non-finite activations, or fewer than two classes have
    samples; the class is -1 too where the activation never changes.

    Raises
    ------
    TableError
        Where `stats` is no table of class statistics.

    Notes
    -----
    The chance that a sample of the class has a larger activation than one of the other classes,
    of equal ones a half (Hanley & McNeil, "The meaning and use of the area under a receiver
    operating characteristic (ROC) curve", Radiology 143, 1982). Samples in the same bin count as
    equal: which of them is larger is not known, and half of the share of such pairs is the bound.
    Zero's bin, and any of width zero, holds equal activations, whose pairs are no part of it.
    """
    return _best_class(stats, _roc_auc, "roc_auc")


def informedness(stats: xr.Dataset) -> xr.Dataset:
    """Compute the maximum informedness of every unit as a detector of its best class.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    On ``unit``: ``informedness``, from 0 to 1, the largest over thresholds and classes;
    ``informedness_bound``, by how much it can be larger at most, with thresholds inside a bin;
    ``informedness_class``, the label of that class, the first of equal ones. NaN and -1 as in
    :func:`roc_auc`.

    Raises
    ------
    TableError
        Where `stats` is no table of class statistics.

    Notes
    -----
    The share of the class's samples that lie above the threshold minus that of the others'
    (Youden, "Index for rating diagnostic tests", Cancer 3, 1950). Edges of the bins are the
    thresholds, at which both shares are exact. A threshold inside a bin can at most have all of
    the class's samples of the bin above it, and none of the others'.
    """
    return _best_class(stats, _informedness, "informedness")


def average_precision(stats: xr.Dataset) -> xr.Dataset:
    """Compute the average precision of every unit as a detector of its best class.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    On ``unit``: ``average_precision``, the largest over the classes; ``average_precision_bound``,
    by how much binning may have changed it at most; ``average_precision_class``, the label of
    that class, the first of equal ones. NaN and -1 as in :func:`roc_auc`.

    Raises
    ------
    TableError
        Where `stats` is no table of class statistics.

    Notes
    -----
    Over the samples of the class, the mean of the precision at their activation: the class's
    share among all samples that are at least as active, as scikit-learn's
    ``average_precision_score``. A unit that knows nothing has the class's share of all samples.
    Samples of a class are taken to be spread evenly among the others in the same bin; the bound
    is for the worst and the best they could be. In zero's bin, and any of width zero, all are
    equal, and nothing is open.
    """
    return _best_class(stats, _average_precision, "average_precision")


def _best_class(stats: xr.Dataset, score: Score, name: str) -> xr.Dataset:
    """Return the score of each unit's best class, its bound, and the class's label."""
    validate(stats, "class_statistics")
    seen = np.flatnonzero(seen_classes(stats))
    units = stats.sizes["unit"]
    value, bound, best = np.full(units, np.nan), np.full(units, np.nan), np.full(units, -1)
    known = np.flatnonzero(finite_units(stats)) if len(seen) > 1 else np.empty(0, np.int64)
    step = max(_CELLS_AT_ONCE // max(stats.sizes["class"] * stats.sizes["bin"], 1), 1)
    for first in range(0, len(known), step):
        part = known[first : first + step]
        some = stats.isel(unit=part)
        own = some["histogram"].to_numpy()[:, seen].astype(np.int64)
        rest = own.sum(axis=1, keepdims=True) - own
        single = np.diff(some["bin_edges"].to_numpy()) == 0
        values, least, most = score(own, rest, single)
        best[part] = seen[values.argmax(axis=1)]
        value[part] = values.max(axis=1)
        bound[part] = np.maximum(
            most.max(axis=1) - value[part], value[part] - least.max(axis=1)
        ).clip(0.0)
    best[constant_units(stats)] = -1
    labels = labels_at(stats, best)
    return on_units(stats, {name: value, f"{name}_bound": bound, f"{name}_class": labels})


def _roc_auc(own: Integers, rest: Integers, single: Flags) -> tuple[Floats, Floats, Floats]:
    pairs = own.sum(axis=2) * rest.sum(axis=2)
    below = rest.cumsum(axis=2)
    below -= rest
    tied = own * rest
    value = ((own * below).sum(axis=2) + tied.sum(axis=2) / 2) / pairs
    unknown = np.where(single[:, None], 0, tied).sum(axis=2) / 2 / pairs
    return value, value - unknown, value + unknown


def _informedness(own: Integers, rest: Integers, single: Flags) -> tuple[Floats, Floats, Floats]:
    """Take the shares under a threshold, of which the others' should be the larger."""
    share = 1 / own.sum(axis=2, keepdims=True)
    above = rest.cumsum(axis=2) / rest.sum(axis=2, keepdims=True)  # of a threshold over each bin
    above -= own.cumsum(axis=2) * share
    value = above.max(axis=2).clip(0.0)  # over the last bin it is 0
    above += own * share
    above[single[:, None] | (own == 0)] = 0.0
    return value, value, np.maximum(value, above.max(axis=2))


def _average_precision(
    own: Integers, rest: Integers, single: Flags
) -> tuple[Floats, Floats, Floats]:
    """Sum the precision at the samples of each class, bin by bin where there are any."""
    from scipy.special import digamma

    unit, label, at = np.nonzero(own)
    inside, other = own[unit, label, at], rest[unit, label, at]
    hits, alarms = (
        part.sum(axis=2)[unit, label] - part.cumsum(axis=2)[unit, label, at] for part in (own, rest)
    )

    def spread(start: Integers, stride: Floats) -> Floats:
        """Sum (hits + i) / (start + i stride) for i from 1 to `inside`."""
        place = start / stride
        series = digamma(place + inside + 1) - digamma(place + 1)
        return np.asarray((inside + (hits - place) * series) / stride)

    tied = inside * (hits + inside) / (hits + alarms + inside + other)
    even = spread(hits + alarms, 1 + other / (inside + 1))
    least = spread(hits + alarms + other, np.ones(len(inside)))
    most = inside * (hits + inside) / (hits + alarms + inside)
    cells = np.ravel_multi_index((unit, label), own.shape[:2])
    samples = own.sum(axis=2)

    def mean(sums: Floats) -> Floats:
        """Sum over the bins of each class, and divide by its samples."""
        sums = np.where(single[unit, at], tied, sums)
        by_class = np.bincount(cells, sums, samples.size).reshape(samples.shape)
        return np.asarray(by_class / samples)

    return mean(even), mean(least), mean(most)
