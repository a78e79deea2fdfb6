"""The tab of the kept epochs of one run: two epochs are compared."""

from typing import TYPE_CHECKING, Any

import xarray as xr

from unitlens.errors import MissingTableError, UnitlensError
from unitlens.explorer.epoch_units import joined_epochs
from unitlens.explorer.kept_epochs import (
    END,
    EPOCH,
    epoch_words,
    kept_epochs,
    not_kept,
    row_of,
    runs_with_epochs,
    units_of,
)
from unitlens.explorer.layer_quartiles import LayerLine, layer_plots
from unitlens.explorer.overview import SIGNED
from unitlens.explorer.overview_scatter import UnitScatter
from unitlens.explorer.robustness_lines import (
    RANDOM,
    ablation_plots,
    kind_of,
    noise_plots,
)
from unitlens.explorer.run_comparison import compared_runs, comparison_table
from unitlens.explorer.text_panes import colour_key, text_line, titled_part
from unitlens.explorer.training_lines import training_plots
from unitlens.explorer.unit_columns import UnitColumns, short_names
from unitlens.plot.style import COLOURS

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from unitlens.tables.results import Results

FIRST_MEASURE = "selectivity"
_SECTIONS = {"curves": "cumulative_ablation", "noise": "noise_robustness"}  # that make a table
_SIGNED = tuple(f"{name}@" for name in SIGNED)


class EpochTab:
    """What is shown of the kept epochs of a run.

    Parameters
    ----------
    results
        The results, of which some run kept epochs.

    Raises
    ------
    TableError
        Where there is no table of kept epochs.
    """

    def __init__(self, results: "Results") -> None:
        import panel as pn

        self._results = results
        names = runs_with_epochs(results)
        options = dict(zip(short_names(names), names, strict=True))
        self._run = pn.widgets.Select(label="run", options=options, width=330)
        epochs = self._epochs()
        self._epoch = pn.widgets.DiscreteSlider(
            label="epoch", options=epochs, value=epochs[0], width=330, formatter=EPOCH
        )
        self._other = pn.widgets.DiscreteSlider(
            label="compared with epoch", options=epochs, value=END, width=330, formatter=EPOCH
        )
        self._order = pn.widgets.Select(label="order of ablation", options=self._order_kinds())
        self._x, self._y = (pn.widgets.Select(label=axis, width=330) for axis in ("x", "y"))
        self._filled = False
        self._body = pn.Column(sizing_mode="stretch_width")
        self._units = pn.Column(sizing_mode="stretch_width")
        self._run.param.watch(self._take_run, "value")
        for slider in (self._epoch, self._other):
            slider.param.watch(self._draw, "value_throttled")
        self._order.param.watch(self._draw, "value")
        for axis in (self._x, self._y):
            axis.param.watch(self._draw_units, "value")
        self._draw()

    def _epochs(self) -> list[Any]:
        return [*kept_epochs(self._results, self._run.value), END]

    def _order_kinds(self) -> list[str]:
        try:
            orders = self._results.checkpoints.curves["order"].values
        except UnitlensError:
            return [RANDOM]
        return list(dict.fromkeys(kind_of(str(order)) for order in orders))

    def _take_run(self, _event: Any) -> None:
        epochs = self._epochs()
        for slider, value in ((self._epoch, epochs[0]), (self._other, END)):
            slider.param.update(options=epochs, value=value)
        self._draw()

    @property
    def _chosen(self) -> tuple[float | None, float | None]:
        first, second = (
            None if slider.value == END else slider.value for slider in (self._epoch, self._other)
        )
        return first, second

    def view(self) -> "Viewable":
        """Return what is shown."""
        import panel as pn

        choice = [self._run, self._epoch, self._other]
        if len(self._order.options) > 1:
            choice.append(self._order)
        return pn.Column(pn.FlexBox(*choice), self._body, sizing_mode="stretch_width")

    def _draw(self, *_: Any) -> None:
        import panel as pn

        lines = list(zip(COLOURS, dict.fromkeys(self._chosen), strict=False))
        key = colour_key("epochs", {epoch_words(epoch): colour for colour, epoch in lines})
        parts = [
            *titled_part("Cumulative ablation", lambda: ablation_plots(
                self._rows("curves", lines), self._order.value)),
            *titled_part("Measures by layer", lambda: layer_plots(self._layer_lines(lines))),
            *titled_part("Units", self._unit_parts),
            *titled_part("Noise", lambda: noise_plots(self._rows("noise", lines))),
            *titled_part("Training", lambda: training_plots(
                [("#000000", self._row("history", None))], _marks(lines))),
            *titled_part("The epochs side by side", lambda: [self._compared()]),
        ]  # fmt: skip
        self._body[:] = [pn.Column(key, *parts, sizing_mode="stretch_width")]

    def _rows(
        self, table: str, lines: list[tuple[str, float | None]]
    ) -> list[tuple[str, xr.Dataset]]:
        return [(colour, self._row(table, epoch)) for colour, epoch in lines]

    def _row(self, table: str, epoch: float | None) -> xr.Dataset:
        holder = self._results if epoch is None else self._results.checkpoints
        if epoch is not None and table in _SECTIONS and not holder.has_table(table):
            raise MissingTableError(not_kept(table, section=_SECTIONS[table]))
        return row_of(getattr(holder, table), self._run.value, epoch)

    def _layer_lines(self, lines: list[tuple[str, float | None]]) -> list[LayerLine]:
        run = self._run.value
        return [
            LayerLine(colour, UnitColumns(units_of(self._results, run, epoch)), run)
            for colour, epoch in lines
        ]

    def _unit_parts(self) -> list[Any]:
        import panel as pn

        run, epochs = self._run.value, self._chosen
        first, second = (units_of(self._results, run, epoch) for epoch in epochs)
        self._columns = UnitColumns(joined_epochs(first, second, epochs))
        kept = self._x.value, self._y.value
        measures = self._columns.measures
        self._filled = False  # the axes change one after the other: drawn once, when both have
        for axis, key, before in zip((self._x, self._y), ("first", "second"), kept, strict=True):
            names = list(measures.values())
            preferred = before if before in names else f"{FIRST_MEASURE}@{key}"
            value = preferred if preferred in names else names[0]
            axis.param.update(options=measures, value=value)
        self._filled = True
        self._draw_units()
        return [pn.Column(pn.FlexBox(self._x, self._y), self._units, sizing_mode="stretch_width")]

    def _draw_units(self, *_: Any) -> None:
        import panel as pn

        if not self._filled:
            return
        axes = self._x.value, self._y.value
        x_scale, y_scale = ("symlog" if name.startswith(_SIGNED) else "linear" for name in axes)
        runs = tuple(self._columns.runs)
        scatter = UnitScatter(self._columns, *axes, x_scale, y_scale, "layer", runs)
        shown: list[Any] = [text_line(scatter.note)]
        if scatter.rows.size:
            drawn, _ = scatter.draw()
            if scatter.colours.names:
                shown.append(colour_key(scatter.colours.label, scatter.colours.key))
            shown.append(pn.pane.HoloViews(drawn, linked_axes=False))
        self._units[:] = shown

    def _compared(self) -> Any:
        chosen = list(dict.fromkeys(self._chosen))
        rows = [self._numbers(epoch) for epoch in chosen]
        names = [epoch_words(epoch) for epoch in chosen]
        return comparison_table(compared_runs(xr.concat(rows, "run", join="exact"), names))

    def _numbers(self, epoch: float | None) -> xr.Dataset:
        row = self._row("runs", epoch).drop_dims("experiment", errors="ignore")
        words = {"run": [epoch_words(epoch)]}
        return row.reset_coords("epoch").expand_dims("run").assign_coords(words)


def _marks(lines: list[tuple[str, float | None]]) -> dict[float, str]:
    """Return the kept epochs with their colours, to mark them in the history."""
    return {epoch: colour for colour, epoch in lines if epoch is not None}
