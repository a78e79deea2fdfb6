"""The style of all figures, and how figures are saved: the same input gives the same bytes."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from unitlens.config.looks import epoch_text
from unitlens.local_files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase, SubFigure

P = ParamSpec("P")
R = TypeVar("R")

# Okabe & Ito (2008): people with any colour vision can tell these colours apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
GREY = "#6B6B6B"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
WIDTH = 6.6  # inches, a column of a web page
LETTERS = 92  # width of a legend, in letters
MARK = 8  # width of a mark in a legend, in letters
MOST_EPOCHS = 9  # epochs that an axis has room for
MANY_DECADES = 1e4  # an axis over a larger ratio has room for powers of ten only

STYLE: dict[Any, Any] = {
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
    """Make a function that draws or saves use the style of all figures."""

    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        from matplotlib import rc_context

        with rc_context(STYLE):
            return function(*args, **kwargs)

    return inside


def new_figure(*, height: float = 3.8, width: float = WIDTH) -> "Figure":
    """Return an empty figure, made without pyplot, which would keep the figure open."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


@styled
def draw_note(text: str) -> "Figure":
    """Return a picture of a text alone."""
    figure = new_figure(height=1.2)
    figure.text(0.5, 0.5, fill(text, LETTERS), ha="center", va="center", fontsize=9)
    return figure


def stack_rows(heights: Sequence[float], titles: Sequence[str]) -> "tuple[Figure, list[SubFigure]]":
    """Return an empty figure and its rows, of these heights in inches and with these titles."""
    figure = new_figure(height=sum(heights))
    rows = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0].tolist()
    for row, title in zip(rows, titles, strict=True):
        if title:
            row.suptitle(title, fontsize=10)
    return figure, rows


@styled
def save(figure: "Figure", directory: Path, name: str) -> None:
    """Write ``{name}.svg`` and ``{name}.png``, without dates."""
    show_dollars(figure)
    with replacing(directory / f"{name}.svg") as partial:
        figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})
    with replacing(directory / f"{name}.png") as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})


def show_dollars(figure: "Figure | Axes") -> None:
    """Draw dollar signs as they are: in a name, a pair of them begins no formula.

    The numbers at the ticks of logarithmic axes stay formulas.
    """
    from matplotlib.axes import Axes
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter

    ticks: set[object] = set()
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            if not isinstance(axis.get_major_formatter(), FixedFormatter):
                ticks |= set(axis.get_ticklabels(which="both"))
    for text in figure.findobj(Text):
        if text not in ticks:
            text.set_parse_math(False)


def legend_below(figure: "Figure", panels: "Sequence[Axes]", *, title: str = "") -> None:
    """Draw one legend of all panels under the figure, in place of the legends on the panels."""
    marks: dict[str, Any] = {}
    for axes in panels:
        remove_legend(axes)
        handles, labels = axes.get_legend_handles_labels()
        marks |= dict(zip(labels, handles, strict=True))
    draw_legend(figure, marks, title=title)


def remove_legend(axes: "Axes") -> None:
    """Remove the legend that a plot has drawn on its axes."""
    if (legend := axes.get_legend()) is not None:
        legend.remove()


def draw_legend(figure: "FigureBase", marks: dict[str, Any], *, title: str = "") -> None:
    """Draw a legend under the figure: the marks by their texts."""
    columns = LETTERS // (MARK + max(map(len, marks)))
    legend = figure.legend(
        handles=list(marks.values()),
        labels=list(marks),
        loc="outside lower center",
        ncols=max(1, min(len(marks), columns)),
        title=title or None,
    )
    legend.get_title().set(fontsize=9, multialignment="center")


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


def epoch_ticks(axes: "Axes", epochs: np.ndarray) -> None:
    """Make the horizontal axis logarithmic from epoch 1 on, with ticks at some of the epochs.

    Of many epochs, whole ones are ticks.
    """
    axes.set_xscale("symlog", linthresh=1, linscale=0.6)
    whole = epochs[epochs == np.floor(epochs)]
    named = whole if 2 * whole.size >= MOST_EPOCHS else epochs
    shown = named[:: -(-named.size // MOST_EPOCHS)]
    axes.set_xticks(shown, [epoch_text(epoch) for epoch in shown])
    axes.minorticks_off()
    axes.set_xlim(0.9 * epochs.min() if epochs.min() else -0.15, 1.1 * epochs.max())
    axes.set_xlabel("epoch of training (logarithmic from 1 on)")


def scale_symlog(axes: "Axes", values: np.ndarray) -> None:
    """Make the vertical axis logarithmic to either side of zero, and linear near zero."""
    axes.set_yscale("symlog", linthresh=linear_size(values))


def linear_size(values: np.ndarray) -> float:
    """Return the size below which an axis that is logarithmic to either side of zero is linear.

    It is the power of ten at or under the median size of the values that are not zero.
    """
    sizes = np.abs(values[values != 0])
    return float(10 ** np.floor(np.log10(np.median(sizes)))) if sizes.size else 1.0


def draw_zero(axes: "Axes") -> None:
    """Draw a thin line at zero."""
    axes.axhline(0, color=GREY, linewidth=0.8)


def draw_share(
    axes: "Axes", x: float, share: float, chance: float, *, color: Any, label: str | None = None
) -> None:
    """Draw a share as a bar, and the share that is expected by chance as dashes across the bar.

    Parameters
    ----------
    axes
        Where to draw.
    x
        Middle of the bar on the horizontal axis; bars are 1 apart.
    share, chance
        The two heights.
    color
        Colour of the bar.
    label
        Text for the dashes in the legend.
    """
    axes.bar(x, share, width=0.6, color=color, alpha=0.85)
    axes.plot(
        [x - 0.38, x + 0.38],
        [chance, chance],
        color="black",
        linewidth=1.4,
        linestyle=(0, (2, 1)),
        label=label,
    )


def colour(place: int) -> str:
    """Return the colour of the group at a place; colours begin again after the last."""
    return COLOURS[place % len(COLOURS)]


def marker(place: int) -> str:
    """Return the marker of the group at a place; pairs of colour and marker repeat late."""
    return MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]
