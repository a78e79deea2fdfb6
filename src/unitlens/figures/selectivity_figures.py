"""Class selectivity of units beside their importance, their weights and their depth."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import rank_correlations
from unitlens.analysis.run_groups import group_runs, rows_of
from unitlens.figures.scatter import (
    Take,
    correlation_finding,
    draw_correlations,
    label_layers,
    linear_below,
    scatter_rows,
    units_of,
)
from unitlens.figures.selection import specs_of, tell_each
from unitlens.figures.style import (
    COLOURS,
    GREY,
    legend_below,
    log_ticks,
    marker,
    new_figure,
    styled,
)
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

L1_NORM = "L1 norm of the incoming weights"


@styled
def selectivity_importance(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw each unit's selectivity against its importance, and their correlation by layer."""
    figure, panels = _importance(results, runs, "selectivity_importance", "selectivity")
    for axes in panels:
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("class selectivity")
    return figure


def selectivity_importance_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the pooled correlation, and the range over the layers."""
    name, measure = "selectivity_importance", "selectivity"
    return _importance_told(results, runs, name, measure, "class selectivity")


@styled
def information_importance(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw each unit's information against its importance, and their correlation by layer."""
    figure, panels = _importance(results, runs, "information_importance", "mutual_information")
    for axes in panels:
        axes.set_xlabel("mutual information with the class (nats)")
    return figure


def information_importance_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the pooled correlation, and the range over the layers."""
    name, measure = "information_importance", "mutual_information"
    return _importance_told(results, runs, name, measure, "mutual information")


@styled
def l1_norm_importance(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw each unit's L1 norm against its importance, and their correlation by layer."""
    figure, panels = _importance(results, runs, "l1_norm_importance", "l1_norm")
    for axes in panels:
        log_ticks(axes)
        axes.set_xlabel(L1_NORM)
    return figure


def l1_norm_importance_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the pooled correlation, and the range over the layers."""
    return _importance_told(results, runs, "l1_norm_importance", "l1_norm", f"the {L1_NORM}")


def _importance(
    results: Results, runs: Sequence[str], name: str, measure: str
) -> "tuple[Figure, list[Axes]]":
    """Draw a measure against the loss increase, and their correlation by layer."""
    target = "loss_increase"
    take = _take(name, (measure, target))
    figure, rows = scatter_rows(results, runs, name, take, measure, target)
    for axes, side, units in rows:
        axes.set_yscale("symlog", linthresh=linear_below(units[target].values))
        axes.axhline(0, color=GREY, linewidth=0.8)
        axes.set_ylabel("loss increase when ablated (nats)")
        draw_correlations(side, units, target, measure)
    return figure, [row.axes for row in rows]


def _importance_told(
    results: Results, runs: Sequence[str], name: str, measure: str, what: str
) -> str:
    """Tell the correlation of a measure with importance, of each data set."""
    what = f"{what} and importance (loss increase)"
    return _correlation_told(results, runs, name, (measure, "loss_increase"), what)


def _take(name: str, variables: tuple[str, str]) -> Take:
    return partial(units_of, variables=variables, figure=name)


def _correlation_told(
    results: Results, runs: Sequence[str], name: str, pair: tuple[str, str], what: str
) -> str:
    """Tell the correlation of a measure with a target, of each data set."""
    take = _take(name, pair)

    def tell(results: Results, runs: Sequence[str]) -> str:
        measure, target = pair
        return correlation_finding(take(results, runs), target, measure, what)

    return tell_each(results, runs, name, tell)


@styled
def selectivity_l1_norm(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw each unit's L1 norm against its selectivity, and their correlation by layer."""
    name, x, y = "selectivity_l1_norm", "l1_norm", "selectivity"
    figure, rows = scatter_rows(results, runs, name, _take(name, (x, y)), x, y)
    for axes, side, units in rows:
        log_ticks(axes)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel(L1_NORM)
        axes.set_ylabel("class selectivity")
        draw_correlations(side, units, y, x)
    return figure


def selectivity_l1_norm_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the pooled correlation, and the range over the layers."""
    what = f"the {L1_NORM} and selectivity"
    pair = ("l1_norm", "selectivity")
    return _correlation_told(results, runs, "selectivity_l1_norm", pair, what)


@styled
def selectivity_depth(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw median and quartiles of selectivity by depth, a panel a model."""
    name = "selectivity_depth"
    units = units_of(results, runs, ("selectivity",), name)
    specs = specs_of(results, runs, name)
    models = group_runs(specs, ("model",))
    figure = new_figure(height=4.3)
    panels = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    labels: dict[str, int] = {}
    for axes, model in zip(panels, models, strict=True):
        for place, group in enumerate(group_runs(rows_of(specs, model.runs))):
            style = labels.setdefault(group.label, len(labels))
            _draw_quartiles(axes, rows_of(units, group.runs), group.label, place, style)
        label_layers(axes, rows_of(units, model.runs))
        axes.set_title(str(model.values["model"]))
    panels[0].set_ylabel("class selectivity")
    panels[0].set_ylim(0, 1)
    legend_below(figure, panels)
    return figure


def selectivity_depth_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the median in the first and the last layer of each model."""
    name = "selectivity_depth"
    units = units_of(results, runs, ("selectivity",), name)
    told, rising = [], []
    for model in group_runs(specs_of(results, runs, name), ("model",)):
        medians = list(_medians(rows_of(units, model.runs)).values())
        told.append(f"{medians[0]:.2f} to {medians[-1]:.2f} ({model.values['model']})")
        rising.append(medians[-1] > medians[0])
    way = "rises" if all(rising) else "falls" if not any(rising) else "changes"
    layers = rank_correlations(units, target="selectivity", measures=("depth",), by=())
    rho = float(layers["spearman"][0])
    pooled = f"{rho:.2f}" if np.isfinite(rho) else "undefined (one layer only)"
    return (
        f"From the first to the last layer the median class selectivity {way}, from "
        f"{'; '.join(told)}. Over all {units.sizes['unit']:,} units the rank correlation of "
        f"selectivity with depth is {pooled}."
    )


def _draw_quartiles(axes: "Axes", units: xr.Dataset, label: str, place: int, style: int) -> None:
    depths = sorted(set(units["depth"].values.tolist()))
    values = [units["selectivity"].values[units["depth"].values == depth] for depth in depths]
    low, middle, high = np.array([np.percentile(v, (25, 50, 75)) for v in values]).T
    axes.errorbar(
        np.array(depths) + 0.09 * place - 0.09,
        middle,
        yerr=(middle - low, high - middle),
        color=COLOURS[style % len(COLOURS)],
        marker=marker(style),
        linewidth=1.4,
        elinewidth=1.1,
        capsize=2,
        label=label,
    )


def _medians(units: xr.Dataset) -> dict[int, float]:
    depths = units["depth"].values
    values = units["selectivity"].values
    return {
        depth: float(np.median(values[depths == depth])) for depth in sorted(set(depths.tolist()))
    }
