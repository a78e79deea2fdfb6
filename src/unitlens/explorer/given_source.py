"""The source of a unit's page that is made of what a user has of an own model."""

from typing import Any

import xarray as xr

from unitlens.errors import ArgumentError
from unitlens.explorer.unit_source import UnitSource
from unitlens.variables.unit_index import UNIT_NAMES, index_units


def source_of_activations(
    acts: xr.DataTree | None = None, importance: xr.Dataset | None = None, dataset: Any = None
) -> UnitSource:
    """Gather what a user has of the units of an own model.

    Parameters
    ----------
    acts
        What :func:`unitlens.open_activations` returns.
    importance
        What :func:`unitlens.unit_ablation` returns, or any table of units with ``layer`` and
        ``channel`` on ``unit``: several tables joined by :func:`xarray.merge`.
    dataset
        The data set that the activations were recorded over.

    Returns
    -------
    The source, in which the parts that were not given are missing.

    Raises
    ------
    ArgumentError
        Where neither `acts` nor `importance` is given, or `importance` names no units.
    """
    if acts is None and importance is None:
        raise ArgumentError(
            "acts = None and importance = None: there are no units to show; give the activations "
            "of unitlens.open_activations or the table of unitlens.unit_ablation"
        )
    if importance is not None and any(name not in importance.coords for name in UNIT_NAMES):
        raise ArgumentError(
            "importance has no coordinates 'layer' and 'channel' on 'unit', which name its units; "
            "give the table of unitlens.unit_ablation, or assign the coordinates"
        )
    missing = {}
    if acts is None:
        missing["activations"] = "activations are left out: acts was not given"
    if importance is None:
        missing["units"] = "measures and damage are left out: importance was not given"
    if dataset is None:
        missing["dataset"] = "the samples themselves are left out: dataset was not given"
    units = None if importance is None else index_units(importance)
    split = "" if acts is None else str(acts.attrs.get("split", ""))
    return UnitSource(units, acts, None, dataset, split, missing)
