"""Class selectivity layer by layer: over the depth of networks and over training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import rank_correlations
from unitlens.analysis.measure_agreement import layer_means
from unitlens.analysis.run_groups import group_runs, rows_of
from unitlens.catalogue.measures import LABELS
from unitlens.figures.layer_axes import (
    depth_colours,
    label_layers,
    layer_names,
    legend_depths,
    units_by_depth,
)
from unitlens.figures.needs import figure, finding, require_kept, require_runs, require_units
from unitlens.figures.style import (
    colour,
    draw_legend,
    draw_zero,
    epoch_ticks,
    legend_below,
    marker,
    new_figure,
    scale_symlog,
)
from unitlens.figures.wording import known_mean, networks
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMES = 8  # layers that the legend names; of more layers, the first and the last
OVER_TRAINING = {
    "selectivity": f"mean {LABELS['selectivity']}",
    "loss_increase": "mean loss increase\n(nats)",
    "spearman": "Spearman correlation\nof the two",
}


@figure
def selectivity_depth(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw median and quartiles of selectivity by depth, in a panel for each model."""
    units = require_units(results, runs, ("selectivity",))
    specs = require_runs(results, runs)
    models = group_runs(specs, ("model",))
    drawn = new_figure(height=4.3)
    panels = drawn.subplots(1, len(models), sharey=True, squeeze=False)[0]
    styles: dict[str, int] = {}
    for axes, model in zip(panels, models, strict=True):
        for place, group in enumerate(group_runs(rows_of(specs, model.runs))):
            style = styles.setdefault(group.label, len(styles))
            _draw_quartiles(axes, rows_of(units, group.runs), group.label, place, style)
        label_layers(axes, rows_of(units, model.runs))
        axes.set_title(str(model.values["model"]))
    panels[0].set_ylabel("class selectivity")
    panels[0].set_ylim(0, 1)
    legend_below(drawn, panels)
    return drawn


def _draw_quartiles(axes: "Axes", units: xr.Dataset, label: str, place: int, style: int) -> None:
    """Draw the quartiles at each depth, moved aside by the place of the group in its panel."""
    values = {depth: own["selectivity"].values for depth, own in units_by_depth(units).items()}
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


@finding
def selectivity_depth_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell the median in the first and the last layer of each model."""
    units = require_units(results, runs, ("selectivity",))
    medians = {
        str(model.values["model"]): [
            float(np.median(own["selectivity"].values))
            for own in units_by_depth(rows_of(units, model.runs)).values()
        ]
        for model in group_runs(require_runs(results, runs), ("model",))
    }
    rises = [of_layers[-1] > of_layers[0] for of_layers in medians.values()]
    way = "rises" if all(rises) else "falls" if not any(rises) else "changes"
    ends = "; ".join(f"{of[0]:.2f} to {of[-1]:.2f} ({model})" for model, of in medians.items())
    pooled = rank_correlations(units, target="selectivity", measures=("depth",), by=())
    rho = float(pooled["spearman"][0])
    correlation = f"{rho:.2f}" if np.isfinite(rho) else "undefined (one layer only)"
    return (
        f"From the first to the last layer the median class selectivity {way}, from {ends}. Over "
        f"all {units.sizes['unit']:,} units the rank correlation of selectivity with depth is "
        f"{correlation}."
    )


@figure
def selectivity_over_training(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw selectivity, importance and their correlation at kept epochs, a line for each layer."""
    layers = _layers_at_epochs(results, runs)
    depths = layers["depth"].values
    names = layer_names(layers)
    drawn = new_figure(height=6.8)
    panels = drawn.subplots(len(OVER_TRAINING), 1, sharex=True)
    lines = {}
    for depth, shade in depth_colours(depths.tolist()).items():
        own = layers.isel(row=np.flatnonzero(depths == depth))
        style: dict[str, Any] = {"color": shade, "marker": ".", "linewidth": 1.5}
        for axes, name in zip(panels, OVER_TRAINING, strict=True):
            epochs, mean, low, high = _over_networks(own, name)
            lines[depth] = axes.plot(epochs, mean, **style)[0]
            axes.fill_between(epochs, low, high, color=shade, alpha=0.13, linewidth=0)
    for axes, label in zip(panels, OVER_TRAINING.values(), strict=True):
        axes.set_ylabel(label)
    scale_symlog(panels[1], layers["loss_increase"].values)
    draw_zero(panels[2])
    epoch_ticks(panels[2], np.unique(layers["epoch"].values))
    shown = {names[depth]: lines[depth] for depth in legend_depths(names, MOST_NAMES)}
    draw_legend(drawn, shown, title="layer")
    return drawn


@finding
def selectivity_over_training_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell selectivity and its correlation with importance at the first and the last epoch."""
    layers = _layers_at_epochs(results, runs)
    epochs = layers["epoch"].values
    trained = np.unique(epochs[epochs > 0])
    ends = [layers.isel(row=np.flatnonzero(epochs == epoch)) for epoch in trained[[0, -1]]]
    first, last = ({name: known_mean(end[name].values) for name in OVER_TRAINING} for end in ends)
    count = networks(len(set(layers["run"].values.tolist())))
    changes = (
        f"From epoch {trained[0]} to epoch {trained[-1]} the mean class selectivity of a layer "
        f"goes from {first['selectivity']:.2f} to {last['selectivity']:.2f}, the mean loss "
        f"increase of a unit from {first['loss_increase']:.2g} to {last['loss_increase']:.2g} nats "
        f"({count})."
    )
    if not np.isfinite([first["spearman"], last["spearman"]]).all():
        return f"{changes} No layer has the ten units that a rank correlation of the two needs."
    return (
        f"{changes} The mean rank correlation of the two within layers goes from "
        f"{first['spearman']:.2f} to {last['spearman']:.2f}."
    )


def _over_networks(
    rows: xr.Dataset, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return epochs, and the mean, the least and the largest value of a column over networks."""
    known = rows.isel(row=np.flatnonzero(np.isfinite(rows[name].values)))
    epochs = np.unique(known["epoch"].values)
    values = [known[name].values[known["epoch"].values == epoch] for epoch in epochs]
    mean, low, high = ([f(v) for v in values] for f in (np.mean, np.min, np.max))
    return epochs, np.array(mean), np.array(low), np.array(high)


def _layers_at_epochs(results: Results, runs: Sequence[str]) -> xr.Dataset:
    """Return the means of each layer at each epoch, for the runs with kept epochs."""
    variables = ("selectivity", "loss_increase")
    require_runs(results, runs)
    kept = require_kept(results)
    with_kept = rows_of(kept.runs, runs)["run"].values.tolist()
    return layer_means([require_units(part, with_kept, variables) for part in (kept, results)])
