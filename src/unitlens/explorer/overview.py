"""The overview: two measures of all units against each other, and a table of the selection."""

from collections.abc import Callable
from functools import partial
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from unitlens.explorer.axis_scales import SCALES
from unitlens.explorer.clicked_table import UnitTable
from unitlens.explorer.overview_scatter import HEIGHT, WIDTH, UnitScatter
from unitlens.explorer.point_colours import colour_choices
from unitlens.explorer.text_panes import as_text, colour_key, heading, text_line
from unitlens.explorer.unit_columns import Rows, UnitColumns, UnitName

if TYPE_CHECKING:
    import pandas as pd
    from panel.viewable import Viewable

PREFERRED_X = ("selectivity", "mutual_information", "variance")
PREFERRED_Y = ("loss_increase", "accuracy_drop", "mutual_information", "mean")
SIGNED = ("loss_increase", "accuracy_drop")  # most near zero, a few large, of both signs
IN_TABLE = (
    "selectivity",
    "preferred_class",
    "mutual_information",
    "loss_increase",
    "accuracy_drop",
)
_BESIDE_THE_PLOT = 210  # pixels for the histogram and the scale of colours


class Overview:
    """The overview of the units of a results folder.

    Parameters
    ----------
    columns
        The units.
    open_unit
        Called with the name of a unit that was clicked.
    """

    def __init__(self, columns: UnitColumns, open_unit: Callable[[UnitName], None]) -> None:
        import panel as pn

        self._columns, self._open_unit = columns, open_unit
        measures = columns.measures
        x, y = preferred_axes(columns)
        self._x, self._y = _select("x", measures, x), _select("y", measures, y)
        self._x_scale = pn.widgets.Select(label="scale of x", options=list(SCALES), width=110)
        self._y_scale = pn.widgets.Select(label="scale of y", options=list(SCALES), width=110)
        self._colour = _select("colour", colour_choices(columns), "layer")
        runs = dict(zip(columns.short_runs, columns.runs, strict=True))
        self._runs = pn.widgets.MultiSelect(
            label="runs", options=runs, value=columns.runs, size=min(5, 1 + len(runs)), width=330
        )
        if self._y.value in SIGNED:
            self._y_scale.value = "symlog"
        self._key = pn.Column(margin=0, sizing_mode="stretch_width")
        self._note, self._chosen = text_line(""), text_line("")
        self._plot = pn.pane.HoloViews(
            None, linked_axes=False, width=WIDTH + _BESIDE_THE_PLOT, height=HEIGHT + 130
        )
        self._table = pn.Column(margin=0, sizing_mode="stretch_width")
        self.selected: Rows = np.empty(0, np.int64)
        for widget in (self._x, self._y, self._x_scale, self._y_scale, self._colour, self._runs):
            widget.param.watch(self._draw, "value")
        self._draw()

    def _draw(self, *_: Any) -> None:
        from holoviews.streams import BoundsXY, Lasso, RangeXY, Tap

        self._scatter = UnitScatter(
            self._columns,
            self._x.value,
            self._y.value,
            self._x_scale.value,
            self._y_scale.value,
            self._colour.value,
            self._runs.value,
        )
        self._note.object = as_text(self._scatter.note)
        if not self._scatter.rows.size:
            self._plot.object = None
            self._show_selection(
                self._scatter.rows, "No unit is drawn; choose another scale or run."
            )
            return
        drawn, points = self._scatter.draw()
        colours = self._scatter.colours
        self._key[:] = [colour_key(colours.label, colours.key)] if colours.names else []
        # What is told of a plot belongs to its own axes and units, also where it comes late.
        scatter, shown = self._scatter, RangeXY(source=points)
        BoundsXY(source=points).add_subscriber(partial(self._boxed, scatter))
        Lasso(source=points).add_subscriber(partial(self._lassoed, scatter))
        Tap(source=points).add_subscriber(partial(self._tapped, scatter, shown))
        self._plot.object = drawn
        self._show_selection(
            self._scatter.rows, "Nothing is selected; the table holds all units that are drawn."
        )

    def _boxed(self, scatter: UnitScatter, bounds: Any) -> None:
        if bounds is not None and scatter is self._scatter:
            self._select(scatter.within(*bounds))

    def _lassoed(self, scatter: UnitScatter, geometry: Any) -> None:
        if geometry is not None and len(geometry) and scatter is self._scatter:
            self._select(scatter.inside(np.asarray(geometry, np.float64)))

    def _select(self, rows: Rows) -> None:
        self._show_selection(rows, f"{rows.size:,} units are selected.")

    def _tapped(self, scatter: UnitScatter, shown: Any, x: Any, y: Any) -> None:
        if x is None or y is None:
            return
        (x_low, x_high), (y_low, y_high) = scatter.ranges
        x_low, x_high = shown.x_range or (x_low, x_high)
        y_low, y_high = shown.y_range or (y_low, y_high)
        row = scatter.nearest(x, y, x_high - x_low, y_high - y_low)
        if row is not None:
            self._open_unit(self._columns.name_of(row))

    def _show_selection(self, rows: Rows, told: str) -> None:
        # The largest values of the y axis come first: most often the units that matter most.
        self.selected = rows[np.argsort(-self._scatter.columns.values(self._y.value)[rows])]
        self._chosen.object = as_text(told)
        frame = self._frame()
        if len(self._columns.runs) == 1:
            frame = frame.drop(columns="run")
        else:
            frame["run"] = frame["run"].cat.rename_categories(self._columns.short_runs)
        titles = {name: self._title(name) for name in frame.columns}
        table = UnitTable(partial(self._unit_of, self.selected), frame, titles, self._open_unit)
        self._table[:] = [table.view()]

    def _unit_of(self, rows: Rows, at: int) -> UnitName:
        return self._columns.name_of(int(rows[at]))

    def _title(self, name: str) -> str:
        return name if name in {"run", "layer", "channel"} else self._columns.label(name)

    def _frame(self) -> "pd.DataFrame":
        there = {*self._columns.measures.values(), *self._columns.classes.values()}
        names = [self._x.value, self._y.value, *(name for name in IN_TABLE if name in there)]
        if self._colour.value in there:
            names.insert(2, self._colour.value)
        return self._columns.frame(self.selected, list(dict.fromkeys(names)))

    def _csv(self) -> StringIO:
        return StringIO(self._frame().to_csv(index=False))

    def _parquet(self) -> BytesIO:
        frame = self._frame().astype({"run": str, "layer": str})
        return BytesIO(frame.to_parquet(index=False))

    def view(self) -> "Viewable":
        """Return what is shown."""
        import panel as pn

        axes = pn.FlexBox(
            pn.Column(pn.Row(self._x, self._x_scale), pn.Row(self._y, self._y_scale)),
            self._colour,
            self._runs,
        )
        downloads = pn.Row(
            pn.widgets.FileDownload(callback=self._csv, filename="units.csv", label="CSV"),
            pn.widgets.FileDownload(
                callback=self._parquet, filename="units.parquet", label="Parquet"
            ),
        )
        table = pn.Column(
            heading("Selection"),
            self._chosen,
            text_line("A click on a row or a point opens the unit."),
            self._table,
            downloads,
            styles={"flex": "1 1 440px", "min-width": "420px"},
        )
        plot = pn.Column(self._note, self._key, self._plot, width=WIDTH + _BESIDE_THE_PLOT)
        return pn.Column(axes, pn.FlexBox(plot, table), sizing_mode="stretch_width")


def preferred_axes(columns: UnitColumns) -> tuple[str, str]:
    """Return the names of the two variables that the overview shows first.

    Parameters
    ----------
    columns
        The units.
    """
    measures = columns.measures
    return _first(measures, PREFERRED_X, 0), _first(measures, PREFERRED_Y, 1)


def _first(measures: dict[str, str], preferred: tuple[str, ...], otherwise: int) -> str:
    there = list(measures.values())
    return next(
        (name for name in preferred if name in there), there[min(otherwise, len(there) - 1)]
    )


def _select(name: str, options: dict[str, str], value: str) -> Any:
    import panel as pn

    return pn.widgets.Select(label=name, options=options, value=value, width=270)
