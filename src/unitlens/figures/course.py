"""Networks over the course of training: kept epochs, where it would be stopped, their units."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.analysis.generalisation import EarlyStop, early_stops
from unitlens.analysis.measure_agreement import layer_means
from unitlens.analysis.run_groups import group_runs, rows_of
from unitlens.errors import TableError
from unitlens.figures.curves import colour
from unitlens.figures.scatter import layer_names, linear_below, units_of
from unitlens.figures.selection import networks, specs_of, table_of
from unitlens.figures.style import (
    DASHES,
    GREY,
    depth_colours,
    draw_legend,
    new_figure,
    styled,
)
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCORES = ("auc", "test_loss", "test_accuracy")
MOST_TICKS = 9
MOST_NAMES = 8  # groups that are named; of more the colours begin again
STOPS: dict[str, tuple[str, dict[str, Any]]] = {
    "auc": ("stop by AUC", {"marker": "s", "s": 75, "linewidth": 1.8}),
    "test_loss": ("stop by test loss", {"marker": "o", "s": 110, "linewidth": 1.8}),
}
OVER_TRAINING = {
    "selectivity": "mean selectivity",
    "loss_increase": "mean loss increase\n(nats)",
    "spearman": "Spearman correlation\nof the two",
}


@dataclass(frozen=True)
class Course:
    """A run's kept epochs, the end of training included, and its history."""

    label: str
    epochs: np.ndarray
    auc: np.ndarray
    test_loss: np.ndarray
    test_accuracy: np.ndarray
    history: xr.Dataset

    @property
    def stops(self) -> dict[str, EarlyStop]:
        """Where AUC and test loss would stop it, and where it ends."""
        return early_stops(self.auc, self.test_loss, self.test_accuracy)


def courses_of(results: Results, runs: Sequence[str], figure: str) -> list[Course]:
    """Return the courses of the runs whose AUC is known at several epochs."""
    specs = specs_of(results, runs, figure)
    labels = {run: group.label for group in group_runs(specs) for run in group.runs}
    kept = rows_of(_kept(results, figure).runs, runs)
    history = table_of(results, "history", figure)
    courses = []
    for run in specs["run"].values.tolist():
        epochs = xr.concat(
            [_scores(rows_of(kept, [run])), _scores(rows_of(specs, [run]))], "run"
        ).sortby("epoch")
        epochs = epochs.isel(run=np.flatnonzero(np.isfinite(epochs["auc"].values)))
        epochs = epochs.isel(run=np.unique(epochs["epoch"].values, return_index=True)[1])
        own = rows_of(history, [run])
        if epochs.sizes["run"] > 1 and own.sizes["run"]:
            epoch, auc, loss, accuracy = (epochs[key].values for key in ("epoch", *SCORES))
            losses = own.isel(run=0).dropna("epoch", how="all")
            courses.append(Course(labels[run], epoch, auc, loss, accuracy, losses))
    if not courses:
        raise TableError(
            f"the figure {figure} needs a run whose cumulative ablation was measured at several "
            "epochs; list training.checkpoints in one of its experiments and set "
            "measurements.cumulative_ablation.checkpoints"
        )
    return courses


def _scores(runs: xr.Dataset) -> xr.Dataset:
    return runs[list(SCORES)].reset_coords("epoch")


def _kept(results: Results, figure: str) -> Results:
    try:
        return results.checkpoints
    except TableError as error:
        raise TableError(f"the figure {figure} cannot be drawn: {error}") from None


def epoch_ticks(axes: "Axes", epochs: np.ndarray) -> None:
    """Make the horizontal axis logarithmic from epoch 1 on, with ticks at some kept epochs."""
    axes.set_xscale("symlog", linthresh=1, linscale=0.6)
    shown = epochs[:: -(-epochs.size // MOST_TICKS)]
    axes.set_xticks(shown, [str(epoch) for epoch in shown])
    axes.minorticks_off()
    axes.set_xlim(0.9 * epochs.min() if epochs.min() else -0.15, 1.1 * epochs.max())
    axes.set_xlabel("epoch of training (logarithmic from 1 on)")


@styled
def early_stopping(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw AUC, losses and test accuracy at kept epochs, and where either would stop."""
    courses = courses_of(results, runs, "early_stopping")
    names = list(dict.fromkeys(course.label for course in courses))
    figure = new_figure(height=6.8)
    upper, middle, lower = figure.subplots(3, 1, sharex=True)
    for course in courses:
        shade = colour(names.index(course.label))
        style: dict[str, Any] = {"color": shade, "marker": ".", "linewidth": 1.4, "alpha": 0.85}
        upper.plot(course.epochs, course.auc, **style)
        lower.plot(course.epochs, course.test_accuracy, **style)
        losses = course.history
        for loss, dash in (("train_loss", DASHES[1]), ("test_loss", DASHES[0])):
            middle.plot(losses["epoch"], losses[loss], color=shade, linestyle=dash, linewidth=1.4)
        for name, axes, values in (
            ("auc", upper, course.auc),
            ("test_loss", middle, course.test_loss),
            ("auc", lower, course.test_accuracy),
            ("test_loss", lower, course.test_accuracy),
        ):
            place = course.stops[name].place
            ring: dict[str, Any] = {"facecolor": "none", "edgecolor": shade, "zorder": 3} | STOPS[
                name
            ][1]
            axes.scatter(course.epochs[place], values[place], **ring)
    upper.set_ylabel("AUC")
    middle.set_ylabel("loss (nats)")
    middle.set_ylim(0, None)
    lower.set_ylabel("test accuracy")
    epoch_ticks(lower, np.unique(np.concatenate([course.epochs for course in courses])))
    _stopping_legend(figure, lower, names)
    return figure


def _stopping_legend(figure: "Figure", axes: "Axes", names: Sequence[str]) -> None:
    """Say what colours, lines and rings mean; marks are drawn without data."""
    marks: dict[str, Any] = {
        name: axes.plot([], [], color=colour(place), linewidth=3)[0]
        for place, name in enumerate(names)
        if 1 < len(names) <= MOST_NAMES
    }
    for loss, dash in (("train loss", DASHES[1]), ("test loss", DASHES[0])):
        marks[loss] = axes.plot([], [], color="black", linestyle=dash, linewidth=1.4)[0]
    for name, style in STOPS.values():
        marks[name] = axes.scatter([], [], facecolor="none", edgecolor="black", **style)
    draw_legend(figure, marks)


def early_stopping_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell where AUC and test loss would stop, and what either costs in test accuracy."""
    courses = courses_of(results, runs, "early_stopping")
    epochs = {
        name: np.median([course.epochs[course.stops[name].place] for course in courses])
        for name in ("auc", "test_loss", "end")
    }
    costs = {name: _cost([course.stops[name].cost for course in courses]) for name in epochs}
    middle = "the median epoch" if len(courses) > 1 else "epoch"
    return (
        f"A stop at the largest AUC falls on {middle} {epochs['auc']:g}, one at the least test "
        f"loss on {epochs['test_loss']:g} ({networks(len(courses))}). Against the best kept "
        f"epoch the first costs {costs['auc']} of test accuracy, the second {costs['test_loss']}, "
        f"and to train to the end {costs['end']}."
    )


def _cost(costs: Sequence[float]) -> str:
    """Return the mean cost, and the largest where there are several."""
    most = f" (at most {max(costs):.3f})" if len(costs) > 1 else ""
    return f"{np.mean(costs):.3f}{most}"


@styled
def selectivity_over_training(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw selectivity, importance and their correlation at kept epochs, a line a layer."""
    layers = _layers(results, runs)
    depths = layers["depth"].values
    shades = depth_colours(depths.tolist())
    names = layer_names(layers)
    figure = new_figure(height=6.8)
    panels = figure.subplots(len(OVER_TRAINING), 1, sharex=True)
    marks = {}
    for depth, shade in shades.items():
        own = layers.isel(row=np.flatnonzero(depths == depth))
        style: dict[str, Any] = {"color": shade, "marker": ".", "linewidth": 1.5}
        for axes, name in zip(panels, OVER_TRAINING, strict=True):
            x, mean, low, high = _over_networks(own, name)
            line = axes.plot(x, mean, **style)[0]
            axes.fill_between(x, low, high, color=shade, alpha=0.13, linewidth=0)
        if len(names) <= MOST_NAMES or depth in (min(names), max(names)):
            marks[names[depth]] = line
    for axes, label in zip(panels, OVER_TRAINING.values(), strict=True):
        axes.set_ylabel(label)
    panels[1].set_yscale("symlog", linthresh=linear_below(layers["loss_increase"].values))
    panels[2].axhline(0, color=GREY, linewidth=0.8)
    epoch_ticks(panels[2], np.unique(layers["epoch"].values))
    draw_legend(figure, marks, title="layer")
    return figure


def selectivity_over_training_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell selectivity and its correlation with importance at the first and the last epoch."""
    layers = _layers(results, runs)
    epochs = layers["epoch"].values
    trained = np.unique(epochs[epochs > 0])
    ends = [layers.isel(row=np.flatnonzero(epochs == epoch)) for epoch in trained[[0, -1]]]
    first, last = ({name: _mean(end, name) for name in OVER_TRAINING} for end in ends)
    count = networks(len(set(layers["run"].values.tolist())))
    told = (
        f"From epoch {trained[0]} to epoch {trained[-1]} the mean class selectivity of a layer "
        f"goes from {first['selectivity']:.2f} to {last['selectivity']:.2f}, the mean loss "
        f"increase of a unit from {first['loss_increase']:.2g} to {last['loss_increase']:.2g} nats "
        f"({count})."
    )
    if not np.isfinite([first["spearman"], last["spearman"]]).all():
        return f"{told} No layer has the ten units that a rank correlation of the two needs."
    return (
        f"{told} Their mean rank correlation within layers goes from {first['spearman']:.2f} to "
        f"{last['spearman']:.2f}."
    )


def _mean(rows: xr.Dataset, name: str) -> float:
    known = rows[name].values[np.isfinite(rows[name].values)]
    return float(known.mean()) if known.size else float("nan")


def _over_networks(
    rows: xr.Dataset, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return epochs, and over the networks mean, least and largest of a column of layers."""
    known = rows.isel(row=np.flatnonzero(np.isfinite(rows[name].values)))
    epochs = np.unique(known["epoch"].values)
    values = [known[name].values[known["epoch"].values == epoch] for epoch in epochs]
    mean, low, high = ([f(v) for v in values] for f in (np.mean, np.min, np.max))
    return epochs, np.array(mean), np.array(low), np.array(high)


def _layers(results: Results, runs: Sequence[str]) -> xr.Dataset:
    """Return the means of each layer at each epoch, of the runs of which epochs were kept."""
    name = "selectivity_over_training"
    needed = ("selectivity", "loss_increase")
    specs_of(results, runs, name)
    checkpoints = _kept(results, name)
    of_kept = rows_of(checkpoints.runs, runs)["run"].values.tolist()
    kept = units_of(checkpoints, of_kept, needed, name)
    last = units_of(results, of_kept, needed, name)
    return layer_means([kept, last])
