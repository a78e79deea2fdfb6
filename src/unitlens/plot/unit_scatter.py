"""Two measures of units against each other, with their rank correlation in each layer."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import FEWEST_FOR_P, rank_correlations
from unitlens.errors import TableError
from unitlens.plot.canvas import axis_text, draw_marks, drawing_on
from unitlens.plot.layer_axes import depth_colours, layer_names, legend_depths
from unitlens.plot.needed_tables import need_dimensions, need_variables
from unitlens.plot.style import GREY, linear_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_UNITS = (
    "a table of units that has both variables: the units of unitlens.open_results(...), or "
    "xarray.merge of what a measure and unitlens.unit_ablation return"
)
MOST_POINTS = 4000  # more dots would hide each other and make an SVG of megabytes
MOST_LAYERS = 12  # in the legend; of more layers, the first and the last
WIDE = 30  # ratio of the largest to the median size above which an axis is symmetric-logarithmic


def measure_scatter(
    units: xr.Dataset,
    x: str = "selectivity",
    y: str = "loss_increase",
    *,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw two variables of units against each other, a dot a unit, coloured by layer.

    The legend tells Spearman's rank correlation of the two variables over the units of each
    layer: of one network its value, of several networks the smallest and the largest value. It is
    over all units of the table. Above 4,000 units a seeded random sample of 4,000 is drawn, and
    the plot says so.

    Parameters
    ----------
    units
        Dataset on ``unit`` with ``layer`` and ``depth``, for example ``results.units``, or
        ``xr.merge([ul.class_selectivity(stats), importance], compat="no_conflicts")`` with the
        result of :func:`unitlens.unit_ablation`. Units without a value of either variable are left
        out, and the plot tells how many.
    x, y
        Variables on the horizontal and on the vertical axis. An axis whose largest value is more
        than 30 times its median size is logarithmic to either side of zero.
    ax
        Axes to draw into; a new figure with one axes if None.

    Returns
    -------
    The axes.

    Raises
    ------
    TableError
        Where the table lacks a variable, or no unit has both.

    Examples
    --------
    >>> import numpy as np
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> units = xr.Dataset(
    ...     {
    ...         "selectivity": ("unit", np.linspace(0, 1, 12)),
    ...         "loss_increase": ("unit", np.linspace(1, 0, 12)),
    ...     },
    ...     coords={"layer": ("unit", ["relu1"] * 12), "depth": ("unit", [0] * 12)},
    ... )
    >>> ax = ul.plot.measure_scatter(units)
    >>> ax.get_legend().get_texts()[0].get_text()
    'relu1: -1.00 (12 units)'
    """
    need_variables(units, (x, y, "layer", "depth"), _UNITS)
    for name in (x, y):
        need_dimensions(units, name, ("unit",), _UNITS)
    both = np.isfinite(units[x].values) & np.isfinite(units[y].values)
    if not both.any():
        raise TableError(f"no unit of the table has both '{x}' and '{y}'; pass {_UNITS}")
    shown = units.isel(unit=np.flatnonzero(both))
    with drawing_on(ax, width=7.6) as axes:
        drawn = _draw_units(axes, shown, x, y)
        names = layer_names(shown)
        shades = depth_colours(list(names))
        texts = _correlations(shown, x, y)
        marks = {}
        for depth in legend_depths(names, MOST_LAYERS):
            text = f"{names[depth]}: {texts[depth]}"
            marks[text] = axes.scatter([], [], s=28, color=shades[depth], label=text)
        _name_axis(axes, "x", shown, x)
        _name_axis(axes, "y", shown, y)
        _note(axes, drawn, int(both.sum()), both.size)
        draw_marks(axes, marks, beside=ax is None, title="layer: Spearman correlation")
    return axes


def _draw_units(axes: "Axes", units: xr.Dataset, x: str, y: str) -> int:
    """Draw units by two variables, in the colours of their layers; return how many were drawn."""
    depths = units["depth"].values
    shades = depth_colours(depths.tolist())
    shown = _sample_points(depths.size)
    colours = np.array([shades[depth] for depth in depths[shown].tolist()])
    xs, ys = units[x].values[shown], units[y].values[shown]
    axes.scatter(
        xs, ys, s=9, c=colours, alpha=0.55, linewidths=0, rasterized=shown.size > MOST_POINTS // 4
    )
    return int(shown.size)


def _sample_points(size: int) -> np.ndarray:
    """Return the positions of all points, or of a seeded sample of them, in random order."""
    order = np.random.default_rng(0).permutation(size)  # no layer always lies on top
    return order[:MOST_POINTS]


def _correlations(units: xr.Dataset, x: str, y: str) -> dict[int, str]:
    """Return the rank correlation at each depth, as text."""
    by = [name for name in ("run", "epoch") if name in units.coords and units[name].dims]
    rows = rank_correlations(units, target=y, measures=(x,), by=("depth", *by))
    texts = {}
    for depth in set(rows["depth"].values.tolist()):
        of_depth = rows.isel(row=np.flatnonzero(rows["depth"].values == depth))
        enough = of_depth["n"].values >= FEWEST_FOR_P
        rho = of_depth["spearman"].values[enough]
        rho = rho[np.isfinite(rho)]
        count = int(of_depth["n"].values.sum())
        size = f"{count:,} unit{'s' * (count != 1)}"
        if not rho.size:
            why = "constant" if enough.any() else f"fewer than {FEWEST_FOR_P}"
            texts[depth] = f"undefined ({size}, {why})"
        elif rho.size == 1:
            texts[depth] = f"{rho[0]:.2f} ({size})"
        else:
            texts[depth] = f"{rho.min():.2f} to {rho.max():.2f} ({rho.size} networks, {size})"
    return texts


def _name_axis(axes: "Axes", axis: str, units: xr.Dataset, name: str) -> None:
    """Name an axis, and make the axis of a variable with a long tail symmetric-logarithmic."""
    values = np.asarray(units[name].values, float)
    sizes = np.abs(values[values != 0])
    text = axis_text(units, name)
    if sizes.size and sizes.max() > WIDE * np.median(sizes):
        linear = linear_size(values)
        getattr(axes, f"set_{axis}scale")("symlog", linthresh=linear)
        text = f"{text},\nlinear within ±{linear:g}"
    if values.min() < 0 < values.max():
        line = axes.axvline if axis == "x" else axes.axhline
        line(0, color=GREY, linewidth=0.8)
    getattr(axes, f"set_{axis}label")(text)


def _note(axes: "Axes", drawn: int, known: int, units: int) -> None:
    """Tell on the axes which units are not drawn."""
    lines = []
    if drawn < known:
        lines.append(f"{drawn:,} of {known:,} units drawn")
    if known < units:
        lines.append(f"{units - known:,} of {units:,} units lack a value")
    place: dict[str, Any] = {"ha": "right", "va": "bottom", "color": GREY, "fontsize": 8}
    if lines:
        axes.text(1, 1.01, "; ".join(lines), transform=axes.transAxes, **place)
