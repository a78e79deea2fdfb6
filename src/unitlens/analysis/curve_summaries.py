"""One number for each cumulative ablation curve and each noise curve."""

import re

import numpy as np
import xarray as xr

from unitlens.errors import ArgumentError, TableError

RANDOM = "random-"  # begins the names of random orders of the main curves
RANDOM_ORDER = re.compile(r"(^|-)random-\d+$")


def area_under_curve(curve: xr.Dataset, *, variable: str = "accuracy") -> xr.DataArray:
    """Compute the area under cumulative ablation curves: the mean over the ablated range.

    Parameters
    ----------
    curve
        Dataset with `variable` and ``ablated_fraction`` on the dimension ``ablated``, as
        :func:`unitlens.cumulative_ablation` returns it or as ``results.curves`` holds it.
        Points that are NaN, with which shorter curves are padded, are left out.
    variable
        Name of the variable on the curve: ``accuracy`` or ``loss``.

    Returns
    -------
    ``auc``, in units of the variable: the trapezoid over the ablated fraction divided by the range
    of fractions, with all dimensions of the curve except ``ablated``. NaN where a curve has fewer
    than two points.

    Raises
    ------
    TableError
        Where the variable or the fraction is missing.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> curve = xr.Dataset(
    ...     {"accuracy": ("ablated", [1.0, 0.8, 0.0])},
    ...     coords={"ablated_fraction": ("ablated", [0.0, 0.5, 1.0])},
    ... )
    >>> round(ul.area_under_curve(curve).item(), 3)
    0.65
    """
    for name in (variable, "ablated_fraction"):
        if name not in curve.variables or "ablated" not in curve[name].dims:
            raise TableError(
                f"the curve has no '{name}' on the dimension 'ablated'; pass the result of "
                "cumulative_ablation, or results.curves"
            )
    values, fraction = xr.broadcast(curve[variable], curve["ablated_fraction"])
    values, fraction = values.transpose(..., "ablated"), fraction.transpose(..., "ablated")
    area = _mean_over(fraction.values, values.values)
    kept = values.isel(ablated=0, drop=True)
    return kept.copy(data=area).rename("auc").drop_vars("ablated_fraction", errors="ignore")


def _mean_over(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the mean of y over the range of x, by the trapezoid along the last axis."""
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
    """Select the curves whose units were ablated in a random order.

    Parameters
    ----------
    curves
        Dataset on the dimension ``order``, such as ``results.curves``.
    value
        Value that units were clamped to, such as ``zero`` or ``mean``; the value of the main
        curves if None.
    basis
        Directions that were ablated, such as ``units`` or ``random``; the basis of the main curves
        if None.

    Returns
    -------
    The Dataset of the selected orders, possibly none.

    Raises
    ------
    TableError
        Where `value` or `basis` is given, but the curves lack this coordinate.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> orders = ["random-0", "random-1", "selectivity-descending"]
    >>> curves = xr.Dataset({"accuracy": ("order", [0.7, 0.8, 0.4])}, coords={"order": orders})
    >>> ul.random_orders(curves)["accuracy"].values
    array([0.7, 0.8])
    """
    names = curves["order"].values.astype(str)
    if value is None and basis is None:
        return curves.isel(order=np.flatnonzero(np.char.startswith(names, RANDOM)))
    selected = np.array([RANDOM_ORDER.search(name) is not None for name in names], bool)
    for coordinate, asked in {"value": value, "basis": basis}.items():
        if coordinate not in curves.coords:
            raise TableError(
                f"the curves have no coordinate '{coordinate}' on 'order'; pass the contents of "
                "cumulative_ablation.nc, or results.curves"
            )
        of_orders = curves[coordinate].values  # the main curves come first
        selected &= of_orders == (of_orders[0] if asked is None else asked)
    return curves.isel(order=np.flatnonzero(selected))


def interpolate(curves: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return all ablated fractions, and the accuracy of each run and order at each of them.

    The accuracy is linear between the points of a curve. It is NaN for an order that a run lacks.
    """
    fractions = curves["ablated_fraction"].values
    x = np.unique(fractions[np.isfinite(fractions)])
    accuracy = curves["accuracy"].transpose("run", "order", "ablated").values
    rows = np.full((*accuracy.shape[:2], x.size), np.nan)
    for run, order in np.argwhere(np.isfinite(accuracy).any(-1)):
        known = np.isfinite(accuracy[run, order])
        rows[run, order] = np.interp(x, fractions[run, known], accuracy[run, order, known])
    return x, rows


def noise_scale_at(noise: xr.Dataset, *, accuracy: float = 0.5) -> xr.DataArray:
    """Compute the noise scale at which the accuracy, averaged over draws, falls to a level.

    Parameters
    ----------
    noise
        Dataset with ``accuracy`` on ``draw`` and ``noise_scale``, as
        :func:`unitlens.noise_robustness` returns it or as ``results.noise`` holds it.
    accuracy
        The level, between 0 and 1.

    Returns
    -------
    ``noise_scale``, in units of each unit's own standard deviation, with all dimensions of the
    accuracy except ``draw`` and ``noise_scale``: the first scale at which the accuracy falls to the
    level, interpolated between the two neighbouring points in the logarithm of the scale (from a
    scale of 0, in the scale itself). NaN where the accuracy is at or below the level from the
    start, or never falls to the level.

    Raises
    ------
    ArgumentError
        Where the level is not between 0 and 1.
    TableError
        Where ``accuracy`` is missing.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> noise = xr.Dataset(
    ...     {"accuracy": (("draw", "noise_scale"), [[0.9, 0.8, 0.2]])},
    ...     coords={"noise_scale": [0.01, 1.0, 100.0]},
    ... )
    >>> ul.noise_scale_at(noise, accuracy=0.5).item()
    10.0
    """
    if not 0 < accuracy < 1:
        raise ArgumentError(f"accuracy is {accuracy}, but must be between 0 and 1")
    if "accuracy" not in noise or not {"draw", "noise_scale"} <= set(noise["accuracy"].dims):
        raise TableError(
            "the noise table has no 'accuracy' on the dimensions 'draw' and 'noise_scale'; pass "
            "the result of noise_robustness, or results.noise"
        )
    mean = noise["accuracy"].mean("draw").transpose(..., "noise_scale").sortby("noise_scale")
    scales = mean["noise_scale"].values
    rows = mean.values.reshape(-1, scales.size)
    crossings = np.array([first_crossing(scales, row, accuracy, logarithmic=True) for row in rows])
    kept = mean.isel(noise_scale=0, drop=True)
    return kept.copy(data=crossings.reshape(kept.shape)).rename("noise_scale")


def first_crossing(
    x: np.ndarray, y: np.ndarray, level: float, *, logarithmic: bool = False
) -> float:
    """Return the x at which a curve first falls from above a level to the level.

    Parameters
    ----------
    x
        Ascending positions of the points, shape (points,).
    y
        Values at the points, shape (points,). Points that are NaN are left out.
    level
        The level.
    logarithmic
        Whether to interpolate between two points in the logarithm of x, where x is above 0, rather
        than in x.

    Returns
    -------
    The position; NaN where the curve begins at or below the level, or never falls to the level.
    """
    measured = np.isfinite(y)
    x, y = x[measured], y[measured]
    falls = np.flatnonzero((y[:-1] > level) & (y[1:] <= level))
    if falls.size == 0 or y[0] <= level:
        return float("nan")
    i = falls[0]
    low, high = x[i], x[i + 1]
    above, fall = y[i] - level, y[i] - y[i + 1]
    if logarithmic and low > 0:
        return float(low * (high / low) ** (above / fall))
    return float(low + (high - low) * above / fall)
