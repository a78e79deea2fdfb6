"""Networks that memorise against networks that generalise: ablation, noise, dropout."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from unitlens.analysis.run_groups import ALL, rows_of
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
    noise_curves,
)
from unitlens.figures.selection import by_dataset, networks, tell_each
from unitlens.figures.style import (
    DASHES,
    GREY,
    legend_below,
    log_ticks,
    marker,
    new_figure,
    styled,
)
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HALF = 0.5


@styled
def memorisation_ablation(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw accuracy against the share of units ablated: a panel a data set, a line a level."""
    parts = by_dataset(results, runs, "memorisation_ablation")
    figure = new_figure(height=4.3)
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    levels = _levels(results, runs)
    for axes, part in zip(panels, parts, strict=True):
        curves = ablation_curves(results, part.runs, ("corruption",), "memorisation_ablation")
        _draw_levels(axes, curves, levels, part.label, "AUC")
        draw_chance(axes, results, part.runs)
        label_fraction(axes, results, part.runs)
        if len(parts) > 2:  # no room for it in one line
            axes.set_xlabel(axes.get_xlabel().replace(" (", "\n("))
    panels[0].set_ylabel(accuracy_label(results, "curves"))
    legend_below(figure, panels, title="label corruption")
    return figure


def _levels(results: Results, runs: Sequence[str]) -> list[float]:
    levels = np.unique(rows_of(results.runs, runs)["corruption"].values)
    return [float(level) for level in levels]


def _draw_levels(
    axes: "Axes", curves: Sequence[Curve], levels: Sequence[float], dataset: str, summary: str
) -> None:
    """Draw a line a level of corruption; what sums it up fits the legend of one data set only."""
    alone = dataset == ALL
    for curve in curves:
        place = levels.index(_corruption(curve))
        told = f"  ({summary} {mean_spread(curve.summary)})" if alone else ""
        label = f"{_corruption(curve):g}{told}"
        draw_curve(axes, curve, color=colour(place), marker=marker(place), label=label)
    if not alone:
        axes.set_title(dataset, fontsize=9)


def memorisation_ablation_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell how the area under the ablation curve changes with corruption."""
    return tell_each(results, runs, "memorisation_ablation", _areas_told)


def _areas_told(results: Results, runs: Sequence[str]) -> str:
    curves = ablation_curves(results, runs, ("corruption",), "memorisation_ablation")
    areas = [float(np.nanmean(curve.summary)) for curve in curves]
    if len(curves) == 1:
        return (
            f"Over the whole range of ablation the networks keep a mean accuracy (AUC) of "
            f"{areas[0]:.2f} at label corruption {_corruption(curves[0]):g} "
            f"({networks(len(curves[0].group.runs))}). There is no other corruption level among "
            "the runs to compare it with."
        )
    listed = ", ".join(f"{area:.2f}" for area in areas)
    order = "falls with every step of" if _falls(areas) else "does not fall in step with"
    return (
        f"Over the whole range of ablation the networks keep a mean accuracy (AUC) of "
        f"{areas[0]:.2f} at label corruption {_corruption(curves[0]):g} and of {areas[-1]:.2f} at "
        f"{_corruption(curves[-1]):g}. AUC {order} corruption ({listed})."
    )


@styled
def memorisation_noise(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw accuracy against the scale of the noise: a panel a data set, a line a level."""
    parts = by_dataset(results, runs, "memorisation_noise")
    figure = new_figure(height=4.3)
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    levels = _levels(results, runs)
    for axes, part in zip(panels, parts, strict=True):
        axes.axhline(HALF, color=GREY, linewidth=1, linestyle=":", zorder=1)
        curves = noise_curves(results, part.runs, ("corruption",), "memorisation_noise")
        _draw_levels(axes, curves, levels, part.label, "one half at")
        draw_chance(axes, results, part.runs)
        log_ticks(axes)
        axes.set_ylim(0, 1.03)
        narrow = "\n" if len(parts) > 1 else " "
        axes.set_xlabel(f"noise on all units{narrow}(standard deviations of each unit)")
    panels[0].set_ylabel(accuracy_label(results, "noise"))
    legend_below(figure, panels, title="label corruption")
    return figure


def memorisation_noise_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell at which noise the accuracy has fallen to one half."""
    return tell_each(results, runs, "memorisation_noise", _halves_told)


def _halves_told(results: Results, runs: Sequence[str]) -> str:
    curves = noise_curves(results, runs, ("corruption",), "memorisation_noise")
    known = [curve for curve in curves if np.isfinite(curve.summary).any()]
    if not known:
        return (
            "No network's accuracy falls from above to below one half within the measured scales "
            f"of noise. The largest scale is {curves[0].x.max():g} standard deviations."
        )
    halves = [float(np.nanmean(curve.summary)) for curve in known]
    told = "; ".join(
        f"{half:.2f} at corruption {_corruption(curve):g}"
        for half, curve in zip(halves, known, strict=True)
    )
    first = f"Accuracy falls to one half at a noise of this many standard deviations: {told}."
    if len(known) == 1:
        return f"{first} There is no other corruption level to compare it with."
    order = "shrinks with every step of" if _falls(halves) else "does not shrink in step with"
    return f"{first} The tolerated noise {order} corruption."


@styled
def dropout_ablation(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw ablation curves of networks trained with dropout, its fraction marked."""
    curves = _dropout_curves(results, runs)
    figure = new_figure(height=4.3)
    axes = figure.subplots()
    fractions = sorted({_dropout(curve) for curve in curves})
    corruptions = sorted({_corruption(curve) for curve in curves})
    for curve in curves:
        place = corruptions.index(_corruption(curve))
        dash = DASHES[fractions.index(_dropout(curve)) % len(DASHES)]
        label = f"dropout {_dropout(curve):g}, corruption {_corruption(curve):g}"
        draw_curve(
            axes, curve, color=colour(place), linestyle=dash, marker=marker(place), label=label
        )
    for fraction in filter(None, fractions):
        axes.axvline(fraction, color=GREY, linewidth=1.2, zorder=1)
        text: dict[str, Any] = {"ha": "right", "va": "bottom", "color": GREY, "fontsize": 8.5}
        axes.text(fraction - 0.004, 0.17, f"dropout {fraction:g}", rotation=90, **text)
    draw_chance(axes, results, runs)
    label_fraction(axes, results, runs)
    axes.set_ylabel(accuracy_label(results, "curves"))
    legend_below(figure, [axes])
    return figure


def dropout_ablation_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell what is lost up to the dropout fraction, and past it."""
    dropped = [curve for curve in _dropout_curves(results, runs) if _dropout(curve) > 0]
    corruptions = sorted({_corruption(curve) for curve in dropped})
    fallen, left = [], []
    for corruption in corruptions:
        own = [curve for curve in dropped if _corruption(curve) == corruption]
        fall = np.mean([curve.mean[0] - curve.at(_dropout(curve)) for curve in own])
        half = np.mean([curve.at(HALF) for curve in own])
        fallen.append(f"{fall:.2f} at corruption {corruption:g}")
        left.append(f"{half:.2f} at corruption {corruption:g}")
    fractions = ", ".join(f"{value:g}" for value in sorted({_dropout(c) for c in dropped}))
    return (
        f"With as many units ablated as dropout dropped in training (dropout {fractions}), "
        f"accuracy has fallen by {'; '.join(fallen)}. With half of all units ablated, it is "
        f"{'; '.join(left)}."
    )


def _dropout_curves(results: Results, runs: Sequence[str]) -> list[Curve]:
    figure = "dropout_ablation"
    curves = ablation_curves(results, runs, ("dropout", "corruption"), figure)
    known = [curve for curve in curves if curve.group.values["dropout"] is not None]
    if not any(_dropout(curve) > 0 for curve in known):
        raise TableError(
            f"the figure {figure} needs a run that was trained with dropout, but none of its runs "
            "was; set model.dropout in one of its experiments"
        )
    return known


def _corruption(curve: Curve) -> float:
    return float(str(curve.group.values["corruption"]))


def _dropout(curve: Curve) -> float:
    return float(str(curve.group.values["dropout"]))


def _falls(values: Sequence[float]) -> bool:
    return all(a > b for a, b in pairwise(values))
