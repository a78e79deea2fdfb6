"""Mutual information of a unit's activation and the class, from the class-by-bin histogram."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from unitlens.errors import ArgumentError
from unitlens.statistics.block_states import Floats, Integers
from unitlens.statistics.class_table import check_classes, on_units
from unitlens.statistics.measures.information_errors import count_terms, information_error

Counts = NDArray[np.integer[Any]]

_TABULATED = 2**16  # counts whose logarithms are looked up
_CELLS_AT_ONCE = 2**20  # of the histogram, so that the arrays of the same size take tens of MB


def mutual_information(stats: xr.Dataset, *, bins: int | None = None) -> xr.Dataset:
    """Estimate the mutual information of every unit's binned activation and the class.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`. The classes of the table may be the values of
        any discrete attribute of the samples.
    bins
        Number of bins for the activations other than zero, at least 1. The fine bins of the
        histogram are merged to this number of bins of nearly equal counts. Zero stays in a bin of
        its own, and no bin reaches across zero. If None, each unit's number of bins follows from
        its samples (Notes).

    Returns
    -------
    Dataset on ``unit``, in nats: ``mutual_information``, from 0 to the entropy of the class (the
    attribute ``class_entropy``), its error ``mutual_information_se``, and
    ``mutual_information_bound``, by how much bins of the same number that are filled equally may
    give another result. NaN where a unit has non-finite activations, or there are no samples.

    Raises
    ------
    ArgumentError
        Where `bins` is below 1.
    TableError
        Where `stats` is not a table of class statistics, or the samples have no classes.

    Notes
    -----
    The jackknife removes the bias of the plug-in estimate up to terms of 1 / N^2 (Zahl,
    "Jackknifing an index of diversity", Ecology 58, 1977; Paninski, "Estimation of entropy and
    mutual information", Neural Computation 15, 2003). The estimate is then clipped to the bounds
    that hold for information of the class. Binning can only lose information, and more bins leave
    more bias. By default a unit has 2 sqrt(n / k) bins, at least 2 and at most half of the fine
    bins, for n samples on which the unit is not zero and k = exp(entropy of the class), which is
    the number of classes where all are equally large.

    The error is an estimate of the root mean square error, for samples drawn independently of each
    other: the variance over such samples, with the squares of the bias that the jackknife leaves
    and of the information that the bins lose. docs/information.md says in which share of cases the
    truth lies within 1.96 errors of the estimate.

    Examples
    --------
    >>> import numpy as np
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> labels = np.arange(200) % 2
    >>> samples = xr.Dataset(coords={"label": ("sample", labels)})
    >>> activation = np.stack([labels * 2.0, np.arange(200) // 2 % 2], axis=1)
    >>> relu = xr.Dataset({"activation": (("sample", "unit"), activation)})
    >>> stats = ul.class_statistics(xr.DataTree.from_dict({"/": samples, "/relu": relu}))
    >>> ul.mutual_information(stats)["mutual_information"].values.round(3)  # ln 2 = 0.693
    array([0.693, 0.   ])
    """
    if bins is not None and bins < 1:
        raise ArgumentError(
            f"bins is {bins}, but must be at least 1: the bins of activations other than zero"
        )
    check_classes(stats, "mutual information")
    samples = int(stats["count"].sum())
    entropy = _entropy(stats["count"].to_numpy(), samples) if samples else np.nan
    step = max(_CELLS_AT_ONCE // max(stats.sizes["class"] * stats.sizes["bin"], 1), 1)
    parts = [
        _information(stats.isel(unit=slice(first, first + step)), bins, entropy)
        for first in range(0, max(stats.sizes["unit"], 1), step)
    ]
    information, error, bound = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    information = information.clip(0.0, entropy)
    variables = {
        "mutual_information": information,
        "mutual_information_se": error,
        "mutual_information_bound": bound.clip(0.0, np.maximum(information, entropy - information)),
    }
    binning = "by samples" if bins is None else bins
    return on_units(stats, variables, bins=binning, class_entropy=entropy)


def _information(stats: xr.Dataset, bins: int | None, entropy: float) -> Floats:
    """Return information, standard error and bound of a few units, not yet clipped, (3, units)."""
    histogram, edges = stats["histogram"].to_numpy(), stats["bin_edges"].to_numpy()
    samples = int(stats["count"].sum())
    results = np.full((3, len(histogram)), np.nan)
    # The histogram of a unit with non-finite activations is empty.
    known = np.flatnonzero(histogram.sum(axis=(1, 2)) == samples)
    if samples and known.size:
        histogram, edges = histogram[known], edges[known]
        zero = zero_bin(edges)
        numbers = default_bins(histogram, zero, entropy) if bins is None else bins
        joint = merge_bins(histogram, zero, numbers)
        results[:2, known] = table_information(joint, samples, joint.shape[2] // 2)
        results[2, known] = information_bounds(histogram, edges, numbers, joint, samples)
    return results


def default_bins(histogram: Counts, zero: Integers, entropy: float) -> Integers:
    """Return the number of bins of each unit: 2 sqrt(samples that are not zero / classes).

    Near this number, both the information that binning loses and the bias that the jackknife
    leaves are small, from three samples a class to thousands (docs/information.md).
    """
    active = histogram.sum(axis=(1, 2)) - histogram[np.arange(len(zero)), :, zero].sum(axis=1)
    number = np.rint(2 * np.sqrt(active / np.exp(entropy))).astype(np.int64)
    return np.asarray(np.clip(number, 2, max(histogram.shape[2] // 2, 2)))


def table_information(joint: Integers, samples: int, zero: int = -1) -> tuple[Floats, Floats]:
    """Return the jackknifed mutual information of tables of counts, and its error, in nats.

    Parameters
    ----------
    joint
        Counts, shape (tables, rows, columns), with bins of the activation in order as columns.
    samples
        Sum of the counts of each table.
    zero
        Column of the activation 0, which has no neighbours to be merged with; -1 for none.

    Returns
    -------
    Mutual information, and the error that it has when it is clipped at 0, shape (tables,) each. The
    error is 0 where all samples are in one row or in one column.

    Notes
    -----
    The entropy without one sample is the same for all samples of a cell. The jackknife of an
    entropy with counts n_k is therefore

        D(N) - sum_k (n_k / N) D(n_k)        D(n) = n ln n - (n - 1) ln(n - 1)

    Of the error: :mod:`unitlens.statistics.measures.information_errors`.
    """
    from unitlens.statistics.measures.information_table_kernels import (
        table_information as kernel,
    )

    results = np.empty((4, len(joint)))
    kernel(joint, zero, samples, count_terms(samples), results)
    return results[0], information_error(*results)


def information_bounds(
    histogram: Counts, edges: Floats, bins: int | Integers, merged: Integers, samples: int
) -> Floats:
    """Return by how much the information may differ from that of bins filled equally.

    Parameters
    ----------
    histogram
        Counts, shape (units, classes, fine bins).
    edges
        Edges of the fine bins, shape (units, fine bins + 1).
    bins
        Number of coarse bins: one number for all units, or one number for each unit.
    merged
        The coarse bins, as :func:`merge_bins` returns them.
    samples
        Sum of the counts of each unit.

    Returns
    -------
    The largest difference over all orders of the samples within the fine bins, shape (units,): the
    jackknifed information of coarse bins that are filled by the rule of :func:`merge_bins` from
    single activations, against that of `merged`.

    Notes
    -----
    A sample of a fine bin may belong to any of the coarse bins that the ranks of the fine bin reach
    over. Information is a convex function of the counts. It is therefore at least the tangent's at
    an even spread, and at most what the fine bins would hold by themselves if each were split as
    its number of coarse bins, and its classes, allow.
    """
    from unitlens.statistics.measures.information_kernels import (
        information_bounds as kernel,
    )

    bounds = np.empty(len(histogram))
    numbers = np.broadcast_to(np.asarray(bins, np.int64), len(histogram))
    single = np.diff(edges) == 0
    logs = _logarithms(samples)
    kernel(histogram, zero_bin(edges), single, numbers, merged, samples, logs, bounds)
    return bounds


def _logarithms(samples: int) -> Floats:
    """Return ln n of the numbers n that are looked up, with 0 for n = 0."""
    return np.asarray(np.log(np.maximum(np.arange(min(samples, _TABULATED) + 1.0), 1)))


def zero_bin(edges: Floats) -> Integers:
    """Return the number of zero's bin of each unit; `edges` has shape (units, bins + 1)."""
    return np.asarray(np.minimum((edges < 0).sum(axis=1), edges.shape[1] - 2))


def merge_bins(histogram: Counts, zero: Integers, bins: int | Integers) -> Integers:
    """Merge fine bins to coarse bins of nearly equal counts.

    Parameters
    ----------
    histogram
        Counts, shape (units, classes, fine bins).
    zero
        Number of each unit's zero bin, shape (units,), which is not merged with other bins.
    bins
        Number of coarse bins for the samples that are not zero: one number for all units, or one
        number for each unit.

    Returns
    -------
    Counts of shape (units, classes, 2 most + 1), where `most` is the largest of `bins`: coarse
    bins below zero, zero's bin, coarse bins above zero; many of the bins are empty. A fine bin
    belongs to the coarse bin in which the middle of its samples' ranks lies.
    """
    from unitlens.statistics.measures.information_kernels import merge_bins as kernel

    numbers = np.broadcast_to(np.asarray(bins, np.int64), len(histogram))
    most = int(numbers.max(initial=0))
    merged = np.zeros((*histogram.shape[:2], 2 * most + 1), np.int64)
    kernel(histogram, zero, numbers, most, merged)
    return merged


def _entropy(counts: Integers, samples: int) -> float:
    """Return the plug-in entropy of counts, in nats; `samples` is their sum."""
    share = counts[counts > 0] / samples
    return float(-(share * np.log(share)).sum())
