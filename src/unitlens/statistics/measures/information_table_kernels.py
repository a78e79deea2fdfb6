"""The compiled loops over tables of counts. Importing this module imports numba."""

import numpy as np

from unitlens.compilation import compiled


@compiled()
def table_information(joint, zero, samples, terms, results):
    """Compute the jackknifed information of tables of counts, and what its error is made of.

    Parameters
    ----------
    joint
        Counts, (tables, rows, columns).
    zero
        Column that is not merged with its neighbours; -1 for none.
    samples
        Sum of the counts of each table.
    terms
        What :func:`unitlens.statistics.measures.information_errors.count_terms` returns.
    results
        Information, its variance, the bias that is left, and what is lost where neighbouring bins
        are merged, (4, tables); the array is filled. All but the first are 0 where all samples are
        in one row or in one column.
    """
    tables, rows, columns = joint.shape
    of_rows, of_columns = np.empty(rows, np.int64), np.empty(columns, np.int64)
    for t in range(tables):
        of_rows[:], of_columns[:] = 0, 0
        for r in range(rows):
            for c in range(columns):
                of_rows[r] += joint[t, r, c]
                of_columns[c] += joint[t, r, c]
        total, variance, bias = _sum_up(joint[t], of_rows, of_columns, samples, terms)
        results[:, t] = 0.0
        results[0, t] = total / samples
        if (of_rows > 0).sum() > 1 and (of_columns > 0).sum() > 1:
            results[1, t] = variance / samples**2
            results[2, t] = bias / samples
            results[3, t] = _lost(joint[t], of_columns, zero, terms) / samples


@compiled()
def _sum_up(counts, of_rows, of_columns, samples, terms):
    """Return information, its variance and the bias that is left, times N, N^2 and N."""
    total = _step(samples, terms)
    rise_of_rows, left, excess, filled = _margins(of_rows, terms)
    rise_of_columns, left_of_columns, excess_of_columns, more = _margins(of_columns, terms)
    for r in range(len(of_rows)):
        total -= _step(of_rows[r], terms)
    for c in range(len(of_columns)):
        total -= _step(of_columns[c], terms)
    bias = _of(terms, 2, samples) - left - left_of_columns
    surplus = _of(terms, 3, samples) - excess - excess_of_columns
    second, phi = 1.0 - filled - more, -1.0
    sum_of, squares, first = 0.0, 0.0, np.nan
    for r in range(len(of_rows)):
        part, inverse = 0.0, 1.0 / max(of_rows[r], 1)
        for c in range(len(of_columns)):
            n = counts[r, c]
            if n == 0:
                continue
            total += _step(n, terms)
            change = _rise(n, terms) - rise_of_rows[r] - rise_of_columns[c]
            if np.isnan(first):
                first = change
            change -= first
            weighted = n * change
            sum_of += weighted
            squares += weighted * change
            part += n * n / of_columns[c]
            second += 1.0
            bias += _of(terms, 2, n)
            surplus += _of(terms, 3, n)
        phi += part * inverse
    jackknife = (squares - sum_of * sum_of / samples) * (samples / max(samples - 1, 1))
    return total, max(jackknife - surplus - phi, second / 2 + phi, 0.0), bias


@compiled()
def _margins(counts, terms):
    """Return the rises of counts, their bias and surplus that are left, and how many are filled."""
    rises, left, excess, filled = np.empty(len(counts)), 0.0, 0.0, 0
    for k in range(len(counts)):
        rises[k] = _rise(counts[k], terms)
        left += _of(terms, 2, counts[k])
        excess += _of(terms, 3, counts[k])
        filled += counts[k] > 0
    return rises, left, excess, filled


@compiled()
def _lost(counts, of_columns, zero, terms):
    """Return by how much information falls where neighbouring filled bins are merged, times N."""
    lost, before = 0.0, -1
    for c in range(counts.shape[1]):
        if c == zero:
            before = -1
        elif of_columns[c] and before < 0:
            before = c
        elif of_columns[c]:
            lost -= _merged(of_columns[before], of_columns[c], terms)
            for r in range(counts.shape[0]):
                lost += _merged(counts[r, before], counts[r, c], terms)
            before = -1
    return lost


@compiled()
def _merged(one, other, terms):
    """Return the terms of two counts less that of their sum."""
    if one == 0 or other == 0:
        return 0.0
    return _step(one, terms) + _step(other, terms) - _step(one + other, terms)


@compiled()
def _step(n, terms):
    """Return n D(n), with the D of the jackknife of an entropy."""
    if n < terms.shape[1]:
        return terms[0, n]
    return n * (n * np.log(n) - (n - 1) * np.log(n - 1))


@compiled()
def _rise(n, terms):
    """Return by how much n D(n) is above the term of n - 1."""
    return terms[1, n] if n < terms.shape[1] else np.log(n) + 2 - 0.5 / n


@compiled()
def _of(terms, which, n):
    """Return a term that is the same for all counts beyond those that are looked up."""
    return terms[which, min(n, terms.shape[1] - 1)]
