"""The table of all declared measures of every unit."""

import logging
from importlib import import_module
from itertools import zip_longest

import numpy as np
import xarray as xr

from unitlens.errors import TableError
from unitlens.statistics.class_table import dead_units
from unitlens.statistics.measures.class_selectivity import Rest
from unitlens.variables.checks import annotate
from unitlens.variables.schemas import computed_measures
from unitlens.variables.unit_index import UnitIndex, layer_channel_index

logger = logging.getLogger("unitlens")


def unit_measures(
    test_stats: xr.Dataset,
    train_stats: xr.Dataset,
    l1_norm: xr.DataArray,
    *,
    rest: Rest = "classes",
    bins: int | None = None,
) -> xr.Dataset:
    """Compute the table of unit measures.

    Parameters
    ----------
    test_stats
        Class statistics of the split that is measured.
    train_stats
        Class statistics of the training set, for the same units. Mean and variance, by which units
        are clamped and noise is scaled, are always of the training set.
    l1_norm
        L1 norms on ``unit``, matched by layer and channel; NaN for units without an entry.
    rest
        Mean that the preferred class is compared with, as in :func:`unitlens.class_selectivity`.
    bins
        Number of bins for the mutual information, as in :func:`unitlens.mutual_information`.

    Returns
    -------
    A table of schema ``unit_measures``: the variables of all measures of
    :mod:`unitlens.catalogue.measures`, and ``class_mean``. Where the samples of either split have
    no classes, the measures that need classes and ``class_mean`` are left out, and the attribute
    ``no_classes`` tells why.

    Raises
    ------
    ArgumentError
        Where `rest` or `bins` breaks the rule of its measure.
    TableError
        Where the two statistics are of different units, or `l1_norm` has no layer or channel.
    """
    settings = {"rest": rest, "bins": bins}
    units = layer_channel_index(test_stats)
    _check_same_units(units, layer_channel_index(train_stats))
    reason = _why_no_classes(test_stats, train_stats)
    if reason:
        logger.warning("measures that need classes are left out: %s", reason)
    tables = []
    for measure in computed_measures():
        if measure.of_classes and reason:
            continue
        module = import_module(f"unitlens.statistics.measures.{measure.module}")
        stats = train_stats if measure.of_training else test_stats
        arguments = {name: settings[name] for name in measure.settings}
        tables.append(getattr(module, measure.name)(stats, **arguments))
    table = xr.merge(tables, join="exact", compat="equals", combine_attrs="no_conflicts")
    table = table.assign(l1_norm=("unit", _norms_of(units, l1_norm)))
    if reason:
        table = table.assign(dead=("unit", dead_units(test_stats))).assign_attrs(no_classes=reason)
    else:
        table = table.assign(class_mean=test_stats["class_mean"])
    return annotate(table, "unit_measures")


def _why_no_classes(*tables: xr.Dataset) -> str:
    """Return why the samples of some class statistics have no classes, empty where they have."""
    reasons = [table.attrs["no_classes"] for table in tables if "no_classes" in table.attrs]
    return str(reasons[0]) if reasons else ""


def _check_same_units(units: UnitIndex, train_units: UnitIndex) -> None:
    if units.equals(train_units):
        return
    names, train_names = units.keys().tolist(), train_units.keys().tolist()
    pairs = zip_longest(names, train_names)
    one, other = next(pair for pair in pairs if pair[0] != pair[1])
    raise TableError(
        f"the statistics of the two splits are of different units ({len(names)} and "
        f"{len(train_names)}, first difference: {one} and {other}), but must be of the same units "
        "in the same order; record both splits with the same layers"
    )


def _norms_of(units: UnitIndex, l1_norm: xr.DataArray) -> np.ndarray:
    """Return the L1 norm of each unit, NaN for units without an entry."""
    places = layer_channel_index(l1_norm).reindex_like(units)["unit"]
    norms = np.append(l1_norm.to_numpy().astype(np.float64), np.nan)
    return norms[places]  # -1 is the place of the NaN
