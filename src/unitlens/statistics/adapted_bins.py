"""Bins that adapt to a sample of the activations, where bins of equal width would be crowded.

The largest activation of a unit may lie so far from the rest that a few of its bins of equal width
hold nearly all samples. A seeded sample of the activations, which depends on the number of samples
alone, shows whether they do. Where they do, each bin holds about as many of the sampled activations
as another.
"""

from dataclasses import replace

import numpy as np

from unitlens.seeds import seeded
from unitlens.statistics.block_states import Floats, Integers, Values
from unitlens.statistics.blocks import column_slabs
from unitlens.statistics.histograms import Bins

RUNS, RUN_ROWS = 4, 256  # parts of all samples, and samples that are taken from each
_SPAN = 2048  # samples of a part that those are taken from: few blocks hold them
_CROWDED = 8  # times as many pairs in one bin as in equally filled bins
_FEWEST = 8  # activations that are not zero, in the sample of a unit


def sampled_rows(samples: int) -> Integers:
    """Return the numbers of the samples that bins adapt to, ascending.

    Parameters
    ----------
    samples
        Number of all samples.

    Returns
    -------
    All numbers, up to 1,024 samples. Of more samples, 256 from each quarter of them.
    """
    if samples <= RUNS * RUN_ROWS:
        return np.arange(samples)
    rng = seeded(0, "bins", samples)
    span = min(samples // RUNS, _SPAN)
    parts = np.arange(RUNS + 1) * (samples // span) // RUNS
    runs = [
        start + np.sort(rng.choice(span, RUN_ROWS, replace=False))
        for start in rng.integers(parts[:-1], parts[1:]) * span
    ]
    return np.concatenate(runs)


def adapt_bins(bins: Bins, sample: Values) -> Bins:
    """Return bins that are adapted where the sampled activations are crowded.

    Parameters
    ----------
    bins
        Bins of equal width.
    sample
        Sampled activations, shape (sampled samples, units), of any real dtype.

    Returns
    -------
    The same number of bins for every unit. The bins of a unit are adapted where two of its sampled
    activations, neither zero nor equal, fall into one bin more than 8 times as often as they would
    in equally filled bins. Below 9 bins, and with fewer than 8 such activations, none are.
    """
    below, row = bins.below.copy(), bins.row.copy()
    edges: list[Floats] = []
    for values, units in column_slabs(sample):
        for unit in _crowded_units(values, bins[units]):
            at = units.start + unit
            active = values[:, unit]
            active = np.sort(active[(active != 0) & np.isfinite(active)])
            below[at], filled = _filled_equally(active, bins, at)
            row[at] = len(edges)
            edges.append(filled)
    if not edges:
        return bins
    return replace(bins, below=below, above=bins.fine - below, row=row, edges=np.array(edges))


def _crowded_units(values: Values, bins: Bins) -> list[int]:
    """Return the numbers of the units whose bins of equal width are crowded."""
    from unitlens.statistics.block_kernels import crowded_pairs as kernel

    units = values.shape[1]
    pairs, within = np.empty((2, units))
    kernel(values, bins.for_kernel(), np.zeros((units, bins.fine + 1), np.int32), pairs, within)
    most = _CROWDED / bins.fine * pairs
    may_be = bins.finite & (pairs >= _FEWEST * (_FEWEST - 1) / 2) & (within > most)
    return [
        unit
        for unit in np.flatnonzero(may_be).tolist()
        if within[unit] - _equal_pairs(values[:, unit]) > most[unit]
    ]


def _equal_pairs(values: Values) -> float:
    """Return the number of pairs of equal activations that are not zero."""
    counts = np.unique(values[values != 0], return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / 2)


def _filled_equally(active: Values, bins: Bins, unit: int) -> tuple[int, Floats]:
    """Return the number of bins below zero, and the edges of all bins.

    Parameters
    ----------
    active
        Sampled activations of the unit that are not zero, ascending.
    bins
        Bins of equal width.
    unit
        Number of the unit in `bins`.
    """
    negative, fine = int(np.searchsorted(active, 0.0)), bins.fine
    below = int(bins.below[unit])
    if 0 < below < fine:
        below = min(max(round(fine * negative / len(active)), 1), fine - 1)
    under = _quantiles(-active[:negative][::-1], bins.near_below[unit], bins.far_below[unit], below)
    over = _quantiles(active[negative:], bins.near_above[unit], bins.far_above[unit], fine - below)
    return below, np.concatenate([-under[::-1], over]) + 0.0  # no negative zeros


def _quantiles(magnitudes: Values, near: float, far: float, bins: int) -> Floats:
    """Return the edges of one side: quantiles of the sampled magnitudes, from `near` to `far`.

    Each magnitude stands in the middle of an equal share of the samples; quantiles between two
    magnitudes lie on a straight line, and so do those beyond the smallest and the largest one.
    Edges between `near` and `far` are of the type of the magnitudes.
    """
    dtype = magnitudes.dtype
    places = (np.arange(len(magnitudes)) + 0.5) / max(len(magnitudes), 1)
    ladder = np.concatenate([[near], magnitudes.clip(near, far), [far]])
    shares = np.arange(bins + 1) / max(bins, 1)
    edges = np.interp(shares, np.concatenate([[0.0], places, [1.0]]), ladder)
    least = np.finfo(dtype).smallest_subnormal  # no edge but the first is zero
    edges[1:-1] = edges[1:-1].astype(dtype).clip(least, None)
    return np.asarray(edges)
