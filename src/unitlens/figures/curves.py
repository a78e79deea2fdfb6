"""Curves of groups of runs: mean and spread over orders or draws, and over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.analysis.curve_summaries import area_under_curve, noise_scale_at, random_orders
from unitlens.analysis.run_groups import RunGroup, group_runs, rows_of
from unitlens.errors import TableError
from unitlens.figures.selection import specs_of, table_of, variable_of
from unitlens.figures.style import COLOURS, GREY
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASUREMENT = {"curves": "cumulative_ablation", "noise": "noise_robustness"}


@dataclass(frozen=True)
class Curve:
    """The curve of a group: mean and standard deviation over orders or draws, and over runs.

    `summary` holds one number a run: its AUC, or the noise scale at half accuracy.
    """

    group: RunGroup
    x: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    summary: np.ndarray

    def at(self, x: float) -> float:
        """Return the mean, linear between points."""
        return float(np.interp(x, self.x, self.mean))


def ablation_curves(
    results: Results, runs: Sequence[str], fields: Sequence[str], figure: str
) -> list[Curve]:
    """Return the cumulative ablation curve of random orders of each group of runs."""
    groups, curves = _groups(results, runs, fields, figure, "curves")
    curves = random_orders(curves)
    if curves.sizes["order"] == 0:
        raise TableError(f"the figure {figure} needs curves of random orders, but there is none")
    return [curve_of(group, rows_of(curves, group.runs)) for group in groups]


def curve_of(group: RunGroup, curves: xr.Dataset) -> Curve:
    """Return mean and standard deviation over the orders and runs of a group's curves."""
    x, rows = interpolated(curves)
    areas = area_under_curve(curves).mean("order").values
    both = (0, 1)
    return Curve(group, x, np.nanmean(rows, both), np.nanstd(rows, both), areas)


def interpolated(curves: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return all ablated fractions, and the accuracy of each run and order at each of them.

    The accuracy is linear between points; that of an order that a run lacks is NaN.
    """
    fractions = curves["ablated_fraction"].values
    x = np.unique(fractions[np.isfinite(fractions)])
    accuracy = curves["accuracy"].transpose("run", "order", "ablated").values
    rows = np.full((*accuracy.shape[:2], x.size), np.nan)
    for run, order in np.argwhere(np.isfinite(accuracy).any(-1)):
        known = np.isfinite(accuracy[run, order])
        rows[run, order] = np.interp(x, fractions[run, known], accuracy[run, order, known])
    return x, rows


def noise_curves(
    results: Results, runs: Sequence[str], fields: Sequence[str], figure: str
) -> list[Curve]:
    """Return accuracy against the scale of the noise of each group of runs."""
    groups, noise = _groups(results, runs, fields, figure, "noise")
    curves = []
    for group in groups:
        own = rows_of(noise, group.runs).dropna("noise_scale", how="all")
        rows = own["accuracy"].values.reshape(-1, own.sizes["noise_scale"])
        halves = noise_scale_at(own).values
        x = own["noise_scale"].values
        curves.append(Curve(group, x, np.nanmean(rows, 0), np.nanstd(rows, 0), halves))
    return curves


def _groups(
    results: Results, runs: Sequence[str], fields: Sequence[str], figure: str, name: str
) -> tuple[list[RunGroup], xr.Dataset]:
    """Return the groups of the runs that a table holds, and the table."""
    table = measured_runs(results, runs, figure, name)
    return group_runs(rows_of(results.runs, table["run"].values.tolist()), fields), table


def measured_runs(results: Results, runs: Sequence[str], figure: str, name: str) -> xr.Dataset:
    """Return the rows of a table of curves or of noise that are of a figure's runs."""
    specs_of(results, runs, figure)
    table = rows_of(table_of(results, name, figure), runs)
    if table.sizes["run"] == 0:
        raise TableError(
            f"the figure {figure} needs the {MEASUREMENT[name]} of its runs, but there is none of "
            f"{', '.join(runs)}; measure it, or leave the figure out of `figures`"
        )
    variable_of(table, "accuracy", figure)
    return table


def draw_curve(axes: "Axes", curve: Curve, **style: Any) -> None:
    """Draw the mean as a line and one standard deviation to either side as a band."""
    axes.plot(curve.x, curve.mean, **style)
    low, high = curve.mean - curve.spread, curve.mean + curve.spread
    axes.fill_between(curve.x, low, high, color=style["color"], alpha=0.15, linewidth=0)


def draw_chance(axes: "Axes", results: Results, runs: Sequence[str]) -> None:
    """Draw the accuracy of guessing, where all runs have equally many classes."""
    classes = set(rows_of(results.runs, runs)["classes"].values.tolist())
    if len(classes) != 1:
        return
    chance = 1 / classes.pop()
    axes.axhline(chance, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.text(
        0.01,
        chance + 0.008,
        "chance",
        transform=axes.get_yaxis_transform(),
        va="bottom",
        color=GREY,
        fontsize=8.5,
    )


def accuracy_label(results: Results, table: str) -> str:
    """Return the name of the accuracy axis; the split is in the table's attributes."""
    split = getattr(results, table).attrs.get("split", "")
    return f"{split} accuracy".strip()


def label_fraction(axes: "Axes", results: Results, runs: Sequence[str]) -> None:
    """Name the axis of the ablated fraction, with the number of units where it is the same."""
    units = rows_of(results.curves, runs)["ablated_units"].max("ablated").values
    of = f" of {int(units[0]):,}" if len(set(units.tolist())) == 1 else ""
    axes.set_xlabel(f"units ablated (share{of})")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.03)


def colour(place: int) -> str:
    """Return the colour of the group at a place; they begin again after the last."""
    return COLOURS[place % len(COLOURS)]


def mean_spread(values: np.ndarray) -> str:
    """Return a mean, with its standard deviation where there are several values."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return "none"
    spread = f" ± {known.std():.2f}" if known.size > 1 else ""
    return f"{known.mean():.2f}{spread}"
