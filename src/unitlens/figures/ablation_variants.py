"""Variants of cumulative ablation: other values, other directions, other orders."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from unitlens.analysis.curve_summaries import random_orders
from unitlens.analysis.run_groups import RunGroup, group_runs, rows_of
from unitlens.catalogue.values import BASES, VALUES
from unitlens.figures.curves import (
    Curve,
    curve_legend,
    curve_of,
    draw_chance,
    require_curves,
)
from unitlens.figures.needs import KIND, UnmetNeedError, figure, finding
from unitlens.plot.curve_plots import ablation_curve
from unitlens.plot.style import DASHES, colour, marker, new_figure
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
NAMES = {
    **{name: value.label for name, value in VALUES.items()},
    **{name: basis.label for name, basis in BASES.items()},
}
WAYS = {"descending": "down", "ascending": "up"}


class VariantCurves(NamedTuple):
    """The curves of a kind of network, by the name of the variant."""

    group: RunGroup
    curves: dict[str, Curve]


@figure
def clamping(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw the curves of units clamped to zero, to their mean and to other values."""
    return _draw_variants(results, _curves_by(results, runs, "value"), "units clamped to")


@finding
def clamping_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the AUC for each value that units are clamped to."""
    return _tell_areas(_curves_by(results, runs, "value"), "what units are clamped to")


@figure
def bases(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw the curves of units beside those of random directions and principal components."""
    kinds = _curves_by(results, runs, "basis")
    return _draw_variants(results, kinds, "what is ablated", ablated="directions")


@finding
def bases_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the AUC for each kind of direction that is ablated."""
    return _tell_areas(_curves_by(results, runs, "basis"), "what is ablated")


@figure
def measure_orders(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw the curves in the order of each measure, up and down, beside random orders."""
    return _draw_variants(results, _curves_by_order(results, runs), "")


@finding
def measure_orders_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the AUC of each order."""
    return _tell_areas(_curves_by_order(results, runs), "the order of ablation")


def _curves_by(results: Results, runs: Sequence[str], coordinate: str) -> list[VariantCurves]:
    """Return the curves of random orders for each `value` or `basis`, that of the main first."""
    curves = require_curves(results, runs, "curves")
    known = [] if coordinate not in curves.coords else curves[coordinate].values.tolist()
    names = [name for name in dict.fromkeys(known) if name]
    if len(names) < 2:
        raise UnmetNeedError(
            f"needs curves of several kinds of `{coordinate}`, but all are of "
            f"{' and '.join(names) or 'one'}; list more under measurements.cumulative_ablation.also"
        )
    orders = {name: random_orders(curves, **{coordinate: name}) for name in names}
    return _by_kind(results, curves, {NAMES.get(name, name): own for name, own in orders.items()})


def _curves_by_order(results: Results, runs: Sequence[str]) -> list[VariantCurves]:
    """Return the curves of random orders, and the curve in the order of each measure."""
    curves = _main_curves(require_curves(results, runs, "curves"))
    names = curves["order"].values.astype(str).tolist()
    orders = {"random orders": random_orders(curves)}
    for way, word in WAYS.items():
        for place, name in enumerate(names):
            if name.endswith(f"-{way}"):
                measure = name.removesuffix(f"-{way}").replace("_", " ").replace("l1", "L1")
                orders[f"{measure}, {word}"] = curves.isel(order=[place])
    if len(orders) == 1:
        raise UnmetNeedError(
            "needs curves in the order of a measure, but all are of random orders; list measures "
            "under measurements.cumulative_ablation.by"
        )
    return _by_kind(results, curves, orders)


def _main_curves(curves: xr.Dataset) -> xr.Dataset:
    """Return the orders with the value and the basis of the first order, a main curve."""
    is_main = np.ones(curves.sizes["order"], bool)
    for name in {"value", "basis"} & set(curves.coords):
        is_main &= curves[name].values == curves[name].values[0]
    return curves.isel(order=np.flatnonzero(is_main))


def _by_kind(
    results: Results, curves: xr.Dataset, orders: Mapping[str, xr.Dataset]
) -> list[VariantCurves]:
    """Return the curves of each kind of network, of the variants that were measured on it."""
    specs = rows_of(results.runs, curves["run"].values.tolist())
    kinds = []
    for group in group_runs(specs, KIND):
        own = {name: rows_of(variant, group.runs) for name, variant in orders.items()}
        measured = {
            name: curve_of(group, variant)
            for name, variant in own.items()
            if np.isfinite(variant["accuracy"].values).any()
        }
        kinds.append(VariantCurves(group, measured))
    return kinds


def _draw_variants(
    results: Results, kinds: Sequence[VariantCurves], title: str, *, ablated: str = "units"
) -> "Figure":
    """Draw a panel for each kind of network, with a colour for each variant or measure.

    Curves in the order of a measure from the smallest value up are dashed.
    """
    columns = min(COLUMNS, len(kinds))
    rows = -(-len(kinds) // columns)
    drawn = new_figure(height=1.6 + (2.7 if columns == 1 else 2.2) * rows)
    panels = drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    names = list(dict.fromkeys(name for kind in kinds for name in kind.curves))
    styles = list(dict.fromkeys(name.partition(",")[0] for name in names))
    for place, (axes, (group, curves)) in enumerate(zip(panels.flat, kinds, strict=False)):
        for name, curve in curves.items():
            _draw_variant(axes, name, curve, styles.index(name.partition(",")[0]))
        draw_chance(axes, results, group.runs)
        is_lowest = place >= len(kinds) - columns
        _label_ablated(axes, ablated, is_lowest=is_lowest, is_narrow=columns == COLUMNS)
        if place % columns:
            axes.set_ylabel("")
        if len(kinds) > 1:
            axes.set_title(group.label, fontsize=8.5)
    for empty in panels.flat[len(kinds) :]:
        empty.set_axis_off()
    curve_legend(drawn, list(panels.flat[: len(kinds)]), title=title)
    return drawn


def _draw_variant(axes: "Axes", name: str, curve: Curve, style: int) -> None:
    ablation_curve(
        curve.table,
        ax=axes,
        color=colour(style),
        linestyle=DASHES[1] if name.endswith(", up") else DASHES[0],
        marker=marker(style),
        markersize=3.5,
        linewidth=1.5,
        label=name,
    )


def _label_ablated(axes: "Axes", ablated: str, *, is_lowest: bool, is_narrow: bool) -> None:
    """Name the horizontal axis of the lowest panels; narrow panels have no room for the number."""
    long = axes.get_xlabel().replace("units", ablated)
    text = f"{ablated} ablated (share)" if is_narrow else long
    axes.set_xlabel(text if is_lowest else "", fontsize=9 if is_narrow else None)
    axes.tick_params(labelbottom=is_lowest)
    if is_narrow:
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])


def _tell_areas(kinds: Sequence[VariantCurves], by: str) -> str:
    """Tell the AUC of each variant in the first kind, and how often two variants rank alike."""
    group, curves = kinds[0]
    areas = {name: curve.mean_summary for name, curve in curves.items()}
    ranked = sorted(areas, key=lambda name: -areas[name])
    listed = ", ".join(f"{areas[name]:.2f} ({name})" for name in ranked)
    of = f" ({group.label})" if len(kinds) > 1 else ""
    most, least = ranked[0], ranked[-1]
    gaps = [
        own[most].mean_summary - own[least].mean_summary
        for _, own in kinds
        if most in own and least in own
    ]
    larger = sum(gap > 0 for gap in gaps)
    noun = "kind" if len(gaps) == 1 else "kinds"
    return (
        f"The mean accuracy over the whole range of ablation (AUC), by {by}, is {listed}{of}. It "
        f"is larger for '{most}' than for '{least}' in {larger} of {len(gaps)} {noun} of network, "
        f"by {np.mean(gaps):.2f} on average."
    )
