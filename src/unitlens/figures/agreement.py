"""Agreement of a unit's preferred class with its most damaged class, and of measures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import rank_correlations
from unitlens.analysis.measure_agreement import (
    ClassAgreement,
    class_agreement,
    preferred_class_drop,
)
from unitlens.analysis.measure_agreement import measure_agreement as mean_correlations
from unitlens.analysis.run_groups import rows_of
from unitlens.catalogue.measures import LABELS
from unitlens.figures.needs import (
    UnmetNeedError,
    figure,
    finding,
    require_runs,
    require_table,
    require_units,
    require_values,
    runs_by_dataset,
    titles_of,
)
from unitlens.figures.scatter import ScatterRow, draw_scatter
from unitlens.figures.wording import percent, tell_by_dataset
from unitlens.plot.layer_axes import depth_colours, label_layers, units_by_depth
from unitlens.plot.layer_plots import measure_agreement as draw_agreement
from unitlens.plot.style import GREY, draw_share, draw_zero, scale_symlog, stack_rows
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DROP = "preferred_class_drop"


@figure
def class_damage(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw the accuracy drop of each unit's class against its selectivity, a row for a data set."""
    drawn, rows = draw_scatter(results, runs, _units_with_drop, "selectivity", DROP)
    for row in rows:
        _draw_damage(row)
    return drawn


def _draw_damage(row: ScatterRow) -> None:
    """Name the axes, and draw at the side the share of units whose class is the most damaged."""
    axes, side, units = row
    scale_symlog(axes, units[DROP].values)
    draw_zero(axes)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("class selectivity")
    axes.set_ylabel("accuracy drop of the preferred class")
    shades = depth_colours(units["depth"].values.tolist())
    for depth, own in units_by_depth(units).items():
        agreement = class_agreement(own)
        draw_share(side, depth, agreement.share, agreement.chance, color=shades[depth])
    side.set_ylim(0, None)
    side.yaxis.set_major_formatter("{x:.0%}")
    side.set_ylabel("share of units")
    side.set_title(
        "preferred class is\nthe most damaged\n(dashes: by chance)", fontsize=8.5, color=GREY
    )
    label_layers(side, units)


@finding
def class_damage_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell how often the preferred class is the most damaged, and how selectivity goes with it."""
    return tell_by_dataset(results, runs, _tell_damage)


def _tell_damage(results: Results, runs: Sequence[str]) -> str:
    units = _units_with_drop(results, runs)
    pooled = rank_correlations(units, target=DROP, measures=("selectivity",), by=())
    rho = float(pooled["spearman"][0])
    correlation = (
        f"is {rho:.2f} over {int(pooled['n'][0]):,} units"
        if np.isfinite(rho)
        else f"is undefined over {units.sizes['unit']:,} units"
    )
    return (
        f"{_tell_share(class_agreement(units))} The rank correlation of selectivity with the "
        f"accuracy drop of the preferred class {correlation}; that drop is "
        f"{units[DROP].values.mean():.4f} on average, and "
        f"{units['class_accuracy_drop_max'].values.mean():.4f} for the class that loses most."
    )


def _tell_share(agreement: ClassAgreement) -> str:
    if agreement.units == 0:
        return "No unit's ablation makes the accuracy of any class drop."
    return (
        f"Of {agreement.units:,} units whose ablation makes the accuracy of a class drop, the most "
        f"damaged class is the preferred class for {percent(agreement.share)} "
        f"({percent(agreement.chance)} by chance)."
    )


def _units_with_drop(results: Results, runs: Sequence[str]) -> xr.Dataset:
    """Return the ablated units with a preferred class, and the accuracy drop of that class."""
    units = require_units(results, runs, ("selectivity", "class_accuracy_drop_max"))
    for variable in ("preferred_class", "most_damaged_class", "class_accuracy_drop"):
        require_values(units, variable)
    units = units.assign({DROP: ("unit", preferred_class_drop(units))})
    units = units.isel(unit=np.flatnonzero(np.isfinite(units[DROP].values)))
    if units.sizes["unit"] == 0:
        raise UnmetNeedError("needs units with a preferred class, but all of its runs are dead")
    return units


@figure
def measure_agreement(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw the rank correlations between the measures of selectivity, a matrix for a data set."""
    groups = runs_by_dataset(results, runs)
    matrices = [_correlation_matrix(results, group.runs) for group in groups]
    heights = [1.4 + 0.42 * matrix.sizes["measure"] for matrix in matrices]
    drawn, bands = stack_rows(heights, titles_of(groups))
    for band, group in zip(bands, groups, strict=True):
        draw_agreement(rows_of(results.units, group.runs), ax=band.subplots())
    return drawn


@finding
def measure_agreement_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell which measures agree most and which least."""
    return tell_by_dataset(results, runs, _tell_agreement)


def _tell_agreement(results: Results, runs: Sequence[str]) -> str:
    matrix = _correlation_matrix(results, runs)
    names = [LABELS[name] for name in matrix["measure"].values.tolist()]
    rows, columns = np.tril_indices(len(names), -1)
    values = matrix.values[rows, columns]
    known = np.flatnonzero(np.isfinite(values))
    most, least = known[values[known].argmax()], known[values[known].argmin()]

    def pair(place: int) -> str:
        return f"{names[columns[place]]} and {names[rows[place]]} ({values[place]:.2f})"

    return (
        f"The mean rank correlation of two measures within layers ({matrix.attrs['layers']} layers "
        f"of the networks) has a median of {np.median(values[known]):.2f} over the pairs. It is "
        f"largest for {pair(int(most))} and smallest for {pair(int(least))}."
    )


def _correlation_matrix(results: Results, runs: Sequence[str]) -> xr.DataArray:
    """Return the rank correlations of the measures within layers; at least one must be known."""
    require_runs(results, runs)
    units = rows_of(require_table(results, "units"), runs)
    require_values(units, "selectivity")
    matrix = mean_correlations(units)
    if not np.isfinite(matrix.values[np.tril_indices(matrix.sizes["measure"], -1)]).any():
        raise UnmetNeedError(
            "needs a layer of ten units or more on which two measures were measured, but there is "
            "none; show experiments with wider layers"
        )
    return matrix
