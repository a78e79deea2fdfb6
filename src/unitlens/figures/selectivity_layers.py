"""Class selectivity layer by layer over training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.analysis.measure_agreement import layer_means
from unitlens.analysis.run_groups import rows_of
from unitlens.catalogue.measures import LABELS
from unitlens.config.looks import epoch_text
from unitlens.figures.needs import figure, finding, require_kept, require_runs, require_units
from unitlens.figures.wording import known_mean
from unitlens.plot.canvas import networks
from unitlens.plot.layer_axes import depth_colours, layer_names, legend_depths
from unitlens.plot.style import (
    draw_legend,
    draw_zero,
    epoch_ticks,
    new_figure,
    scale_symlog,
)
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NAMES = 8  # layers that the legend names; of more layers, the first and the last
OVER_TRAINING = {
    "selectivity": f"mean {LABELS['selectivity']}",
    "loss_increase": "mean loss increase\n(nats)",
    "spearman": "Spearman correlation\nof the two",
}


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
    several = len(set(layers["run"].values.tolist())) > 1
    bands = "\nbands: least to largest value of the networks" if several else ""
    draw_legend(drawn, shown, title=f"layer{bands}")
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
    first_epoch, last_epoch = map(epoch_text, trained[[0, -1]])
    changes = (
        f"From epoch {first_epoch} to epoch {last_epoch} the mean class selectivity of a layer "
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
