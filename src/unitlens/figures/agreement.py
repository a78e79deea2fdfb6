"""Whether what is said of a unit agrees: measures among themselves, and its class with the harm."""

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
from unitlens.analysis.measure_agreement import measure_agreement as agreement_of
from unitlens.analysis.run_groups import rows_of
from unitlens.errors import TableError
from unitlens.figures.scatter import (
    ScatterRow,
    label_layers,
    linear_below,
    scatter_rows,
    units_of,
)
from unitlens.figures.selection import (
    by_dataset,
    specs_of,
    table_of,
    tell_each,
    titles_of,
    variable_of,
)
from unitlens.figures.style import (
    GREY,
    depth_colours,
    stacked,
    styled,
)
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

NAMES = {
    "selectivity": "class selectivity",
    "ccmas": "CCMAS",
    "class_correlation": "class correlation",
    "roc_auc": "ROC AUC",
    "informedness": "informedness",
    "average_precision": "average precision",
    "precision_60": "precision of top 60",
    "precision_100": "precision of top 100",
    "mutual_information": "mutual information",
    "sparsity": "sparsity",
}
DROP = "preferred_class_drop"
LIGHT = 0.6  # correlations beyond it are written in white


@styled
def class_damage(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw the accuracy drop of each unit's class against its selectivity: a row a data set."""
    figure, rows = scatter_rows(results, runs, "class_damage", _damage, "selectivity", DROP)
    for row in rows:
        _draw_damage(row)
    return figure


def _draw_damage(row: ScatterRow) -> None:
    """Name the axes, and draw beside the share of units whose class is the most damaged."""
    axes, side, units = row
    axes.set_yscale("symlog", linthresh=linear_below(units[DROP].values))
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("class selectivity")
    axes.set_ylabel("accuracy drop of the preferred class")
    shades = depth_colours(units["depth"].values.tolist())
    for depth, shade in shades.items():
        found = class_agreement(units.isel(unit=np.flatnonzero(units["depth"].values == depth)))
        side.bar(depth, found.share, width=0.6, color=shade, alpha=0.85)
        side.plot(
            [depth - 0.38, depth + 0.38],
            [found.chance] * 2,
            color="black",
            linewidth=1.4,
            linestyle=(0, (2, 1)),
        )
    side.set_ylim(0, None)
    side.yaxis.set_major_formatter("{x:.0%}")
    side.set_ylabel("share of units")
    side.set_title(
        "preferred class is\nthe most damaged\n(dashes: by chance)", fontsize=8.5, color=GREY
    )
    label_layers(side, units)


def class_damage_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell how often the preferred class is the most damaged, and whether selectivity foretells."""
    return tell_each(results, runs, "class_damage", _damage_told)


def _damage_told(results: Results, runs: Sequence[str]) -> str:
    units = _damage(results, runs)
    found = class_agreement(units)
    pooled = rank_correlations(units, target=DROP, measures=("selectivity",), by=())
    rho = float(pooled["spearman"][0])
    told = (
        f"is {rho:.2f} over {int(pooled['n'][0]):,} units"
        if np.isfinite(rho)
        else f"is undefined over {units.sizes['unit']:,} units"
    )
    return (
        f"{_share(found)} The rank correlation of selectivity with the accuracy drop of the "
        f"preferred class {told}; that drop is {units[DROP].values.mean():.4f} on average, and "
        f"{units['class_accuracy_drop_max'].values.mean():.4f} for the class that loses most."
    )


def _share(found: ClassAgreement) -> str:
    if found.units == 0:
        return "No unit's ablation makes the accuracy of any class drop."
    return (
        f"Of {found.units:,} units whose ablation makes the accuracy of a class drop, the most "
        f"damaged class is the preferred one for {100 * found.share:.0f} % "
        f"({100 * found.chance:.0f} % by chance)."
    )


def _damage(results: Results, runs: Sequence[str]) -> xr.Dataset:
    """Return the units with a preferred class that were ablated, and the drop of that class."""
    name = "class_damage"
    needed = ("selectivity", "class_accuracy_drop_max")
    units = units_of(results, runs, needed, name)
    for variable in ("preferred_class", "most_damaged_class", "class_accuracy_drop"):
        variable_of(units, variable, name)
    units = units.assign({DROP: ("unit", preferred_class_drop(units))})
    units = units.isel(unit=np.flatnonzero(np.isfinite(units[DROP].values)))
    if units.sizes["unit"] == 0:
        raise TableError(
            f"the figure {name} needs units with a preferred class, but all of its runs are dead"
        )
    return units


@styled
def measure_agreement(results: Results, runs: Sequence[str]) -> "Figure":
    """Draw the rank correlations between the measures of selectivity: a matrix a data set."""
    parts = by_dataset(results, runs, "measure_agreement")
    matrices = [_matrix(results, part.runs) for part in parts]
    heights = [1.4 + 0.42 * matrix.sizes["measure"] for matrix in matrices]
    figure, bands = stacked(heights, titles_of(parts))
    for band, matrix in zip(bands, matrices, strict=True):
        _draw_matrix(band, matrix)
    return figure


def _draw_matrix(figure: "SubFigure", matrix: xr.DataArray) -> None:
    size = matrix.sizes["measure"]
    names = [NAMES[name] for name in matrix["measure"].values.tolist()]
    values = np.where(np.tri(size, k=-1, dtype=bool), matrix.values, np.nan)[1:, :-1]
    axes = figure.subplots()
    image = axes.imshow(values, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for row, column in np.argwhere(np.isfinite(values)).tolist():
        value = float(values[row, column])
        shade = "white" if abs(value) > LIGHT else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=shade, fontsize=8.5)
    axes.set_xticks(range(size - 1), names[:-1], rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size - 1), names[1:])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set_xlabel("measure")
    axes.set_ylabel("measure")
    figure.colorbar(image, ax=axes, label="Spearman correlation", shrink=0.8)


def measure_agreement_finding(results: Results, runs: Sequence[str]) -> str:
    """Tell which measures agree most and least, and how selectivity goes with the others."""
    return tell_each(results, runs, "measure_agreement", _agreement_told)


def _agreement_told(results: Results, runs: Sequence[str]) -> str:
    matrix = _matrix(results, runs)
    names = [NAMES[name] for name in matrix["measure"].values.tolist()]
    rows, columns = np.tril_indices(len(names), -1)
    values = matrix.values[rows, columns]
    known = np.flatnonzero(np.isfinite(values))
    most, least = known[values[known].argmax()], known[values[known].argmin()]

    def pair(place: int) -> str:
        return f"{names[columns[place]]} and {names[rows[place]]} ({values[place]:.2f})"

    return (
        f"Within layers ({matrix.attrs['layers']} of the networks) the mean rank correlation of "
        f"two measures is {np.median(values[known]):.2f} in the median over the pairs. It is "
        f"largest for {pair(int(most))} and least for {pair(int(least))}."
    )


def _matrix(results: Results, runs: Sequence[str]) -> xr.DataArray:
    name = "measure_agreement"
    specs_of(results, runs, name)
    units = rows_of(table_of(results, "units", name), runs)
    variable_of(units, "selectivity", name)
    matrix = agreement_of(units)
    if not np.isfinite(matrix.values[np.tril_indices(matrix.sizes["measure"], -1)]).any():
        raise TableError(
            f"the figure {name} needs a layer of ten units or more on which two measures were "
            "measured, but there is none; show experiments with wider layers"
        )
    return matrix
