"""Lines of runs in one plot: means with ranges, in the colours of the runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unitlens.explorer.axis_scales import Values
from unitlens.explorer.keyboard_design import described
from unitlens.plot.style import COLOURS

MOST_RUNS = len(COLOURS)
WIDTH = 380  # pixels of a plot: two beside each other on a page of 800
_DASHES = ("solid", "dashed", "dotted", "dotdash")


@dataclass(frozen=True)
class RunLine:
    """One line of a plot.

    Attributes
    ----------
    colour
        Colour of the run.
    x, y
        Places of its points.
    low, high
        Ends of the range around each point, where there is one.
    kind
        What the line shows, where a run has several.
    """

    colour: str
    x: Values
    y: Values
    low: Values | None = None
    high: Values | None = None
    kind: str = ""


def draw_lines(
    lines: Sequence[RunLine],
    title: str,
    x_label: str,
    y_label: str,
    *,
    ticks: Mapping[int, str] | None = None,
    log_x: bool = False,
    marked: Mapping[float, str] | None = None,
) -> Any:
    """Draw lines, one colour a run and one dash a kind of line.

    Parameters
    ----------
    lines
        The lines.
    title
        Title of the plot.
    x_label, y_label
        Labels of the axes, with units.
    ticks
        Labels of places on the x axis, where the places are no numbers.
    log_x
        Whether the x axis is logarithmic.
    marked
        Places on the x axis that a vertical line marks, with its colour.
    """
    import holoviews as hv

    hv.extension("bokeh")
    kinds = list(dict.fromkeys(line.kind for line in lines))
    drawn = []
    for line in lines:
        colour = line.colour
        dash = _DASHES[kinds.index(line.kind) % len(_DASHES)]
        if line.low is not None and line.high is not None:
            area = hv.Area((line.x, line.low, line.high), vdims=["low", "high"])
            drawn.append(area.opts(fill_color=colour, fill_alpha=0.15, line_alpha=0))
        curve = hv.Curve((line.x, line.y))
        drawn.append(curve.opts(color=colour, line_dash=dash, line_width=2, tools=["hover"]))
        if line.x.size <= 25:
            marks = hv.Scatter((line.x, line.y))
            drawn.append(marks.opts(color=colour, size=5))
    for place, colour in (marked or {}).items():
        drawn.append(hv.VLine(place).opts(color=colour, line_width=2, alpha=0.6))
    shown: dict[str, Any] = {"xticks": list(ticks.items())} if ticks else {}
    if ticks and max(map(len, ticks.values())) > 6:
        shown["xrotation"] = 45
    return hv.Overlay(drawn).opts(
        title=title,
        fontsize={"title": 9},
        xlabel=x_label,
        ylabel=y_label,
        width=WIDTH,
        height=300,
        padding=0.05,
        logx=log_x,
        show_grid=True,
        show_legend=False,
        default_tools=["pan", "wheel_zoom", "box_zoom", "save", "reset"],
        toolbar="above",
        hooks=[described(f"{y_label} by {x_label}, {title}")],
        **shown,
    )


def mean_line(colour: str, x: Values, values: Values, kind: str = "") -> RunLine:
    """Return the line of the mean of repetitions, with their range.

    Parameters
    ----------
    colour
        Colour of the run.
    x
        Places of the points.
    values
        Values of shape (repetitions, points); a repetition that is not there is NaN.
    kind
        What the line shows.

    Examples
    --------
    >>> line = mean_line(
    ...     "#000000", np.arange(2.0), np.array([[1.0, 4.0], [3.0, 6.0], [np.nan, np.nan]])
    ... )
    >>> line.y.tolist(), line.low.tolist(), line.high.tolist()
    ([2.0, 5.0], [1.0, 4.0], [3.0, 6.0])
    """
    there = values[np.isfinite(values).all(axis=1)]
    if not there.size:
        nothing = np.full(x.shape, np.nan)
        return RunLine(colour, x, nothing, kind=kind)
    return RunLine(colour, x, there.mean(0), there.min(0), there.max(0), kind)
