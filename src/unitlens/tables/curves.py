"""Cumulative ablation and noise curves: what one number says of them, and their tables."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from unitlens.errors import ArgumentError, TableError
from unitlens.tables.storage import same_attributes
from unitlens.variables import annotate

RANDOM = "random-"  # begins the names of random orders of the main curves
RANDOM_ORDER = re.compile(r"(^|-)random-\d+$")


def area_under_curve(curve: xr.Dataset, *, variable: str = "accuracy") -> xr.DataArray:
    """Return the area under cumulative ablation curves: the mean over the ablated range.

    Parameters
    ----------
    curve
        Dataset with `variable` and ``ablated_fraction`` on the dimension ``ablated``, as
        :func:`unitlens.cumulative_ablation` returns it or as ``results.curves`` holds it.
        Points that are NaN, by which shorter curves are padded, are left out.
    variable
        ``accuracy`` or ``loss``.

    Returns
    -------
    Trapezoid over the ablated fraction, divided by the range of fractions: without ``ablated``,
    with all other dimensions of the curve. NaN where a curve has fewer than two points.

    Raises
    ------
    TableError
        Where the variable or the fraction is missing.

    Examples
    --------
    >>> curve = xr.Dataset(
    ...     {"accuracy": ("ablated", [1.0, 0.8, 0.0])},
    ...     coords={"ablated_fraction": ("ablated", [0.0, 0.5, 1.0])},
    ... )
    >>> round(float(area_under_curve(curve)), 3)
    0.65
    """
    for name in (variable, "ablated_fraction"):
        if name not in curve.variables or "ablated" not in curve[name].dims:
            raise TableError(
                f"the curve has no '{name}' on the dimension 'ablated'; pass what "
                "cumulative_ablation returns, or results.curves"
            )
    values, fraction = xr.broadcast(curve[variable], curve["ablated_fraction"])
    values, fraction = values.transpose(..., "ablated"), fraction.transpose(..., "ablated")
    area = _mean_over(fraction.values, values.values)
    kept = values.isel(ablated=0, drop=True)
    return kept.copy(data=area).rename("auc").drop_vars("ablated_fraction", errors="ignore")


def _mean_over(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    step = np.diff(x, axis=-1)
    area = step * (y[..., 1:] + y[..., :-1]) / 2
    valid = np.isfinite(area)
    width = np.where(valid, step, 0).sum(-1)
    total = np.where(valid, area, 0).sum(-1)
    mean = np.full(total.shape, np.nan)
    np.divide(total, width, out=mean, where=width > 0)
    return mean


def random_orders(
    curves: xr.Dataset, *, value: str | None = None, basis: str | None = None
) -> xr.Dataset:
    """Return the curves whose units were ablated in a random order.

    Parameters
    ----------
    curves
        Dataset on the dimension ``order``, such as ``results.curves``.
    value
        What units were clamped to; as in the main curves if not given.
    basis
        What was ablated, units or directions; as in the main curves if not given.

    Returns
    -------
    The Dataset of those orders, of which there may be none.

    Raises
    ------
    TableError
        Where a value or basis is asked for, but the curves do not say which they are of.
    """
    names = curves["order"].values.astype(str)
    if value is None and basis is None:
        return curves.isel(order=np.flatnonzero(np.char.startswith(names, RANDOM)))
    chosen = np.array([RANDOM_ORDER.search(name) is not None for name in names], bool)
    for coordinate, wanted in {"value": value, "basis": basis}.items():
        if coordinate not in curves.coords:
            raise TableError(
                f"the curves have no coordinate '{coordinate}' on 'order'; pass what "
                "cumulative_ablation.nc holds, or results.curves"
            )
        of_orders = curves[coordinate].values
        chosen &= of_orders == (of_orders[0] if wanted is None else wanted)  # main ones first
    return curves.isel(order=np.flatnonzero(chosen))


def noise_scale_at(noise: xr.Dataset, *, accuracy: float = 0.5) -> xr.DataArray:
    """Return the noise scale at which the accuracy, averaged over draws, falls to a level.

    Parameters
    ----------
    noise
        Dataset with ``accuracy`` on ``draw`` and ``noise_scale``, as
        :func:`unitlens.noise_robustness` returns it or as ``results.noise`` holds it.
    accuracy
        The level.

    Returns
    -------
    The scale, linear in its logarithm (from a scale of 0: in the scale itself) between the two
    neighbouring points of the first fall from above the level; without ``draw`` and
    ``noise_scale``, with all other dimensions. NaN where the accuracy is under the level from the
    start or never falls to it.

    Raises
    ------
    ArgumentError
        Where the level is not between 0 and 1.
    TableError
        Where ``accuracy`` is missing.
    """
    if not 0 < accuracy < 1:
        raise ArgumentError(f"accuracy = {accuracy}: must be between 0 and 1")
    if "accuracy" not in noise or not {"draw", "noise_scale"} <= set(noise["accuracy"].dims):
        raise TableError(
            "the noise table has no 'accuracy' on the dimensions 'draw' and 'noise_scale'; pass "
            "what noise_robustness returns, or results.noise"
        )
    mean = noise["accuracy"].mean("draw").transpose(..., "noise_scale").sortby("noise_scale")
    scales = mean["noise_scale"].values
    rows = mean.values.reshape(-1, scales.size)
    found = np.array([crossing(scales, row, accuracy) for row in rows])
    kept = mean.isel(noise_scale=0, drop=True)
    return kept.copy(data=found.reshape(kept.shape)).rename("noise_scale")


def crossing(x: np.ndarray, y: np.ndarray, level: float) -> float:
    """Return where a curve first falls to a level, as :func:`noise_scale_at` says; or NaN."""
    there = np.isfinite(y)
    x, y = x[there], y[there]
    falls = np.flatnonzero((y[:-1] > level) & (y[1:] <= level))
    if falls.size == 0 or y[0] <= level:
        return float("nan")
    i = falls[0]
    low, high = x[i], x[i + 1]
    share = (y[i] - level) / (y[i] - y[i + 1])
    return float(low * (high / low) ** share if low > 0 else low + (high - low) * share)


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
