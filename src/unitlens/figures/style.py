"""The one style of all figures, and how they are saved: the same input gives the same bytes."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase, SubFigure

P = ParamSpec("P")
R = TypeVar("R")

# Okabe & Ito (2008), told apart by people with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
GREY = "#6B6B6B"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
WIDTH = 6.6  # inches, a column of a web page
LETTERS, MARK = 92, 8  # that fit into that width, and that a legend's mark takes
MANY_DECADES = 1e4  # from here on an axis has room for powers of ten only

_RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "svg.fonttype": "path",
    "svg.hashsalt": "unitlens",
    "path.simplify": True,
}


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function that draws or saves in the style of all figures."""

    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        from matplotlib import rc_context

        with rc_context(_RC):
            return function(*args, **kwargs)

    return inside


def new_figure(*, height: float = 3.8, width: float = WIDTH) -> "Figure":
    """Return an empty figure; made without pyplot, so that none stays open."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def stacked(heights: Sequence[float], titles: Sequence[str]) -> "tuple[Figure, list[SubFigure]]":
    """Return an empty figure of rows, each with a title of its own where that is not empty."""
    figure = new_figure(height=sum(heights))
    rows = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0].tolist()
    for row, title in zip(rows, titles, strict=True):
        if title:
            row.suptitle(title, fontsize=10)
    return figure, rows


@styled
def save(figure: "Figure", directory: Path, name: str) -> None:
    """Write ``{name}.svg`` and ``{name}.png``, without dates."""
    figure.savefig(directory / f"{name}.svg", metadata={"Date": None, "Creator": None})
    figure.savefig(directory / f"{name}.png", metadata={"Software": None})


def legend_below(figure: "Figure", panels: "Sequence[Axes]", *, title: str = "") -> None:
    """Put one legend of all panels under the figure, where it covers no data."""
    found: dict[str, Any] = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    draw_legend(figure, found, title=title)


def draw_legend(figure: "FigureBase", found: dict[str, Any], *, title: str = "") -> None:
    """Put a legend of these texts and marks under the figure."""
    room = LETTERS // (MARK + max(map(len, found)))
    legend = figure.legend(
        handles=list(found.values()),
        labels=list(found),
        loc="outside lower center",
        ncols=max(1, min(len(found), room)),
        title=title or None,
    )
    legend.get_title().set_fontsize(9)


def whole_numbers(axes: "Axes") -> None:
    """Put the ticks of the horizontal axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def log_ticks(axes: "Axes") -> None:
    """Make the horizontal axis logarithmic, with plain numbers at 1, 2 and 5 where they fit."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    few = high / low < MANY_DECADES
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=9))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def marker(place: int) -> str:
    """Return the marker of the group at a place; colour and marker together repeat late."""
    return MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]


def depth_colours(depths: Sequence[int]) -> dict[int, Any]:
    """Return a colour for each depth, from dark to light with the layer's index."""
    from matplotlib import colormaps

    ordered = sorted(set(depths))
    places = np.linspace(0.02, 0.86, max(len(ordered), 2))
    return {
        depth: colormaps["viridis"](place) for depth, place in zip(ordered, places, strict=False)
    }
