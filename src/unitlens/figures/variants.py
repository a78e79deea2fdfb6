"""Cumulative ablation done otherwise: other values, other directions, other orders."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from unitlens.analysis.curve_summaries import random_orders
from unitlens.analysis.run_groups import RunGroup, group_runs, rows_of
from unitlens.errors import TableError
from unitlens.figures.curves import (
    Curve,
    accuracy_label,
    colour,
    curve_of,
    draw_chance,
    draw_curve,
    label_fraction,
    measured_runs,
)
from unitlens.figures.style import (
    DASHES,
    legend_below,
    marker,
    new_figure,
    styled,
)
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = ("dataset", "model", "widths", "width", "corruption", "dropout", "batch_norm")
COLUMNS = 3
NAMES = {
    "zero": "zero",
    "mean": "mean",
    "position_mean": "mean at each position",
    "class_mean": "mean of the class",
    "resample": "value of another sample",
    "units": "units",
    "random": "random directions",
    "principal_components": "principal components",
}
RANDOM_ORDER = re.compile(r"(^|-)random-\d+$")
WAYS = {"descending": "down", "ascending": "up"}
Panels = list[tuple[RunGroup, dict[str, Curve]]]


@styled
def clamping(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw the curves of units clamped to zero, to their mean and to what else there is."""
    return _draw(results, _variants(results, runs, "clamping", "value"), "units clamped to")


def clamping_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the AUC by what units are clamped to."""
    return _finding(_variants(results, runs, "clamping", "value"), "by what units are clamped to")


@styled
def bases(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw the curves of units beside those of random directions and principal components."""
    panels = _variants(results, runs, "bases", "basis")
    return _draw(results, panels, "what is ablated", what="directions")


def bases_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the AUC by the directions that are ablated."""
    return _finding(_variants(results, runs, "bases", "basis"), "by what is ablated")


def _variants(results: Results, runs: Sequence[str], figure: str, coordinate: str) -> Panels:
    """Return, for each group of runs, the curve of random orders of each variant."""
    curves = measured_runs(results, runs, figure, "curves")
    known = variants_of(curves, coordinate)
    if len(known) < 2:
        raise TableError(
            f"the figure {figure} needs curves of several kinds of `{coordinate}`, but all are of "
            f"{' and '.join(known) or 'one'}; list more under measurements.cumulative_ablation.also"
        )
    chosen = {name: random_orders(curves, **{coordinate: name}) for name in known}
    return _panels(results, curves, {NAMES.get(key, key): own for key, own in chosen.items()})


def variants_of(curves: xr.Dataset, coordinate: str) -> list[str]:
    """Return the kinds of `value` or `basis` among the orders, that of the main curves first."""
    if coordinate not in curves.coords:
        return []
    return [name for name in dict.fromkeys(curves[coordinate].values.tolist()) if name]


def _of_variant(curves: xr.Dataset, variant: dict[str, str]) -> np.ndarray:
    chosen = np.ones(curves.sizes["order"], bool)
    for name in ("value", "basis"):
        if name in curves.coords:
            of_orders = curves[name].values
            chosen &= of_orders == variant.get(name, of_orders[0])  # the main curves come first
    return chosen


def _panels(results: Results, curves: xr.Dataset, chosen: dict[str, xr.Dataset]) -> Panels:
    """Return the groups of runs, each with its curve of every choice of orders that it has."""
    specs = rows_of(results.runs, curves["run"].values.tolist())
    panels = []
    for group in group_runs(specs, PANEL):
        own = {name: rows_of(orders, group.runs) for name, orders in chosen.items()}
        drawn = {
            name: curve_of(group, orders)
            for name, orders in own.items()
            if np.isfinite(orders["accuracy"].values).any()
        }
        panels.append((group, drawn))
    return panels


@styled
def measure_orders(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw the curves in the order of each measure, up and down, beside random orders."""
    return _draw(results, _ordered(results, runs), "")


def measure_orders_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the AUC of each order."""
    return _finding(_ordered(results, runs), "by the order of ablation")


def _ordered(results: Results, runs: Sequence[str]) -> Panels:
    """Return, for each group of runs, the curves of random orders and of each measure's."""
    curves = measured_runs(results, runs, "measure_orders", "curves")
    curves = curves.isel(order=np.flatnonzero(_of_variant(curves, {})))
    names = curves["order"].values.astype(str)
    chosen = {"random orders": random_orders(curves)}
    for way, word in WAYS.items():
        for place, name in enumerate(names.tolist()):
            if name.endswith(f"-{way}"):
                told = f"{name.removesuffix(f'-{way}').replace('_', ' ')}, {word}".replace(
                    "l1", "L1"
                )
                chosen[told] = curves.isel(order=[place])
    if len(chosen) == 1:
        raise TableError(
            "the figure measure_orders needs curves in the order of a measure, but all are of "
            "random orders; list measures under measurements.cumulative_ablation.by"
        )
    return _panels(results, curves, chosen)


def _draw(results: Results, panels: Panels, title: str, *, what: str = "units") -> "Figure":
    """Draw a panel a group of runs: a colour a variant or measure, dashed from its least up."""
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(height=1.6 + (2.7 if columns == 1 else 2.2) * rows)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    names = list(dict.fromkeys(name for _, curves in panels for name in curves))
    measures = list(dict.fromkeys(name.partition(",")[0] for name in names))
    for place, (panel, (group, curves)) in enumerate(zip(axes.flat, panels, strict=False)):
        for name, curve in curves.items():
            style = measures.index(name.partition(",")[0])
            draw_curve(
                panel,
                curve,
                color=colour(style),
                linestyle=DASHES[1] if name.endswith(", up") else DASHES[0],
                marker=marker(style),
                markersize=3.5,
                linewidth=1.5,
                label=name,
            )
        draw_chance(panel, results, group.runs)
        label_fraction(panel, results, group.runs)
        lowest = place >= len(panels) - columns
        _label(panel, what, lowest=lowest, narrow=columns == COLUMNS)
        if len(panels) > 1:
            panel.set_title(group.label, fontsize=8.5)
    for empty in axes.flat[len(panels) :]:
        empty.set_axis_off()
    for panel in axes[:, 0]:
        panel.set_ylabel(accuracy_label(results, "curves"))
    legend_below(figure, list(axes.flat[: len(panels)]), title=title)
    return figure


def _label(axes: "Axes", what: str, *, lowest: bool, narrow: bool) -> None:
    """Name the horizontal axis of the lowest panels; narrow ones have no room for the number."""
    text = f"{what} ablated (share)" if narrow else axes.get_xlabel().replace("units", what)
    axes.set_xlabel(text if lowest else "", fontsize=9 if narrow else None)
    axes.tick_params(labelbottom=lowest)
    if narrow:
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])


def _finding(panels: Panels, by: str) -> str:
    """Tell the AUC of each variant in the first group, and how often the order is the same."""
    group, curves = panels[0]
    areas = {name: float(np.nanmean(curve.summary)) for name, curve in curves.items()}
    ranked = sorted(areas, key=lambda name: -areas[name])
    of = f" ({group.label})" if len(panels) > 1 else ""
    told = ", ".join(f"{areas[name]:.2f} ({name})" for name in ranked)
    most, least = ranked[0], ranked[-1]
    gaps = [
        float(np.nanmean(own[most].summary) - np.nanmean(own[least].summary))
        for _, own in panels
        if most in own and least in own
    ]
    larger = sum(gap > 0 for gap in gaps)
    kinds = "kind" if len(gaps) == 1 else "kinds"
    return (
        f"Over the whole range of ablation the mean accuracy (AUC) is, {by}, {told}{of}. It is "
        f"larger for {most} than for {least} in {larger} of {len(gaps)} {kinds} of network, by "
        f"{np.mean(gaps):.2f} on average."
    )
