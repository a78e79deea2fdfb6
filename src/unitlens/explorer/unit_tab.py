"""The tab of one unit: which unit it is, steps to its neighbours, and its page."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from unitlens.errors import UnitlensError
from unitlens.explorer.recording_choice import WantedRecording
from unitlens.explorer.text_panes import text_line
from unitlens.explorer.unit_columns import Rows, UnitColumns, UnitName

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from unitlens.tables.results import Results

_LAYER, _SELECTION = "the layer", "the selection of the overview"


def page_of(
    results: "Results",
    unit: UnitName,
    open_unit: Callable[[UnitName], None] | None = None,
    wanted: WantedRecording | None = None,
) -> "Viewable":
    """Return the page of a unit, or a line that says why there is none.

    Parameters
    ----------
    results
        The results.
    unit
        Name of the unit.
    open_unit
        Opens another unit that the page names; None in a file, where nothing can be opened and
        a title stands above the page.
    wanted
        The split and the epoch that were chosen last; None for the defaults.
    """
    from unitlens.explorer.unit_page import unit_page

    def on_unit(layer: str, channel: int) -> None:
        if open_unit is not None:
            open_unit(UnitName(unit.run, layer, channel))

    live = open_unit is not None
    try:
        return unit_page(
            results, unit.run, unit.layer, unit.channel,
            wanted=wanted, on_unit=on_unit if live else None, live=live, titled=live,
        )  # fmt: skip
    except UnitlensError as error:
        return text_line(str(error))


class UnitTab:
    """The choice of a unit, and the unit's page.

    Parameters
    ----------
    results
        The results.
    columns
        The units.
    selection
        Returns the rows of the units that are selected in the overview, in the order of its table.
    opened
        Called with the name of each unit that is opened.
    """

    def __init__(
        self,
        results: "Results",
        columns: UnitColumns,
        selection: Callable[[], Rows],
        opened: Callable[[UnitName], None],
    ) -> None:
        import panel as pn

        self._results, self._columns = results, columns
        self._selection, self._opened = selection, opened
        runs = dict(zip(columns.short_runs, columns.runs, strict=True))
        self._run = pn.widgets.Select(label="run", options=runs, width=330)
        self._layer = pn.widgets.Select(label="layer", options=columns.layers_of(columns.runs[0]))
        self._channel = pn.widgets.IntInput(label="channel", value=0, start=0, width=90)
        self._show = pn.widgets.Button(label="Show", align="end")
        self._through = pn.widgets.Select(label="step through", options=[_LAYER, _SELECTION])
        self._before = pn.widgets.Button(label="← Previous", align="end")
        self._after = pn.widgets.Button(label="Next →", align="end")
        self._wanted = WantedRecording()
        self._page = pn.Column(
            text_line("Click a point or a row of the overview, or choose a unit above."),
            sizing_mode="stretch_width",
        )
        self._row: int | None = None
        self._run.param.watch(self._list_layers, "value")
        self._show.on_click(lambda _: self.open_named(self._asked))
        self._before.on_click(lambda _: self._step(-1))
        self._after.on_click(lambda _: self._step(1))

    @property
    def _asked(self) -> UnitName:
        return UnitName(self._run.value, self._layer.value, int(self._channel.value or 0))

    def _list_layers(self, *_: Any) -> None:
        self._layer.options = self._columns.layers_of(self._run.value)
        if self._layer.value not in self._layer.options:
            self._layer.value = self._layer.options[0]

    def open_named(self, unit: UnitName) -> None:
        """Show a unit, or a line where there is none of this name.

        Parameters
        ----------
        unit
            Name of the unit.
        """
        try:
            row = self._columns.row_of(unit)
        except UnitlensError as error:
            self._row = None
            self._page[:] = [text_line(str(error))]
            return
        self.open(row)

    def open(self, row: int) -> None:
        """Show the unit of a row.

        Parameters
        ----------
        row
            Row of the table of units.
        """
        unit = self._columns.name_of(row)
        self._row = row
        self._run.value, self._layer.value = unit.run, unit.layer
        self._channel.value = unit.channel
        self._page[:] = [page_of(self._results, unit, self.open_named, self._wanted)]
        self._opened(unit)

    def _step(self, by: int) -> None:
        if self._row is None:
            self.open_named(self._asked)
            return
        rows = (
            self._selection() if self._through.value == _SELECTION else self._layer_rows(self._row)
        )
        if not rows.size:
            return
        at = np.flatnonzero(rows == self._row)
        self.open(int(rows[(at[0] + by) % rows.size] if at.size else rows[0]))

    def _layer_rows(self, row: int) -> Rows:
        columns = self._columns
        return np.flatnonzero(
            (columns.run_codes == columns.run_codes[row])
            & (columns.layer_codes == columns.layer_codes[row])
        )

    def view(self) -> "Viewable":
        """Return what is shown."""
        import panel as pn

        choice = pn.FlexBox(self._run, self._layer, self._channel, self._show)
        steps = pn.FlexBox(self._through, self._before, self._after)
        return pn.Column(choice, steps, self._page, sizing_mode="stretch_width")
