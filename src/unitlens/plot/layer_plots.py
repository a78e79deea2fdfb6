"""Measures of units layer by layer: their quartiles by depth, and how far they agree."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import FEWEST_FOR_P
from unitlens.analysis.measure_agreement import GROUPS
from unitlens.analysis.measure_agreement import measure_agreement as mean_correlations
from unitlens.catalogue.measures import AGREEMENT_SCORES, LABELS
from unitlens.errors import TableError
from unitlens.plot.canvas import axis_text, draw_marks, drawing_on, drawn_before
from unitlens.plot.layer_axes import label_layers, units_by_depth
from unitlens.plot.needed_tables import need_dimensions, need_variables
from unitlens.plot.style import colour, marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_SELECTIVITY = "what unitlens.class_selectivity returns, or the units of unitlens.open_results(...)"
LIGHT = 0.6  # correlations of a larger size are written in white
_MEASURES = (
    "the units of unitlens.open_results(...), or xarray.merge of what several measures return, "
    "such as unitlens.class_selectivity and unitlens.mutual_information"
)


def selectivity_by_depth(
    units: xr.Dataset,
    *,
    variable: str = "selectivity",
    label: str = "",
    ax: "Axes | None" = None,
    **line: Any,
) -> "Axes":
    """Draw the median and the quartiles of class selectivity in each layer.

    Parameters
    ----------
    units
        Dataset on ``unit`` with ``layer`` and ``depth``: what :func:`unitlens.class_selectivity`
        returns, or ``results.units`` or a selection of its runs. Units of all runs of the table
        are taken together; for several lines, call the function several times with the same `ax`.
        Units without a value are left out, and the default label tells how many.
    variable
        Another variable of the units in place of ``selectivity``.
    label
        Name of the line in the legend; by default the number of units.
    ax
        Axes to draw into; a new figure with one axes if None.
    line
        Properties of the line as Matplotlib names them, such as ``color`` and ``linestyle``; by
        default the next colour and marker of the palette.

    Returns
    -------
    The axes.

    Raises
    ------
    TableError
        Where the table lacks the variable.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> units = xr.Dataset(
    ...     {"selectivity": ("unit", [0.1, 0.2, 0.3, 0.8])},
    ...     coords={
    ...         "layer": ("unit", ["relu1", "relu1", "relu1", "relu2"]),
    ...         "depth": ("unit", [0, 0, 0, 1]),
    ...     },
    ... )
    >>> ax = ul.plot.selectivity_by_depth(units)
    >>> ax.lines[0].get_ydata().tolist()
    [0.2, 0.8]
    """
    source = _SELECTIVITY if variable == "selectivity" else f"a table of units with '{variable}'"
    need_variables(units, (variable, "layer", "depth"), source)
    need_dimensions(units, variable, ("unit",), source)
    known = np.isfinite(units[variable].values)
    shown = units.isel(unit=np.flatnonzero(known))
    values = {depth: own[variable].values for depth, own in units_by_depth(shown).items()}
    text = f"{known.sum():,} units" + (f", {(~known).sum():,} without" if not known.all() else "")
    with drawing_on(ax) as axes:
        place = drawn_before(axes)
        style = {"color": colour(place), "marker": marker(place)} | line
        _draw_quartiles(axes, values, label or text, place, **style)
        label_layers(axes, shown, adds=place > 0)
        axes.set_ylabel(f"{axis_text(units, variable)}\n(median and quartiles)")
        if variable == "selectivity":
            axes.set_ylim(0, 1)
        draw_marks(axes, beside=False)
    return axes


def measure_agreement(
    units: xr.Dataset, *, measures: Sequence[str] | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Draw the rank correlation of each two measures of units, averaged over layers.

    Parameters
    ----------
    units
        Dataset on ``unit`` with ``layer``, ``depth`` and at least two measures: ``results.units``,
        or ``xr.merge`` of what several measures return. The correlations are within layers, so
        that units of different layers are not compared; layers of fewer than ten units do not
        count.
    measures
        Names of the variables; by default all measures of selectivity that the table has.
    ax
        Axes to draw into; a new figure with one axes if None. The colour bar takes room from it.

    Returns
    -------
    The axes.

    Raises
    ------
    TableError
        Where the table has fewer than two of the measures, or no layer has ten units.

    Examples
    --------
    >>> import numpy as np
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> units = xr.Dataset(
    ...     {
    ...         "selectivity": ("unit", np.linspace(0, 1, 10)),
    ...         "mutual_information": ("unit", np.linspace(0, 2, 10)),
    ...     },
    ...     coords={"layer": ("unit", ["relu1"] * 10), "depth": ("unit", [0] * 10)},
    ... )
    >>> ax = ul.plot.measure_agreement(units)
    >>> [text.get_text() for text in ax.texts]
    ['1.00']
    """
    need_variables(units, ("depth",), _MEASURES)
    if measures is None:
        measures = [name for name in AGREEMENT_SCORES if name in units.variables]
    need_variables(units, measures, _MEASURES)
    if len(measures) < 2:
        named = ", ".join(measures) or "none"
        raise TableError(
            f"the table has {len(measures)} measure ({named}), but two are compared; pass "
            f"{_MEASURES}"
        )
    alone = {name: ("unit", np.zeros(units.sizes["unit"], int)) for name in GROUPS}
    alone = {name: zeros for name, zeros in alone.items() if name not in units.variables}
    matrix = mean_correlations(units.assign(alone), measures=measures)
    if not matrix.attrs["layers"]:
        raise TableError(
            f"no layer of the table has {FEWEST_FOR_P} units with two of the measures, which a "
            "correlation needs; pass a table of wider layers"
        )
    with drawing_on(ax, height=1.6 + 0.42 * len(measures)) as axes:
        image = _draw_matrix(axes, matrix)
        axes.figure.colorbar(image, ax=axes, label="Spearman correlation", shrink=0.8)
        layers = matrix.attrs["layers"]
        axes.set_xlabel(f"measure (mean over {layers} layers)" if layers > 1 else "measure")
    return axes


def _draw_quartiles(
    axes: "Axes", values: Mapping[int, np.ndarray], label: str, place: int, **style: Any
) -> None:
    """Draw the quartiles at each depth, moved aside by the place of the line on its axes."""
    low, middle, high = np.array([np.percentile(v, (25, 50, 75)) for v in values.values()]).T
    axes.errorbar(
        np.array(list(values)) + 0.09 * place - 0.09,
        middle,
        yerr=(middle - low, high - middle),
        label=label,
        **{"linewidth": 1.4, "elinewidth": 1.1, "capsize": 2} | style,
    )


def _draw_matrix(axes: "Axes", matrix: xr.DataArray) -> "AxesImage":
    """Draw the correlations of each two measures below the diagonal, with their numbers."""
    size = matrix.sizes["measure"]
    names = [LABELS.get(name, name) for name in matrix["measure"].values.tolist()]
    values = np.where(np.tri(size, k=-1, dtype=bool), matrix.values, np.nan)[1:, :-1]
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
    return image
