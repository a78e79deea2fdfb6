"""Mutual information of a unit's activation and the class, from the class-by-bin histogram."""

from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from unitlens.errors import ArgumentError
from unitlens.statistics.moments import Floats, Integers
from unitlens.statistics.seen import on_units
from unitlens.variables import validate

Counts = NDArray[np.integer[Any]]

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
        information[known] = jackknifed_information(joint, samples)
        error[known] = information_error(joint, samples)
    return information, error


def chosen_bins(histogram: Counts, zero: Integers, entropy: float) -> Integers:
    """Return the number of bins for each unit: 2 sqrt(samples that are not zero / classes).

    Near it the information that bins lose and the bias that the jackknife leaves are both small,
    from three samples a class to thousands (docs/information.md).
    """
    active = histogram.sum(axis=(1, 2)) - histogram[np.arange(len(zero)), :, zero].sum(axis=1)
    number = np.rint(2 * np.sqrt(active / np.exp(entropy))).astype(np.int64)
    return np.asarray(np.clip(number, 2, max(histogram.shape[2] // 2, 2)))


def jackknifed_information(joint: Integers, samples: int) -> Floats:
    """Return the jackknifed mutual information of each joint count table, in nats.

    `joint` has shape (tables, rows, columns), each table with `samples` counts. An entropy with
    one sample left out is the same for all samples of a cell, which makes the jackknife

        D(N) - sum_k (n_k / N) D(n_k)        D(n) = n ln n - (n - 1) ln(n - 1)
    """
    steps = _jackknife_steps(samples)
    rows, columns = steps[joint.sum(axis=1)].sum(axis=1), steps[joint.sum(axis=2)].sum(axis=1)
    cells = steps[joint].sum(axis=(1, 2))
    return np.asarray((steps[samples] - rows - columns + cells) / samples)


@lru_cache(maxsize=1)
def _jackknife_steps(samples: int) -> Floats:
    """Return n D(n) for n from 0 to `samples`."""
    n = np.arange(samples + 1, dtype=np.float64)
    return np.asarray(n * np.diff(n * np.log(np.maximum(n, 1)), prepend=0))


def information_error(joint: Integers, samples: int) -> Floats:
    """Return the delta method's standard error of the information of each table, in nats."""
    expected = joint.sum(axis=1, keepdims=True) * (joint.sum(axis=2, keepdims=True) / samples)
    ratio = np.divide(joint, expected, out=np.ones(joint.shape), where=joint > 0)
    share, surprise = joint / samples, np.log(ratio)
    mean = (share * surprise).sum(axis=(1, 2))
    deviations = surprise - mean[:, None, None]
    return np.asarray(np.sqrt((share * deviations**2).sum(axis=(1, 2)) / samples))


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
    wanted = np.broadcast_to(np.asarray(bins, np.int64), len(histogram))[:, None]
    most = int(wanted.max(initial=0))
    number = np.arange(histogram.shape[2])
    side = np.sign(number - zero[:, None])  # -1 under zero's bin, 0, 1
    counts = np.where(side == 0, 0, histogram.sum(axis=1, dtype=np.int64))
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    middle = (2 * counts.cumsum(axis=1) - counts) * wanted // (2 * total)
    coarse = np.choose(side + 1, (0, most, most + 1)) + np.where(
        side == 0, 0, np.minimum(middle, wanted - 1)
    )
    merged = np.zeros((len(coarse), 2 * most + 1), np.int64)  # how many fine bins make up each
    np.add.at(merged, (np.arange(len(coarse))[:, None], coarse), 1)
    ends = merged.cumsum(axis=1)
    running = np.zeros((*histogram.shape[:2], histogram.shape[2] + 1), np.int64)
    np.cumsum(histogram, axis=2, out=running[:, :, 1:])
    return np.diff(np.take_along_axis(running, ends[:, None, :], axis=2), axis=2, prepend=0)


def _entropy(counts: Integers, samples: int) -> float:
    """Return the plug-in entropy of the counts, in nats, which sum to `samples`."""
    share = counts[counts > 0] / samples
    return float(-(share * np.log(share)).sum())
