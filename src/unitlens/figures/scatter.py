"""Every unit as a dot, coloured by its layer, and rank correlations layer by layer."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import rank_correlations
from unitlens.analysis.run_groups import rows_of
from unitlens.errors import TableError
from unitlens.figures.selection import (
    by_dataset,
    networks,
    specs_of,
    table_of,
    titles_of,
    variable_of,
)
from unitlens.figures.style import (
    GREY,
    depth_colours,
    draw_legend,
    stacked,
    whole_numbers,
)
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

MOST_POINTS = 4000  # more would be paint on paint, and megabytes of SVG
MOST_NAMES = 6  # layers that are named; more are numbered
P_LEVEL = 0.05

Take = Callable[[Results, Sequence[str]], xr.Dataset]


class ScatterRow(NamedTuple):
    """The units of a data set, their dots, and axes beside for what is told of layers."""

    axes: "Axes"
    side: "Axes"
    units: xr.Dataset


def units_of(
    results: Results, runs: Sequence[str], variables: Sequence[str], figure: str
) -> xr.Dataset:
    """Return the units of runs on which all variables were measured."""
    specs_of(results, runs, figure)
    units = rows_of(table_of(results, "units", figure), runs)
    there = np.ones(units.sizes["unit"], bool)
    for name in variables:
        there &= np.isfinite(variable_of(units, name, figure))
    if not there.any():
        raise TableError(
            f"the figure {figure} needs units on which all of {', '.join(variables)} were "
            "measured, but there is none; measure the same layers"
        )
    return units.isel(unit=np.flatnonzero(there))


def scatter_rows(
    results: Results, runs: Sequence[str], name: str, take: Take, x: str, y: str
) -> "tuple[Figure, list[ScatterRow]]":
    """Draw two variables of the units against each other: a row a data set.

    Parameters
    ----------
    results, runs
        Whose units.
    name
        Of the figure.
    take
        Returns the units of some runs, of which both variables are known.
    x, y
        The variables.
    """
    parts = by_dataset(results, runs, name)
    figure, bands = stacked([4.3] * len(parts), titles_of(parts))
    return figure, [
        _scatter(band, take(results, part.runs), x, y)
        for band, part in zip(bands, parts, strict=True)
    ]


def _scatter(figure: "SubFigure", units: xr.Dataset, x: str, y: str) -> ScatterRow:
    axes, side = figure.subplots(1, 2, width_ratios=(2.1, 1))
    depths = units["depth"].values
    shades = depth_colours(depths.tolist())
    shown = _some(depths.size)
    colours = np.array([shades[depth] for depth in depths[shown].tolist()])
    xs, ys = units[x].values[shown], units[y].values[shown]
    axes.scatter(
        xs, ys, s=9, c=colours, alpha=0.55, linewidths=0, rasterized=shown.size > MOST_POINTS // 4
    )
    names = layer_names(units)
    # Named here and not by label: matplotlib hides labels that begin with an underscore.
    marks = {
        names[depth]: axes.scatter([], [], s=28, color=shade)
        for depth, shade in shades.items()
        if len(names) <= MOST_NAMES or depth in (min(names), max(names))
    }
    draw_legend(figure, marks, title="layer")
    return ScatterRow(axes, side, units)


def _some(size: int) -> np.ndarray:
    """Return positions of all points, or of a seeded sample of them, in random order."""
    order = np.random.default_rng(0).permutation(size)  # no layer always lies on top
    return order[:MOST_POINTS]


def linear_below(values: np.ndarray) -> float:
    """Return the power of ten below which the scale is linear."""
    sizes = np.abs(values[values != 0])
    return float(10 ** np.floor(np.log10(np.median(sizes)))) if sizes.size else 1.0


def layer_names(units: xr.Dataset) -> dict[int, str]:
    """Return the name of the layers at each depth; where networks differ, its number."""
    names: dict[int, set[str]] = {}
    for depth, layer in zip(units["depth"].values.tolist(), units["layer"].values, strict=True):
        names.setdefault(depth, set()).add(str(layer))
    return {
        depth: layers.pop() if len(layers := names[depth]) == 1 else f"layer {depth}"
        for depth in sorted(names)
    }


def label_layers(axes: "Axes", units: xr.Dataset) -> None:
    """Name the layers on the horizontal axis, or number them where they are many."""
    names = layer_names(units)
    if len(names) <= MOST_NAMES:
        axes.set_xticks(list(names), list(names.values()))
        axes.tick_params(axis="x", labelrotation=30 if len(names) > 3 else 0)
        axes.set_xlabel("layer")
    else:
        axes.set_xlabel("depth of the layer")
        whole_numbers(axes)
    axes.set_xlim(min(names) - 0.5, max(names) + 0.5)


def draw_correlations(axes: "Axes", units: xr.Dataset, target: str, measure: str) -> None:
    """Draw the correlation within each layer of each network, filled where p < .05."""
    rows = rank_correlations(
        units, target=target, measures=(measure,), by=("run", "epoch", "depth")
    )
    rows = rows.isel(row=np.isfinite(rows["p_value"].values))  # ten units at least
    shades = depth_colours(units["depth"].values.tolist())
    rng = np.random.default_rng(0)
    for depth, rho, p in zip(
        rows["depth"].values.tolist(), rows["spearman"].values, rows["p_value"].values, strict=True
    ):
        face = shades[depth] if p < P_LEVEL else "none"
        place = depth + rng.uniform(-0.15, 0.15)
        axes.scatter(place, rho, s=26, facecolor=[face], edgecolor=[shades[depth]], linewidth=1.2)
    axes.axhline(0, color=GREY, linewidth=0.8)
    most = float(np.nanmax(np.abs(rows["spearman"].values), initial=0.25))
    axes.set_ylim(-1.15 * most, 1.15 * most)
    axes.set_ylabel("Spearman correlation")
    axes.set_title(
        "by layer, a dot a network\n(of 10 units or more;\nfilled: p < .05)",
        fontsize=8.5,
        color=GREY,
    )
    label_layers(axes, units)


def correlation_finding(units: xr.Dataset, target: str, measure: str, what: str) -> str:
    """Tell the pooled correlation, and the range over the layers."""
    pooled = rank_correlations(units, target=target, measures=(measure,), by=()).isel(row=0)
    rows = rank_correlations(units, target=target, measures=(measure,), by=("run", "layer"))
    rho, p = rows["spearman"].values, rows["p_value"].values
    known = np.isfinite(p)  # ten units at least
    count = networks(len(set(units["run"].values.tolist())))
    first = (
        f"Over {int(pooled['n']):,} units of {count} the rank correlation of {what} is "
        f"{float(pooled['spearman']):.2f} ({_p(float(pooled['p_value']))})."
    )
    if not known.any():
        return f"{first} Within single layers it is undefined."
    return (
        f"{first} Within single layers of single networks it lies between {rho[known].min():.2f} "
        f"and {rho[known].max():.2f}, and p is under .05 in {int((p[known] < P_LEVEL).sum())} of "
        f"{int(known.sum())}."
    )


def _p(p: float) -> str:
    if not np.isfinite(p):
        return "undefined"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}"
