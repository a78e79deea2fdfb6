"""Class selectivity of units beside their importance, their weights and their depth."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from unitlens.errors import TableError
from unitlens.figures.selection import networks, specs_of, table_of, variable_of
from unitlens.figures.style import (
    COLOURS,
    GREY,
    depth_colours,
    draw_legend,
    legend_below,
    log_ticks,
    marker,
    new_figure,
    styled,
    whole_numbers,
)
from unitlens.tables import Results, rank_correlations
from unitlens.tables.groups import group_runs, rows_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 4000  # more would be paint on paint, and megabytes of SVG
MOST_NAMES = 6  # layers that are named; more are numbered
P_LEVEL = 0.05


@styled
def selectivity_importance(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw each unit's selectivity against its importance, and their correlation by layer."""
    name = "selectivity_importance"
    units = _units(results, runs, ("selectivity", "loss_increase"), name)
    figure, axes, side = _scatter_and_side(units, "selectivity", "loss_increase")
    axes.set_yscale("symlog", linthresh=_threshold(units["loss_increase"].values))
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("class selectivity")
    axes.set_ylabel("loss increase when ablated (nats)")
    _draw_correlations(side, units, "loss_increase", "selectivity")
    return figure


def selectivity_importance_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the pooled correlation, and the range over the layers."""
    name = "selectivity_importance"
    units = _units(results, runs, ("selectivity", "loss_increase"), name)
    return _correlation_finding(
        units, "loss_increase", "selectivity", "class selectivity and importance (loss increase)"
    )


@styled
def selectivity_l1_norm(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw each unit's L1 norm against its selectivity, and their correlation by layer."""
    units = _units(results, runs, ("selectivity", "l1_norm"), "selectivity_l1_norm")
    figure, axes, side = _scatter_and_side(units, "l1_norm", "selectivity")
    log_ticks(axes)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("L1 norm of the incoming weights")
    axes.set_ylabel("class selectivity")
    _draw_correlations(side, units, "selectivity", "l1_norm")
    return figure


def selectivity_l1_norm_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the pooled correlation, and the range over the layers."""
    units = _units(results, runs, ("selectivity", "l1_norm"), "selectivity_l1_norm")
    return _correlation_finding(
        units, "selectivity", "l1_norm", "the L1 norm of the incoming weights and selectivity"
    )


@styled
def selectivity_depth(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw median and quartiles of selectivity by depth, a panel a model."""
    name = "selectivity_depth"
    units = _units(results, runs, ("selectivity",), name)
    specs = specs_of(results, runs, name)
    models = group_runs(specs, ("model",))
    figure = new_figure(height=4.3)
    panels = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    labels: dict[str, int] = {}
    for axes, model in zip(panels, models, strict=True):
        for place, group in enumerate(group_runs(rows_of(specs, model.runs))):
            style = labels.setdefault(group.label, len(labels))
            _draw_quartiles(axes, rows_of(units, group.runs), group.label, place, style)
        _label_layers(axes, rows_of(units, model.runs))
        axes.set_title(str(model.values["model"]))
    panels[0].set_ylabel("class selectivity")
    panels[0].set_ylim(0, 1)
    legend_below(figure, panels)
    return figure


def selectivity_depth_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the median in the first and the last layer of each model."""
    name = "selectivity_depth"
    units = _units(results, runs, ("selectivity",), name)
    told, rising = [], []
    for model in group_runs(specs_of(results, runs, name), ("model",)):
        medians = list(_medians(rows_of(units, model.runs)).values())
        told.append(f"{medians[0]:.2f} to {medians[-1]:.2f} ({model.values['model']})")
        rising.append(medians[-1] > medians[0])
    way = "rises" if all(rising) else "falls" if not any(rising) else "changes"
    layers = rank_correlations(units, target="selectivity", measures=("depth",), by=())
    rho = float(layers["spearman"][0])
    pooled = f"{rho:.2f}" if np.isfinite(rho) else "undefined (one layer only)"
    return (
        f"From the first to the last layer the median class selectivity {way}, from "
        f"{'; '.join(told)}. Over all {units.sizes['unit']:,} units the rank correlation of "
        f"selectivity with depth is {pooled}."
    )


def _units(
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


def _scatter_and_side(units: xr.Dataset, x: str, y: str) -> "tuple[Figure, Axes, Axes]":
    figure = new_figure(height=4.3)
    axes, side = figure.subplots(1, 2, width_ratios=(2.1, 1))
    depths = units["depth"].values
    shades = depth_colours(depths.tolist())
    shown = _some(depths.size)
    colours = np.array([shades[depth] for depth in depths[shown].tolist()])
    xs, ys = units[x].values[shown], units[y].values[shown]
    axes.scatter(
        xs, ys, s=9, c=colours, alpha=0.55, linewidths=0, rasterized=shown.size > MOST_POINTS // 4
    )
    names = _names(units)
    # Named here and not by label: matplotlib hides labels that begin with an underscore.
    marks = {
        names[depth]: axes.scatter([], [], s=28, color=shade)
        for depth, shade in shades.items()
        if len(names) <= MOST_NAMES or depth in (min(names), max(names))
    }
    draw_legend(figure, marks, title="layer")
    return figure, axes, side


def _some(size: int) -> np.ndarray:
    """Return positions of all points, or of a seeded sample of them, in random order."""
    order = np.random.default_rng(0).permutation(size)  # no layer always lies on top
    return order[:MOST_POINTS]


def _threshold(values: np.ndarray) -> float:
    """Return the power of ten below which the scale is linear."""
    sizes = np.abs(values[values != 0])
    return float(10 ** np.floor(np.log10(np.median(sizes)))) if sizes.size else 1.0


def _names(units: xr.Dataset) -> dict[int, str]:
    """Return the name of the layers at each depth; where networks differ, its number."""
    names: dict[int, set[str]] = {}
    for depth, layer in zip(units["depth"].values.tolist(), units["layer"].values, strict=True):
        names.setdefault(depth, set()).add(str(layer))
    return {
        depth: layers.pop() if len(layers := names[depth]) == 1 else f"layer {depth}"
        for depth in sorted(names)
    }


def _label_layers(axes: "Axes", units: xr.Dataset) -> None:
    names = _names(units)
    if len(names) <= MOST_NAMES:
        axes.set_xticks(list(names), list(names.values()))
        axes.tick_params(axis="x", labelrotation=30 if len(names) > 3 else 0)
        axes.set_xlabel("layer")
    else:
        axes.set_xlabel("depth of the layer")
        whole_numbers(axes)
    axes.set_xlim(min(names) - 0.5, max(names) + 0.5)


def _draw_correlations(axes: "Axes", units: xr.Dataset, target: str, measure: str) -> None:
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
    _label_layers(axes, units)


def _correlation_finding(units: xr.Dataset, target: str, measure: str, what: str) -> str:
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


def _draw_quartiles(axes: "Axes", units: xr.Dataset, label: str, place: int, style: int) -> None:
    depths = sorted(set(units["depth"].values.tolist()))
    values = [units["selectivity"].values[units["depth"].values == depth] for depth in depths]
    low, middle, high = np.array([np.percentile(v, (25, 50, 75)) for v in values]).T
    axes.errorbar(
        np.array(depths) + 0.09 * place - 0.09,
        middle,
        yerr=(middle - low, high - middle),
        color=COLOURS[style % len(COLOURS)],
        marker=marker(style),
        linewidth=1.4,
        elinewidth=1.1,
        capsize=2,
        label=label,
    )


def _medians(units: xr.Dataset) -> dict[int, float]:
    depths = units["depth"].values
    values = units["selectivity"].values
    return {
        depth: float(np.median(values[depths == depth])) for depth in sorted(set(depths.tolist()))
    }
