"""Every unit as a dot in the colour of its layer, and rank correlations layer by layer."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import rank_correlations
from unitlens.figures.needs import runs_by_dataset, titles_of
from unitlens.plot.canvas import networks
from unitlens.plot.layer_axes import depth_colours, label_layers, layer_names, legend_depths
from unitlens.plot.style import GREY, draw_legend, draw_zero, remove_legend, stack_rows
from unitlens.plot.unit_scatter import measure_scatter
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

MOST_NAMES = 6  # layers that the legend names; of more layers, the first and the last
P_LEVEL = 0.05

TakeUnits = Callable[[Results, Sequence[str]], xr.Dataset]


class ScatterRow(NamedTuple):
    """The row of a data set: the axes of the dots, the axes at their side, and the units."""

    axes: "Axes"
    side: "Axes"
    units: xr.Dataset


def draw_scatter(
    results: Results, runs: Sequence[str], take_units: TakeUnits, x: str, y: str
) -> "tuple[Figure, list[ScatterRow]]":
    """Draw two variables of the units against each other, in a row for each data set.

    Parameters
    ----------
    results
        The results.
    runs
        Names of the runs.
    take_units
        Function that returns the units of runs for which both variables are known.
    x, y
        The variables on the horizontal and on the vertical axis.
    """
    groups = runs_by_dataset(results, runs)
    figure, bands = stack_rows([4.3] * len(groups), titles_of(groups))
    return figure, [
        _draw_dots(band, take_units(results, group.runs), x, y)
        for band, group in zip(bands, groups, strict=True)
    ]


def _draw_dots(figure: "SubFigure", units: xr.Dataset, x: str, y: str) -> ScatterRow:
    axes, side = figure.subplots(1, 2, width_ratios=(2.1, 1))
    measure_scatter(units, x, y, ax=axes)
    remove_legend(axes)  # the axes at the side show the correlations
    shades = depth_colours(units["depth"].values.tolist())
    names = layer_names(units)
    # Not named by `label`: matplotlib hides labels that begin with an underscore.
    marks = {
        names[depth]: axes.scatter([], [], s=28, color=shades[depth])
        for depth in legend_depths(names, MOST_NAMES)
    }
    draw_legend(figure, marks, title="layer")
    return ScatterRow(axes, side, units)


def draw_correlations(axes: "Axes", units: xr.Dataset, target: str, measure: str) -> None:
    """Draw the rank correlation within each layer of each network, filled where p < .05."""
    rows = rank_correlations(
        units, target=target, measures=(measure,), by=("run", "epoch", "depth")
    )
    rows = rows.isel(row=np.isfinite(rows["p_value"].values))  # at least ten units
    shades = depth_colours(units["depth"].values.tolist())
    rng = np.random.default_rng(0)
    for depth, rho, p in zip(
        rows["depth"].values.tolist(), rows["spearman"].values, rows["p_value"].values, strict=True
    ):
        face = shades[depth] if p < P_LEVEL else "none"
        place = depth + rng.uniform(-0.15, 0.15)
        axes.scatter(place, rho, s=26, facecolor=[face], edgecolor=[shades[depth]], linewidth=1.2)
    draw_zero(axes)
    most = float(np.nanmax(np.abs(rows["spearman"].values), initial=0.25))
    axes.set_ylim(-1.15 * most, 1.15 * most)
    axes.set_ylabel("Spearman correlation")
    axes.set_title(
        "by layer, a dot a network\n(of 10 units or more;\nfilled: p < .05)",
        fontsize=8.5,
        color=GREY,
    )
    label_layers(axes, units)


def tell_correlation(units: xr.Dataset, target: str, measure: str, pair: str) -> str:
    """Return the pooled rank correlation, and the range over single layers of single networks.

    Parameters
    ----------
    units
        The units.
    target, measure
        The two variables.
    pair
        The two variables in words.
    """
    pooled = rank_correlations(units, target=target, measures=(measure,), by=()).isel(row=0)
    rows = rank_correlations(units, target=target, measures=(measure,), by=("run", "layer"))
    rho, p = rows["spearman"].values, rows["p_value"].values
    known = np.isfinite(p)  # at least ten units
    count = networks(len(set(units["run"].values.tolist())))
    first = (
        f"Over {int(pooled['n']):,} units of {count} the rank correlation of {pair} is "
        f"{float(pooled['spearman']):.2f} ({_p_value_text(float(pooled['p_value']))})."
    )
    if not known.any():
        return f"{first} Within single layers it is undefined."
    return (
        f"{first} Within single layers of single networks it lies between {rho[known].min():.2f} "
        f"and {rho[known].max():.2f}, and p is below .05 in {int((p[known] < P_LEVEL).sum())} of "
        f"{int(known.sum())}."
    )


def _p_value_text(p: float) -> str:
    if not np.isfinite(p):
        return "undefined"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}"
