"""The charts of a unit's page, drawn by Bokeh: classes along the horizontal axis."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from unitlens.analysis.drop_intervals import interval_ends
from unitlens.errors import cut, printable
from unitlens.explorer.keyboard_design import describe_chart
from unitlens.plot.style import COLOURS, GREY

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812  (a class by a lower-case name)

MOST_CLASSES = 30  # that a chart has room for
_BLUE, _VERMILION, _GREEN = COLOURS[:3]
_NAME = 18  # letters of a class's name at an axis
_ROTATED = 0.9  # radians, of names that do not fit side by side
_HEIGHT = 300
_MINIMUM_WIDTH = 340

Places = npt.NDArray[np.int64]


def class_label(names: Sequence[str], label: int) -> str:
    """Return how a class is called: its label, and its name where it has another.

    Examples
    --------
    >>> class_label(["cat", "dog"], 1), class_label(["0", "1"], 1), class_label([], 4)
    ('1 dog', '1', '4')
    """
    name = names[label] if 0 <= label < len(names) else ""
    return f"{label} {printable(name)}" if name and name != str(label) else str(label)


def shown_classes(values: npt.ArrayLike) -> Places:
    """Return the places of the classes that a chart shows, in the order of their labels.

    Parameters
    ----------
    values
        The numbers of the classes. All classes are shown up to 30; otherwise the 30 of largest
        size.
    """
    sizes = np.nan_to_num(np.abs(np.asarray(values, np.float64)), nan=-1.0)
    return np.sort(np.argsort(-sizes, kind="stable")[:MOST_CLASSES])


def profile_chart(profile: xr.Dataset, names: Sequence[str]) -> "Figure":
    """Draw the mean activation by class, with one standard error to either side.

    Parameters
    ----------
    profile
        What :func:`class_profile` returns.
    names
        Names of the classes by label; may be empty.
    """
    places = shown_classes(profile["mean"].values)
    return _bars(profile, "mean", places, names, "mean activation", _BLUE)


def damage_chart(damage: xr.Dataset, variable: str, names: Sequence[str]) -> "Figure":
    """Draw the damage by class when a unit is ablated.

    Lines are 95 % intervals where the table has them, else one standard error to either side.

    Parameters
    ----------
    damage
        What :func:`class_damage` returns.
    variable
        ``class_loss_increase`` or ``class_accuracy_drop``.
    names
        Names of the classes by label; may be empty.
    """
    is_loss = variable == "class_loss_increase"
    label = "loss increase (nats)" if is_loss else "accuracy drop (share)"
    places = shown_classes(damage[variable].values)
    return _bars(damage, variable, places, names, label, _VERMILION)


def _bars(
    table: xr.Dataset, variable: str, places: Places, names: Sequence[str], label: str, colour: str
) -> "Figure":
    from bokeh.models import ColumnDataSource, PrintfTickFormatter, Span, Whisker

    rows = table.isel({"class": places})
    labels = _class_labels(rows, names)
    lines, words = _lines(rows, variable)
    source = ColumnDataSource({"x": np.arange(places.size), "name": labels, **lines})
    tips = [("class", "@name"), (label, words)]
    chart = _class_figure(labels, label, tips, [f"@{name}" for name in lines])
    chart.y_range.start, chart.y_range.end = _limits(0, *lines["low"], *lines["high"])
    chart.yaxis.formatter = PrintfTickFormatter(format="%.3g")
    chart.vbar(x="x", top="value", width=0.7, color=colour, alpha=0.85, source=source)
    whisker = Whisker(base="x", lower="low", upper="high", source=source, line_color="black")
    for head in (whisker.upper_head, whisker.lower_head):
        head.size = 5
    chart.add_layout(whisker)
    chart.add_layout(Span(location=0, dimension="width", line_color=GREY, line_width=1))
    return chart


def _lines(rows: xr.Dataset, variable: str) -> tuple[dict[str, Any], str]:
    """Return the columns of bars and of their lines, and what is told of a bar under the mouse."""
    value, ends = rows[variable].values, interval_ends(rows, variable)
    if ends is None:
        error = rows[f"{variable}_se"].values
        ends = (value - np.nan_to_num(error), value + np.nan_to_num(error))
        columns, words = {"error": error}, "@value{%.4g} ± @error{%.2g}"
    else:
        columns, words = {}, "@value{%.4g}, 95 % interval @low{%.2g} to @high{%.2g}"
    low, high = (np.where(np.isfinite(end), end, value) for end in ends)
    return {"value": value, "low": low, "high": high, **columns}, words


def _limits(*values: float) -> tuple[float, float]:
    """Return the ends of an axis that holds all values, with a margin."""
    known = np.array(values)[np.isfinite(values)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def quantile_chart(quantiles: xr.DataArray, names: Sequence[str]) -> "Figure":
    """Draw the distribution of activations by class.

    A box is from the lower to the upper quartile, with the median as a line; whiskers are from 5 to
    95 %; points are the smallest and the largest activation.

    Parameters
    ----------
    quantiles
        What :func:`class_quantiles` returns for its default quantiles.
    names
        Names of the classes by label; may be empty.
    """
    from bokeh.models import ColumnDataSource

    rows = quantiles.isel({"class": shown_classes(quantiles.isel(quantile=3).values)})
    labels = _class_labels(rows, names)
    columns: dict[str, Any] = {f"q{i}": rows.values[:, i] for i in range(rows.sizes["quantile"])}
    source = ColumnDataSource({"x": np.arange(len(labels)), "name": labels, **columns})
    tips = [
        ("class", "@name"),
        ("5 % to 95 %", "@q1{%.4g} to @q5{%.4g}"),
        ("quartiles", "@q2{%.4g}, @q3{%.4g}, @q4{%.4g}"),
        ("range", "@q0{%.4g} to @q6{%.4g}"),
    ]
    chart = _class_figure(labels, "activation", tips, [f"@{name}" for name in columns])
    chart.y_range.start, chart.y_range.end = _limits(*rows.values.ravel())
    chart.segment("x", "q1", "x", "q2", color="black", source=source)
    chart.segment("x", "q4", "x", "q5", color="black", source=source)
    chart.vbar("x", 0.6, "q4", "q2", color=_GREEN, alpha=0.6, line_color="black", source=source)
    chart.rect("x", "q3", 0.6, 2, height_units="screen", color="black", source=source)
    for name in ("q0", "q6"):
        chart.scatter("x", name, size=4, color=GREY, source=source)
    return chart


def _class_labels(rows: xr.Dataset | xr.DataArray, names: Sequence[str]) -> list[str]:
    return [class_label(names, int(label)) for label in rows["class"].values]


def _class_figure(
    labels: list[str], label: str, tips: list[tuple[str, str]], numbers: Sequence[str]
) -> "Figure":
    from bokeh.models import FixedTicker, HoverTool, Range1d
    from bokeh.plotting import figure

    chart = figure(
        height=_HEIGHT,
        min_width=_MINIMUM_WIDTH,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools=[HoverTool(tooltips=tips, formatters=dict.fromkeys(numbers, "printf"))],
        x_range=Range1d(-0.6, max(0.6, len(labels) - 0.4)),
        y_range=Range1d(),
    )
    describe_chart(chart, f"{label} by class")
    chart.xaxis.ticker = FixedTicker(ticks=list(range(len(labels))))
    chart.xaxis.major_label_overrides = {at: _plain(name) for at, name in enumerate(labels)}
    if max(map(len, labels), default=0) * len(labels) > 40:
        chart.xaxis.major_label_orientation = _ROTATED
    chart.xaxis.axis_label, chart.yaxis.axis_label = "class", label
    chart.xgrid.visible = False
    for axis in (*chart.xaxis, *chart.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "13px"
        axis.major_label_text_font_size = "12px"
    return chart


def _plain(name: str) -> str:
    """Return a name as Bokeh draws it letter by letter: no pair of delimiters begins a formula."""
    return cut(name, _NAME).replace("$", "$\u200b").replace("\\", "\\\u200b")
