"""Curves of cumulative ablation and of noise, of one network or of several."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.analysis.curve_summaries import RANDOM_ORDER, interpolate
from unitlens.plot.canvas import (
    axis_text,
    draw_marks,
    drawing_on,
    drawn_before,
    networks,
    noise_text,
)
from unitlens.plot.needed_tables import need_dimensions, need_variables
from unitlens.plot.style import colour, log_ticks, marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CURVES = "what unitlens.cumulative_ablation returns, or the curves of unitlens.open_results(...)"
_NOISE = "what unitlens.noise_robustness returns, or the noise of unitlens.open_results(...)"


def ablation_curve(
    curves: xr.Dataset,
    *,
    variable: str = "accuracy",
    label: str = "",
    ax: "Axes | None" = None,
    **line: Any,
) -> "Axes":
    """Draw the accuracy against the share of units ablated.

    Random orders are drawn as their mean, with a band of one standard deviation to either side
    over the orders and networks of the table. Each order by a measure is a line of its own, as are
    the random orders of each further value and basis.

    Parameters
    ----------
    curves
        What :func:`unitlens.cumulative_ablation` returns, or ``results.curves``, or a selection of
        its runs. All runs of the table are drawn as one mean: to compare networks, select the runs
        of each and call the function once for each selection, with the same `ax`.
    variable
        ``accuracy`` or ``loss``, or another variable of `curves` on the same dimensions.
    label
        Name of the line in the legend; by default the number of orders, and of networks. Where the
        table has several kinds of orders, the name of the kind follows.
    ax
        Axes to draw into; a new figure with one axes if None. The name of the horizontal axis
        tells the number of units where it is the same in all calls with the same axes.
    line
        Properties of the line as Matplotlib names them, such as ``color`` and ``linestyle``; by
        default the next colour and marker of the palette.

    Returns
    -------
    The axes.

    Raises
    ------
    TableError
        Where the table lacks `variable` or ``ablated_fraction``.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> curves = xr.Dataset(
    ...     {"accuracy": (("order", "ablated"), [[1.0, 0.6, 0.1], [1.0, 0.8, 0.1]])},
    ...     coords={
    ...         "order": ["random-0", "random-1"],
    ...         "ablated_fraction": ("ablated", [0.0, 0.5, 1.0]),
    ...     },
    ... )
    >>> ax = ul.plot.ablation_curve(curves)
    >>> ax.get_legend_handles_labels()[1], ax.lines[0].get_ydata().round(3).tolist()
    (['2 random orders'], [1.0, 0.7, 0.1])
    """
    need_variables(curves, (variable, "ablated_fraction"), _CURVES)
    need_dimensions(curves, variable, ("run", "order", "ablated"), _CURVES)
    table = _with_dimensions(curves, variable)
    kinds = _kinds_of_order(table)
    with drawing_on(ax) as axes:
        name, earlier = f"units ablated (share{_units_text(table)})", axes.get_xlabel()
        is_other = drawn_before(axes) > 0 and earlier != name
        for kind, places in kinds.items():
            x, rows = interpolate(table.isel(order=places))
            rows = rows.reshape(-1, x.size)
            text = ": ".join(filter(None, (label, kind)))
            if len(kinds) == 1 or kind == _random_text(len(places)):
                text = label or kind
            if table.sizes["run"] > 1 and not label:
                text = f"{text}, {networks(table.sizes['run'])}"
            _draw_mean(axes, x, rows[np.isfinite(rows).any(1)], text, **line)
        axes.set_xlabel("units ablated (share)" if is_other else name)
        axes.set_ylabel(_score_text(curves, variable))
        axes.set_xlim(0, 1)
        _limit(axes, variable)
        draw_marks(axes, beside=False)
    return axes


def noise_curve(
    noise: xr.Dataset,
    *,
    variable: str = "accuracy",
    label: str = "",
    ax: "Axes | None" = None,
    **line: Any,
) -> "Axes":
    """Draw the accuracy against the scale of the noise on all units.

    The line is the mean over the draws of the noise and the networks of the table; the band is one
    standard deviation to either side.

    Parameters
    ----------
    noise
        What :func:`unitlens.noise_robustness` returns, or ``results.noise``, or a selection of its
        runs. All runs of the table are drawn as one mean, as by
        :func:`unitlens.plot.ablation_curve`.
    variable
        ``accuracy`` or ``loss``, or another variable of `noise` on the same dimensions.
    label
        Name of the line in the legend; by default the number of draws, and of networks.
    ax
        Axes to draw into; a new figure with one axes if None. The horizontal axis becomes
        logarithmic; it is linear up to the smallest scale where a scale is 0.
    line
        Properties of the line, as of :func:`unitlens.plot.ablation_curve`.

    Returns
    -------
    The axes.

    Raises
    ------
    TableError
        Where the table lacks `variable` or ``noise_scale``.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> noise = xr.Dataset(
    ...     {"accuracy": (("draw", "noise_scale"), [[0.9, 0.5], [0.9, 0.3]])},
    ...     coords={"noise_scale": [0.5, 2.0]},
    ... )
    >>> ax = ul.plot.noise_curve(noise)
    >>> ax.get_legend_handles_labels()[1], ax.lines[0].get_ydata().tolist()
    (['2 draws'], [0.9, 0.4])
    """
    need_variables(noise, (variable, "noise_scale"), _NOISE)
    need_dimensions(noise, variable, ("run", "draw", "noise_scale"), _NOISE)
    values = noise[variable].transpose(..., "noise_scale").values
    rows, x = values.reshape(-1, values.shape[-1]), noise["noise_scale"].values
    known = np.isfinite(rows).any(0)  # networks may differ in their scales
    draws, count = noise.sizes.get("draw", 1), noise.sizes.get("run", 1)
    text = label or f"{draws} draw{'s' * (draws != 1)}"
    if count > 1 and not label:
        text = f"{text}, {networks(count)}"
    with drawing_on(ax) as axes:
        _draw_mean(axes, x[known], rows[:, known], text, **line)
        if x.min() > 0:
            log_ticks(axes)
        else:
            axes.set_xscale("symlog", linthresh=float(x[x > 0].min(initial=1)))
            axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel(noise_text(noise))
        axes.set_ylabel(_score_text(noise, variable))
        _limit(axes, variable)
        draw_marks(axes, beside=False)
    return axes


def _with_dimensions(curves: xr.Dataset, variable: str) -> xr.Dataset:
    """Return the curves as ``accuracy`` on run, order and ablated, whichever of them they lack."""
    table = curves[[variable]].rename({variable: "accuracy"})
    for dim in ("run", "order"):
        if dim not in table["accuracy"].dims:
            table["accuracy"] = table["accuracy"].expand_dims(dim)
    rows = table["accuracy"].sizes["run"]
    for name in ("ablated_fraction", "ablated_units"):
        if name in curves.variables:
            own = curves[name].reset_coords(drop=True)
            if "run" not in own.dims:
                own = own.expand_dims(run=rows)
            table = table.assign_coords({name: own.transpose("run", "ablated")})
    return table


def _kinds_of_order(table: xr.Dataset) -> dict[str, list[int]]:
    """Return the orders by what is drawn as one line, each with its name."""
    size = table.sizes["order"]
    names = table["order"].values.astype(str) if "order" in table.coords else np.full(size, "")
    keys = [table[key].values for key in ("value", "basis") if key in table.coords]
    families: dict[tuple[str, ...], list[int]] = {}
    for place, name in enumerate(names.tolist()):
        is_random = RANDOM_ORDER.search(name) is not None
        family = re.sub(r"\d+$", "", name) if is_random else name
        families.setdefault((family, *(str(key[place]) for key in keys)), []).append(place)
    kinds: dict[str, list[int]] = {}
    for (family, *settings), places in families.items():
        kind = _random_text(len(places)) if family.endswith("random-") else family
        kind = kind or _orders_text(len(places), "")
        if family.endswith("-random-"):  # further curves: of another value or basis
            kind = (
                f"{kind} ({', '.join(filter(None, settings)) or family.removesuffix('-random-')})"
            )
        kinds[kind] = places
    return kinds


def _random_text(count: int) -> str:
    return _orders_text(count, "random ")


def _orders_text(count: int, sort: str) -> str:
    return f"{count} {sort}order{'s' * (count != 1)}"


def _draw_mean(axes: "Axes", x: np.ndarray, rows: np.ndarray, label: str, **line: Any) -> None:
    """Draw the mean of rows as a line, and one standard deviation to either side as a band."""
    place = drawn_before(axes)
    mean, spread = np.nanmean(rows, 0), np.nanstd(rows, 0)
    style = {"color": colour(place), "marker": marker(place)} | line
    (drawn,) = axes.plot(x, mean, label=label, **style)
    if len(rows) > 1:
        shade: dict[str, Any] = {"color": drawn.get_color(), "alpha": 0.15, "linewidth": 0}
        axes.fill_between(x, mean - spread, mean + spread, **shade)


def _units_text(table: xr.Dataset) -> str:
    if "ablated_units" not in table.coords:
        return ""
    units = np.nanmax(table["ablated_units"].values, axis=-1)
    return f" of {int(units[0]):,}" if np.unique(units).size == 1 else ""


def _score_text(table: xr.Dataset, variable: str) -> str:
    split = table.attrs.get("split", "")
    return f"{split} {axis_text(table, variable)}".strip()


def _limit(axes: "Axes", variable: str) -> None:
    if variable == "accuracy":
        axes.set_ylim(0, 1.03)
