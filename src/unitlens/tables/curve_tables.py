"""The tables of curves and of training histories over all networks."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from unitlens.tables.storage import same_attributes
from unitlens.variables.checks import annotate


def curve_table(curves: Mapping[int, xr.Dataset], identity: xr.Dataset) -> xr.Dataset:
    """Join the cumulative ablation curves of networks.

    Parameters
    ----------
    curves
        Position of a network in `identity` to its curves (schema ``cumulative_ablation``).
    identity
        Coordinates ``run`` and ``epoch`` of all networks on the dimension ``run``.

    Returns
    -------
    A table of the schema ``curves``; where a network has fewer orders or points than others its
    values are NaN (-1 for numbers of units). ``value`` and ``basis`` of an order are empty where
    the networks differ.
    """
    wanted = {place: _numbered(curve) for place, curve in curves.items()}
    names = ("accuracy", "loss", "ablated_fraction", "ablated_units")
    table = _stacked(wanted, identity, names)
    orders = dict.fromkeys(name for c in curves.values() for name in c["order"].values.tolist())
    table = table.reindex(order=np.array(list(orders), object))
    table = table.set_coords(["ablated_fraction", "ablated_units"])
    for name in ("value", "basis"):
        table = table.assign_coords({name: ("order", _of_orders(curves, list(orders), name))})
    return annotate(table, "curves")


def _of_orders(curves: Mapping[int, xr.Dataset], orders: Sequence[str], name: str) -> np.ndarray:
    """Return the value or basis of each order, by the coordinate or else by the attribute."""
    found: dict[str, set[str]] = {order: set() for order in orders}
    for curve in curves.values():
        own = curve.attrs.get(name, "")
        texts = curve[name].values if name in curve.coords else [own] * curve.sizes["order"]
        for order, text in zip(curve["order"].values.tolist(), texts, strict=True):
            found[order].add(text)
    return np.array([of.pop() if len(of) == 1 else "" for of in found.values()], object)


def _numbered(curve: xr.Dataset) -> xr.Dataset:
    steps = np.arange(curve.sizes["ablated"])
    curve = curve.reset_coords(["ablated_fraction", "ablated_units"])
    return curve.drop_vars(["value", "basis"], errors="ignore").assign_coords(ablated=steps)


def noise_table(noise: Mapping[int, xr.Dataset], identity: xr.Dataset) -> xr.Dataset:
    """Join the noise curves of networks as :func:`curve_table` joins ablation curves."""
    return annotate(_stacked(noise, identity, ("accuracy", "loss")), "noise")


def history_table(histories: Mapping[int, xr.Dataset], identity: xr.Dataset) -> xr.Dataset:
    """Join the training histories of runs; shorter ones are padded by NaN."""
    names = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
    table = _stacked(histories, identity.drop_vars("epoch"), names)
    return annotate(table, "histories")


def _stacked(
    tables: Mapping[int, xr.Dataset], identity: xr.Dataset, names: Sequence[str]
) -> xr.Dataset:
    wanted = [table[list(names)].drop_attrs(deep=True) for table in tables.values()]
    table = wanted[0]
    fill = {name: -1 if table[name].dtype.kind in "iu" else np.nan for name in names}
    joined = xr.concat(
        wanted, "run", join="outer", fill_value=fill, coords="minimal", compat="override"
    )
    joined = joined.assign_coords(identity.isel(run=list(tables)).coords)
    return joined.assign_attrs(same_attributes(tables.values()))
