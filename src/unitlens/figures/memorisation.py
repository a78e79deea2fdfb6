"""Networks that memorise against networks that generalise: ablation and noise."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from unitlens.analysis.run_groups import ALL, RunGroup, rows_of
from unitlens.figures.curves import (
    HALF,
    Curve,
    ablation_curves,
    curve_legend,
    draw_chance,
    noise_curves,
)
from unitlens.figures.needs import figure, finding, runs_by_dataset
from unitlens.figures.paper_marks import NO_PAPER, PaperNumbers, draw_paper
from unitlens.figures.wording import mean_spread, tell_by_dataset
from unitlens.plot.canvas import networks
from unitlens.plot.curve_plots import ablation_curve, noise_curve
from unitlens.plot.style import GREY, colour, marker, new_figure
from unitlens.reproduction.claim_types import ReportedNumber
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRIP = 0.34  # width of all panels of means, as a share of the width of all panels of curves


@figure
def memorisation_ablation(
    results: Results, runs: Sequence[str], *, paper: PaperNumbers = NO_PAPER
) -> "Figure":
    """Draw accuracy against the share of units ablated, a panel for a data set.

    The paper reports means over the whole range, which are no points of the curves: they stand
    beside ours in a narrow panel.
    """
    drawn, panels, strips = _panels_by_dataset(results, runs, paper)
    levels = _corruption_levels(results, runs)
    for axes, group in panels:
        curves = ablation_curves(results, group.runs, ("corruption",))
        for curve in curves:
            style = _level_style(curve, levels, group.label, "AUC")
            ablation_curve(curve.table, ax=axes, **style)
        draw_chance(axes, results, group.runs)
        if len(panels) > 2:  # the label is too long for one line
            axes.set_xlabel(axes.get_xlabel().replace(" (", "\n("))
        if group.label in strips:
            numbers = paper.beside(group.runs)
            _draw_means(strips[group.label], curves, levels, numbers)
    _finish_levels(drawn, panels, list(strips.values()))
    return drawn


def _draw_means(
    axes: "Axes",
    curves: Sequence[Curve],
    levels: Sequence[float],
    numbers: Mapping[str, ReportedNumber],
) -> None:
    """Draw the mean accuracy over the whole range by level: a dot a network, and the paper's."""
    for curve in curves:
        level = _corruption(curve)
        place = levels.index(level)
        x = np.full(curve.summary.size, level)
        style: dict[str, Any] = {"color": colour(place), "marker": marker(place)}
        axes.scatter(x, curve.summary, s=24, alpha=0.8, linewidths=0, **style)
        if (number := numbers.get(f"corruption {level:g}")) is not None:
            draw_paper(axes, level, number, markersize=5.5)
    axes.set_xlim(-0.16, 1.16)
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.set_xlabel("label corruption")
    axes.set_title("mean over the range,\na dot a network", fontsize=8.5, color=GREY)


@finding
def memorisation_ablation_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the area under the ablation curve at each corruption level."""
    return tell_by_dataset(results, runs, _tell_areas)


def _tell_areas(results: Results, runs: Sequence[str]) -> str:
    curves = ablation_curves(results, runs, ("corruption",))
    areas = [curve.mean_summary for curve in curves]
    first = (
        "Over the whole range of ablation the networks keep a mean accuracy (AUC) of "
        f"{areas[0]:.2f} at label corruption {_corruption(curves[0]):g}"
    )
    if len(curves) == 1:
        return (
            f"{first} ({networks(len(curves[0].group.runs))}). There is no other corruption level "
            "among the runs to compare it with."
        )
    listed = ", ".join(f"{area:.2f}" for area in areas)
    trend = "falls with every step of" if _falls(areas) else "does not fall in step with"
    return (
        f"{first} and of {areas[-1]:.2f} at {_corruption(curves[-1]):g}. AUC {trend} corruption "
        f"({listed})."
    )


@figure
def memorisation_noise(
    results: Results, runs: Sequence[str], *, paper: PaperNumbers = NO_PAPER
) -> "Figure":
    """Draw accuracy against the scale of the noise, a panel for a data set."""
    from matplotlib.ticker import LogLocator

    drawn, panels, _ = _panels_by_dataset(results, runs)
    levels = _corruption_levels(results, runs)
    for axes, group in panels:
        numbers = paper.beside(group.runs)
        axes.axhline(HALF, color=GREY, linewidth=1, linestyle=":", zorder=1)
        for curve in noise_curves(results, group.runs, ("corruption",)):
            style = _level_style(curve, levels, group.label, "one half at")
            noise_curve(curve.table, ax=axes, **style)
            number = numbers.get(f"corruption {_corruption(curve):g}")
            if number is not None:
                draw_paper(axes, number, HALF, face=style["color"])
        draw_chance(axes, results, group.runs)
        if len(panels) > 2:  # no room for more ticks
            axes.xaxis.set_major_locator(LogLocator())
        if len(panels) > 1:  # the label is too long for one line
            text = axes.get_xlabel().replace(" (", "\n(")
            axes.set_xlabel(text.replace(" of ", "\nof ") if len(panels) > 2 else text)
    _finish_levels(drawn, panels, over="draws and networks")
    return drawn


@finding
def memorisation_noise_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the noise scale at which the accuracy has fallen to one half."""
    return tell_by_dataset(results, runs, _tell_half_accuracy)


def _tell_half_accuracy(results: Results, runs: Sequence[str]) -> str:
    curves = noise_curves(results, runs, ("corruption",))
    known = [curve for curve in curves if np.isfinite(curve.summary).any()]
    if not known:
        return (
            "No network's accuracy falls from above to below one half within the measured scales "
            f"of noise. The largest scale is {curves[0].x.max():g} standard deviations."
        )
    scales = [curve.mean_summary for curve in known]
    listed = "; ".join(
        f"{scale:.2f} at corruption {_corruption(curve):g}"
        for scale, curve in zip(scales, known, strict=True)
    )
    first = f"Accuracy falls to one half at a noise of this many standard deviations: {listed}."
    if len(known) == 1:
        return f"{first} There is no other corruption level to compare it with."
    trend = "shrinks with every step of" if _falls(scales) else "does not shrink in step with"
    return f"{first} The tolerated noise {trend} corruption."


def _panels_by_dataset(
    results: Results, runs: Sequence[str], paper: PaperNumbers = NO_PAPER
) -> "tuple[Figure, list[tuple[Axes, RunGroup]], dict[str, Axes]]":
    """Return an empty figure, its panels, each with the runs of one data set, and narrow panels.

    The narrow panels stand to the right of the data sets with numbers of the paper.
    """
    groups = runs_by_dataset(results, runs)
    with_strip = [bool(paper.beside(group.runs)) for group in groups]
    narrow = STRIP * len(groups) / max(1, sum(with_strip))
    widths = [width for more in with_strip for width in ((1.0, narrow) if more else (1.0,))]
    drawn = new_figure(height=4.6 if any(with_strip) else 4.3)
    row = drawn.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=widths)[0]
    columns = iter(row)
    panels, strips = [], {}
    for group, more in zip(groups, with_strip, strict=True):
        panels.append((next(columns), group))
        if more:
            strips[group.label] = next(columns)
    return drawn, panels, strips


def _corruption_levels(results: Results, runs: Sequence[str]) -> list[float]:
    levels = np.unique(rows_of(results.runs, runs)["corruption"].values)
    return [float(level) for level in levels]


def _level_style(
    curve: Curve, levels: Sequence[float], dataset: str, summary: str
) -> dict[str, str]:
    """Return label, colour and marker of the line of a level of corruption.

    The label tells the summary of the curve if there is one data set only; the legend of several
    data sets has no room for it.
    """
    place = levels.index(_corruption(curve))
    more = f"  ({summary} {mean_spread(curve.summary)})" if dataset == ALL else ""
    label = f"{_corruption(curve):g}{more}"
    return {"label": label, "color": colour(place), "marker": marker(place)}


def _finish_levels(
    drawn: "Figure",
    panels: "Sequence[tuple[Axes, RunGroup]]",
    strips: "Sequence[Axes]" = (),
    *,
    over: str = "orders and networks",
) -> None:
    """Name the data sets and the accuracy once, and draw the legend of corruption levels."""
    for axes, group in panels:
        if group.label != ALL:
            axes.set_title(group.label, fontsize=9)
        axes.label_outer()
    for axes in strips:
        axes.tick_params(labelleft=False)
    every = [*(axes for axes, _ in panels), *strips]
    curve_legend(drawn, every, title="label corruption", over=over)


def _corruption(curve: Curve) -> float:
    return curve.setting("corruption")


def _falls(values: Sequence[float]) -> bool:
    return all(a > b for a, b in pairwise(values))
