"""Units as detectors: how well a threshold on the activation separates one class from the rest."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from unitlens.statistics.block_states import Floats, Integers
from unitlens.statistics.class_table import (
    Flags,
    check_classes,
    classes_with_samples,
    constant_units,
    finite_units,
    labels_at,
    on_units,
)

_CELLS_AT_ONCE = 2**18  # of the histogram, so that the arrays of the same size fit the cache

# Takes the samples of each class and those of all other classes by bin, (units, classes, bins),
# and which bins hold a single value, (units, bins). Returns the score of each class, and the least
# and the largest score that unbinned activations may have.
Score = Callable[[Integers, Integers, Flags], tuple[Floats, Floats, Floats]]


def roc_auc(stats: xr.Dataset) -> xr.Dataset:
    """Compute the area under the ROC curve of every unit as a detector of its best class.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    Dataset on ``unit``. ``roc_auc`` is the largest area over the classes. ``roc_auc_bound`` is the
    largest error that binning may have caused. ``roc_auc_class`` is the label of the class of the
    largest area, of equal areas the first class. NaN and -1 where a unit has non-finite
    activations, or fewer than two classes have samples; the class is -1 too where a unit has the
    same activation on every sample.

    Raises
    ------
    TableError
        Where `stats` is not a table of class statistics, or the samples have no classes.

    Notes
    -----
    The area is the probability that a sample of the class has a larger activation than a sample of
    the other classes, where equal activations count a half (Hanley & McNeil, "The meaning and use
    of the area under a receiver operating characteristic (ROC) curve", Radiology 143, 1982).
    Samples in the same bin count as equal. Which of them is larger is unknown, so the bound is
    half the share of such pairs. Zero's bin and bins of width zero hold equal activations, whose
    pairs do not count in the bound.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> samples = xr.Dataset(coords={"label": ("sample", [0, 0, 1, 1])})
    >>> relu = xr.Dataset({"activation": (("sample", "unit"), [[3.0, 0], [1, 2], [0, 2], [0, 0]])})
    >>> stats = ul.class_statistics(xr.DataTree.from_dict({"/": samples, "/relu": relu}))
    >>> ul.roc_auc(stats)["roc_auc"].values
    array([1. , 0.5])
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
    Dataset on ``unit``. ``informedness``, from 0 to 1, is the largest over thresholds and classes.
    ``informedness_bound`` is the largest amount by which thresholds inside a bin may raise the
    informedness. ``informedness_class`` is the label of the class of the largest informedness, of
    equal values the first class. NaN and -1 where a unit has non-finite activations, or fewer than
    two classes have samples; the class is -1 too where a unit has the same activation on every
    sample.

    Raises
    ------
    TableError
        Where `stats` is not a table of class statistics, or the samples have no classes.

    Notes
    -----
    The share of the class's samples above the threshold minus the share of the other samples above
    the threshold (Youden, "Index for rating diagnostic tests", Cancer 3, 1950). The thresholds are
    the edges of the bins, at which both shares are exact. At best, a threshold inside a bin has
    all of the class's samples of the bin above it, and none of the other samples of the bin.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> samples = xr.Dataset(coords={"label": ("sample", [0, 0, 1, 1])})
    >>> relu = xr.Dataset({"activation": (("sample", "unit"), [[3.0, 0], [1, 2], [0, 2], [0, 0]])})
    >>> stats = ul.class_statistics(xr.DataTree.from_dict({"/": samples, "/relu": relu}))
    >>> ul.informedness(stats)["informedness"].values
    array([1., 0.])
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
    Dataset on ``unit``. ``average_precision`` is the largest over the classes.
    ``average_precision_bound`` is the largest error that binning may have caused.
    ``average_precision_class`` is the label of the class of the largest average precision, of
    equal values the first class. NaN and -1 where a unit has non-finite activations, or fewer than
    two classes have samples; the class is -1 too where a unit has the same activation on every
    sample.

    Raises
    ------
    TableError
        Where `stats` is not a table of class statistics, or the samples have no classes.

    Notes
    -----
    The mean, over the samples of the class, of the precision at the sample's activation: the
    class's share of all samples that are at least as active, as in scikit-learn's
    ``average_precision_score``. For a unit whose activation is independent of the class, the
    average precision is the class's share of all samples. Samples of a class are assumed to be
    spread evenly among the other samples in the same bin; the bound covers the worst and the best
    order. Zero's bin and bins of width zero hold equal activations, which leave no order open.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> samples = xr.Dataset(coords={"label": ("sample", [0, 0, 1, 1])})
    >>> relu = xr.Dataset({"activation": (("sample", "unit"), [[3.0, 1], [1, 1], [0, 1], [0, 1]])})
    >>> stats = ul.class_statistics(xr.DataTree.from_dict({"/": samples, "/relu": relu}))
    >>> ul.average_precision(stats)["average_precision"].values
    array([1. , 0.5])
    """
    return _best_class(stats, _average_precision, "average_precision")


def _best_class(stats: xr.Dataset, score: Score, name: str) -> xr.Dataset:
    """Return the score of each unit's best class, its bound, and the class's label."""
    check_classes(stats, f"the {name.replace('_', ' ')} of units")
    occurring = np.flatnonzero(classes_with_samples(stats))
    units = stats.sizes["unit"]
    value, bound, best = np.full(units, np.nan), np.full(units, np.nan), np.full(units, -1)
    known = np.flatnonzero(finite_units(stats)) if len(occurring) > 1 else np.empty(0, np.int64)
    step = max(_CELLS_AT_ONCE // max(stats.sizes["class"] * stats.sizes["bin"], 1), 1)
    for first in range(0, len(known), step):
        part = known[first : first + step]
        some = stats.isel(unit=part)
        own = some["histogram"].to_numpy()[:, occurring].astype(np.int64)
        rest = own.sum(axis=1, keepdims=True) - own
        single = np.diff(some["bin_edges"].to_numpy()) == 0
        values, least, most = score(own, rest, single)
        best[part] = occurring[values.argmax(axis=1)]
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
    """Score the difference of the shares below a threshold: other samples minus the class's."""
    share = 1 / own.sum(axis=2, keepdims=True)
    above = rest.cumsum(axis=2) / rest.sum(axis=2, keepdims=True)  # the threshold is over each bin
    above -= own.cumsum(axis=2) * share
    value = above.max(axis=2).clip(0.0)  # the threshold over the last bin scores 0
    above += own * share
    above[single[:, None] | (own == 0)] = 0.0
    return value, value, np.maximum(value, above.max(axis=2))


def _average_precision(
    own: Integers, rest: Integers, single: Flags
) -> tuple[Floats, Floats, Floats]:
    """Sum the precision at the samples of each class, bin by bin where the class has samples."""
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
        """Sum over the bins of each class, and divide by the samples of the class."""
        sums = np.where(single[unit, at], tied, sums)
        by_class = np.bincount(cells, sums, samples.size).reshape(samples.shape)
        return np.asarray(by_class / samples)

    return mean(even), mean(least), mean(most)
