"""The course of training: scores at kept epochs, losses, and where training would stop."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from unitlens.analysis.correlations import pearson
from unitlens.config.looks import epoch_text
from unitlens.figures.course_scores import TrainingCourse, training_courses
from unitlens.figures.needs import figure, finding
from unitlens.figures.paper_marks import NO_PAPER, PaperNumbers, draw_correlation_strip
from unitlens.plot.canvas import networks
from unitlens.plot.style import (
    DASHES,
    colour,
    draw_legend,
    epoch_ticks,
    legend_below,
    marker,
    new_figure,
    remove_legend,
)
from unitlens.plot.training_plot import training_course
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSSES = {"train_loss": DASHES[1], "test_loss": DASHES[0]}  # each with its line
MOST_NAMES = 8  # groups that the legend names; of more groups, colours repeat
STOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "auc": ("stop by AUC", {"marker": "s", "s": 75, "linewidth": 1.8}),
    "test_loss": ("stop by test loss", {"marker": "o", "s": 110, "linewidth": 1.8}),
}


@figure
def auc_over_training(
    results: Results, runs: Sequence[str], *, paper: PaperNumbers = NO_PAPER
) -> "Figure":
    """Draw AUC over the epochs of training, and below it train and test loss."""
    courses = training_courses(results, runs)
    labels = list(dict.fromkeys(course.label for course in courses))
    alone = len(labels) == 1
    places = [labels.index(course.label) for course in courses]
    shades = list(map(colour, places))
    drawn, (upper, lower), strips = _stacked_panels(5.4, (1, 1.1), courses, shades, paper)
    for place, course in zip(places, courses, strict=True):
        style: dict[str, Any] = {"color": colour(place), "markersize": 5}
        prefix = "" if alone else f"{course.label}: "
        upper.plot(course.epochs, course.auc, marker=marker(place), label=f"{prefix}AUC", **style)
        label = "" if alone else course.label
        training_course(course.history, label=label, ax=lower, color=colour(place))
    upper.set_ylabel("AUC")
    legend_below(drawn, [upper, lower, *strips])
    return drawn


def _stacked_panels(
    height: float,
    ratios: Sequence[float],
    courses: Sequence[TrainingCourse],
    shades: Sequence[str],
    paper: PaperNumbers,
) -> "tuple[Figure, list[Axes], list[Axes]]":
    """Return a figure with panels above each other over the same epochs.

    Parameters
    ----------
    height
        Height of the figure in inches.
    ratios
        Heights of the panels, relative to each other.
    courses
        The courses of training.
    shades
        Colour of each course.
    paper
        The paper's numbers.

    Returns
    -------
    The figure, the panels, and a lowest panel of correlations of AUC and test loss, ours beside
    the paper's; no such panel where the paper's correlation is not to be shown.
    """
    number = paper.beside([course.run for course in courses]).get("correlation")
    if number is None:
        drawn = new_figure(height=height)
        panels = drawn.subplots(len(ratios), 1, sharex=True, height_ratios=ratios).tolist()
        return drawn, panels, []
    drawn = new_figure(height=height + 0.8)
    *panels, strip = drawn.subplots(len(ratios) + 1, 1, height_ratios=(*ratios, 0.14)).tolist()
    for axes in panels[:-1]:
        axes.sharex(panels[-1])
        axes.tick_params(labelbottom=False)
    ours: dict[str, list[float]] = {}
    for course, shade in zip(courses, shades, strict=True):
        ours.setdefault(shade, []).append(pearson(course.auc, course.test_loss))
    name = "correlation of AUC and test loss over training (a dot a network)"
    draw_correlation_strip(strip, ours, number, name)
    return drawn, panels, [strip]


@finding
def auc_over_training_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell when AUC is largest, when test loss is least, and the correlation of the two."""
    course, *others = training_courses(results, runs)
    best = int(np.argmax(course.auc))
    largest = epoch_text(course.epochs[best])
    losses = course.history["test_loss"].values
    least = epoch_text(course.history["epoch"].values[np.nanargmin(losses)])
    of = f" (the first of {len(others) + 1} networks)" if others else ""
    first = (
        f"AUC is largest after epoch {largest} ({course.auc[best]:.2f}) and ends at "
        f"{course.auc[-1]:.2f}; test loss is least after epoch {least} ({np.nanmin(losses):.2f}) "
        f"and ends at {losses[np.isfinite(losses)][-1]:.2f}{of}."
    )
    r = pearson(course.auc, course.test_loss)
    if not np.isfinite(r):
        return f"{first} There are too few epochs for a correlation."
    return f"{first} Over {course.epochs.size} epochs their correlation is r = {r:.2f}."


@figure
def early_stopping(
    results: Results, runs: Sequence[str], *, paper: PaperNumbers = NO_PAPER
) -> "Figure":
    """Draw AUC, losses and test accuracy at kept epochs, and where either would stop training."""
    courses = training_courses(results, runs)
    labels = list(dict.fromkeys(course.label for course in courses))
    shades = [colour(labels.index(course.label)) for course in courses]
    drawn, panels, strips = _stacked_panels(6.8, (1, 1, 1), courses, shades, paper)
    for course, shade in zip(courses, shades, strict=True):
        _draw_course(panels, course, shade)
    upper, middle, lower = panels
    upper.set_ylabel("AUC")
    middle.set_xlabel("")
    remove_legend(middle)
    lower.set_ylabel("test accuracy")
    epoch_ticks(lower, np.unique(np.concatenate([course.epochs for course in courses])))
    _draw_stopping_legend(drawn, lower, labels, strips)
    return drawn


def _draw_course(panels: "Sequence[Axes]", course: TrainingCourse, shade: str) -> None:
    """Draw the AUC, the losses and the test accuracy of a run, and a ring at each stop."""
    upper, middle, lower = panels
    style: dict[str, Any] = {"color": shade, "marker": ".", "linewidth": 1.4, "alpha": 0.85}
    upper.plot(course.epochs, course.auc, **style)
    lower.plot(course.epochs, course.test_accuracy, **style)
    shown = course.history["epoch"].values >= course.epochs.min()
    history = course.history.isel(epoch=np.flatnonzero(shown))
    training_course(history, ax=middle, color=shade, linewidth=1.4)
    for name, axes, values in (
        ("auc", upper, course.auc),
        ("test_loss", middle, course.test_loss),
        ("auc", lower, course.test_accuracy),
        ("test_loss", lower, course.test_accuracy),
    ):
        place = course.stops[name].place
        ring = STOPS[name][1] | {"facecolor": "none", "edgecolor": shade, "zorder": 3}
        axes.scatter(course.epochs[place], values[place], **ring)


def _draw_stopping_legend(
    drawn: "Figure", axes: "Axes", labels: Sequence[str], strips: "Sequence[Axes]"
) -> None:
    """Draw the legend of colours, lines and rings, of marks that are drawn without data."""
    marks: dict[str, Any] = {
        label: axes.plot([], [], color=colour(place), linewidth=3)[0]
        for place, label in enumerate(labels)
        if 1 < len(labels) <= MOST_NAMES
    }
    for loss, dash in LOSSES.items():
        line = axes.plot([], [], color="black", linestyle=dash, linewidth=1.4)[0]
        marks[loss.replace("_", " ")] = line
    for name, style in STOPS.values():
        marks[name] = axes.scatter([], [], facecolor="none", edgecolor="black", **style)
    for strip in strips:
        handles, texts = strip.get_legend_handles_labels()
        marks |= dict(zip(texts, handles, strict=True))
    draw_legend(drawn, marks)


@finding
def early_stopping_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell where AUC and test loss would stop training, and the cost in test accuracy."""
    courses = training_courses(results, runs)
    epochs = {
        name: np.median([course.epochs[course.stops[name].place] for course in courses])
        for name in STOPS
    }
    costs = {
        name: _cost_text([course.stops[name].cost for course in courses])
        for name in (*STOPS, "end")
    }
    middle = "the median epoch" if len(courses) > 1 else "epoch"
    return (
        f"A stop at the largest AUC falls on {middle} {epochs['auc']:g}, a stop at the least test "
        f"loss on {epochs['test_loss']:g} ({networks(len(courses))}). Against the best kept "
        f"epoch the first stop costs {costs['auc']} of test accuracy, the second "
        f"{costs['test_loss']}, and training to the end {costs['end']}."
    )


def _cost_text(costs: Sequence[float]) -> str:
    """Return the mean cost, and the largest cost where there are several."""
    most = f" (at most {max(costs):.3f})" if len(costs) > 1 else ""
    return f"{np.mean(costs):.3f}{most}"
