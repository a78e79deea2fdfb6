"""Class correlation: how strongly a unit's activation is correlated with one class."""

import numpy as np
import xarray as xr

from unitlens.statistics.class_table import (
    check_classes,
    classes_with_samples,
    constant_units,
    finite_units,
    labels_at,
    on_units,
)
from unitlens.statistics.measures.variance import mean_and_variance


def class_correlation(stats: xr.Dataset) -> xr.Dataset:
    """Compute the correlation of every unit's activation with its best class.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    Dataset on ``unit``. ``class_correlation`` is the largest correlation over the classes.
    ``correlated_class`` is the label of the class of the largest correlation, of equal
    correlations the first class. NaN and -1 where a unit has non-finite activations or the same
    activation on every sample (as dead units have), or fewer than two classes have samples.

    Raises
    ------
    TableError
        Where `stats` is not a table of class statistics, or the samples have no classes.

    Notes
    -----
    Pearson's correlation of the activation and the indicator of the class, 1 for samples of the
    class and 0 for other samples (the point-biserial correlation). With p_c the share of the
    samples that are of class c,

        (mu_c - mu) sqrt(p_c / (1 - p_c)) / sigma

    The correlation is exact: it depends only on counts, means and variances of the classes.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> samples = xr.Dataset(coords={"label": ("sample", [0, 0, 1, 1])})
    >>> relu = xr.Dataset({"activation": (("sample", "unit"), [[3.0, 0], [3, 2], [0, 2], [0, 0]])})
    >>> stats = ul.class_statistics(xr.DataTree.from_dict({"/": samples, "/relu": relu}))
    >>> ul.class_correlation(stats)["class_correlation"].values
    array([1., 0.])
    """
    check_classes(stats, "class correlation")
    mean, variance = mean_and_variance(stats)
    occurring = np.flatnonzero(classes_with_samples(stats))
    correlation = np.full(stats.sizes["unit"], np.nan)
    best = np.full(stats.sizes["unit"], -1)
    if len(occurring) > 1:
        known = finite_units(stats) & ~constant_units(stats) & (variance > 0)
        count = stats["count"].to_numpy()[occurring]
        odds = count / (count.sum() - count)
        above = stats["class_mean"].to_numpy()[np.ix_(known, occurring)] - mean[known, None]
        by_class = above * np.sqrt(odds) / np.sqrt(variance[known, None])
        correlation[known] = by_class.max(axis=1).clip(-1.0, 1.0)
        best[known] = occurring[by_class.argmax(axis=1)]
    labels = labels_at(stats, best)
    return on_units(stats, {"class_correlation": correlation, "correlated_class": labels})
