"""Choosing hyperparameters by the area under the ablation curve, without a test set."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from unitlens.analysis.generalisation import SelectionRates, selection_rates, setting_means
from unitlens.figures.needs import UnmetNeedError, figure, finding, require_runs, require_values
from unitlens.figures.wording import auc_correlation
from unitlens.plot.style import GREY, colour, draw_share, legend_below, new_figure
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST = 4  # settings of which half can be compared


@figure
def hyperparameter_selection(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw test accuracy against AUC by setting, and how often AUC picks one of the best."""
    auc, accuracy = _settings(results, runs)
    drawn = new_figure(height=4.3)
    axes, side = drawn.subplots(1, 2, width_ratios=(1.6, 1))
    axes.scatter(auc, accuracy, s=34, color=colour(0), alpha=0.75, linewidths=0, label="a setting")
    for place, name, ring in (
        (int(auc.argmax()), "largest AUC", {"marker": "s", "edgecolor": colour(1)}),
        (int(accuracy.argmax()), "best test accuracy", {"marker": "o", "edgecolor": colour(2)}),
    ):
        axes.scatter(
            auc[place], accuracy[place], s=120, facecolor="none", linewidth=1.8, label=name, **ring
        )
    axes.set_xlabel("area under the ablation curve")
    axes.set_ylabel("test accuracy")
    _draw_rates(side, selection_rates(auc, accuracy))
    legend_below(drawn, [axes, side])
    return drawn


def _draw_rates(axes: "Axes", rates: SelectionRates) -> None:
    """Draw the share of random halves in which the pick is among the best, beside chance."""
    names = [f"top {k}" for k in rates.top]
    for place, (k, share) in enumerate(rates.top.items()):
        draw_share(axes, place, share, k / rates.size, color=colour(1), label="random pick")
        axes.text(place, share + 0.015, f"{share:.0%}", ha="center", va="bottom", color=GREY)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel(f"rank among {rates.size} settings")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(0, 1.09)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_ylabel(f"share of {rates.subsets:,} random halves")
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
        f"{auc_correlation(auc, accuracy, 'test accuracy', f'{auc.size} settings')} Of "
        f"{rates.size} settings drawn at random, the setting with the largest AUC is among the top "
        f"{numbers} by test accuracy in {shares} % of the draws ({chance} % for a random pick), "
        f"and loses {rates.lost:.3f} of accuracy against the best setting "
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
