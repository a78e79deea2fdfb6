"""The compiled inner loops of the mutual information. Importing this module imports numba."""

import numpy as np

from unitlens.compilation import compiled


@compiled()
def merge_bins(histogram, zero, numbers, most, merged):
    """Add each fine bin to the coarse bin in which the middle of its samples' ranks lies.

    Parameters
    ----------
    histogram
        Counts, (units, classes, fine bins).
    zero
        Number of each unit's zero bin, (units,).
    numbers
        Number of each unit's coarse bins, (units,).
    most
        The largest of `numbers`.
    merged
        Zeros, (units, classes, 2 most + 1); the counts are added to this array.
    """
    units, classes, fine = histogram.shape
    counts = np.empty(fine, np.int64)
    for u in range(units):
        total = 0
        for b in range(fine):
            counts[b] = 0
            if b != zero[u]:
                for c in range(classes):
                    counts[b] += histogram[u, c, b]
                total += counts[b]
        before = 0
        for b in range(fine):
            middle = (2 * before + counts[b]) * numbers[u] // (2 * max(total, 1))
            place = min(middle, numbers[u] - 1)
            if b == zero[u]:
                place = most
            elif b > zero[u]:
                place += most + 1
            before += counts[b]
            for c in range(classes):
                merged[u, c, place] += histogram[u, c, b]


@compiled()
def information_bounds(histogram, zero, single, numbers, merged, samples, logs, bounds):
    """Compute by how much the order of the samples within fine bins may change the information.

    Parameters
    ----------
    histogram
        Counts, (units, classes, fine bins).
    zero
        Number of each unit's zero bin, (units,).
    single
        Whether a fine bin holds a single value, (units, fine bins).
    numbers
        Number of each unit's coarse bins, (units,).
    merged
        The coarse bins of the histogram, as :func:`merge_bins` fills them.
    samples
        Number of all samples.
    logs
        ln n of the first numbers n, with 0 for n = 0.
    bounds
        The results, (units,); the array is filled.
    """
    units, classes, fine = histogram.shape
    first, last = np.empty(fine, np.int64), np.empty(fine, np.int64)
    kept = np.empty((classes, merged.shape[2]), np.int64)
    reached = np.empty((classes, merged.shape[2]), np.int64)
    even = np.empty((classes, merged.shape[2]))
    for u in range(units):
        _find_cells(histogram[u], zero[u], single[u], numbers[u], merged.shape[2], first, last)
        most = _spread(histogram[u], first, last, logs, kept, reached, even)
        least = _least(histogram[u], first, last, even)
        own = _sharpness(merged[u], logs)
        fewer, more = _corrections(kept, reached, logs)
        correction = _corrections(merged[u], merged[u], logs)[0]
        bounds[u] = max(most - own + more - correction, own - least + correction - fewer) / samples


@compiled()
def _find_cells(counts, zero, single, number, cells, first, last):
    """Find the first and the last coarse bin that a sample of each fine bin may belong to."""
    most, total, before = (cells - 1) // 2, 0, 0
    for b in range(counts.shape[1]):
        first[b] = counts[:, b].sum()  # at first the count
        total += first[b] if b != zero else 0
    for b in range(counts.shape[1]):
        inside = first[b]
        if b == zero or inside == 0:
            first[b] = last[b] = most
            continue
        low, high = 2 * before + 1, 2 * (before + inside) - 1
        if single[b]:
            low = high = 2 * before + inside
        beyond = most + 1 if b > zero else 0
        first[b] = low * number // (2 * total) + beyond
        last[b] = high * number // (2 * total) + beyond
        before += inside


@compiled()
def _spread(counts, first, last, logs, kept, reached, even):
    """Spread the fine bins over the coarse bins, and return the largest sharpness of any order.

    `kept` are the counts of the samples whose coarse bin is certain, `reached` those of all samples
    that may belong to a coarse bin, and `even` is what a coarse bin has if each fine bin is spread
    evenly: (classes, coarse bins) each.

    The sharpest order parts the samples of a fine bin by class. Split among m coarse bins, the n
    samples of a fine bin gain at most n ln m.
    """
    kept[:], reached[:], even[:] = 0, 0, 0
    most = 0.0
    for b in range(counts.shape[1]):
        parts = last[b] - first[b] + 1
        inside, apart = 0, 0.0
        for c in range(counts.shape[0]):
            n = counts[c, b]
            inside += n
            apart -= n * _log(n, logs)
            if parts == 1:
                kept[c, first[b]] += n
            for place in range(first[b], last[b] + 1):
                reached[c, place] += n
                even[c, place] += n / parts
        if parts > 1:
            apart += inside * _log(inside, logs)
            most += min(inside * np.log(parts), apart) - apart
    return most + _sharpness(kept, logs)


@compiled()
def _least(counts, first, last, even):
    """Return the least sharpness of any order, by the tangent at the even spread.

    The sharpness is a convex function of the counts, and thus nowhere below the tangent. Along the
    tangent, each sample is worth ln(count of its class / count) of its coarse bin.
    """
    least = 0.0
    whole = even.sum(axis=0)
    for b in range(counts.shape[1]):
        for c in range(counts.shape[0]):
            if counts[c, b] == 0:
                continue
            worth = np.inf
            for place in range(first[b], last[b] + 1):
                worth = min(worth, np.log(even[c, place] / whole[place]))
            least += counts[c, b] * worth
    return least


@compiled()
def _sharpness(counts, logs):
    """Return the sum of n ln(n / sum of the column) over a table of counts (classes, columns)."""
    total = 0.0
    for j in range(counts.shape[1]):
        column = 0
        for c in range(counts.shape[0]):
            column += counts[c, j]
            total += counts[c, j] * _log(counts[c, j], logs)
        total -= column * _log(column, logs)
    return total


@compiled()
def _corrections(kept, reached, logs):
    """Return the least and the largest correction by the jackknife, given the ranges of counts.

    The jackknife makes n ln n of a count to n ln n + n - k(n), with k(0) = 0 and k from 1 at n = 1
    down to 1/2 for large n.
    """
    least, largest = 0.0, 0.0
    for j in range(kept.shape[1]):
        low, high = 0, 0
        for c in range(kept.shape[0]):
            low += kept[c, j]
            high += reached[c, j]
            least -= _excess(max(kept[c, j], 1), logs) if reached[c, j] else 0.0
            largest -= _excess(reached[c, j], logs) if kept[c, j] else 0.0
        least += _excess(high, logs) if low else 0.0
        largest += _excess(max(low, 1), logs) if high else 0.0
    return least, largest


@compiled()
def _excess(n, logs):
    """Return n ln n + n less what the jackknife makes of it."""
    return n * _log(n, logs) + n - _step(n, logs)


@compiled()
def _log(n, logs):
    return logs[n] if n < len(logs) else np.log(n)


@compiled()
def _step(n, logs):
    """Return n D(n), with the D of the jackknife of an entropy."""
    return n * (n * _log(n, logs) - (n - 1) * _log(n - 1, logs)) if n > 1 else 0.0
