"""Curves of groups of runs: mean and spread over orders or draws, and over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from unitlens.analysis.curve_summaries import (
    area_under_curve,
    interpolate,
    noise_scale_at,
    random_orders,
)
from unitlens.analysis.run_groups import RunGroup, group_runs, rows_of
from unitlens.figures.needs import UnmetNeedError, require_runs, require_table, require_values
from unitlens.figures.wording import known_mean
from unitlens.plot.style import GREY, legend_below
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASUREMENT = {"curves": "cumulative_ablation", "noise": "noise_robustness"}
HALF = 0.5  # an accuracy, or a share of units, that findings report at


@dataclass(frozen=True)
class Curve:
    """The accuracy curve of a group of runs.

    Attributes
    ----------
    group
        The runs.
    table
        The rows of the runs in the table "curves" or "noise", as they are drawn.
    x
        Share of units ablated, or scale of the noise.
    mean
        Mean of the accuracy at each `x`, over orders or draws and over runs.
    summary
        One number per run: the area under the curve, or the noise scale at half accuracy.
    """

    group: RunGroup
    table: xr.Dataset
    x: np.ndarray
    mean: np.ndarray
    summary: np.ndarray

    def at(self, x: float) -> float:
        """Return the mean at `x`, linear between points."""
        return float(np.interp(x, self.x, self.mean))

    def setting(self, name: str) -> float:
        """Return the number that the spec of the runs has in a field."""
        return float(str(self.group.values[name]))

    @property
    def mean_summary(self) -> float:
        """Mean of `summary` over the runs where it is known."""
        return known_mean(self.summary)


def ablation_curves(results: Results, runs: Sequence[str], fields: Sequence[str]) -> list[Curve]:
    """Return the cumulative ablation curve of each group of runs, over random orders.

    Parameters
    ----------
    results
        The results.
    runs
        Names of the runs.
    fields
        Fields of the runs' specs in which the runs of a group agree.
    """
    groups, curves = _group_curves(results, runs, fields, "curves")
    curves = random_orders(curves)
    if curves.sizes["order"] == 0:
        raise UnmetNeedError("needs curves of random orders, but there is none")
    return [curve_of(group, rows_of(curves, group.runs)) for group in groups]


def curve_of(group: RunGroup, curves: xr.Dataset) -> Curve:
    """Return the mean over the orders and runs of a group's curves."""
    x, rows = interpolate(curves)
    areas = area_under_curve(curves).mean("order").values
    return Curve(group, curves, x, np.nanmean(rows, (0, 1)), areas)


def noise_curves(results: Results, runs: Sequence[str], fields: Sequence[str]) -> list[Curve]:
    """Return accuracy against the scale of the noise for each group of runs.

    Parameters
    ----------
    results
        The results.
    runs
        Names of the runs.
    fields
        Fields of the runs' specs in which the runs of a group agree.
    """
    groups, noise = _group_curves(results, runs, fields, "noise")
    curves = []
    for group in groups:
        own = rows_of(noise, group.runs).dropna("noise_scale", how="all")
        rows = own["accuracy"].values.reshape(-1, own.sizes["noise_scale"])
        halves = noise_scale_at(own, accuracy=HALF).values
        x = own["noise_scale"].values
        curves.append(Curve(group, own, x, np.nanmean(rows, 0), halves))
    return curves


def _group_curves(
    results: Results, runs: Sequence[str], fields: Sequence[str], name: str
) -> tuple[list[RunGroup], xr.Dataset]:
    """Return the groups of the runs that a table holds, and the table."""
    table = require_curves(results, runs, name)
    return group_runs(rows_of(results.runs, table["run"].values.tolist()), fields), table


def require_curves(results: Results, runs: Sequence[str], name: str) -> xr.Dataset:
    """Return the rows of runs in the table "curves" or "noise"; there must be a row."""
    require_runs(results, runs)
    table = rows_of(require_table(results, name), runs)
    if table.sizes["run"] == 0:
        raise UnmetNeedError(
            f"needs the {MEASUREMENT[name]} of its runs, but there is none of "
            f"{', '.join(runs)}; measure it, or leave the figure out of `figures`"
        )
    require_values(table, "accuracy")
    return table


def curve_legend(
    drawn: "Figure",
    panels: "Sequence[Axes]",
    *,
    title: str = "",
    over: str = "orders and networks",
) -> None:
    """Draw the legend of curves under the figure; its heading says what the bands are.

    Parameters
    ----------
    drawn
        The figure.
    panels
        The axes with the curves.
    title
        What the curves differ in.
    over
        What the bands are over.
    """
    from matplotlib.collections import PolyCollection

    has_bands = any(isinstance(one, PolyCollection) for axes in panels for one in axes.collections)
    bands = f"bands: one standard deviation to either side, over {over}" if has_bands else ""
    legend_below(drawn, panels, title="\n".join(filter(None, (title, bands))))


def draw_chance(axes: "Axes", results: Results, runs: Sequence[str]) -> None:
    """Draw the accuracy of guessing, if all runs have the same number of classes."""
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
