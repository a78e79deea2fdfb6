"""Top precision: how many of a unit's strongest samples are of one class."""

import numpy as np
import xarray as xr

from unitlens.statistics.block_states import Floats, Integers
from unitlens.statistics.class_table import check_classes, constant_units, finite_units, on_units

_TOPS = (60, 100)


def top_precision(stats: xr.Dataset) -> xr.Dataset:
    """Compute the share of every unit's strongest samples that are of one class.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    Dataset on ``unit``. ``precision_60`` and ``precision_100`` are the shares, of the 60 and of
    the 100 samples with the largest activations, that are of the most frequent class among these
    samples. NaN where the table has fewer samples, or the unit has non-finite activations or the
    same activation on every sample (no sample is the strongest).

    Raises
    ------
    TableError
        Where `stats` is not a table of class statistics, or the samples have no classes.

    Notes
    -----
    Sources: Zhou et al., "Object detectors emerge in deep scene CNNs" (ICLR 2015, arXiv
    1412.6856) for the top 60; Gale et al. 2020 (arXiv 2007.01062) for the top 100. Where several
    samples have the activation of the last rank, the samples that the table holds count.

    Examples
    --------
    >>> import numpy as np
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> labels = np.arange(200) % 2
    >>> activation = np.linspace(0, 1, 200)[:, None] * [[1.0, 1.0]] + labels[:, None] * [[2.0, 0.0]]
    >>> samples = xr.Dataset(coords={"label": ("sample", labels)})
    >>> relu = xr.Dataset({"activation": (("sample", "unit"), activation)})
    >>> stats = ul.class_statistics(xr.DataTree.from_dict({"/": samples, "/relu": relu}))
    >>> ul.top_precision(stats)["precision_60"].values
    array([1. , 0.5])
    """
    check_classes(stats, "top precision")
    classes = stats["top_class"].to_numpy()
    known = finite_units(stats) & ~constant_units(stats)
    shares = {top: np.where(known, _precision(classes, top), np.nan) for top in _TOPS}
    return on_units(stats, {f"precision_{top}": share for top, share in shares.items()})


def _precision(classes: Integers, top: int) -> Floats:
    """Return the share of the most frequent of the first `top` labels; NaN for fewer labels.

    `classes` has shape (units, ranks), -1 where a unit has no more samples.
    """
    if classes.shape[1] < top:
        return np.full(len(classes), np.nan)
    first = np.sort(classes[:, :top], axis=1)
    place = np.arange(top)
    starts = np.where(np.diff(first, axis=1, prepend=-2) != 0, place, 0)
    runs = place + 1 - np.maximum.accumulate(starts, axis=1)  # equal labels in a row, now sorted
    return np.where(first[:, 0] >= 0, runs.max(axis=1) / top, np.nan)
