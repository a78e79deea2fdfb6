"""Statistics of a block of activations, and how two blocks' become one."""

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
from unitlens.statistics.histograms import Bins

_COPIED = 2**22  # activations of a block that are copied to another type at a time


@dataclass(frozen=True)
class Statistics:
    """What is known of some units after some samples; mergeable.

    `histogram` has shape (units, classes, bins).
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
        The bins of the units, within whose range finite activations must lie to be counted
        rightly.
    ranks
        How many of the strongest samples are kept.
    first
        Number of the block's first sample.
    floors
        For each unit an activation that at least `ranks` samples reach in this block or others,
        shape (units,); it is raised where there are stronger ones here, for the blocks to come.
        Weaker samples may be left out.

    Returns
    -------
    The statistics, accumulated in float64. A unit with a NaN or an infinite activation in a class
    has a non-finite minimum or maximum there, and mean, squares, histogram and strongest samples
    of no meaning.

    Notes
    -----
    Two passes over the samples of a class in each slab of some rows (mean, then deviations from
    it), and the update of Chan, Golub and LeVeque (1979) between slabs: the error does not grow
    with mean over deviation.
    """
    from unitlens.statistics.block_kernels import SLAB_ROWS

    samples = _sorted_by_slab_and_class(index, classes, SLAB_ROWS)
    if floors is None or not floors.flags.writeable:  # as another process may have it
        floors = np.full(values.shape[1], -np.inf) if floors is None else floors.copy()
    parts = [
        _statistics_of(part, samples, classes, bins[columns], ranks, floors[columns])
        for part, columns in column_slabs(values)
    ]
    found = parts[0] if len(parts) == 1 else _side_by_side(parts)
    counted = _counted(found.moments, np.bincount(index, minlength=classes))
    return Statistics(counted, found.histogram, ranked(found.strongest, first))


def _statistics_of(
    values: Values,
    samples: tuple[Integers, Integers, Integers, Integers],
    classes: int,
    bins: Bins,
    ranks: int,
    floors: Floats,
) -> Statistics:
    """Return what the kernel finds, without counts and with the strongest samples in no order."""
    from unitlens.statistics.block_kernels import block_statistics as kernel

    units = values.shape[1]
    moments, strongest = no_moments(classes, units), no_strongest(units, ranks)
    four = moments.mean, moments.squares, moments.minimum, moments.maximum
    histogram = np.zeros((units, classes, bins.fine + 1), np.int32)
    kept = floors, strongest.values, strongest.samples
    kernel(values, *samples, four, bins.for_kernel(), histogram, *kept)
    return Statistics(moments, histogram, strongest)


def merge_statistics(one: Statistics, other: Statistics) -> Statistics:
    """Return the statistics of the samples of both."""
    moments = merge_moments(one.moments, other.moments)
    counts = np.int32 if moments.count.sum() < 2**31 else np.int64
    return Statistics(
        moments,
        np.add(one.histogram, other.histogram, dtype=counts),
        merge_strongest(one.strongest, other.strongest),
    )


def column_slabs(values: Values) -> Iterator[tuple[Values, slice]]:
    """Yield the columns of a block as the kernels take them, in one piece where none is copied.

    They take float32 and float64 in the order of C. Other types are exact in one of the two, long
    integers but for rounding.
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
    """Return order, segments, slabs and seen, as the kernel says."""
    cells = np.arange(len(index)) // slab_rows * classes + index
    order = np.argsort(cells, kind="stable")
    present, starts = np.unique(cells[order], return_index=True)
    ends = np.append(starts, len(index))[1:]
    slab, of_class = present // classes, present % classes
    segments = np.stack([starts, ends, of_class], axis=1)
    slabs = np.append(np.unique(slab, return_index=True)[1], len(slab))
    return order, segments, slabs, _seen_before(of_class, ends - starts)


def _seen_before(of_class: Integers, sizes: Integers) -> Integers:
    """Return for each segment how many samples earlier ones hold of its class."""
    order = np.argsort(of_class, kind="stable")
    before = sizes[order].cumsum() - sizes[order]
    first = np.searchsorted(of_class[order], of_class[order])
    seen = np.empty_like(before)
    seen[order] = before - before[first]
    return seen


def _counted(moments: ClassMoments, count: Integers) -> ClassMoments:
    """Return filled moments with the counts, and with the extremes NaN where an activation is."""
    for extreme in (moments.minimum, moments.maximum):
        extreme[np.isnan(moments.mean) & np.isfinite(extreme)] = np.nan
    return replace(moments, count=count)


def _side_by_side(parts: list[Statistics]) -> Statistics:
    """Return the statistics of the units of all parts, which are of the same samples."""

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
