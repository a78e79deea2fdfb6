"""Plots of the measures by layer: a line for each network, or for each epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unitlens.explorer.depth_medians import depth_medians
from unitlens.explorer.robustness_lines import plot_pane
from unitlens.explorer.run_lines import WIDTH, RunLine, draw_lines
from unitlens.explorer.text_panes import text_line
from unitlens.explorer.unit_columns import UnitColumns

BY_LAYER = ("selectivity", "mutual_information", "loss_increase")


@dataclass(frozen=True)
class LayerLine:
    """The units that one line shows.

    Attributes
    ----------
    colour
        Colour of the line.
    columns
        Table of the units.
    run
        Name of the run, whose units the line shows.
    """

    colour: str
    columns: UnitColumns
    run: str


def layer_plots(lines: Sequence[LayerLine]) -> list[Any]:
    """Draw the medians of selectivity, information and importance in each layer.

    Parameters
    ----------
    lines
        The lines, at least one.
    """
    there = [
        name for name in BY_LAYER if any(name in line.columns.measures.values() for line in lines)
    ]
    drawn = [_measure_by_layer(name, lines) for name in there]
    absent = [name for name in BY_LAYER if name not in there]
    if absent:
        drawn.append(text_line(f"Not measured: {', '.join(absent)}."))
    return drawn


def _measure_by_layer(name: str, lines: Sequence[LayerLine]) -> Any:
    import panel as pn

    drawn, undefined = [], 0
    ticks: dict[int, set[str]] = {}
    lines = [line for line in lines if name in line.columns.measures.values()]
    for line in lines:
        rows = depth_medians(line.columns, name, [line.run])
        x, y, low, high = (
            rows[key].to_numpy(np.float64) for key in ("depth", "median", "low", "high")
        )
        drawn.append(RunLine(line.colour, x, y, low, high))
        undefined += int(rows["undefined"].sum())
        for depth, layer in zip(rows["depth"].tolist(), rows["layer"].tolist(), strict=True):
            ticks.setdefault(int(depth), set()).add(str(layer))
    named = all(len(names) == 1 for names in ticks.values()) and len(ticks) <= 20
    plot = draw_lines(
        drawn,
        "median and quartiles",
        "layer" if named else "depth of the layer",
        lines[0].columns.label(name),
        ticks={depth: min(names) for depth, names in ticks.items()} if named else None,
    )
    told = [text_line(f"Not defined for {undefined:,} units, left out.")] if undefined else []
    return pn.Column(plot_pane(plot), *told, width=WIDTH, margin=0)
