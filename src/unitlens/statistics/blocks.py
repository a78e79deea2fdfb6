"""Statistics of a block of activations, and how to merge those of two blocks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unitlens.statistics.block_states import (
    ClassMoments,
    Floats,
    Integers,
    Strongest,
    Values,
    merge_moments,
    merge_strongest,
    no_moments,
    no_strongest,
    ranked,
)
from unitlens.statistics.histograms import Bins, search_keys

_COPIED = 2**22  # activations of a block that are copied to another type at a time


@dataclass(frozen=True)
class Statistics:
    """Mergeable statistics of some units over some samples.

    Attributes
    ----------
    moments
        Moments of each unit over the samples of each class.
    histogram
        Number of samples by class and bin, shape (units, classes, bins).
    strongest
        The strongest samples of each unit.
    """

    moments: ClassMoments
    histogram: NDArray[np.integer[Any]]
    strongest: Strongest


def block_statistics(
    values: Values,
    index: Integers,
    classes: int,
    bins: Bins,
    ranks: int,
    first: int,
    floors: Floats | None = None,
) -> Statistics:
    """Return the statistics of a block.

    Parameters
    ----------
    values
        Activations, shape (samples, units), of any real dtype.
    index
        Position of each sample's class, shape (samples,), from 0 to ``classes - 1``.
    classes
        Number of classes.
    bins
        The bins of the units. Counts are right only where finite activations lie within the range
        of the bins.
    ranks
        Number of strongest samples that are kept.
    first
        Number of the block's first sample.
    floors
        For each unit an activation that at least `ranks` samples of this block or of other blocks
        reach, shape (units,). Weaker samples may be left out. The array is raised, for later
        blocks, where this block has stronger samples.

    Returns
    -------
    The statistics, accumulated in float64. A unit with a NaN or an infinite activation in a class
    has a non-finite minimum or maximum in that class, and its mean, squares, histogram and
    strongest samples are meaningless.

    Notes
    -----
    Two passes over the samples of a class in each slab of some rows (mean, then deviations from
    it), and the update of Chan, Golub and LeVeque (1979) between slabs: the error does not grow
    with mean over deviation.
    """
    from unitlens.statistics.block_kernels import SLAB_ROWS

    samples = _sorted_by_slab_and_class(index, classes, SLAB_ROWS)
    if floors is None or not floors.flags.writeable:  # read-only in another process
        floors = np.full(values.shape[1], -np.inf) if floors is None else floors.copy()
    parts = [
        _statistics_of(part, samples, classes, bins[columns], ranks, floors[columns])
        for part, columns in column_slabs(values)
    ]
    joined = parts[0] if len(parts) == 1 else _join_units(parts)
    counted = _counted(joined.moments, np.bincount(index, minlength=classes))
    return Statistics(counted, joined.histogram, ranked(joined.strongest, first))


def _statistics_of(
    values: Values,
    samples: tuple[Integers, Integers, Integers, Integers],
    classes: int,
    bins: Bins,
    ranks: int,
    floors: Floats,
) -> Statistics:
    """Return the results of the kernel: no counts yet, and strongest samples in no order."""
    from unitlens.statistics.block_kernels import KEYS
    from unitlens.statistics.block_kernels import block_statistics as kernel

    units = values.shape[1]
    moments, strongest = no_moments(classes, units), no_strongest(units, ranks)
    four = moments.mean, moments.squares, moments.minimum, moments.maximum
    histogram = np.zeros((units, classes, bins.fine + 1), np.int32)
    kept = floors, strongest.values, strongest.samples
    keys = search_keys(bins, values.dtype, KEYS)
    kernel(values, *samples, four, bins.for_kernel(), keys, histogram, *kept)
    return Statistics(moments, histogram, strongest)


def merge_statistics(one: Statistics, other: Statistics) -> Statistics:
    """Return the statistics of the samples of two blocks."""
    moments = merge_moments(one.moments, other.moments)
    counts = np.int32 if moments.count.sum() < 2**31 else np.int64
    return Statistics(
        moments,
        np.add(one.histogram, other.histogram, dtype=counts),
        merge_strongest(one.strongest, other.strongest),
    )


def column_slabs(values: Values) -> Iterator[tuple[Values, slice]]:
    """Yield columns of a block in the form that the kernels take, with their place in the block.

    The kernels take float32 and float64 in C order. Such a block is yielded whole and not copied.
    Other dtypes are copied to float32 or float64, which holds them exactly, except for the rounding
    of long integers.
    """
    flags = values.flags
    if values.dtype in (np.float32, np.float64) and flags.c_contiguous and flags.writeable:
        yield values, slice(0, values.shape[1])
        return
    wide = np.promote_types(values.dtype, np.float32)
    dtype = np.float32 if wide == np.float32 else np.float64
    step = max(1, _COPIED // max(len(values), 1))
    for first in range(0, max(values.shape[1], 1), step):
        columns = slice(first, min(first + step, values.shape[1]))
        yield np.array(values[:, columns], dtype, order="C"), columns


def _sorted_by_slab_and_class(
    index: Integers, classes: int, slab_rows: int
) -> tuple[Integers, Integers, Integers, Integers]:
    """Return `order`, `segments`, `slabs` and `before` of the kernel ``block_statistics``."""
    cells = np.arange(len(index)) // slab_rows * classes + index
    order = np.argsort(cells, kind="stable")
    present, starts = np.unique(cells[order], return_index=True)
    ends = np.append(starts, len(index))[1:]
    slab, of_class = present // classes, present % classes
    segments = np.stack([starts, ends, of_class], axis=1)
    slabs = np.append(np.unique(slab, return_index=True)[1], len(slab))
    return order, segments, slabs, _samples_before(of_class, ends - starts)


def _samples_before(of_class: Integers, sizes: Integers) -> Integers:
    """Return the number of samples of each segment's class in earlier segments."""
    order = np.argsort(of_class, kind="stable")
    total = sizes[order].cumsum() - sizes[order]
    first = np.searchsorted(of_class[order], of_class[order])
    before = np.empty_like(total)
    before[order] = total - total[first]
    return before


def _counted(moments: ClassMoments, count: Integers) -> ClassMoments:
    """Return moments with the counts, and with NaN as the extremes of a class that has a NaN."""
    for extreme in (moments.minimum, moments.maximum):
        extreme[np.isnan(moments.mean) & np.isfinite(extreme)] = np.nan
    return replace(moments, count=count)


def _join_units(parts: list[Statistics]) -> Statistics:
    """Return the statistics of the units of all parts, which are over the same samples."""

    def joined(name: str) -> Any:
        return np.concatenate([getattr(part.moments, name) for part in parts], axis=1)

    return Statistics(
        ClassMoments(
            parts[0].moments.count,
            *(joined(name) for name in ("mean", "squares", "minimum", "maximum")),
        ),
        np.concatenate([part.histogram for part in parts]),
        Strongest(
            np.concatenate([part.strongest.values for part in parts]),
            np.concatenate([part.strongest.samples for part in parts]),
        ),
    )
