"""Cumulative ablation and noise curves in one number each."""

import re

import numpy as np
import xarray as xr

from unitlens.errors import ArgumentError, TableError

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
