"""The table of selected units, in which a click on a row opens the unit that the row shows."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from unitlens.explorer.text_panes import as_text, text_line
from unitlens.explorer.unit_columns import UnitName

if TYPE_CHECKING:
    import pandas as pd
    from panel.viewable import Viewable

ROWS_OF_A_PAGE = 14
_CHANGED = "The rows changed while the click was on its way; no unit was opened: click again."


class UnitTable:
    """A table of units.

    Parameters
    ----------
    units
        Returns the name of the unit of a row of `frame`.
    frame
        What the table shows.
    titles
        The title of each column.
    open_unit
        Called with the name of the unit whose row was clicked.

    Notes
    -----
    A browser tells the place of a clicked row among the rows that the browser shows. These are
    rows of the former page or order of the table until the new ones have arrived: a click that was
    made before is refused, with a line.
    """

    def __init__(
        self,
        units: Callable[[int], UnitName],
        frame: "pd.DataFrame",
        titles: dict[str, str],
        open_unit: Callable[[UnitName], None],
    ) -> None:
        import panel as pn

        self._units, self._open_unit = units, open_unit
        self._told = text_line("")
        self._told.visible = False
        self.rows = self._made(frame, titles)
        # The browser writes each number that was sent into the other one. It does so after it has
        # taken what was sent before, the rows.
        self._sent: Any = pn.widgets.IntInput(value=0, visible=False)
        self._shown = pn.widgets.IntInput(value=0, visible=False)
        self._sent.jslink(self._shown, value="value")
        self.rows.param.watch(self._count, ["page", "page_size", "sorters"])
        self.rows.on_click(self._clicked)

    def _made(self, frame: "pd.DataFrame", titles: dict[str, str]) -> Any:
        import panel as pn
        from bokeh.models.widgets.tables import ScientificFormatter

        return pn.widgets.Tabulator(
            frame,
            titles={name: as_text(title) for name, title in titles.items()},
            formatters={
                name: ScientificFormatter(precision=3, power_limit_low=-3, power_limit_high=4)
                for name in frame.columns[frame.dtypes == np.float64]
            },
            editors=dict.fromkeys(frame.columns),  # else each cell takes the keyboard's focus
            disabled=True,
            pagination="remote",
            page_size=ROWS_OF_A_PAGE,
            show_index=False,
            selectable=False,
            layout="fit_data",
            sizing_mode="stretch_width",
            min_width=420,
        )

    def _count(self, *_: Any) -> None:
        self._sent.value += 1

    def _clicked(self, event: Any) -> None:
        current = self._shown.value == self._sent.value
        self._told.object = "" if current else as_text(_CHANGED)
        self._told.visible = not current
        if current:
            self._open_unit(self._units(int(event.row)))

    def view(self) -> "Viewable":
        """Return what is shown."""
        import panel as pn

        return pn.Column(
            self._told, self.rows, self._sent, self._shown, margin=0, sizing_mode="stretch_width"
        )
