"""Plots of cumulative ablation and of noise: a line for each network, or for each epoch."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from unitlens.explorer.run_lines import WIDTH, draw_lines, mean_line
from unitlens.plot.canvas import noise_text

RANDOM = "random orders"
_UNITS = {"accuracy": "", "loss": " (nats)"}


def kind_of(order: str) -> str:
    """Return what an order is shown with: the orders of one kind differ in their number alone.

    Parameters
    ----------
    order
        Name of the order, as in the table of curves.

    Examples
    --------
    >>> kind_of("random-3"), kind_of("selectivity-ascending")
    ('random orders', 'selectivity-ascending')
    """
    kind = re.sub(r"-\d+$", "", order)
    return RANDOM if kind == "random" else kind


def ablation_plots(curves: Sequence[tuple[str, xr.Dataset]], kind: str) -> list[Any]:
    """Draw accuracy and loss over the ablated fraction.

    Parameters
    ----------
    curves
        The colour of each line, and its row of the table of curves.
    kind
        The kind of order; see :func:`kind_of`.
    """
    drawn = []
    for name, units in _UNITS.items():
        lines, count = [], 0
        for colour, row in curves:
            kinds = np.array([kind_of(str(order)) for order in row["order"].values])
            chosen = row.isel(order=np.flatnonzero(kinds == kind))
            count = chosen.sizes["order"]
            x = np.asarray(chosen["ablated_fraction"].values, np.float64)
            lines.append(mean_line(colour, x, chosen[name].transpose("order", "ablated").values))
        what = f"mean and range of {count} orders" if count > 1 else "one order"
        drawn.append(
            plot_pane(draw_lines(lines, f"{kind}: {what}", "ablated fraction", name + units))
        )
    return drawn


def noise_plots(noise: Sequence[tuple[str, xr.Dataset]]) -> list[Any]:
    """Draw accuracy and loss over the scale of noise.

    Parameters
    ----------
    noise
        The colour of each line, and its row of the table of noise.
    """
    drawn = []
    for name, units in _UNITS.items():
        lines, count = [], 0
        for colour, row in noise:
            scales = np.asarray(row["noise_scale"].values, np.float64)
            positive = scales > 0  # the axis is logarithmic
            values = row[name].transpose("draw", "noise_scale").values[:, positive]
            lines.append(mean_line(colour, scales[positive], values))
            count = row.sizes["draw"]
        title = f"mean and range of {count} draws"
        labels = dict.fromkeys(noise_text(row) for _, row in noise)
        x_label = noise_text(xr.Dataset()) if len(labels) > 1 else next(iter(labels))
        drawn.append(plot_pane(draw_lines(lines, title, x_label, name + units, log_x=True)))
    return drawn


def plot_pane(drawn: Any) -> Any:
    """Return the pane of a plot, in the width of which two have room on a page of 800 pixels.

    Parameters
    ----------
    drawn
        What :func:`draw_lines` returns.
    """
    import panel as pn

    return pn.pane.HoloViews(drawn, linked_axes=False, width=WIDTH, margin=0)
