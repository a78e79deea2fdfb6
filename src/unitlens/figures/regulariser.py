"""Networks trained for or against class selectivity, by the strength of the regulariser."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from unitlens.analysis.run_groups import RunGroup, group_runs, rows_of
from unitlens.figures.needs import (
    KIND,
    UnmetNeedError,
    figure,
    finding,
    require_runs,
    require_values,
)
from unitlens.figures.wording import known_mean, mean_spread
from unitlens.plot.style import colour, legend_below, marker, new_figure
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIELD = "selectivity_regulariser"
SHOWN = {
    "test_accuracy": "test accuracy",
    "auc": "AUC",
    "mean_selectivity": "mean class selectivity",
}


@figure
def regulariser(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw test accuracy, AUC and mean selectivity by strength, a line for a kind of network."""
    specs = _regularised_runs(results, runs)
    drawn = new_figure(height=6.4)
    panels = drawn.subplots(len(SHOWN), 1, sharex=True)
    kinds = group_runs(specs, KIND)
    for place, kind in enumerate(kinds):
        own = rows_of(specs, kind.runs)
        strengths = _groups_by_strength(own)
        for axes, name in zip(panels, SHOWN, strict=True):
            style = {"color": colour(place), "marker": marker(place)}
            axes.scatter(
                own[FIELD].values, own[name].values, s=18, alpha=0.45, linewidths=0, **style
            )
            means = [known_mean(_values(own, group, name)) for group in strengths.values()]
            axes.plot(list(strengths), means, linewidth=1.5, label=kind.label, **style)
    for axes, label in zip(panels, SHOWN.values(), strict=True):
        axes.set_ylabel(label)
    panels[-1].set_xlabel("strength of the regulariser, alpha (> 0: for selectivity)")
    if len(kinds) > 1:
        legend_below(drawn, panels)
    return drawn


@finding
def regulariser_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell selectivity, test accuracy and AUC at both ends and at the weakest strength."""
    specs = _regularised_runs(results, runs)
    strengths = _groups_by_strength(specs)
    weakest = min(strengths, key=abs)
    shown = sorted({min(strengths), weakest, max(strengths)})
    listed = ", ".join(f"{alpha:g}" for alpha in shown)

    def means(name: str) -> str:
        return ", ".join(mean_spread(_values(specs, strengths[alpha], name)) for alpha in shown)

    accuracies = {
        alpha: known_mean(_values(specs, group, "test_accuracy"))
        for alpha, group in strengths.items()
    }
    best = max(accuracies, key=lambda alpha: accuracies[alpha])
    return (
        f"At alpha {listed} mean class selectivity is {means('mean_selectivity')}, test accuracy "
        f"{means('test_accuracy')} and AUC {means('auc')}. Of {len(strengths)} strengths, "
        f"{best:g} has the best test accuracy ({accuracies[best]:.3f})."
    )


def _groups_by_strength(specs: xr.Dataset) -> dict[float, RunGroup]:
    return {float(str(group.values[FIELD])): group for group in group_runs(specs, (FIELD,))}


def _values(specs: xr.Dataset, group: RunGroup, name: str) -> np.ndarray:
    return np.asarray(rows_of(specs, group.runs)[name].values)


def _regularised_runs(results: Results, runs: Sequence[str]) -> xr.Dataset:
    """Return the runs with a known strength; there must be at least two strengths."""
    specs = require_runs(results, runs)
    for variable in SHOWN:
        require_values(specs, variable)
    specs = specs.isel(run=np.flatnonzero(np.isfinite(specs[FIELD].values)))
    if np.unique(specs[FIELD].values).size < 2:
        raise UnmetNeedError(
            "needs runs of two strengths of the selectivity regulariser, but all of its runs have "
            "the same; sweep over training.selectivity_regulariser"
        )
    return specs
