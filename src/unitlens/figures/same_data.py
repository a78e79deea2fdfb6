"""Networks trained on the same data: those that generalise best beside those that do so worst."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import pearson, spearman
from unitlens.analysis.curve_summaries import area_under_curve, random_orders
from unitlens.analysis.generalisation import best_and_worst, falls_to
from unitlens.analysis.run_groups import RunGroup, rows_of
from unitlens.errors import TableError
from unitlens.figures.curves import (
    Curve,
    accuracy_label,
    colour,
    draw_chance,
    draw_curve,
    interpolated,
    label_fraction,
    mean_spread,
)
from unitlens.figures.selection import networks, specs_of, variable_of
from unitlens.figures.style import (
    COLOURS,
    legend_below,
    marker,
    new_figure,
    styled,
)
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HALF = 0.5
MANY = 80  # networks from which on dots are small
OTHERS = COLOURS[-1]


@styled
def same_data_auc(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw generalisation error against AUC, a dot a network, both ends marked."""
    specs = _same_data(results, runs, "same_data_auc")
    x = specs["auc"].values / specs["auc"].values.max()
    error = 1 - specs["test_accuracy"].values
    best, worst = best_and_worst(-error)
    others = np.setdiff1d(np.arange(x.size), np.concatenate([best, worst]))
    figure = new_figure(height=4.3)
    axes = figure.subplots()
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
    axes.set_xlabel("area under the ablation curve (largest = 1)")
    axes.set_ylabel("generalisation error (1 - test accuracy)")
    legend_below(figure, [axes])
    return figure


def same_data_auc_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell how AUC and generalisation error go together, and how far both spread."""
    specs = _same_data(results, runs, "same_data_auc")
    auc, error = specs["auc"].values, 1 - specs["test_accuracy"].values
    r, rho = pearson(auc, error), spearman(auc, error)
    first = (
        f"Over {networks(auc.size)} of the same data the correlation of AUC with generalisation "
        f"error is r = {r:.2f} (rank correlation {rho:.2f})."
        if np.isfinite(r)
        else f"{networks(auc.size)} cannot show a correlation of AUC with generalisation error."
    )
    return (
        f"{first} The error lies between {error.min():.3f} and {error.max():.3f}, the AUC between "
        f"{auc.min():.2f} and {auc.max():.2f}."
    )


@styled
def same_data_curves(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw the ablation curves of the networks that generalise best and worst."""
    figure = new_figure(height=4.3)
    axes = figure.subplots()
    for place, (curve, error) in enumerate(_ends(results, runs)):
        text = (
            f"{curve.group.label}  (error {mean_spread(error)}, AUC {mean_spread(curve.summary)})"
        )
        draw_curve(axes, curve, color=colour(place), marker=marker(place), label=text)
    draw_chance(axes, results, runs)
    label_fraction(axes, results, runs)
    axes.set_ylabel(accuracy_label(results, "curves"))
    legend_below(figure, [axes])
    return figure


def same_data_curves_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the AUC of both ends, and how many units they lose before half is lost."""
    (best, best_error), (worst, worst_error) = _ends(results, runs)
    halves = [falls_to(curve.x, curve.mean, HALF) for curve in (best, worst)]
    first = (
        f"The {networks(best_error.size)} of least generalisation error "
        f"({best_error.mean():.3f} on average) keep a mean accuracy (AUC) of "
        f"{mean_spread(best.summary)} over the whole range of ablation, the {worst_error.size} of "
        f"largest error ({worst_error.mean():.3f}) one of {mean_spread(worst.summary)}."
    )
    if not np.isfinite(halves).all():
        return (
            f"{first} Without ablation their accuracy is {best.mean[0]:.2f} and "
            f"{worst.mean[0]:.2f}."
        )
    return (
        f"{first} From {best.mean[0]:.2f} and {worst.mean[0]:.2f} their accuracy falls to one "
        f"half with {_percent(halves[0])} and {_percent(halves[1])} of the units ablated."
    )


def _ends(results: Results, runs: Sequence[str]) -> list[tuple[Curve, np.ndarray]]:
    """Return the mean curve over the best and over the worst networks, with their errors."""
    specs = _same_data(results, runs, "same_data_curves")
    accuracy = specs["test_accuracy"].values
    names = specs["run"].values
    ends = zip(("best", "worst"), best_and_worst(accuracy), strict=True)
    return [
        (
            _mean_curve(results, f"{name} {networks(places.size)}", names[places]),
            1 - accuracy[places],
        )
        for name, places in ends
    ]


def _mean_curve(results: Results, label: str, runs: np.ndarray) -> Curve:
    """Return mean and standard deviation over networks, each averaged over its orders."""
    names = runs.tolist()
    curves = random_orders(rows_of(results.curves, names))
    x, rows = interpolated(curves)
    means = np.nanmean(rows, axis=1)
    areas = area_under_curve(curves).mean("order").values
    return Curve(RunGroup(label, {}, tuple(names)), x, means.mean(0), means.std(0), areas)


def _same_data(results: Results, runs: Sequence[str], figure: str) -> xr.Dataset:
    """Return the rows of the networks of uncorrupted labels whose AUC is known."""
    specs = specs_of(results, runs, figure)
    known = np.isfinite(variable_of(specs, "auc", figure))
    specs = specs.isel(run=np.flatnonzero(known & (specs["corruption"].values == 0)))
    if specs.sizes["run"] < 2:
        raise TableError(
            f"the figure {figure} needs two networks of uncorrupted labels whose cumulative "
            f"ablation was measured, but has {specs.sizes['run']}; show an experiment with more "
            "seeds"
        )
    names = sorted(set(map(str, specs["dataset"].values)))
    if len(names) > 1:
        raise TableError(
            f"the figure {figure} is of networks of the same data, but its runs were trained on "
            f"{' and '.join(names)}; show experiments of one data set"
        )
    return specs


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
