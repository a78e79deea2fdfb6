"""Mean and empirical variance of every unit over all samples."""

import numpy as np
import xarray as xr

from unitlens.variables.checks import validate
from unitlens.variables.declarations import VARIABLES


def empirical_variance(stats: xr.Dataset) -> xr.DataArray:
    """Compute the population variance of every unit over all samples.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    ``variance`` on ``unit``, in units of the activation squared, divided by the number of samples
    (not one less). NaN where a unit has non-finite activations, or there are no samples.

    Raises
    ------
    TableError
        Where `stats` is no table of class statistics.

    Notes
    -----
    The law of total variance: the mean of the classes' variances plus the variance of the
    classes' means, both weighted by the classes' counts.
    """
    share, known = _shares(stats)
    between = (known["class_mean"] - _mean(share, known)) ** 2
    return _named(
        "variance", (share * (known["class_variance"] + between)).sum("class", skipna=False), share
    )


def empirical_mean(stats: xr.Dataset) -> xr.DataArray:
    """Compute the mean of every unit over all samples.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    ``mean`` on ``unit``, in units of the activation: the classes' means weighted by their counts.
    NaN where a unit has non-finite activations, or there are no samples.

    Raises
    ------
    TableError
        Where `stats` is no table of class statistics.
    """
    share, known = _shares(stats)
    return _named("mean", _mean(share, known), share)


def _shares(stats: xr.Dataset) -> tuple[xr.DataArray, xr.Dataset]:
    """Return each class's share of the samples and the statistics, without empty classes."""
    validate(stats, "class_statistics")
    known = stats[["count", "class_mean", "class_variance"]]
    known = known.isel({"class": np.flatnonzero(known["count"] > 0)})
    return known["count"] / known["count"].sum(), known


def _mean(share: xr.DataArray, known: xr.Dataset) -> xr.DataArray:
    return (share * known["class_mean"]).sum("class", skipna=False)


def _named(name: str, values: xr.DataArray, share: xr.DataArray) -> xr.DataArray:
    declared = VARIABLES[name]
    if not share.size:  # a sum over no classes is 0
        values = xr.full_like(values, np.nan)
    attributes = {
        "long_name": declared.long_name,
        "units": declared.units,
        "description": declared.description,
    }
    return values.rename(name).assign_attrs(attributes)
