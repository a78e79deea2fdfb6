"""The scatter plot of two measures of units, with histograms at the axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from unitlens.explorer.axis_scales import AxisScale, Values, fit_scale
from unitlens.explorer.keyboard_design import described
from unitlens.explorer.point_colours import PointColours, colour_points
from unitlens.explorer.unit_columns import Rows, UnitColumns
from unitlens.plot.style import GREY

DRAWN_SINGLY = 20_000  # units up to which each is a mark of its own
WIDTH, HEIGHT = 560, 430  # pixels of the plot, without its histograms
_BINS = 50
_SCALE_OF_COLOURS = "viridis"
_FAINTEST = 130  # of 255: how opaque a pixel is that holds one unit
_REACH = 0.02  # share of an axis within which a click takes a point


@dataclass(frozen=True)
class UnitScatter:
    """Two measures of some units against each other.

    Attributes
    ----------
    columns
        The units of the results.
    x, y
        Names of the two variables.
    x_scale, y_scale
        Their scales: ``linear``, ``log`` or ``symlog``.
    colour
        What colours the points; see :func:`colour_points`.
    runs
        Names of the runs whose units are drawn.
    """

    columns: UnitColumns
    x: str
    y: str
    x_scale: str
    y_scale: str
    colour: str
    runs: Sequence[str]

    @cached_property
    def _asked(self) -> Rows:
        return self.columns.rows_of(self.runs)

    @cached_property
    def x_axis(self) -> AxisScale:
        """Scale of the x axis."""
        return fit_scale(self.x_scale, self.columns.values(self.x)[self._asked])

    @cached_property
    def y_axis(self) -> AxisScale:
        """Scale of the y axis."""
        return fit_scale(self.y_scale, self.columns.values(self.y)[self._asked])

    @cached_property
    def _placed(self) -> tuple[Rows, Values, Values]:
        rows = self._asked
        x = self.x_axis.forward(self.columns.values(self.x)[rows])
        y = self.y_axis.forward(self.columns.values(self.y)[rows])
        there = np.isfinite(x) & np.isfinite(y)
        return rows[there], x[there], y[there]

    @property
    def rows(self) -> Rows:
        """Rows of the units that are drawn: those with a place on both axes."""
        return self._placed[0]

    @property
    def note(self) -> str:
        """How many units are drawn, and why the others are not."""
        drawn, asked = self.rows.size, self._asked.size
        told = f"{drawn:,} of {self.columns.size:,} units are drawn."
        for name, scale in ((self.x, self.x_axis), (self.y, self.y_axis)):
            values = self.columns.values(name)[self._asked]
            undefined = np.count_nonzero(~np.isfinite(values))
            without = np.count_nonzero(np.isnan(scale.forward(values))) - undefined
            label = self.columns.label(name)
            if undefined:
                told += f" {label} is not defined for {undefined:,} of {asked:,} units."
            if without:
                told += (
                    f" {label} is 0 or less for {without:,} units; a log axis has no place for it."
                )
        if drawn > DRAWN_SINGLY:
            told += " A pixel stands for all units there: their colours mix, measures are averaged."
        return told

    def within(self, x_low: float, y_low: float, x_high: float, y_high: float) -> Rows:
        """Return the rows of the units in a box.

        Parameters
        ----------
        x_low, y_low, x_high, y_high
            The box, in places on the axes.
        """
        rows, x, y = self._placed
        return rows[(x >= x_low) & (x <= x_high) & (y >= y_low) & (y <= y_high)]

    def inside(self, polygon: npt.NDArray[np.float64]) -> Rows:
        """Return the rows of the units in a polygon.

        Parameters
        ----------
        polygon
            Corners of the polygon, in places on the axes, of shape (corners, 2).
        """
        rows, x, y = self._placed
        low, high = polygon.min(0), polygon.max(0)
        near = np.flatnonzero((x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1]))
        return rows[near[_in_polygon(x[near], y[near], polygon)]]

    def nearest(self, x: float, y: float, width: float, height: float) -> int | None:
        """Return the row of the unit at a place, or nothing where none is near.

        Parameters
        ----------
        x, y
            The place on the axes.
        width, height
            Lengths of the axes that are shown.
        """
        rows, xs, ys = self._placed
        if not rows.size:
            return None
        distance = np.hypot((xs - x) / width, (ys - y) / height)
        closest = int(np.argmin(distance))
        return int(rows[closest]) if distance[closest] <= _REACH else None

    @cached_property
    def ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The ranges of the two axes that show all points, with a margin."""
        _, x, y = self._placed
        return _padded(x), _padded(y)

    @cached_property
    def colours(self) -> PointColours:
        """The colours of the points."""
        return colour_points(self.columns, self.colour, self.rows)

    def draw(self, *, live: bool = True) -> tuple[Any, Any]:
        """Draw the points, with histograms at the axes.

        Parameters
        ----------
        live
            Whether a program is there that can draw the points anew when the axes change.

        Returns
        -------
        The HoloViews layout, and its element that tells selections.
        """
        import holoviews as hv

        hv.extension("bokeh")
        points = self._points(self.colours, live=live)
        _, x, y = self._placed
        return points << _histogram(y, "y") << _histogram(x, "x"), points

    def _points(self, colours: PointColours, *, live: bool) -> Any:
        if self.rows.size > DRAWN_SINGLY:
            return self._shaded(colours, live=live)
        return self._marks(colours)

    def _marks(self, colours: PointColours) -> Any:
        import holoviews as hv
        from bokeh.models import HoverTool

        rows, x, y = self._placed
        named = self.columns.frame(rows, ())
        values = {
            "x": x,
            "y": y,
            "run": named["run"],
            "layer": named["layer"],
            "channel": named["channel"],
            "x_value": self.columns.values(self.x)[rows],
            "y_value": self.columns.values(self.y)[rows],
        }
        if colours.categories is None:
            values["colour"] = colours.numbers
        else:
            values["colour"] = np.array(colours.names, object)[colours.categories]
        # Drawn in a random order, so that no layer or run hides another.
        frame = pd.DataFrame(values).sample(frac=1, random_state=0)
        points = hv.Points(frame, ["x", "y"], list(values)[2:])
        told = {
            "run": "run",
            "layer": "layer",
            "channel": "channel",
            self.columns.label(self.x): "x_value",
            self.columns.label(self.y): "y_value",
            colours.label: "colour",
        }
        hover = HoverTool(limit=1, tooltips=[(word, f"@{name}") for word, name in told.items()])
        shown = self._options() | {
            "tools": ["box_select", "lasso_select", "tap", hover],
            "size": 5,
            "alpha": 0.65,
            "nonselection_alpha": 0.12,
            "color": "colour",
        }
        if colours.categories is None:
            shown |= {"cmap": _SCALE_OF_COLOURS, "colorbar": True}
            shown |= {"clabel": colours.label}
        else:
            shown |= {"cmap": colours.key, "show_legend": False}
        return points.opts(**shown)

    def _shaded(self, colours: PointColours, *, live: bool) -> Any:
        import datashader as ds
        import holoviews as hv
        from holoviews.operation.datashader import datashade, dynspread, rasterize

        _, x, y = self._placed
        frame = pd.DataFrame({"x": x, "y": y})
        size = {"width": WIDTH, "height": HEIGHT, "dynamic": live}
        # A unit that stands alone is a mark of some pixels, as one pixel is hardly seen.
        wide = {"threshold": 0.7, "max_px": 2, "shape": "square", "dynamic": live}
        if colours.categories is None:
            frame["colour"] = colours.numbers
            points = hv.Points(frame, ["x", "y"], ["colour"])
            drawn = rasterize(points, aggregator=ds.mean("colour"), **size)
            drawn = dynspread(drawn, how="source", **wide)
            drawn = drawn.opts(cmap=_SCALE_OF_COLOURS, colorbar=True)
            return drawn.opts(
                **self._options(),
                tools=["box_select", "lasso_select", "tap"],
                clabel=f"{colours.label}, mean of a pixel",
            )
        names = pd.Index(list(colours.names))
        frame["colour"] = pd.Categorical.from_codes(colours.categories, names)
        points = hv.Points(frame, ["x", "y"], ["colour"])
        drawn = datashade(
            points, aggregator=ds.by("colour", ds.count()), color_key=colours.key,
            min_alpha=_FAINTEST, **size,
        )  # fmt: skip
        drawn = dynspread(drawn, how="over", **wide)
        tools = ["box_select", "lasso_select", "tap"]
        return drawn.opts(**self._options(), tools=tools, show_legend=False)

    def _options(self) -> dict[str, Any]:
        (x_low, x_high), (y_low, y_high) = self.ranges
        shown: dict[str, Any] = {
            "width": WIDTH,
            "height": HEIGHT,
            "xlabel": self.columns.label(self.x) + self.x_axis.note,
            "ylabel": self.columns.label(self.y) + self.y_axis.note,
            "xlim": (x_low, x_high),
            "ylim": (y_low, y_high),
            "show_grid": True,
            "default_tools": ["wheel_zoom", "box_zoom", "save", "reset"],
            "active_tools": ["box_select"],
            "hooks": [
                described(f"{self.columns.label(self.y)} by {self.columns.label(self.x)} of units")
            ],
        }
        for name, axis, ends in (
            ("xticks", self.x_axis, (x_low, x_high)),
            ("yticks", self.y_axis, (y_low, y_high)),
        ):
            ticks = axis.ticks(*ends)
            if ticks is not None:  # also where there are none: those of Bokeh would tell places
                shown[name] = ticks
        return shown


def _padded(values: Values) -> tuple[float, float]:
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 0.5
    return low - margin, high + margin


def _histogram(values: Values, name: str) -> Any:
    import holoviews as hv

    counts, edges = np.histogram(values, _BINS)
    bars = hv.Histogram((edges, counts), kdims=[name], vdims=[f"units by {name}"])
    return bars.opts(
        fill_color=GREY, line_color=None, xaxis=None, yaxis=None, hooks=[_without_tools]
    )


def _without_tools(plot: Any, _: Any) -> None:
    # HoloViews gives a histogram a box that selects along one axis, which would hide the other box.
    plot.state.toolbar.tools = []


def _in_polygon(x: Values, y: Values, polygon: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Tell which points lie in a polygon: a ray from each crosses an odd number of its sides."""
    inside = np.zeros(x.size, bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        if crosses.any():
            at = x0 + (y[crosses] - y0) / (y1 - y0) * (x1 - x0)
            inside[crosses] ^= x[crosses] < at
    return inside
