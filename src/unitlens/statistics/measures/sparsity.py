"""Sparsity: how rarely, and on how few samples, a unit is active."""

import numpy as np
import xarray as xr

from unitlens.statistics.class_table import classes_with_samples, finite_units, on_units
from unitlens.statistics.measures.variance import mean_and_variance


def sparsity(stats: xr.Dataset) -> xr.Dataset:
    """Compute the sparsity of every unit over all samples.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    Dataset on ``unit``. ``sparsity`` runs from 0 (the same activation on every sample) to nearly 1
    (zero on all samples but one). ``zero_share`` is the share of the samples on which the unit is
    zero. Both are NaN where a unit has non-finite activations, or there are no samples; the
    sparsity of a dead unit is NaN too.

    Raises
    ------
    TableError
        Where `stats` is not a table of class statistics.

    Notes
    -----
    1 - <a>^2 / <a^2> with means over the samples: one minus the sparseness of Treves & Rolls
    (Network 2, 1991), as Rolls & Tovée (Journal of Neurophysiology 73, 1995) take it over
    stimuli. The measure is meant for activations that are not negative; for activations of both
    signs it is still the share of the mean square that is variance.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> samples = xr.Dataset(coords={"label": ("sample", [0, 0, 1, 1])})
    >>> relu = xr.Dataset({"activation": (("sample", "unit"), [[3.0, 1], [1, 1], [0, 1], [0, 1]])})
    >>> stats = ul.class_statistics(xr.DataTree.from_dict({"/": samples, "/relu": relu}))
    >>> ul.sparsity(stats)["sparsity"].values
    array([0.6, 0. ])
    """
    mean, variance = mean_and_variance(stats)
    square = variance + mean**2
    sparse = np.divide(variance, square, out=np.full_like(mean, np.nan), where=square > 0)
    occurring = classes_with_samples(stats)
    count = stats["count"].to_numpy()[occurring]
    active = stats["class_nonzero"].to_numpy()[:, occurring] @ count / max(count.sum(), 1)
    zeros = np.where(finite_units(stats), 1 - active, np.nan)
    return on_units(stats, {"sparsity": sparse, "zero_share": zeros.clip(0.0, 1.0)})
