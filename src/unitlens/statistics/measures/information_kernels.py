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
def table_information(joint, samples, logs, information, error):
    """Compute the jackknifed information of tables of counts and its standard error.

    Parameters
    ----------
    joint
        Counts, (tables, rows, columns).
    samples
        Sum of the counts of each table.
    logs
        ln n of the first numbers n, with 0 for n = 0.
    information, error
        The results, (tables,) each; both arrays are filled.
    """
    tables, rows, columns = joint.shape
    of_rows, of_columns = np.empty(rows, np.int64), np.empty(columns, np.int64)
    logs_of_columns = np.empty(columns)
    whole, of_all = _log(samples, logs), _step(samples, logs)
    for t in range(tables):
        of_rows[:], of_columns[:] = 0, 0
        for r in range(rows):
            for c in range(columns):
                of_rows[r] += joint[t, r, c]
                of_columns[c] += joint[t, r, c]
        total = of_all
        for r in range(rows):
            total -= _step(of_rows[r], logs)
        for c in range(columns):
            total -= _step(of_columns[c], logs)
            logs_of_columns[c] = _log(of_columns[c], logs)
        weight, mean, squares = 0, 0.0, 0.0
        for r in range(rows):
            row = whole - _log(of_rows[r], logs)
            for c in range(columns):
                n = joint[t, r, c]
                if n == 0:
                    continue
                total += _step(n, logs)
                surprise = _log(n, logs) - logs_of_columns[c] + row
                weight += n
                away = surprise - mean
                mean += away * n / weight
                squares += n * away * (surprise - mean)
        information[t] = total / samples
        error[t] = np.sqrt(squares) / samples


@compiled()
def _log(n, logs):
    return logs[n] if n < len(logs) else np.log(n)


@compiled()
def _step(n, logs):
    """Return n D(n), with the D of the jackknife of an entropy."""
    return n * (n * _log(n, logs) - (n - 1) * _log(n - 1, logs)) if n > 1 else 0.0
