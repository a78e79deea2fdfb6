"""The paper's rank correlations of selectivity and importance, by layer and over all units."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from unitlens.analysis.correlations import rank_correlations
from unitlens.figures.paper_marks import PAPER, draw_paper
from unitlens.figures.scatter import ScatterRow
from unitlens.plot.layer_axes import MOST_TICKS, layer_names
from unitlens.plot.style import GREY, draw_legend
from unitlens.reproduction.claim_types import ReportedNumber

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALL_UNITS = "all"  # a tick, and the name of the paper's claims over all units


def draw_paper_correlations(
    row: ScatterRow, target: str, measure: str, numbers: Mapping[str, ReportedNumber]
) -> None:
    """Draw the paper's correlations beside ours, which stand by layer.

    Parameters
    ----------
    row
        The row of a data set, with our correlations by layer.
    target, measure
        The two variables.
    numbers
        The paper's numbers by the names of their claims: ``layer-1`` to the last layer, drawn
        where our networks have as many layers; ``first``, of the first layer; ``all``, of all
        units, drawn in a place of its own beside our correlation over all units of each network.
    """
    axes = row.side
    depths = sorted(set(row.units["depth"].values.tolist()))
    drawn = _numbers_by_depth(depths, numbers)
    for depth, number in drawn.items():
        draw_paper(axes, depth, number, markersize=5.5)
    ours = np.empty(0)
    if ALL_UNITS in numbers:
        ours = _whole_correlations(row, target, measure)
        _draw_whole(row, max(depths) + 1.8, ours, numbers[ALL_UNITS])
        drawn[len(drawn)] = numbers[ALL_UNITS]
    ends = [end for number in drawn.values() for end in number.reading]
    most = float(np.nanmax(np.abs([axes.get_ylim()[1] / 1.15, *ends, *ours])))
    axes.set_ylim(-1.15 * most, 1.15 * most)
    if drawn:
        _extend_legend(axes)


def _numbers_by_depth(
    depths: list[int], numbers: Mapping[str, ReportedNumber]
) -> dict[int, ReportedNumber]:
    """Return the numbers of single layers, by the depth of ours."""
    of_layers = [numbers[name] for name in numbers if name.startswith("layer-")]
    if of_layers and len(of_layers) == len(depths):
        return dict(zip(depths, of_layers, strict=True))
    return {depths[0]: numbers["first"]} if "first" in numbers else {}


def _whole_correlations(row: ScatterRow, target: str, measure: str) -> np.ndarray:
    """Return the rank correlation over all units of each network."""
    by = ("run", "epoch")
    rows = rank_correlations(row.units, target=target, measures=(measure,), by=by)
    return np.asarray(rows["spearman"].values)


def _draw_whole(row: ScatterRow, place: float, ours: np.ndarray, number: ReportedNumber) -> None:
    """Draw correlations over all units in a place of their own, behind a line."""
    axes, names = row.side, layer_names(row.units)
    if len(names) > MOST_TICKS:
        shown = list(names)[:: -(-len(names) // MOST_TICKS)]
        names = {depth: str(depth) for depth in shown}
    axes.set_xticks([*names, place], [*names.values(), ALL_UNITS])
    axes.set_xlim(axes.get_xlim()[0], place + 0.9)
    axes.set_xlabel(f"{axes.get_xlabel()}\n({ALL_UNITS}: over all units)")
    axes.axvline(place - 0.9, color=GREY, linewidth=0.8)
    at = np.full(ours.size, place)
    axes.scatter(at, ours, s=26, facecolor="none", edgecolor=GREY, linewidth=1.2)
    draw_paper(axes, place, number, markersize=5.5)


def _extend_legend(axes: "Axes") -> None:
    """Name the paper's marks in the legend of layers."""
    figure = axes.figure
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    marks = dict(zip(texts, legend.legend_handles, strict=True))
    legend.remove()
    handles, labels = axes.get_legend_handles_labels()
    marks[PAPER] = handles[labels.index(PAPER)]
    draw_legend(figure, marks, title="layer")
