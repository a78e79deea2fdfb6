"""Selectivity and importance of units over the depth of networks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from unitlens.analysis.correlations import rank_correlations
from unitlens.analysis.run_groups import group_runs, rows_of
from unitlens.catalogue.measures import LABELS
from unitlens.figures.layer_axes import label_layers, units_by_depth
from unitlens.figures.needs import figure, finding, require_runs, require_units
from unitlens.figures.style import colour, draw_zero, legend_below, marker, new_figure, scale_symlog
from unitlens.figures.unit_correlations import IMPORTANCE
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMPORTANCE_LABEL = "loss increase (nats)"


@figure
def selectivity_depth(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw median and quartiles of selectivity by depth, in a panel for each model."""
    drawn, panels = _draw_depth(results, runs, "selectivity", LABELS["selectivity"])
    panels[0].set_ylim(0, 1)
    return drawn


@finding
def selectivity_depth_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the median in the first and the last layer of each model."""
    return _finding(results, runs, "selectivity", "class selectivity", "selectivity", ".2f")


@figure
def importance_depth(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw median and quartiles of importance by depth, in a panel for each model."""
    drawn, panels = _draw_depth(results, runs, IMPORTANCE, IMPORTANCE_LABEL)
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
    results: Results, runs: Sequence[str], variable: str, label: str
) -> tuple["Figure", list["Axes"]]:
    units = require_units(results, runs, (variable,))
    specs = require_runs(results, runs)
    models = group_runs(specs, ("model",))
    drawn = new_figure(height=4.3)
    panels = drawn.subplots(1, len(models), sharey=True, squeeze=False)[0]
    styles: dict[str, int] = {}
    for axes, model in zip(panels, models, strict=True):
        for place, group in enumerate(group_runs(rows_of(specs, model.runs))):
            style = styles.setdefault(group.label, len(styles))
            own = rows_of(units, group.runs)
            values = {depth: of[variable].values for depth, of in units_by_depth(own).items()}
            draw_quartiles(axes, values, group.label, place, style)
        label_layers(axes, rows_of(units, model.runs))
        axes.set_title(str(model.values["model"]))
    panels[0].set_ylabel(label)
    legend_below(drawn, panels)
    return drawn, list(panels)


def draw_quartiles(
    axes: "Axes", values: Mapping[int, np.ndarray], label: str, place: int, style: int
) -> None:
    """Draw the quartiles at each depth, moved aside by the place of the group in its panel."""
    low, middle, high = np.array([np.percentile(v, (25, 50, 75)) for v in values.values()]).T
    axes.errorbar(
        np.array(list(values)) + 0.09 * place - 0.09,
        middle,
        yerr=(middle - low, high - middle),
        color=colour(style),
        marker=marker(style),
        linewidth=1.4,
        elinewidth=1.1,
        capsize=2,
        label=label,
    )


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
