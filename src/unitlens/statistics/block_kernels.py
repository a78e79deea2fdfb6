"""The compiled inner loops of the pass over the activations.

Importing this module imports numba. All compiled functions stand in this one module, because
numba's cache of one source file does not notice a change in another.

A block (samples, units) is processed in slabs of SLAB_ROWS samples and SLAB_UNITS units. A slab is
read once, in the order of memory, into the second-level cache, with its samples sorted by class.
Within a slab, UNITS units at a time are processed, class by class, so that their statistics stay in
the first-level cache.
"""

import numpy as np

from unitlens.compilation import compiled

UNITS = 64
SLAB_ROWS, SLAB_UNITS = 512, 512
_TOGETHER = 8  # units that are checked together for stronger samples; most have none
_BUFFERED = 4  # times as many candidates are buffered before the strongest are selected
_ROUNDING = 1e-6  # in bins: more than the rounding of a bin's number
KEYS = 16  # that are searched by four steps of a bisection
_PADDING = 16  # entries between the rows of a slab, so that rows do not share one cache set


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
    values,
    order,
    segments,
    slabs,
    before,
    moments,
    bins,
    keys,
    histogram,
    floors,
    strongest,
    samples,
):
    """Compute the moments, histogram and strongest samples of a block in one pass.

    Parameters
    ----------
    values
        The block, (samples, units).
    order
        Numbers of the samples, slab by slab, sorted by class within a slab.
    segments
        The samples of one class in one slab: begin and end in `order`, and the class,
        (segments, 3).
    slabs
        Number of the first segment of each slab, and the number of segments, (slabs + 1,).
    before
        Number of samples of the segment's class in earlier segments, (segments,).
    moments
        Mean, sum of squared deviations, minimum and maximum, each (classes, units): the moments of
        no samples, which are updated. A NaN goes into the mean, not into the extremes.
    bins
        For each unit the number of bins below and above zero's bin, the magnitude at which the bins
        of either side begin, bins per unit of activation on either side, and the unit's row of
        `keys`, or -1 for bins of equal width, (7, units).
    keys
        For each adapted unit as many ascending numbers as there are bins beside zero's bin, and
        then infinity, (adapted units, a multiple of KEYS), of the type of `values`. The number of
        an activation's bin is the number of keys below the activation.
    histogram
        Zeros, (units, classes, bins); the counts are added to this array.
    floors
        For each unit an activation that at least `ranks` samples of this block or of other blocks
        reach, (units,); raised where this block has stronger samples.
    strongest
        Activations of the strongest samples of each unit in no order, (units, ranks): minus
        infinity before the call, and where there are fewer samples.
    samples
        Numbers of the strongest samples, (units, ranks): -1 before the call, and where there are
        fewer samples.
    """
    slab = np.empty((SLAB_ROWS, SLAB_UNITS + _PADDING), values.dtype)
    numbers = np.empty((SLAB_ROWS, UNITS), np.int32)
    work = numbers, np.empty(UNITS), np.empty(UNITS), np.empty(UNITS), np.empty(UNITS)
    ranks = strongest.shape[1]
    buffer = np.empty((SLAB_UNITS, _BUFFERED * ranks))
    buffered = np.empty((SLAB_UNITS, _BUFFERED * ranks), np.int64)
    for left in range(0, values.shape[1], SLAB_UNITS):
        wide = min(SLAB_UNITS, values.shape[1] - left)
        for i in range(len(slabs) - 1):
            top, bottom = segments[slabs[i], 0], segments[slabs[i + 1] - 1, 1]
            _read(values, order, top, bottom, left, wide, slab)
            of_slab = segments[slabs[i] : slabs[i + 1]], before[slabs[i] : slabs[i + 1]]
            for first in range(0, wide, UNITS):
                width, at = min(UNITS, wide - first), left + first
                _add_classes(slab, *of_slab, first, width, at, moments, bins, keys, histogram, work)
        for u in range(left, left + wide):
            floors[u] = max(floors[u], _floor(u, bins, keys, histogram, ranks))
        counts, reached = np.zeros(wide, np.int64), floors[left : left + wide]
        state = buffer, buffered, counts, reached.copy(), reached
        _keep(values, left, wide, state, ranks)
        for u in range(wide):
            _select(u, state, ranks)
            strongest[left + u, : counts[u]] = buffer[u, : counts[u]]
            samples[left + u, : counts[u]] = buffered[u, : counts[u]]


@compiled()
def _read(values, order, top, bottom, left, wide, slab):
    """Copy a slab with its samples in the given order."""
    for place in range(top, bottom):
        s = order[place]
        for u in range(wide):
            slab[place - top, u] = values[s, left + u]


@compiled()
def _add_classes(slab, segments, before, first, width, at, moments, bins, keys, histogram, work):
    """Add some units of a slab to the moments and histograms of all classes."""
    numbers, total, squares, lowest, highest = work
    top, rows = segments[0, 0], segments[-1, 1] - segments[0, 0]
    if bins[0, at : at + width].any():
        _find_signed_bins(slab, rows, first, width, at, bins, numbers)
    else:
        _find_bins(slab, rows, first, width, at, bins, numbers)
    for u in range(width):
        if bins[6, at + u] >= 0:
            _find_adapted_bins(slab[:rows, first + u], keys[int(bins[6, at + u])], numbers[:, u])
    for j in range(len(segments)):
        start, stop, c = segments[j, 0] - top, segments[j, 1] - top, segments[j, 2]
        of_rows = total, squares, lowest, highest
        _find_moments(slab, start, stop, first, width, *of_rows)
        _merge_moments(moments, c, at, width, before[j], stop - start, *of_rows)
        _count(numbers, start, stop, at, width, c, histogram)


@compiled()
def _find_moments(slab, start, stop, first, width, total, squares, lowest, highest):
    """Compute the moments of some rows of a slab; `total` holds the mean in the end."""
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
    """Merge the moments of some rows into those of a class by the update of Chan et al. (1979)."""
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
    """Compute the bin numbers of units that are never negative, whose first bin is zero's."""
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
            number = number if number > least else least  # a NaN gets the least number
            number = number if number < above[u] else above[u]
            numbers[r, u] = np.int32(number)


@compiled()
def _find_signed_bins(slab, rows, first, width, at, bins, numbers):
    """Compute the bin numbers of units of which some are negative."""
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
def _find_adapted_bins(values, keys, numbers):
    """Count the keys below each of some activations of one adapted unit.

    Of every KEYS keys the last one is compared with all activations, one key after the other; the
    keys in between are bisected. Neither way branches.
    """
    above = np.zeros(len(values), np.int32)
    column = values.copy()
    for k in range(KEYS - 1, len(keys) - 1, KEYS):
        key = keys[k]
        for r in range(len(column)):
            above[r] += key < column[r]
    for r in range(len(column)):
        x, k = column[r], np.int64(KEYS) * above[r]
        k += 8 * (keys[k + 7] < x)
        k += 4 * (keys[k + 3] < x)
        k += 2 * (keys[k + 1] < x)
        k += 1 * (keys[k] < x)
        numbers[r] = np.int32(k)


@compiled()
def crowded_pairs(values, bins, histogram, pairs, within):
    """Count the pairs of activations that are not zero, and those of them within one bin.

    Parameters
    ----------
    values
        Some activations, (samples, units).
    bins
        As :func:`block_statistics` takes them, all of equal width.
    histogram
        Zeros, (units, bins); the counts are added to this array.
    pairs, within
        All pairs of a unit and those within one bin, (units,) each; both arrays are filled.
    """
    numbers = np.empty((len(values), UNITS), np.int32)
    for first in range(0, values.shape[1], UNITS):
        width = min(UNITS, values.shape[1] - first)
        if bins[0, first : first + width].any():
            _find_signed_bins(values, len(values), first, width, first, bins, numbers)
        else:
            _find_bins(values, len(values), first, width, first, bins, numbers)
        for r in range(len(values)):
            for u in range(width):
                histogram[first + u, numbers[r, u]] += 1
    for u in range(values.shape[1]):
        active, within[u] = 0, 0
        for b in range(histogram.shape[1]):
            if b != bins[0, u]:
                active += histogram[u, b]
                within[u] += histogram[u, b] * (histogram[u, b] - 1) / 2
        pairs[u] = active * (active - 1) / 2


@compiled()
def _count(numbers, start, stop, at, width, c, histogram):
    """Count some rows of a slab, all of class `c`, by their bins."""
    for r in range(start, stop):
        for u in range(width):
            histogram[at + u, c, numbers[r, u]] += 1


@compiled()
def _floor(unit, bins, keys, histogram, ranks):
    """Return an activation that at least `ranks` samples of the block reach by the histogram."""
    below, near, scale = bins[0, unit], bins[3, unit], bins[5, unit]
    counted, b = 0, histogram.shape[2]
    while counted < ranks and b > below:
        b -= 1
        for c in range(histogram.shape[1]):
            counted += histogram[unit, c, b]
    if counted < ranks:
        return -np.inf  # the strongest samples reach below zero, or are fewer
    if b == below:
        return 0.0
    if bins[6, unit] >= 0:
        return np.float64(keys[int(bins[6, unit]), int(b) - 1])
    # A little less than the edge, for activations that rounding has put into the bin.
    return near + (b - below - 1 - _ROUNDING) / scale if scale > 0 else near


@compiled()
def _keep(values, left, wide, state, ranks):
    """Buffer the samples that may be among the strongest of each unit, of equal samples the first.

    `state` holds, for each unit: the buffered activations, the numbers of their samples, how many
    are buffered, the weakest activation that may still be among the strongest, and an activation
    that `ranks` samples reach.
    """
    buffer, buffered, counts, weakest, _ = state
    for s in range(len(values)):
        for first in range(0, wide, _TOGETHER):
            last = min(first + _TOGETHER, wide)
            candidates = 0
            for u in range(first, last):
                candidates += np.float64(values[s, left + u]) >= weakest[u]
            if candidates == 0:
                continue
            for u in range(first, last):
                x = np.float64(values[s, left + u])
                if x >= weakest[u]:
                    buffer[u, counts[u]], buffered[u, counts[u]] = x, s
                    counts[u] += 1
                    if counts[u] == buffer.shape[1]:
                        _select(u, state, ranks)


@compiled()
def _select(u, state, ranks):
    """Keep only the strongest of the buffered samples of a unit, in the order of the samples."""
    buffer, buffered, counts, weakest, reached = state
    values, samples = buffer[u, : counts[u]], buffered[u, : counts[u]]
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
    weakest[u] = np.nextafter(least, np.inf)  # later samples must exceed the least


@compiled()
def merge_strongest(values, samples, other_values, other_samples, merged_values, merged_samples):
    """Merge two descending lists of each unit; of equal values, the first sample comes first."""
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
