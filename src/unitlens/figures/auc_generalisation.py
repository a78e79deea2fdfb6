"""The area under the ablation curve beside what it may foretell: the error on new data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import pearson, spearman
from unitlens.analysis.run_groups import group_runs, rows_of
from unitlens.figures.course import courses_of
from unitlens.figures.curves import colour
from unitlens.figures.selection import networks, specs_of, variable_of
from unitlens.figures.style import (
    DASHES,
    MARKERS,
    legend_below,
    marker,
    new_figure,
    styled,
    whole_numbers,
)
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def auc_test_accuracy(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw test accuracy against AUC, a dot a network."""
    specs = _with_auc(results, runs)
    figure = new_figure(height=4.5)
    axes = figure.subplots()
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
    axes.set_xlabel("area under the ablation curve (largest = 1)")
    axes.set_ylabel("test accuracy")
    if len(groups) <= 2 * len(MARKERS):
        legend_below(figure, [axes])
    return figure


def auc_test_accuracy_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell how AUC and test accuracy go together."""
    specs = _with_auc(results, runs)
    auc, accuracy = specs["auc"].values, specs["test_accuracy"].values
    best = specs.isel(run=int(np.argmax(auc)))
    second = (
        f"The network with the largest AUC ({float(best['auc']):.2f}) has a test accuracy of "
        f"{float(best['test_accuracy']):.2f}; the best test accuracy is {accuracy.max():.2f}."
    )
    r, rho = pearson(auc, accuracy), spearman(auc, accuracy)
    if not np.isfinite(r):
        return f"{networks(auc.size)} cannot show a correlation of AUC with test accuracy. {second}"
    return (
        f"Over {networks(auc.size)} the correlation of AUC with test accuracy is r = {r:.2f} "
        f"(rank correlation {rho:.2f}). {second}"
    )


def _with_auc(results: Results, runs: Sequence[str]) -> xr.Dataset:
    specs = specs_of(results, runs, "auc_test_accuracy")
    return specs.isel(
        run=np.flatnonzero(np.isfinite(variable_of(specs, "auc", "auc_test_accuracy")))
    )


@styled
def auc_over_training(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw AUC, and under it train and test loss, over the epochs of training."""
    courses = courses_of(results, runs, "auc_over_training")
    figure = new_figure(height=5.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.1))
    for place, course in enumerate(courses):
        style = {"color": colour(place), "markersize": 5}
        name = f"{course.label}: " if len(courses) > 1 else ""
        upper.plot(course.epochs, course.auc, marker=marker(place), label=f"{name}AUC", **style)
        losses = course.history
        for loss, dash in (("train_loss", DASHES[1]), ("test_loss", DASHES[0])):
            text = f"{name}{loss.replace('_', ' ')}"
            shade = colour(place) if len(courses) > 1 else colour(1 + (loss == "test_loss"))
            lower.plot(losses["epoch"], losses[loss], color=shade, linestyle=dash, label=text)
    upper.set_ylabel("AUC")
    lower.set_ylabel("loss (nats)")
    lower.set_xlabel("epoch of training")
    lower.set_ylim(0, None)
    whole_numbers(lower)
    legend_below(figure, [upper, lower])
    return figure


def auc_over_training_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell when AUC is largest, when test loss is least, and how they go together."""
    course, *others = courses_of(results, runs, "auc_over_training")
    best = int(np.argmax(course.auc))
    losses = course.history["test_loss"].values
    least = int(course.history["epoch"].values[np.nanargmin(losses)])
    of = f" (the first of {len(others) + 1} networks)" if others else ""
    first = (
        f"AUC is largest after epoch {course.epochs[best]} ({course.auc[best]:.2f}) and ends at "
        f"{course.auc[-1]:.2f}; test loss is least after epoch {least} ({np.nanmin(losses):.2f}) "
        f"and ends at {losses[np.isfinite(losses)][-1]:.2f}{of}."
    )
    r = pearson(course.auc, course.test_loss)
    if not np.isfinite(r):
        return f"{first} There are too few epochs for a correlation."
    return f"{first} Over {course.epochs.size} epochs their correlation is r = {r:.2f}."
