"""The compiled inner loops of the pass over the activations.

Importing this module imports numba. All compiled functions stand here together, because numba's
cache of one source file does not notice a change in another.

A block (samples, units) is worked off by slabs of SLAB_ROWS samples and SLAB_UNITS units, which are
read in the order of memory, once, into the second cache, their samples sorted by class. Within a
slab UNITS units at a time are worked off, a class after the other, so that what is known of them
stays in the first cache.
"""

import numpy as np

from unitlens.compilation import compiled

UNITS = 64
SLAB_ROWS, SLAB_UNITS = 512, 512
_TOGETHER = 8  # units that are looked at together, most often in vain, for stronger samples
_ASIDE = 4  # times as many samples are put aside before the strongest are selected
_ROUNDING = 1e-6  # in bins: more than their numbers are rounded by
_APART = 16  # entries between the rows of a slab, so that they do not all fall on one cache set


@compiled()
def block_sums(values, index, sums):
    """Add the activations of each class of a block to `sums`, (classes, units)."""
    for left in range(0, values.shape[1], SLAB_UNITS):
        right = min(left + SLAB_UNITS, values.shape[1])
        for s in range(len(values)):
            c = index[s]
            for u in range(left, right):
                sums[c, u] += values[s, u]


@compiled()
def block_statistics(
    values, order, segments, slabs, seen, moments, bins, histogram, floors, strongest, samples
):
    """Find the moments, histogram and strongest samples of a block, in one reading of it.

    Parameters
    ----------
    values
        The block, (samples, units).
    order
        The samples, slab by slab, those of a slab sorted by class.
    segments
        Where the samples of one class in one slab begin and end in `order`, and the class:
        (segments, 3).
    slabs
        The first segment of each slab, and of one more.
    seen
        How many samples of its class lie before each segment.
    moments
        Mean, sum of squared deviations, minimum and maximum, each (classes, units), as of no
        samples. A NaN goes into the mean, not into the extremes.
    bins
        For each unit how many bins lie below and above zero's, where the nearest to zero begins
        on either side, and bins per activation on either side: (6, units).
    histogram
        Zeros, (units, classes, bins).
    floors
        For each unit an activation so that at least as many samples as are kept reach it, here or
        in other blocks; raised where this one has stronger ones.
    strongest, samples
        Activation and number of the strongest samples of each unit, (units, ranks), in no order:
        minus infinity and -1 before, and where there are fewer.
    """
    slab = np.empty((SLAB_ROWS, SLAB_UNITS + _APART), values.dtype)
    numbers = np.empty((SLAB_ROWS, UNITS), np.int32)
    work = numbers, np.empty(UNITS), np.empty(UNITS), np.empty(UNITS), np.empty(UNITS)
    ranks = strongest.shape[1]
    aside = np.empty((SLAB_UNITS, _ASIDE * ranks))
    numbers_aside = np.empty((SLAB_UNITS, _ASIDE * ranks), np.int64)
    for left in range(0, values.shape[1], SLAB_UNITS):
        wide = min(SLAB_UNITS, values.shape[1] - left)
        for i in range(len(slabs) - 1):
            top, bottom = segments[slabs[i], 0], segments[slabs[i + 1] - 1, 1]
            _read(values, order, top, bottom, left, wide, slab)
            of_slab = segments[slabs[i] : slabs[i + 1]], seen[slabs[i] : slabs[i + 1]]
            for first in range(0, wide, UNITS):
                width, at = min(UNITS, wide - first), left + first
                _add_classes(slab, *of_slab, first, width, at, moments, bins, histogram, work)
        for u in range(left, left + wide):
            floors[u] = max(floors[u], _floor(u, bins, histogram, ranks))
        counts, reached = np.zeros(wide, np.int64), floors[left : left + wide]
        state = aside, numbers_aside, counts, reached.copy(), reached
        _keep(values, left, wide, state, ranks)
        for u in range(wide):
            _select(u, state, ranks)
            strongest[left + u, : counts[u]] = aside[u, : counts[u]]
            samples[left + u, : counts[u]] = numbers_aside[u, : counts[u]]


@compiled()
def _read(values, order, top, bottom, left, wide, slab):
    for place in range(top, bottom):
        s = order[place]
        for u in range(wide):
            slab[place - top, u] = values[s, left + u]


@compiled()
def _add_classes(slab, segments, seen, first, width, at, moments, bins, histogram, work):
    """Add some units of a slab to the moments and histograms of the classes."""
    numbers, total, squares, lowest, highest = work
    top, rows = segments[0, 0], segments[-1, 1] - segments[0, 0]
    if bins[0, at : at + width].any():
        _find_signed_bins(slab, rows, first, width, at, bins, numbers)
    else:
        _find_bins(slab, rows, first, width, at, bins, numbers)
    for j in range(len(segments)):
        start, stop, c = segments[j, 0] - top, segments[j, 1] - top, segments[j, 2]
        found = total, squares, lowest, highest
        _find_moments(slab, start, stop, first, width, *found)
        _merge_moments(moments, c, at, width, seen[j], stop - start, *found)
        _count(numbers, start, stop, at, width, c, histogram)


@compiled()
def _find_moments(slab, start, stop, first, width, total, squares, lowest, highest):
    """Find the moments of some rows of a slab: `total` is their mean."""
    for u in range(width):
        total[u] = 0.0
        squares[u] = 0.0
        lowest[u] = np.inf
        highest[u] = -np.inf
    for r in range(start, stop):
        for u in range(width):
            x = np.float64(slab[r, first + u])
            total[u] += x
            lowest[u] = x if x < lowest[u] else lowest[u]
            highest[u] = x if x > highest[u] else highest[u]
    for u in range(width):
        total[u] /= stop - start
    for r in range(start, stop):
        for u in range(width):
            deviation = slab[r, first + u] - total[u]
            squares[u] += deviation * deviation


@compiled()
def _merge_moments(moments, c, at, width, before, rows, total, squares, lowest, highest):
    """Merge some rows' moments into those of their class, by the update of Chan et al. (1979)."""
    mean, summed, minimum, maximum = moments
    share = rows / (before + rows)
    for u in range(width):
        delta = total[u] - mean[c, at + u]
        mean[c, at + u] += delta * share
        summed[c, at + u] += squares[u] + delta * delta * (before * share)
        low, high = minimum[c, at + u], maximum[c, at + u]
        minimum[c, at + u] = lowest[u] if lowest[u] < low else low
        maximum[c, at + u] = highest[u] if highest[u] > high else high


@compiled()
def _find_bins(slab, rows, first, width, at, bins, numbers):
    """Find the bins of units that are never negative: zero's is the first one."""
    above, near, scale = (
        bins[1, at : at + width],
        bins[3, at : at + width],
        bins[5, at : at + width],
    )
    for r in range(rows):
        for u in range(width):
            x = slab[r, first + u]
            number = np.ceil((x - near[u]) * scale[u])
            least = 1.0 if x != 0 else 0.0
            number = number if number > least else least  # NaN is the least
            number = number if number < above[u] else above[u]
            numbers[r, u] = np.int32(number)


@compiled()
def _find_signed_bins(slab, rows, first, width, at, bins, numbers):
    for r in range(rows):
        for u in range(width):
            x = np.float64(slab[r, first + u])
            negative = x < 0
            near = bins[2, at + u] if negative else bins[3, at + u]
            scale = bins[4, at + u] if negative else bins[5, at + u]
            most = bins[0, at + u] if negative else bins[1, at + u]
            number = np.ceil(((-x if negative else x) - near) * scale)
            least = 1.0 if x != 0 else 0.0
            number = number if number > least else least
            number = number if number < most else most
            numbers[r, u] = np.int32(bins[0, at + u] + (-number if negative else number))


@compiled()
def _count(numbers, start, stop, at, width, c, histogram):
    for r in range(start, stop):
        for u in range(width):
            histogram[at + u, c, numbers[r, u]] += 1


@compiled()
def _floor(unit, bins, histogram, ranks):
    """Return an activation that at least `ranks` samples of the block reach, by the histogram."""
    below, near, scale = bins[0, unit], bins[3, unit], bins[5, unit]
    found, b = 0, histogram.shape[2]
    while found < ranks and b > below:
        b -= 1
        for c in range(histogram.shape[1]):
            found += histogram[unit, c, b]
    if found < ranks:
        return -np.inf  # they reach below zero, or are fewer
    if b == below:
        return 0.0
    # A little less, for activations that rounding has put into the bin.
    return near + (b - below - 1 - _ROUNDING) / scale if scale > 0 else near


@compiled()
def _keep(values, left, wide, state, ranks):
    """Put the samples aside that may be among the strongest of each unit; of equal ones the first.

    `state` is what is put aside of each unit: activations, samples, how many; the weakest
    activation that may still be among the strongest; and one that as many samples as are kept
    reach.
    """
    aside, numbers, counts, weakest, _ = state
    for s in range(len(values)):
        for first in range(0, wide, _TOGETHER):
            last = min(first + _TOGETHER, wide)
            found = 0
            for u in range(first, last):
                found += np.float64(values[s, left + u]) >= weakest[u]
            if found == 0:
                continue
            for u in range(first, last):
                x = np.float64(values[s, left + u])
                if x >= weakest[u]:
                    aside[u, counts[u]], numbers[u, counts[u]] = x, s
                    counts[u] += 1
                    if counts[u] == aside.shape[1]:
                        _select(u, state, ranks)


@compiled()
def _select(u, state, ranks):
    """Leave only the strongest of what is put aside of a unit, which is in the samples' order."""
    aside, numbers, counts, weakest, reached = state
    values, samples = aside[u, : counts[u]], numbers[u, : counts[u]]
    if len(values) <= ranks:
        return
    least = np.partition(values, len(values) - ranks)[len(values) - ranks]
    equal = ranks
    for i in range(len(values)):
        equal -= values[i] > least
    kept = 0
    for i in range(len(values)):
        x = values[i]
        if x > least or (x == least and equal > 0):
            equal -= x == least
            values[kept], samples[kept] = x, samples[i]
            kept += 1
    counts[u], reached[u] = kept, least
    weakest[u] = np.nextafter(least, np.inf)  # samples to come must exceed it


@compiled()
def merge_strongest(values, samples, other_values, other_samples, merged_values, merged_samples):
    """Merge two descending lists of each unit, of equal values the first sample first."""
    units, ranks = values.shape
    for u in range(units):
        i = j = 0
        for rank in range(ranks):
            x, y = values[u, i], other_values[u, j]
            if x > y or (x == y and samples[u, i] < other_samples[u, j]):
                merged_values[u, rank], merged_samples[u, rank] = x, samples[u, i]
                i += 1
            else:
                merged_values[u, rank], merged_samples[u, rank] = y, other_samples[u, j]
                j += 1
