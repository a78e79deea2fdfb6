"""Mean and empirical variance of every unit over all samples."""

import numpy as np
import xarray as xr

from unitlens.statistics.block_states import Floats
from unitlens.statistics.class_table import on_units
from unitlens.variables.checks import validate


def empirical_variance(stats: xr.Dataset) -> xr.Dataset:
    """Compute the population variance of every unit over all samples.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    Dataset on ``unit`` with ``variance``, in units of the activation squared: the sum of squared
    deviations divided by the number of samples (not by one less). NaN where a unit has non-finite
    activations, or there are no samples.

    Raises
    ------
    TableError
        Where `stats` is not a table of class statistics.

    Notes
    -----
    The law of total variance: the mean of the classes' variances plus the variance of the
    classes' means, both weighted by the classes' counts.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> samples = xr.Dataset(coords={"label": ("sample", [0, 0, 1, 1])})
    >>> relu = xr.Dataset({"activation": (("sample", "unit"), [[3.0, 0], [1, 2], [0, 2], [0, 0]])})
    >>> stats = ul.class_statistics(xr.DataTree.from_dict({"/": samples, "/relu": relu}))
    >>> ul.empirical_variance(stats)["variance"].values
    array([1.5, 1. ])
    """
    _, variance = mean_and_variance(stats)
    return on_units(stats, {"variance": variance})


def empirical_mean(stats: xr.Dataset) -> xr.Dataset:
    """Compute the mean of every unit over all samples.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    Dataset on ``unit`` with ``mean``, in units of the activation: the mean of the classes' means
    weighted by the classes' counts. NaN where a unit has non-finite activations, or there are no
    samples.

    Raises
    ------
    TableError
        Where `stats` is not a table of class statistics.
    """
    mean, _ = mean_and_variance(stats)
    return on_units(stats, {"mean": mean})


def mean_and_variance(stats: xr.Dataset) -> tuple[Floats, Floats]:
    """Return the mean and the population variance of every unit, shape (units,) each.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Raises
    ------
    TableError
        Where `stats` is not a table of class statistics.
    """
    validate(stats, "class_statistics")
    classes = stats[["count", "class_mean", "class_variance"]]
    classes = classes.isel({"class": np.flatnonzero(classes["count"] > 0)})
    if not classes.sizes["class"]:  # a sum over no classes would be 0
        unknown = np.full(stats.sizes["unit"], np.nan)
        return unknown, unknown
    share = classes["count"] / classes["count"].sum()
    mean = (share * classes["class_mean"]).sum("class", skipna=False)
    between = (classes["class_mean"] - mean) ** 2
    variance = (share * (classes["class_variance"] + between)).sum("class", skipna=False)
    return mean.to_numpy(), variance.to_numpy()
