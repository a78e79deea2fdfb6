"""Networks with batch norm beside networks without."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from unitlens.analysis.run_groups import group_runs, rows_of
from unitlens.errors import TableError
from unitlens.figures.curves import (
    Curve,
    ablation_curves,
    accuracy_label,
    colour,
    draw_chance,
    draw_curve,
    label_fraction,
    mean_spread,
)
from unitlens.figures.selection import specs_of, table_of, variable_of
from unitlens.figures.style import (
    DASHES,
    MARKERS,
    legend_below,
    new_figure,
    styled,
)
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

NAMES = {1: "batch norm", 0: "no batch norm"}
BINS = 25


@styled
def batch_norm_ablation(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw ablation curves with and without batch norm."""
    curves = _curves(results, runs)
    figure = new_figure(height=4.3)
    axes = figure.subplots()
    corruptions = sorted({str(curve.group.values["corruption"]) for curve in curves})
    for curve in curves:
        flag = _flag(curve)
        corruption = corruptions.index(str(curve.group.values["corruption"]))
        label = _name(curve, corruptions) + f"  (AUC {mean_spread(curve.summary)})"
        draw_curve(
            axes,
            curve,
            color=colour(1 - flag),
            linestyle=DASHES[corruption % len(DASHES)],
            marker=MARKERS[1 - flag],
            label=label,
        )
    draw_chance(axes, results, runs)
    label_fraction(axes, results, runs)
    axes.set_ylabel(accuracy_label(results, "curves"))
    legend_below(figure, [axes])
    return figure


def batch_norm_ablation_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell how much accuracy is left at a quarter, half and three quarters."""
    curves = _curves(results, runs)
    corruptions = sorted({str(curve.group.values["corruption"]) for curve in curves})
    told = "; ".join(
        f"{', '.join(f'{curve.at(x):.2f}' for x in (0.25, 0.5, 0.75))} "
        f"({_name(curve, corruptions)})"
        for curve in curves
    )
    areas = ", ".join(
        f"{float(np.nanmean(curve.summary)):.2f} ({_name(curve, corruptions)})" for curve in curves
    )
    return (
        f"With a quarter, half and three quarters of the units ablated, accuracy is {told}. "
        f"The area under the curve is {areas}."
    )


def _curves(results: Results, runs: Sequence[str]) -> list[Curve]:
    figure = "batch_norm_ablation"
    curves = ablation_curves(results, runs, ("batch_norm", "corruption"), figure)
    known = [curve for curve in curves if _flag(curve) in NAMES]
    _need_flags(len(known), figure)
    return sorted(known, key=lambda curve: (-_flag(curve), str(curve.group.values["corruption"])))


def _flag(curve: Curve) -> int:
    return int(str(curve.group.values["batch_norm"]))


def _name(curve: Curve, corruptions: Sequence[str]) -> str:
    more = f", corruption {curve.group.values['corruption']:g}" if len(corruptions) > 1 else ""
    return NAMES[_flag(curve)] + more


def _need_flags(count: int, figure: str) -> None:
    if count == 0:
        raise TableError(
            f"the figure {figure} needs runs whose spec says whether they have batch norm, but "
            "none of its runs does; show mlp or convnet experiments"
        )


@styled
def batch_norm_selectivity(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw the distribution of class selectivity with and without batch norm."""
    return _distributions(results, runs, "selectivity", "class selectivity", 1.0)


def batch_norm_selectivity_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the medians, and the shares of highly selective and of dead units."""
    groups = _values(results, runs, "selectivity")
    medians = _listed({name: f"{np.median(values):.2f}" for name, values in groups.items()})
    high = _listed({name: f"{_percent(values > 0.7)}" for name, values in groups.items()})
    zero = _listed({name: f"{_percent(values == 0)}" for name, values in groups.items()})
    return (
        f"The median class selectivity is {medians}. Of the units, {high} have a selectivity "
        f"above 0.7, and {zero} one of exactly 0."
    )


@styled
def batch_norm_information(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw the distribution of mutual information with and without batch norm."""
    values = np.concatenate(list(_values(results, runs, "mutual_information").values()))
    most = max(0.1, float(np.ceil(values.max() * 10) / 10))
    label = "mutual information with the class (nats)"
    return _distributions(results, runs, "mutual_information", label, most)


def batch_norm_information_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the medians and the shares of units that know nothing of the class."""
    groups = _values(results, runs, "mutual_information")
    medians = _listed({name: f"{np.median(values):.2f}" for name, values in groups.items()})
    near = _listed({name: _percent(values < 0.05) for name, values in groups.items()})
    return (
        f"The median mutual information with the class is {medians} nats. Of the units, {near} "
        "have less than 0.05 nats."
    )


def _distributions(
    results: Results, runs: Sequence[str], variable: str, label: str, most: float
) -> "Figure":
    groups = _values(results, runs, variable)
    figure = new_figure(height=3.9)
    axes = figure.subplots()
    edges = np.linspace(0, most, BINS + 1)
    for name, values in groups.items():
        shade = colour(list(NAMES.values()).index(name))
        share = np.histogram(values, edges)[0] / values.size
        text = f"{name} ({values.size:,} units)"
        axes.stairs(share, edges, color=shade, linewidth=1.8, label=text)
        axes.stairs(share, edges, color=shade, alpha=0.15, fill=True)
    axes.set_xlim(0, most)
    axes.set_ylim(0, None)
    axes.set_xlabel(label)
    axes.set_ylabel("share of units")
    axes.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], nbins=8))
    axes.yaxis.set_major_formatter("{x:.0%}")
    legend_below(figure, [axes])
    return figure


def _values(results: Results, runs: Sequence[str], variable: str) -> dict[str, np.ndarray]:
    """Return the values of the units of all runs with, and of all without batch norm."""
    figure = f"batch_norm_{'information' if variable != 'selectivity' else variable}"
    units = rows_of(table_of(results, "units", figure), runs)
    variable_of(units, variable, figure)
    found = {}
    for group in group_runs(specs_of(results, runs, figure), ("batch_norm",))[::-1]:
        flag = int(str(group.values["batch_norm"]))
        values = rows_of(units, group.runs)[variable].values
        if flag in NAMES and np.isfinite(values).any():
            found[NAMES[flag]] = np.clip(values[np.isfinite(values)], 0, None)
    _need_flags(len(found), figure)
    return found


def _percent(where: np.ndarray) -> str:
    return f"{100 * where.mean():.0f} %"


def _listed(told: dict[str, str]) -> str:
    return " and ".join(f"{text} ({name})" for name, text in told.items())
