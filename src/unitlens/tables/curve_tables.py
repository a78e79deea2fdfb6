"""The tables of ablation curves, noise curves and training histories over all networks."""

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
    A table of the schema ``curves``. Where a network has fewer orders or points than others, its
    values are NaN (-1 for numbers of units). ``value`` and ``basis`` of an order are empty where
    the networks differ.
    """
    numbered = {place: _number_points(curve) for place, curve in curves.items()}
    names = ("accuracy", "loss", "ablated_fraction", "ablated_units")
    table = _stack_networks(numbered, identity, names)
    orders = dict.fromkeys(
        order for curve in curves.values() for order in curve["order"].values.tolist()
    )
    table = table.reindex(order=np.array(list(orders), object))
    table = table.set_coords(["ablated_fraction", "ablated_units"])
    for name in ("value", "basis"):
        texts = _texts_of_orders(curves, list(orders), name)
        table = table.assign_coords({name: ("order", texts)})
    return annotate(table, "curves")


def _texts_of_orders(
    curves: Mapping[int, xr.Dataset], orders: Sequence[str], name: str
) -> np.ndarray:
    """Return the ``value`` or ``basis`` of each order.

    It is read from the coordinate of a network's curves, or else from their attribute.
    """
    texts_of: dict[str, set[str]] = {order: set() for order in orders}
    for curve in curves.values():
        same = curve.attrs.get(name, "")
        texts = curve[name].values if name in curve.coords else [same] * curve.sizes["order"]
        for order, text in zip(curve["order"].values.tolist(), texts, strict=True):
            texts_of[order].add(text)
    return np.array([texts.pop() if len(texts) == 1 else "" for texts in texts_of.values()], object)


def _number_points(curve: xr.Dataset) -> xr.Dataset:
    """Return a curve with the points of ``ablated`` numbered from 0."""
    steps = np.arange(curve.sizes["ablated"])
    curve = curve.reset_coords(["ablated_fraction", "ablated_units"])
    return curve.drop_vars(["value", "basis"], errors="ignore").assign_coords(ablated=steps)


def noise_table(noise: Mapping[int, xr.Dataset], identity: xr.Dataset) -> xr.Dataset:
    """Join the noise curves of networks.

    Parameters
    ----------
    noise
        Position of a network in `identity` to its noise curves (schema ``noise_robustness``).
    identity
        Coordinates ``run`` and ``epoch`` of all networks on the dimension ``run``.

    Returns
    -------
    A table of the schema ``noise``. Draws and scales that a network lacks are NaN.
    """
    return annotate(_stack_networks(noise, identity, ("accuracy", "loss")), "noise")


def history_table(histories: Mapping[int, xr.Dataset], identity: xr.Dataset) -> xr.Dataset:
    """Join the training histories of runs.

    Parameters
    ----------
    histories
        Position of a run in `identity` to its training history (schema ``history``).
    identity
        Coordinates ``run`` and ``epoch`` of all runs on the dimension ``run``.

    Returns
    -------
    A table of the schema ``histories``. Epochs that a run lacks are NaN.
    """
    names = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
    table = _stack_networks(histories, identity.drop_vars("epoch"), names)
    return annotate(table, "histories")


def _stack_networks(
    tables: Mapping[int, xr.Dataset], identity: xr.Dataset, names: Sequence[str]
) -> xr.Dataset:
    """Return variables of networks on the dimension ``run``, with the attributes of all."""
    plain = [table[list(names)].drop_attrs(deep=True) for table in tables.values()]
    fill = {name: -1 if plain[0][name].dtype.kind in "iu" else np.nan for name in names}
    joined = xr.concat(
        plain, "run", join="outer", fill_value=fill, coords="minimal", compat="override"
    )
    joined = joined.assign_coords(identity.isel(run=list(tables)).coords)
    return joined.assign_attrs(same_attributes(table.attrs for table in tables.values()))
