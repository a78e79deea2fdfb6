"""Class selectivity: how much more a unit responds to one class than to the others."""

from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from unitlens.errors import ArgumentError, nearest
from unitlens.statistics.block_states import Floats, Integers
from unitlens.statistics.class_table import Flags, check_classes, dead_units, labels_at, on_units

Rest = Literal["classes", "samples"]
_RESTS = ("classes", "samples")


def class_selectivity(stats: xr.Dataset, *, rest: Rest = "classes") -> xr.Dataset:
    """Compute the class selectivity of every unit.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.
    rest
        Mean activation that the preferred class is compared with: the mean of the other classes'
        means (``classes``), or the mean over all samples of the other classes (``samples``). Both
        are equal where the classes have equally many samples.

    Returns
    -------
    Dataset on ``unit``. ``selectivity`` runs from 0 (the same mean for all classes) to 1 (a mean
    of zero for all classes but one). ``preferred_class`` is the label of the class with the
    largest mean, of equal means the first class. ``dead`` tells whether the unit is zero on every
    sample. ``undefined`` is the reason where the selectivity is NaN, otherwise empty. A dead unit
    has selectivity 0. ``preferred_class`` is -1 where the unit is dead or its selectivity
    undefined.

    Raises
    ------
    ArgumentError
        Where `rest` is neither ``classes`` nor ``samples``.
    TableError
        Where `stats` is not a table of class statistics, or the samples have no classes.

    Notes
    -----
    Source: Morcos, Barrett, Rabinowitz & Botvinick (ICLR 2018, arXiv 1803.06959):
    (mu_max - mu_rest) / (mu_max + mu_rest) of the class-conditional mean activations.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> samples = xr.Dataset(coords={"label": ("sample", [0, 0, 1, 1])})
    >>> relu = xr.Dataset({"activation": (("sample", "unit"), [[3.0, 0], [3, 2], [1, 2], [1, 0]])})
    >>> stats = ul.class_statistics(xr.DataTree.from_dict({"/": samples, "/relu": relu}))
    >>> ul.class_selectivity(stats)["selectivity"].values
    array([0.5, 0. ])
    """
    if rest not in _RESTS:
        raise ArgumentError(
            f"rest is {rest!r}, but must be 'classes' or 'samples'; {nearest(str(rest), _RESTS)}"
        )
    check_classes(stats, "class selectivity")
    means = stats["class_mean"].to_numpy()
    weights = stats["count"].to_numpy() if rest == "samples" else np.ones(stats.sizes["class"])
    dead = dead_units(stats)
    reasons = _reasons(stats, means, dead)
    selectivity, preferred = _selectivity(means, weights, (reasons == "") & ~dead)
    selectivity[dead] = 0.0
    variables = {
        "selectivity": selectivity,
        "preferred_class": labels_at(stats, preferred),
        "dead": dead,
        "undefined": reasons,
    }
    return on_units(stats, variables, rest=rest)


def ccmas(stats: xr.Dataset) -> xr.Dataset:
    """Compute the class-conditional mean activity selectivity (CCMAS) of every unit.

    Parameters
    ----------
    stats
        A table of :func:`unitlens.class_statistics`.

    Returns
    -------
    Dataset on ``unit`` with ``ccmas``: the selectivity of :func:`unitlens.class_selectivity` with
    ``rest="samples"``, 0 for dead units and NaN where the selectivity is undefined.

    Raises
    ------
    TableError
        Where `stats` is not a table of class statistics, or the samples have no classes.

    Notes
    -----
    (mu_A - mu_not_A) / (mu_A + mu_not_A), where A is the class of the largest mean, and not A all
    samples of the other classes. Source: Gale et al. 2020 (arXiv 2007.01062), after Morcos et al.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> samples = xr.Dataset(coords={"label": ("sample", [0, 1, 2, 2])})
    >>> relu = xr.Dataset({"activation": (("sample", "unit"), [[9.0, 3], [9, 3], [0, 3], [0, 3]])})
    >>> stats = ul.class_statistics(xr.DataTree.from_dict({"/": samples, "/relu": relu}))
    >>> ul.ccmas(stats)["ccmas"].values
    array([0.5, 0. ])
    """
    selectivity = class_selectivity(stats, rest="samples")["selectivity"]
    return on_units(stats, {"ccmas": selectivity.to_numpy()})


def _selectivity(
    means: Floats, weights: Floats | Integers, defined: Flags
) -> tuple[Floats, Integers]:
    """Return selectivity and position of the preferred class; NaN and -1 where not `defined`."""
    units = np.flatnonzero(defined)
    selectivity = np.full(len(means), np.nan)
    preferred = np.full(len(means), -1)
    if not units.size:
        return selectivity, preferred
    preferred[units] = means[units].argmax(axis=1)
    others = np.broadcast_to(weights, (len(units), means.shape[1])).astype(np.float64)
    others[np.arange(len(units)), preferred[units]] = 0.0
    largest = means[units, preferred[units]]
    rest = (others * means[units]).sum(axis=1) / others.sum(axis=1)
    # Rounding may take the selectivity of equal means below 0.
    selectivity[units] = np.clip((largest - rest) / (largest + rest), 0.0, 1.0)
    return selectivity, preferred


def _reasons(stats: xr.Dataset, means: Floats, dead: Flags) -> NDArray[Any]:
    """Return the reason why each unit's selectivity is undefined, empty where it is defined."""
    count = stats["count"].to_numpy()
    reasons = np.full(len(means), "", dtype=object)
    if not count.any():
        reasons[:] = "no samples"
        return reasons
    known = means[:, count > 0]
    if len(count) == 1:
        reasons[:] = "only one class"
    elif (count == 0).any():
        reasons[:] = f"class {stats['class'].to_numpy()[count == 0][0]} has no samples"
    else:
        reasons[(known == 0).all(axis=1)] = "all class means are zero"
        reasons[(known < 0).any(axis=1)] = "negative class mean"
    reasons[dead] = ""
    reasons[~np.isfinite(known).all(axis=1)] = "non-finite activations"
    return reasons
