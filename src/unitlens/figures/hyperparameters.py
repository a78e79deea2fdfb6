"""Whether the area under the ablation curve can choose hyperparameters, without a test set."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from unitlens.analysis.correlations import pearson, spearman
from unitlens.analysis.generalisation import SelectionRates, selection_rates, setting_means
from unitlens.errors import TableError
from unitlens.figures.curves import colour
from unitlens.figures.selection import specs_of, variable_of
from unitlens.figures.style import (
    GREY,
    legend_below,
    new_figure,
    styled,
)
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST = 4


@styled
def hyperparameter_selection(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw test accuracy against AUC by setting, and how often AUC picks one of the best."""
    auc, accuracy = _settings(results, runs)
    figure = new_figure(height=4.3)
    axes, side = figure.subplots(1, 2, width_ratios=(1.6, 1))
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
    rates = selection_rates(auc, accuracy)
    _draw_rates(side, rates)
    legend_below(figure, [axes, side])
    return figure


def _draw_rates(axes: "Axes", rates: SelectionRates) -> None:
    """Draw the share of halves in which the pick is among the best, beside chance."""
    names = [f"top {k}" for k in rates.top]
    places = np.arange(len(names))
    shares = list(rates.top.values())
    axes.bar(places, shares, width=0.6, color=colour(1), alpha=0.85)
    for place, (k, share) in enumerate(rates.top.items()):
        axes.plot(
            [place - 0.38, place + 0.38],
            [k / rates.size] * 2,
            color="black",
            linewidth=1.4,
            linestyle=(0, (2, 1)),
            label="random pick",
        )
        axes.text(place, share + 0.015, f"{share:.0%}", ha="center", va="bottom", color=GREY)
    axes.set_xticks(places, names)
    axes.set_xlabel(f"rank among {rates.size} settings")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(0, 1.09)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_ylabel(f"share of {rates.subsets:,} random halves")
    axes.grid(visible=False, axis="x")


def hyperparameter_selection_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell how AUC and test accuracy go together, and what a choice by AUC costs."""
    auc, accuracy = _settings(results, runs)
    rates = selection_rates(auc, accuracy)
    numbers = "/".join(map(str, rates.top))
    shares = "/".join(f"{100 * share:.0f}" for share in rates.top.values())
    chance = "/".join(f"{100 * k / rates.size:.0f}" for k in rates.top)
    return (
        f"Over {auc.size} settings the correlation of AUC with test accuracy is "
        f"r = {pearson(auc, accuracy):.2f} (rank correlation {spearman(auc, accuracy):.2f}). Of "
        f"{rates.size} settings drawn at random, the one of largest AUC is among the top {numbers} "
        f"by test accuracy in {shares} % of the draws ({chance} % for a random pick), and loses "
        f"{rates.lost:.3f} of accuracy against the best ({rates.lost_by_chance:.3f} for a random "
        "pick)."
    )


def _settings(results: Results, runs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return AUC and test accuracy of the settings, of which there must be enough to choose."""
    name = "hyperparameter_selection"
    specs = specs_of(results, runs, name)
    variable_of(specs, "auc", name)
    auc, accuracy = setting_means(specs)
    if auc.size < FEWEST:
        raise TableError(
            f"the figure {name} needs runs of at least {FEWEST} settings that differ in more than "
            f"the seed, but its runs have {auc.size}; sweep over the learning rate or the batch "
            "size"
        )
    return auc, accuracy
