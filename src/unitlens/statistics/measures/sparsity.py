"""Sparsity: how rarely, and on how few samples, a unit is active."""

import numpy as np
import xarray as xr

from unitlens.statistics.class_table import finite_units, on_units, seen_classes
from unitlens.statistics.measures.variance import empirical_mean, empirical_variance


def sparsity(stats: xr.Dataset) -> xr.Dataset:
    """Compute the sparsity of every unit over all samples.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    On ``unit``: ``sparsity``, from 0 (the same activation on every sample) to nearly 1 (zero on
    all but one); ``zero_share``, the share of the samples on which it is zero. NaN where a unit
    has non-finite activations, or there are no samples; the sparsity of a dead unit is NaN too.

    Raises
    ------
    TableError
        Where `stats` is no table of class statistics.

    Notes
    -----
    1 - <a>^2 / <a^2> with means over the samples: one minus the sparseness of Treves & Rolls
    (Network 2, 1991), as Rolls & Tovée (Journal of Neurophysiology 73, 1995) take it over
    stimuli. It is meant for activations that are not negative; with both signs it is still the
    share of the mean square that is variance.
    """
    mean, variance = empirical_mean(stats).to_numpy(), empirical_variance(stats).to_numpy()
    square = variance + mean**2
    sparse = np.divide(variance, square, out=np.full_like(mean, np.nan), where=square > 0)
    seen = seen_classes(stats)
    count = stats["count"].to_numpy()[seen]
    active = stats["class_nonzero"].to_numpy()[:, seen] @ count / max(count.sum(), 1)
    zeros = np.where(finite_units(stats), 1 - active, np.nan)
    return on_units(stats, {"sparsity": sparse, "zero_share": zeros.clip(0.0, 1.0)})
