"""Networks trained for or against class selectivity, by the strength of the regulariser."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from unitlens.analysis.run_groups import RunGroup, group_runs, rows_of
from unitlens.errors import TableError
from unitlens.figures.curves import colour, mean_spread
from unitlens.figures.selection import specs_of, variable_of
from unitlens.figures.style import (
    legend_below,
    marker,
    new_figure,
    styled,
)
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIELD = "selectivity_regulariser"
SHOWN = {
    "test_accuracy": "test accuracy",
    "auc": "AUC",
    "mean_selectivity": "mean class selectivity",
}
KIND = ("dataset", "model", "widths", "width", "corruption", "dropout", "batch_norm")


@styled
def regulariser(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw test accuracy, AUC and mean selectivity by strength, a line a kind of network."""
    specs = _specs(results, runs)
    figure = new_figure(height=6.4)
    panels = figure.subplots(len(SHOWN), 1, sharex=True)
    kinds = group_runs(specs, KIND)
    for place, kind in enumerate(kinds):
        own = rows_of(specs, kind.runs)
        strengths = _by_strength(own)
        for axes, name in zip(panels, SHOWN, strict=True):
            style = {"color": colour(place), "marker": marker(place)}
            axes.scatter(
                own[FIELD].values, own[name].values, s=18, alpha=0.45, linewidths=0, **style
            )
            means = [_mean(rows_of(own, group.runs), name) for group in strengths.values()]
            axes.plot(list(strengths), means, linewidth=1.5, label=kind.label, **style)
    for axes, label in zip(panels, SHOWN.values(), strict=True):
        axes.set_ylabel(label)
    panels[-1].set_xlabel("strength of the regulariser, alpha (> 0: for selectivity)")
    if len(kinds) > 1:
        legend_below(figure, panels)
    return figure


def regulariser_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell selectivity, test accuracy and AUC at the ends and without the regulariser."""
    specs = _specs(results, runs)
    strengths = _by_strength(specs)
    ordered = sorted(strengths, key=abs)
    shown = sorted({min(strengths), ordered[0], max(strengths)})
    listed = ", ".join(f"{alpha:g}" for alpha in shown)

    def told(name: str) -> str:
        rows = (rows_of(specs, strengths[alpha].runs)[name].values for alpha in shown)
        return ", ".join(mean_spread(values) for values in rows)

    best = max(strengths, key=lambda a: _mean(rows_of(specs, strengths[a].runs), "test_accuracy"))
    accuracy = _mean(rows_of(specs, strengths[best].runs), "test_accuracy")
    return (
        f"At alpha {listed} mean class selectivity is {told('mean_selectivity')}, test accuracy "
        f"{told('test_accuracy')} and AUC {told('auc')}. Of {len(strengths)} strengths test "
        f"accuracy is best at {best:g} ({accuracy:.3f})."
    )


def _by_strength(specs: xr.Dataset) -> dict[float, RunGroup]:
    return {float(str(group.values[FIELD])): group for group in group_runs(specs, (FIELD,))}


def _mean(specs: xr.Dataset, name: str) -> float:
    known = specs[name].values[np.isfinite(specs[name].values)]
    return float(known.mean()) if known.size else float("nan")


def _specs(results: Results, runs: Sequence[str]) -> xr.Dataset:
    """Return the rows of the runs that were trained, at two strengths at least."""
    name = "regulariser"
    specs = specs_of(results, runs, name)
    for variable in SHOWN:
        variable_of(specs, variable, name)
    specs = specs.isel(run=np.flatnonzero(np.isfinite(specs[FIELD].values)))
    if np.unique(specs[FIELD].values).size < 2:
        raise TableError(
            f"the figure {name} needs runs of two strengths of the selectivity regulariser, but "
            "all of its runs have the same; sweep over training.selectivity_regulariser"
        )
    return specs
