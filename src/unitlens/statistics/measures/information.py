"""Mutual information of a unit's activation and the class, from the class-by-bin histogram."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from unitlens.errors import ArgumentError
from unitlens.statistics.block_states import Floats, Integers
from unitlens.statistics.class_table import on_units
from unitlens.variables.checks import validate

Counts = NDArray[np.integer[Any]]

_TABULATED = 2**16  # counts whose logarithms are looked up
_CELLS_AT_ONCE = 2**20  # of the histogram, so that the arrays beside it take tens of MB


def mutual_information(stats: xr.Dataset, *, bins: int | None = None) -> xr.Dataset:
    """Estimate the mutual information of every unit's binned activation and the class.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`. What it counts as classes may be any discrete
        attribute of the samples.
    bins
        Number of bins that the activations other than zero are put in. The histogram's fine bins
        are merged to that many of near equal counts; zero stays in a bin of its own, and no bin
        reaches across it. If None, chosen for each unit by its samples.

    Returns
    -------
    On ``unit``, in nats: ``mutual_information``, within 0 and the entropy of the class, which the
    attribute ``class_entropy`` gives; and its standard error ``mutual_information_se``. NaN where
    a unit has non-finite activations, or there are no samples.

    Raises
    ------
    ArgumentError
        Where `bins` is below 1.
    TableError
        Where `stats` is no table of class statistics.

    Notes
    -----
    The jackknife takes the plug-in estimate's bias away but for terms of 1 / N^2 (Zahl,
    "Jackknifing an index of diversity", Ecology 58, 1977; Paninski, "Estimation of entropy and
    mutual information", Neural Computation 15, 2003); then clipped to the bounds that hold for
    information of the class. Binning can only lose information, and more bins leave more bias.
    By default a unit has 2 sqrt(n / k) bins, from 2 to half of the fine ones, for n samples on
    which it is not zero and k = exp(entropy of the class) classes: as many as there are classes,
    where these are equally large.

    The standard error is the delta method's, for samples drawn independently of each other
    (Moddemeijer, "On estimation of entropy and mutual information of continuous distributions",
    Signal Processing 16, 1989): N times its square is the variance over the samples of
    ln p(bin, class) / p(bin) p(class).
    """
    if bins is not None and bins < 1:
        raise ArgumentError(f"bins is {bins}, but must be at least 1: it bins what is not zero")
    validate(stats, "class_statistics")
    samples = int(stats["count"].sum())
    entropy = _entropy(stats["count"].to_numpy(), samples) if samples else np.nan
    step = max(_CELLS_AT_ONCE // max(stats.sizes["class"] * stats.sizes["bin"], 1), 1)
    parts = [
        _information(stats.isel(unit=slice(first, first + step)), bins, entropy)
        for first in range(0, max(stats.sizes["unit"], 1), step)
    ]
    information, error = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    found = {
        "mutual_information": information.clip(0.0, entropy),
        "mutual_information_se": error,
    }
    chosen = "by samples" if bins is None else bins
    return on_units(stats, found, bins=chosen, class_entropy=entropy)


def _information(stats: xr.Dataset, bins: int | None, entropy: float) -> tuple[Floats, Floats]:
    """Return the information of a few units, not yet clipped, and its standard error."""
    histogram, edges = stats["histogram"].to_numpy(), stats["bin_edges"].to_numpy()
    samples = int(stats["count"].sum())
    information, error = np.full((2, len(histogram)), np.nan)
    # non-finite units have an empty histogram
    known = np.flatnonzero(histogram.sum(axis=(1, 2)) == samples)
    if samples and known.size:
        histogram, zero = histogram[known], zero_bin(edges[known])
        chosen = chosen_bins(histogram, zero, entropy) if bins is None else bins
        joint = merge_bins(histogram, zero, chosen)
        information[known], error[known] = table_information(joint, samples)
    return information, error


def chosen_bins(histogram: Counts, zero: Integers, entropy: float) -> Integers:
    """Return the number of bins for each unit: 2 sqrt(samples that are not zero / classes).

    Near it the information that bins lose and the bias that the jackknife leaves are both small,
    from three samples a class to thousands (docs/information.md).
    """
    active = histogram.sum(axis=(1, 2)) - histogram[np.arange(len(zero)), :, zero].sum(axis=1)
    number = np.rint(2 * np.sqrt(active / np.exp(entropy))).astype(np.int64)
    return np.asarray(np.clip(number, 2, max(histogram.shape[2] // 2, 2)))


def table_information(joint: Integers, samples: int) -> tuple[Floats, Floats]:
    """Return the jackknifed mutual information of each table of counts, and its error, in nats.

    `joint` has shape (tables, rows, columns), each table with `samples` counts. An entropy with
    one sample left out is the same for all samples of a cell, which makes the jackknife

        D(N) - sum_k (n_k / N) D(n_k)        D(n) = n ln n - (n - 1) ln(n - 1)

    The error is the delta method's.
    """
    from unitlens.statistics.measures.information_kernels import (
        table_information as kernel,
    )

    information, error = np.empty((2, len(joint)))
    logs = np.log(np.maximum(np.arange(min(samples, _TABULATED) + 1.0), 1))
    kernel(joint, samples, logs, information, error)
    return information, error


def zero_bin(edges: Floats) -> Integers:
    """Return the number of zero's bin of each unit; `edges` has shape (units, bins + 1)."""
    return np.asarray(np.minimum((edges < 0).sum(axis=1), edges.shape[1] - 2))


def merge_bins(histogram: Counts, zero: Integers, bins: int | Integers) -> Integers:
    """Merge fine bins to coarse ones of near equal counts.

    Parameters
    ----------
    histogram
        Counts, shape (units, classes, fine bins).
    zero
        Number of each unit's zero bin, shape (units,), which is not merged with others.
    bins
        Number of coarse bins on which the samples that are not zero are to be spread; one for
        all, or one for each unit.

    Returns
    -------
    Counts of shape (units, classes, 2 bins + 1), with the largest `bins`: coarse bins under zero,
    zero, over zero, many of them empty. A fine bin belongs to the coarse bin in which the middle
    of its samples' ranks lies.
    """
    from unitlens.statistics.measures.information_kernels import merge_bins as kernel

    wanted = np.broadcast_to(np.asarray(bins, np.int64), len(histogram))
    most = int(wanted.max(initial=0))
    merged = np.zeros((*histogram.shape[:2], 2 * most + 1), np.int64)
    kernel(histogram, zero, wanted, most, merged)
    return merged


def _entropy(counts: Integers, samples: int) -> float:
    """Return the plug-in entropy of the counts, in nats, which sum to `samples`."""
    share = counts[counts > 0] / samples
    return float(-(share * np.log(share)).sum())
