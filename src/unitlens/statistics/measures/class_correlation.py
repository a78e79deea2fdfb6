"""Class correlation: how far a unit's activation goes along with belonging to one class."""

import numpy as np
import xarray as xr

from unitlens.statistics.class_table import (
    constant_units,
    finite_units,
    labels_at,
    on_units,
    seen_classes,
)
from unitlens.statistics.measures.variance import empirical_mean, empirical_variance


def class_correlation(stats: xr.Dataset) -> xr.Dataset:
    """Compute the correlation of every unit's activation with its best class.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    On ``unit``: ``class_correlation``, the largest over the classes; ``correlated_class``, the
    label of that class, the first of equal ones. NaN and -1 where a unit has non-finite
    activations or always the same (dead ones too), or fewer than two classes have samples.

    Raises
    ------
    TableError
        Where `stats` is no table of class statistics.

    Notes
    -----
    Pearson's correlation of the activation and the indicator of the class, 1 for its samples
    and 0 for others (the point-biserial correlation): with p_c the class's share of the samples,

        (mu_c - mu) sqrt(p_c / (1 - p_c)) / sigma

    It is exact: counts, means and variances of the classes are all it needs.
    """
    mean, variance = empirical_mean(stats).to_numpy(), empirical_variance(stats).to_numpy()
    seen = np.flatnonzero(seen_classes(stats))
    correlation = np.full(stats.sizes["unit"], np.nan)
    best = np.full(stats.sizes["unit"], -1)
    if len(seen) > 1:
        known = finite_units(stats) & ~constant_units(stats) & (variance > 0)
        count = stats["count"].to_numpy()[seen]
        odds = count / (count.sum() - count)
        above = stats["class_mean"].to_numpy()[np.ix_(known, seen)] - mean[known, None]
        by_class = above * np.sqrt(odds) / np.sqrt(variance[known, None])
        correlation[known] = by_class.max(axis=1).clip(-1.0, 1.0)
        best[known] = seen[by_class.argmax(axis=1)]
    labels = labels_at(stats, best)
    return on_units(stats, {"class_correlation": correlation, "correlated_class": labels})
