"""Networks with batch norm beside networks without."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unitlens.analysis.run_groups import group_runs, rows_of
from unitlens.figures.curves import Curve, ablation_curves, curve_legend, draw_chance
from unitlens.figures.needs import (
    UnmetNeedError,
    figure,
    finding,
    require_runs,
    require_table,
    require_values,
)
from unitlens.figures.paper_marks import NO_PAPER, PaperNumbers, draw_paper
from unitlens.figures.wording import mean_spread, percent
from unitlens.plot.curve_plots import ablation_curve
from unitlens.plot.style import DASHES, GREY, MARKERS, colour, legend_below, new_figure
from unitlens.reproduction.claim_types import ReportedNumber
from unitlens.reproduction.paper_values import ABLATED_MAPS
from unitlens.reproduction.protocol import MAPS
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {1: "batch norm", 0: "no batch norm"}
BINS = 25
CLAIMED = {1: "with", 0: "without"}  # begins the names of the claims of a kind


@figure
def batch_norm_ablation(
    results: Results, runs: Sequence[str], *, paper: PaperNumbers = NO_PAPER
) -> "Figure":
    """Draw ablation curves with and without batch norm.

    The paper's accuracies are at numbers of maps, drawn at their shares of the maps.
    """
    curves = _curves(results, runs)
    drawn = new_figure(height=4.3)
    axes = drawn.subplots()
    corruptions = sorted({curve.setting("corruption") for curve in curves})
    for curve, name in zip(curves, _curve_names(curves), strict=True):
        flag = _flag(curve)
        ablation_curve(
            curve.table,
            ax=axes,
            color=colour(1 - flag),
            linestyle=DASHES[corruptions.index(curve.setting("corruption")) % len(DASHES)],
            marker=MARKERS[1 - flag],
            label=f"{name}  (AUC {mean_spread(curve.summary)})",
        )
    draw_chance(axes, results, runs)
    numbers = paper.beside(runs)
    for flag in sorted({_flag(curve) for curve in curves}):
        for maps in ABLATED_MAPS:
            if (number := numbers.get(f"{CLAIMED[flag]}-{maps}")) is not None:
                draw_paper(axes, maps / MAPS, number, face=colour(1 - flag))
    curve_legend(drawn, [axes])
    return drawn


@finding
def batch_norm_ablation_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the accuracy with a quarter, half and three quarters of the units ablated."""
    curves = _curves(results, runs)
    names = _curve_names(curves)
    accuracies = "; ".join(
        f"{', '.join(f'{curve.at(x):.2f}' for x in (0.25, 0.5, 0.75))} ({name})"
        for curve, name in zip(curves, names, strict=True)
    )
    areas = ", ".join(
        f"{curve.mean_summary:.2f} ({name})" for curve, name in zip(curves, names, strict=True)
    )
    return (
        f"With a quarter, half and three quarters of the units ablated, accuracy is {accuracies}. "
        f"The area under the curve is {areas}."
    )


def _curves(results: Results, runs: Sequence[str]) -> list[Curve]:
    """Return the curves of the runs that are known to have batch norm or not, with it first."""
    curves = ablation_curves(results, runs, ("batch_norm", "corruption"))
    known = [curve for curve in curves if _flag(curve) in NAMES]
    _require_flags(len(known))
    return sorted(known, key=lambda curve: (-_flag(curve), curve.setting("corruption")))


def _flag(curve: Curve) -> int:
    return int(curve.setting("batch_norm"))


def _curve_names(curves: Sequence[Curve]) -> list[str]:
    corruptions = {curve.setting("corruption") for curve in curves}
    return [
        NAMES[_flag(curve)]
        + (f", corruption {curve.setting('corruption'):g}" if len(corruptions) > 1 else "")
        for curve in curves
    ]


def _require_flags(count: int) -> None:
    """Refuse runs of which none is known to have batch norm or not."""
    if count == 0:
        raise UnmetNeedError(
            "needs runs whose spec says whether they have batch norm, but none of its runs does; "
            "show mlp or convnet experiments"
        )


@figure
def batch_norm_selectivity(
    results: Results, runs: Sequence[str], *, paper: PaperNumbers = NO_PAPER
) -> "Figure":
    """Draw the distribution of class selectivity with and without batch norm."""
    groups = _values(results, runs, "selectivity")
    return _draw_distributions(groups, "class selectivity", 1.0, paper.beside(runs))


@finding
def batch_norm_selectivity_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the medians, and the shares of units with high selectivity and with none."""
    groups = _values(results, runs, "selectivity")
    medians = _list_groups({name: f"{np.median(values):.2f}" for name, values in groups.items()})
    high = _list_groups({name: percent((v > 0.7).mean()) for name, v in groups.items()})
    zero = _list_groups({name: percent((v == 0).mean()) for name, v in groups.items()})
    return (
        f"The median class selectivity is {medians}. Of the units, {high} have a selectivity "
        f"above 0.7, and {zero} a selectivity of exactly 0."
    )


@figure
def batch_norm_information(
    results: Results, runs: Sequence[str], *, paper: PaperNumbers = NO_PAPER
) -> "Figure":
    """Draw the distribution of mutual information with and without batch norm."""
    groups = _values(results, runs, "mutual_information")
    largest = np.concatenate(list(groups.values())).max()
    most = max(0.1, float(np.ceil(largest * 10) / 10))
    label = "mutual information with the class (nats)"
    return _draw_distributions(groups, label, most, paper.beside(runs))


@finding
def batch_norm_information_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the medians, and the shares of units with little information on the class."""
    groups = _values(results, runs, "mutual_information")
    medians = _list_groups({name: f"{np.median(values):.2f}" for name, values in groups.items()})
    low = _list_groups({name: percent((v < 0.05).mean()) for name, v in groups.items()})
    return (
        f"The median mutual information with the class is {medians} nats. Of the units, {low} "
        "have less than 0.05 nats."
    )


def _draw_distributions(
    groups: Mapping[str, np.ndarray],
    label: str,
    most: float,
    numbers: Mapping[str, ReportedNumber],
) -> "Figure":
    """Draw a histogram of the values of each group, from 0 to `most`, under the paper's mode."""
    from matplotlib.ticker import MaxNLocator

    drawn = new_figure(height=3.9)
    axes = drawn.subplots()
    edges = np.linspace(0, most, BINS + 1)
    for name, values in groups.items():
        shade = colour(list(NAMES.values()).index(name))
        share = np.histogram(values, edges)[0] / values.size
        text = f"{name} ({values.size:,} units)"
        axes.stairs(share, edges, color=shade, linewidth=1.8, label=text)
        axes.stairs(share, edges, color=shade, alpha=0.15, fill=True)
    axes.set_xlim(0, most)
    axes.set_ylim(0, None)
    if NAMES[1] in groups and (number := numbers.get("mode")) is not None:
        _draw_mode(axes, number)
    axes.set_xlabel(label)
    axes.set_ylabel("share of units")
    axes.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], nbins=8))
    axes.yaxis.set_major_formatter("{x:.0%}")
    legend_below(drawn, [axes])
    return drawn


def _draw_mode(axes: "Axes", mode: ReportedNumber) -> None:
    """Draw the paper's mode with batch norm over the distributions."""
    axes.set_ylim(0, 1.14 * axes.get_ylim()[1])
    across = axes.get_xaxis_transform()
    draw_paper(axes, mode, 0.95, face=colour(0), transform=across)
    place: dict[str, Any] = {"va": "center", "fontsize": 8.5, "color": GREY, "transform": across}
    axes.text(mode.reading[1], 0.95, f"  mode, {NAMES[1]}", **place)


def _values(results: Results, runs: Sequence[str], variable: str) -> dict[str, np.ndarray]:
    """Return the values of the units of all runs with, and of all runs without batch norm."""
    units = rows_of(require_table(results, "units"), runs)
    require_values(units, variable)
    values_by_name = {}
    for group in group_runs(require_runs(results, runs), ("batch_norm",))[::-1]:
        flag = int(str(group.values["batch_norm"]))
        values = rows_of(units, group.runs)[variable].values
        if flag in NAMES and np.isfinite(values).any():
            values_by_name[NAMES[flag]] = np.clip(values[np.isfinite(values)], 0, None)
    _require_flags(len(values_by_name))
    return values_by_name


def _list_groups(texts: dict[str, str]) -> str:
    return " and ".join(f"{text} ({name})" for name, text in texts.items())
