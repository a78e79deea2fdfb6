"""The area under the ablation curve (AUC) beside the generalisation of networks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.analysis.curve_summaries import first_crossing, random_orders
from unitlens.analysis.generalisation import best_and_worst
from unitlens.analysis.run_groups import RunGroup, group_runs, rows_of
from unitlens.figures.curves import HALF, Curve, curve_legend, curve_of, draw_chance
from unitlens.figures.needs import UnmetNeedError, figure, finding, require_runs, require_values
from unitlens.figures.paper_marks import NO_PAPER, PaperNumbers, draw_paper
from unitlens.figures.wording import auc_correlation, mean_spread, percent
from unitlens.plot.canvas import networks
from unitlens.plot.curve_plots import ablation_curve
from unitlens.plot.style import (
    COLOURS,
    GREY,
    MARKERS,
    colour,
    legend_below,
    marker,
    new_figure,
)
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY = 80  # networks; the dots of so many are small
OTHERS = COLOURS[-1]
ENDS = ("best", "worst")  # by test accuracy; names of the paper's claims as well
AUC_LABEL = "area under the ablation curve (largest = 1)"


@figure
def auc_test_accuracy(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw test accuracy against AUC, a dot for each network."""
    specs = _runs_with_auc(results, runs)
    drawn = new_figure(height=4.5)
    axes = drawn.subplots()
    largest = float(specs["auc"].max())
    groups = group_runs(specs)
    for place, group in enumerate(groups):
        own = rows_of(specs, group.runs)
        axes.scatter(
            own["auc"].values / largest,
            own["test_accuracy"].values,
            s=42,
            color=colour(place),
            marker=marker(place),
            alpha=0.85,
            linewidths=0,
            label=group.label,
        )
    axes.set_xlabel(AUC_LABEL)
    axes.set_ylabel("test accuracy")
    if len(groups) <= 2 * len(MARKERS):
        legend_below(drawn, [axes])
    return drawn


@finding
def auc_test_accuracy_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the correlation of AUC with test accuracy, and the network with the largest AUC."""
    specs = _runs_with_auc(results, runs)
    auc, accuracy = specs["auc"].values, specs["test_accuracy"].values
    best = specs.isel(run=int(np.argmax(auc)))
    return (
        f"{auc_correlation(auc, accuracy, 'test accuracy', networks(auc.size))} The network with "
        f"the largest AUC ({float(best['auc']):.2f}) has a test accuracy of "
        f"{float(best['test_accuracy']):.2f}; the best test accuracy is {accuracy.max():.2f}."
    )


def _runs_with_auc(results: Results, runs: Sequence[str]) -> xr.Dataset:
    specs = require_runs(results, runs)
    return specs.isel(run=np.flatnonzero(np.isfinite(require_values(specs, "auc"))))


@figure
def same_data_auc(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw generalisation error against AUC, a dot for each network, the best and worst marked."""
    specs = _runs_on_same_data(results, runs)
    x = specs["auc"].values / specs["auc"].values.max()
    error = 1 - specs["test_accuracy"].values
    best, worst = best_and_worst(-error)
    others = np.setdiff1d(np.arange(x.size), np.concatenate([best, worst]))
    drawn = new_figure(height=4.3)
    axes = drawn.subplots()
    marks: tuple[tuple[str, np.ndarray, dict[str, Any]], ...] = (
        ("others", others, {"color": OTHERS, "marker": "o"}),
        (f"best {best.size}", best, {"color": colour(0), "marker": marker(0)}),
        (f"worst {worst.size}", worst, {"color": colour(1), "marker": marker(1)}),
    )
    size = 42 if x.size < MANY else 24
    for name, places, style in marks:
        if places.size:
            axes.scatter(
                x[places], error[places], s=size, alpha=0.8, linewidths=0, label=name, **style
            )
    axes.set_xlabel(AUC_LABEL)
    axes.set_ylabel("generalisation error (1 - test accuracy)")
    legend_below(drawn, [axes])
    return drawn


@finding
def same_data_auc_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the correlation of AUC with generalisation error, and the range of both."""
    specs = _runs_on_same_data(results, runs)
    auc, error = specs["auc"].values, 1 - specs["test_accuracy"].values
    over = f"{networks(auc.size)} trained on the same data"
    return (
        f"{auc_correlation(auc, error, 'generalisation error', over)} The error lies between "
        f"{error.min():.3f} and {error.max():.3f}, the AUC between {auc.min():.2f} and "
        f"{auc.max():.2f}."
    )


@figure
def same_data_curves(
    results: Results, runs: Sequence[str], *, paper: PaperNumbers = NO_PAPER
) -> "Figure":
    """Draw the ablation curves of the networks that generalise best and worst.

    The paper's numbers of maps at which accuracy is one half are drawn as shares.
    """
    drawn = new_figure(height=4.3)
    axes = drawn.subplots()
    numbers = paper.beside(runs)
    for place, (curve, error) in enumerate(_best_and_worst_curves(results, runs)):
        label = (
            f"{curve.group.label}  (error {mean_spread(error)}, AUC {mean_spread(curve.summary)})"
        )
        over_networks = curve.table.mean("order", keep_attrs=True)  # the band is over networks
        style = {"color": colour(place), "marker": marker(place)}
        ablation_curve(over_networks, label=label, ax=axes, **style)
        if (number := numbers.get(ENDS[place])) is not None:
            draw_paper(axes, number, HALF, face=colour(place))
    if numbers:
        axes.axhline(HALF, color=GREY, linewidth=1, linestyle=":", zorder=1)
    draw_chance(axes, results, runs)
    curve_legend(drawn, [axes], over="networks")
    return drawn


@finding
def same_data_curves_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the AUC of the best and the worst, and the share of units at half accuracy."""
    (best, best_error), (worst, worst_error) = _best_and_worst_curves(results, runs)
    halves = [first_crossing(curve.x, curve.mean, HALF) for curve in (best, worst)]
    first = (
        f"Over the whole range of ablation the {networks(best_error.size)} with the smallest "
        f"generalisation error ({best_error.mean():.3f} on average) keep a mean accuracy (AUC) of "
        f"{mean_spread(best.summary)}, the {worst_error.size} with the largest error "
        f"({worst_error.mean():.3f}) a mean accuracy of {mean_spread(worst.summary)}."
    )
    if not np.isfinite(halves).all():
        return (
            f"{first} Without ablation their accuracy is {best.mean[0]:.2f} and "
            f"{worst.mean[0]:.2f}."
        )
    return (
        f"{first} From {best.mean[0]:.2f} and {worst.mean[0]:.2f} their accuracy falls to one "
        f"half with {percent(halves[0])} and {percent(halves[1])} of the units ablated."
    )


def _best_and_worst_curves(results: Results, runs: Sequence[str]) -> list[tuple[Curve, np.ndarray]]:
    """Return the mean curves over the best and over the worst networks, each with their errors."""
    specs = _runs_on_same_data(results, runs)
    accuracy = specs["test_accuracy"].values
    curves = []
    for name, places in zip(ENDS, best_and_worst(accuracy), strict=True):
        members = specs["run"].values[places].tolist()
        group = RunGroup(f"{name} {networks(places.size)}", {}, tuple(members))
        orders = random_orders(rows_of(results.curves, members))
        curves.append((curve_of(group, orders), 1 - accuracy[places]))
    return curves


def _runs_on_same_data(results: Results, runs: Sequence[str]) -> xr.Dataset:
    """Return the networks with uncorrupted labels and a known AUC; all must be on one data set."""
    specs = _runs_with_auc(results, runs)
    specs = specs.isel(run=np.flatnonzero(specs["corruption"].values == 0))
    if specs.sizes["run"] < 2:
        raise UnmetNeedError(
            "needs two networks of uncorrupted labels whose cumulative ablation was measured, but "
            f"has {specs.sizes['run']}; show an experiment with more seeds"
        )
    names = sorted(set(map(str, specs["dataset"].values)))
    if len(names) > 1:
        raise UnmetNeedError(
            "is of networks of the same data, but its runs were trained on "
            f"{' and '.join(names)}; show experiments of one data set"
        )
    return specs
