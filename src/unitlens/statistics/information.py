"""Mutual information of a unit's activation and the class, from the class-by-bin histogram."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from unitlens.errors import ArgumentError
from unitlens.statistics.moments import Floats, Integers
from unitlens.variables import validate

_CELLS_AT_ONCE = 2**22  # of the histogram, so that the counts in float64 take tens of MB


def mutual_information(stats: xr.Dataset, *, bins: int = 16) -> xr.Dataset:
    """Estimate the mutual information of every unit's binned activation and the class.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.
    bins
        Number of bins that the activations other than zero are put in. The histogram's fine bins
        are merged to that many of near equal counts; zero stays in a bin of its own, and no bin
        reaches across it.

    Returns
    -------
    ``mutual_information`` on ``unit``, in nats, within 0 and the entropy of the class, which the
    attribute ``class_entropy`` gives. NaN where a unit has non-finite activations, or there are
    no samples.

    Raises
    ------
    ArgumentError
        Where `bins` is below 1.
    TableError
        Where `stats` is no table of class statistics.

    Notes
    -----
    Plug-in entropies, each corrected by (K - 1) / 2N with K the cells that are not empty
    (Miller, "Note on the bias of information estimates", 1955), so that the plug-in information
    changes by (K_bin + K_class - K_joint - 1) / 2N; then clipped to the bounds that hold for
    information of the class. Binning can only lose information.
    """
    if bins < 1:
        raise ArgumentError(f"bins is {bins}, but must be at least 1: it bins what is not zero")
    validate(stats, "class_statistics")
    samples = int(stats["count"].sum())
    entropy = float(_entropies(stats["count"].to_numpy()[None], samples)[0]) if samples else np.nan
    step = max(_CELLS_AT_ONCE // max(stats.sizes["class"] * stats.sizes["bin"], 1), 1)
    information = [
        _information(stats.isel(unit=slice(first, first + step)), bins, samples)
        for first in range(0, max(stats.sizes["unit"], 1), step)
    ]
    return xr.Dataset(
        {"mutual_information": ("unit", np.concatenate(information).clip(0.0, entropy))},
        coords=stats["class_mean"].drop_vars("class").coords,
        attrs={"bins": bins, "class_entropy": entropy},
    )


def _information(stats: xr.Dataset, bins: int, samples: int) -> Floats:
    """Return the corrected information of a few units, not yet clipped."""
    histogram = stats["histogram"].to_numpy()
    joint = merge_bins(histogram, zero_bin(stats["bin_edges"].to_numpy()), bins)
    complete = joint.sum(axis=(1, 2)) == samples  # non-finite units have an empty histogram
    information = np.full(len(joint), np.nan)
    if complete.any() and samples:
        information[complete] = corrected_information(joint[complete], samples)
    return information


def corrected_information(joint: Integers, samples: int) -> Floats:
    """Return the Miller-Madow corrected mutual information of each joint count table, in nats.

    `joint` has shape (tables, rows, columns), each table with `samples` counts.
    """
    parts = joint.sum(axis=1), joint.sum(axis=2), joint.reshape(len(joint), -1)
    one, other, both = (
        _entropies(part, samples) + ((part > 0).sum(axis=1) - 1) / (2 * samples) for part in parts
    )
    return np.asarray(one + other - both)


def zero_bin(edges: Floats) -> Integers:
    """Return the number of zero's bin of each unit; `edges` has shape (units, bins + 1)."""
    return np.asarray(np.minimum((edges < 0).sum(axis=1), edges.shape[1] - 2))


def merge_bins(histogram: NDArray[np.integer[Any]], zero: Integers, bins: int) -> Integers:
    """Merge fine bins to coarse ones of near equal counts.

    Parameters
    ----------
    histogram
        Counts, shape (units, classes, fine bins).
    zero
        Number of each unit's zero bin, shape (units,), which is not merged with others.
    bins
        Number of coarse bins on which the samples that are not zero are to be spread.

    Returns
    -------
    Counts of shape (units, classes, 2 bins + 1): coarse bins under zero, zero, over zero, many
    of them empty. A fine bin belongs to the coarse bin in which the middle of its samples'
    ranks lies.
    """
    number = np.arange(histogram.shape[2])
    side = np.sign(number - zero[:, None])  # -1 under zero's bin, 0, 1
    counts = np.where(side == 0, 0, histogram.sum(axis=1, dtype=np.int64))
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    middle = (2 * counts.cumsum(axis=1) - counts) * bins // (2 * total)
    coarse = np.choose(side + 1, (0, bins, bins + 1)) + np.where(
        side == 0, 0, np.minimum(middle, bins - 1)
    )
    merged = np.zeros((len(coarse), 2 * bins + 1), np.int64)  # how many fine bins make up each
    np.add.at(merged, (np.arange(len(coarse))[:, None], coarse), 1)
    ends = merged.cumsum(axis=1)
    running = np.zeros((*histogram.shape[:2], histogram.shape[2] + 1), np.int64)
    np.cumsum(histogram, axis=2, out=running[:, :, 1:])
    return np.diff(np.take_along_axis(running, ends[:, None, :], axis=2), axis=2, prepend=0)


def _entropies(counts: Integers, samples: int) -> Floats:
    """Return the plug-in entropy of each row of counts, in nats; each row sums to `samples`."""
    share = counts / samples
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return np.asarray(-(share * logs).sum(axis=1))
