"""Choosing hyperparameters by the area under the ablation curve, without a test set."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unitlens.analysis.correlations import pearson
from unitlens.analysis.generalisation import SelectionRates, selection_rates, setting_means
from unitlens.figures.needs import UnmetNeedError, figure, finding, require_runs, require_values
from unitlens.figures.paper_marks import (
    NO_PAPER,
    PaperNumbers,
    draw_correlation_strip,
    draw_paper,
)
from unitlens.figures.wording import auc_correlation
from unitlens.plot.style import GREY, colour, draw_share, legend_below, new_figure
from unitlens.reproduction.claim_types import ReportedNumber
from unitlens.reproduction.paper_values import SETTINGS_IN_HALF
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST = 4  # settings of which half can be compared
BESIDE_TEXT = 0.24  # from the middle of a bar, under the number, to the paper's diamond


@figure
def hyperparameter_selection(
    results: Results, runs: Sequence[str], *, paper: PaperNumbers = NO_PAPER
) -> "Figure":
    """Draw test accuracy against AUC by setting, and how often AUC picks one of the best."""
    auc, accuracy = _settings(results, runs)
    numbers = paper.beside(runs)
    drawn = new_figure(height=5 if numbers else 4.3)
    grid = drawn.add_gridspec(
        1 + bool(numbers),
        2,
        width_ratios=(1.6, 1),
        height_ratios=(1, 0.1) if numbers else None,
    )
    axes, side = drawn.add_subplot(grid[0, 0]), drawn.add_subplot(grid[:, 1])
    shown = [axes, side]
    if "correlation" in numbers:
        shown.append(drawn.add_subplot(grid[1, 0]))
        specs = require_runs(results, runs)
        r = pearson(specs["auc"].values, specs["test_accuracy"].values)
        name = "correlation of the two over all networks"
        draw_correlation_strip(shown[-1], {colour(0): [r]}, numbers["correlation"], name)
    axes.scatter(auc, accuracy, s=34, color=colour(0), alpha=0.75, linewidths=0, label="a setting")
    rings: tuple[tuple[int, str, dict[str, Any]], ...] = (
        (int(auc.argmax()), "largest AUC", {"marker": "s", "edgecolor": colour(1)}),
        (int(accuracy.argmax()), "best test accuracy", {"marker": "o", "edgecolor": colour(2)}),
    )
    for place, name, ring in rings:
        axes.scatter(
            auc[place], accuracy[place], s=120, facecolor="none", linewidth=1.8, label=name, **ring
        )
    axes.set_xlabel("area under the ablation curve")
    axes.set_ylabel("test accuracy")
    _draw_rates(side, selection_rates(auc, accuracy), numbers)
    legend_below(drawn, shown)
    return drawn


def _draw_rates(axes: "Axes", rates: SelectionRates, numbers: Mapping[str, ReportedNumber]) -> None:
    """Draw the share of all halves in which the pick is among the best, beside chance."""
    names = [f"top {k}" for k in rates.top]
    for place, (k, share) in enumerate(rates.top.items()):
        draw_share(axes, place, share, k / rates.size, color=colour(1), label="random pick")
        axes.text(place, share + 0.015, f"{share:.0%}", ha="center", va="bottom", color=GREY)
        if (number := numbers.get(f"top-{k}")) is not None:
            draw_paper(axes, place + BESIDE_TEXT, number)
    axes.set_xticks(range(len(names)), names)
    halves = f"\n(of {SETTINGS_IN_HALF} in the paper)" if numbers else ""
    axes.set_xlabel(f"rank among {rates.size} settings{halves}")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(0, 1.09)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_ylabel("share of all halves of the settings")
    axes.grid(visible=False, axis="x")


@finding
def hyperparameter_selection_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the correlation of AUC with test accuracy, and the cost of a choice by AUC."""
    auc, accuracy = _settings(results, runs)
    rates = selection_rates(auc, accuracy)
    numbers = "/".join(map(str, rates.top))
    shares = "/".join(f"{100 * share:.0f}" for share in rates.top.values())
    chance = "/".join(f"{100 * k / rates.size:.0f}" for k in rates.top)
    return (
        f"{auc_correlation(auc, accuracy, 'test accuracy', f'{auc.size} settings')} Of all halves "
        f"of the settings, {rates.size} settings each, the setting with the largest AUC is among "
        f"the top {numbers} by test accuracy in {shares} % of the halves ({chance} % for a random "
        f"pick), and loses {rates.lost:.3f} of accuracy against the best setting "
        f"({rates.lost_by_chance:.3f} for a random pick)."
    )


def _settings(results: Results, runs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return AUC and test accuracy of the settings; there must be enough settings to choose."""
    specs = require_runs(results, runs)
    require_values(specs, "auc")
    auc, accuracy = setting_means(specs)
    if auc.size < FEWEST:
        raise UnmetNeedError(
            f"needs runs of at least {FEWEST} settings that differ in more than the seed, but its "
            f"runs have {auc.size}; sweep over the learning rate or the batch size"
        )
    return auc, accuracy
