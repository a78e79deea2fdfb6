"""Selectivity and importance of units over the depth of networks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from unitlens.analysis.correlations import rank_correlations
from unitlens.analysis.run_groups import group_runs, rows_of
from unitlens.figures.needs import figure, finding, require_runs, require_units
from unitlens.figures.unit_correlations import IMPORTANCE
from unitlens.plot.layer_axes import units_by_depth
from unitlens.plot.layer_plots import selectivity_by_depth
from unitlens.plot.style import colour, draw_zero, legend_below, marker, new_figure, scale_symlog
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@figure
def selectivity_depth(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw median and quartiles of selectivity by depth, in a panel for each model."""
    return _draw_depth(results, runs, "selectivity")[0]


@finding
def selectivity_depth_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the median in the first and the last layer of each model."""
    return _finding(results, runs, "selectivity", "class selectivity", "selectivity", ".2f")


@figure
def importance_depth(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw median and quartiles of importance by depth, in a panel for each model."""
    drawn, panels = _draw_depth(results, runs, IMPORTANCE)
    units = require_units(results, runs, (IMPORTANCE,))
    quartiles = [
        np.percentile(own[IMPORTANCE].values, (25, 50, 75))
        for own in units_by_depth(units).values()
    ]
    for axes in panels:
        scale_symlog(axes, np.concatenate(quartiles))
        draw_zero(axes)
    return drawn


@finding
def importance_depth_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the median in the first and the last layer of each model."""
    return _finding(results, runs, IMPORTANCE, "loss increase (nats)", "the loss increase", ".2g")


def _draw_depth(
    results: Results, runs: Sequence[str], variable: str
) -> tuple["Figure", list["Axes"]]:
    units = require_units(results, runs, (variable,))
    specs = require_runs(results, runs)
    models = group_runs(specs, ("model",))
    drawn = new_figure(height=4.3)
    panels = drawn.subplots(1, len(models), sharey=True, squeeze=False)[0]
    styles: dict[str, int] = {}
    for axes, model in zip(panels, models, strict=True):
        for group in group_runs(rows_of(specs, model.runs)):
            style = styles.setdefault(group.label, len(styles))
            line = {"color": colour(style), "marker": marker(style)}
            own = rows_of(units, group.runs)
            selectivity_by_depth(own, variable=variable, label=group.label, ax=axes, **line)
        axes.set_title(str(model.values["model"]))
        axes.label_outer()
    legend_below(drawn, panels)
    return drawn, list(panels)


def _finding(
    results: Results, runs: Sequence[str], variable: str, name: str, short: str, form: str
) -> str:
    units = require_units(results, runs, (variable,))
    medians = {
        str(model.values["model"]): [
            float(np.median(own[variable].values))
            for own in units_by_depth(rows_of(units, model.runs)).values()
        ]
        for model in group_runs(require_runs(results, runs), ("model",))
    }
    rises = [of_layers[-1] > of_layers[0] for of_layers in medians.values()]
    way = "rises" if all(rises) else "falls" if not any(rises) else "changes"
    ends = "; ".join(
        f"{of[0]:{form}} to {of[-1]:{form}} ({model})" for model, of in medians.items()
    )
    pooled = rank_correlations(units, target=variable, measures=("depth",), by=())
    rho = float(pooled["spearman"][0])
    correlation = f"{rho:.2f}" if np.isfinite(rho) else "undefined (one layer only)"
    return (
        f"From the first to the last layer the median {name} {way}, from {ends}. Over "
        f"all {units.sizes['unit']:,} units the rank correlation of {short} with depth is "
        f"{correlation}."
    )
