"""The tab of layers and runs: measures by layer, curves, noise, training, and two runs compared."""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from unitlens.errors import MissingTableError, UnitlensError
from unitlens.explorer.depth_medians import depth_medians
from unitlens.explorer.run_lines import MOST_RUNS, WIDTH, RunLine, draw_lines, mean_line
from unitlens.explorer.text_panes import as_text, colour_key, heading, text_line
from unitlens.explorer.unit_columns import UnitColumns, short_names
from unitlens.plot.style import COLOURS

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from unitlens.tables.results import Results

BY_LAYER = ("selectivity", "mutual_information", "loss_increase")
RANDOM = "random orders"
_END = "end of training"


class RunTab:
    """What is shown of layers and runs.

    Parameters
    ----------
    results
        The results.
    """

    def __init__(self, results: "Results") -> None:
        import panel as pn

        self._results = results
        names = [str(name) for name in results.runs["run"].values]
        self._short = dict(zip(names, short_names(names), strict=True))
        options = {short: name for name, short in self._short.items()}
        self._runs = pn.widgets.MultiSelect(
            label="runs (up to 8; two are compared below)",
            options=options,
            value=names[: min(2, len(names))],
            size=min(8, 1 + len(names)),
            width=380,
        )
        self._orders = pn.widgets.Select(label="order of ablation", options=self._order_kinds())
        self._epoch = self._epoch_slider()

    def view(self) -> "Viewable":
        """Return what is shown."""
        import panel as pn

        choice: list[Any] = [self._runs]
        if len(self._orders.options) > 1:
            choice.append(self._orders)
        if len(self._epoch.options) > 1:
            choice.append(self._epoch)
        shown = pn.bind(self._drawn, self._runs, self._orders, self._epoch)
        return pn.Column(
            pn.FlexBox(*choice),
            pn.panel(shown, loading_indicator=True, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
        )

    def _drawn(self, runs: list[str], order: str, epoch: Any) -> "Viewable":
        import panel as pn

        if not runs:
            return text_line("No run is chosen.")
        told = []
        if len(runs) > MOST_RUNS:
            told.append(text_line(f"The first {MOST_RUNS} of {len(runs)} chosen runs are drawn."))
            runs = runs[:MOST_RUNS]
        key = colour_key(
            "runs", dict(zip([self._short[run] for run in runs], COLOURS, strict=False))
        )
        parts = [
            key,
            *self._part("Measures by layer", lambda: self._by_layer(runs, epoch)),
            *self._part("Cumulative ablation", lambda: self._curves(runs, order)),
            *self._part("Noise", lambda: self._noise(runs)),
            *self._part("Training", lambda: self._history(runs)),
            *self._part("The runs side by side", lambda: [self._compared(runs)]),
        ]
        return pn.Column(*told, *parts, sizing_mode="stretch_width")

    def _part(self, title: str, make: Callable[[], list[Any]]) -> list[Any]:
        import panel as pn

        try:
            made = make()
        except UnitlensError as error:
            made = [text_line(str(error))]
        return [heading(title), pn.FlexBox(*made)]

    def _units(self, epoch: Any) -> xr.Dataset:
        if epoch == _END:
            return self._results.units
        units = self._results.checkpoints.units
        return units.isel(unit=np.flatnonzero(units["epoch"].values == epoch))

    def _by_layer(self, runs: list[str], epoch: Any) -> list[Any]:
        columns = UnitColumns(self._units(epoch))
        there = [name for name in BY_LAYER if name in columns.measures.values()]
        drawn = [self._measure_by_layer(columns, name, runs, epoch) for name in there]
        without = [self._short[run] for run in runs if run not in columns.runs]
        if without:
            drawn.append(
                text_line(f"There are no units at epoch {epoch} of: {', '.join(without)}.")
            )
        absent = [name for name in BY_LAYER if name not in there]
        if absent:
            drawn.append(text_line(f"Not measured: {', '.join(absent)}."))
        return drawn

    def _measure_by_layer(
        self, columns: UnitColumns, name: str, runs: list[str], epoch: Any
    ) -> Any:
        import panel as pn

        colours = dict(zip(runs, COLOURS, strict=False))
        runs = [run for run in runs if run in columns.runs]
        if not runs:
            return text_line(f"No chosen run has units at {epoch}.")
        table = depth_medians(columns, name, runs)
        lines = []
        for run in runs:
            rows = table[table["run"] == run]
            x, y, low, high = (
                rows[key].to_numpy(np.float64) for key in ("depth", "median", "low", "high")
            )
            lines.append(RunLine(colours[run], x, y, low, high))
        layers = {
            int(depth): table["layer"][table["depth"] == depth].unique()
            for depth in table["depth"].unique().tolist()
        }
        ticks = {depth: str(names[0]) for depth, names in layers.items()}
        named = all(len(names) == 1 for names in layers.values()) and len(ticks) <= 20
        at = "" if epoch == _END else f" at epoch {epoch}"
        drawn = draw_lines(
            lines,
            f"median and quartiles{at}",
            "layer" if named else "depth of the layer",
            columns.label(name),
            ticks=ticks if named else None,
        )
        undefined = int(table["undefined"].sum())
        told = [text_line(f"Not defined for {undefined:,} units, left out.")] if undefined else []
        return pn.Column(pn.pane.HoloViews(drawn, linked_axes=False), *told, width=WIDTH)

    def _order_kinds(self) -> list[str]:
        try:
            orders = [str(order) for order in self._results.curves["order"].values]
        except UnitlensError:
            return [RANDOM]
        return list(dict.fromkeys(map(_kind_of, orders)))

    def _curves(self, runs: list[str], kind: str) -> list[Any]:
        curves = self._results.curves
        kinds = np.array([_kind_of(str(order)) for order in curves["order"].values])
        chosen = curves.isel(order=np.flatnonzero(kinds == kind))
        count = chosen.sizes["order"]
        what = f"mean and range of {count} orders" if count > 1 else "one order"
        drawn = []
        for name in ("accuracy", "loss"):
            lines = [
                mean_line(
                    colour,
                    np.asarray(chosen["ablated_fraction"].sel(run=run).values, np.float64),
                    chosen[name].sel(run=run).transpose("order", "ablated").values,
                )
                for run, colour in zip(runs, COLOURS, strict=False)
            ]
            units = " (nats)" if name == "loss" else ""
            drawn.append(
                _plot(draw_lines(lines, f"{kind}: {what}", "ablated fraction", name + units))
            )
        return drawn

    def _noise(self, runs: list[str]) -> list[Any]:
        noise = self._results.noise
        scales = np.asarray(noise["noise_scale"].values, np.float64)
        positive = scales > 0  # the axis is logarithmic
        count = noise.sizes["draw"]
        drawn = []
        for name in ("accuracy", "loss"):
            lines = [
                mean_line(
                    colour,
                    scales[positive],
                    noise[name].sel(run=run).transpose("draw", "noise_scale").values[:, positive],
                )
                for run, colour in zip(runs, COLOURS, strict=False)
            ]
            units = " (nats)" if name == "loss" else ""
            title = f"mean and range of {count} draws"
            x_label = "noise scale (standard deviations of each unit)"
            drawn.append(_plot(draw_lines(lines, title, x_label, name + units, log_x=True)))
        return drawn

    def _history(self, runs: list[str]) -> list[Any]:
        history = self._results.history
        epochs = np.asarray(history["epoch"].values, np.float64)
        drawn = []
        for name in ("accuracy", "loss"):
            lines = []
            for run, colour in zip(runs, COLOURS, strict=False):
                for split in ("train", "test"):
                    values = np.asarray(history[f"{split}_{name}"].sel(run=run).values, np.float64)
                    there = np.isfinite(values)
                    lines.append(RunLine(colour, epochs[there], values[there], kind=split))
            units = " (nats)" if name == "loss" else ""
            drawn.append(
                _plot(draw_lines(lines, "train: solid, test: dashed", "epoch", name + units))
            )
        return drawn

    def _compared(self, runs: list[str]) -> Any:
        import panel as pn

        table = compared_runs(self._results.runs, runs).rename(columns=self._short).reset_index()
        return pn.widgets.Tabulator(
            table,
            titles={str(name): as_text(str(name)) for name in table.columns},
            disabled=True,
            show_index=False,
            selectable=False,
            layout="fit_data",
            sizing_mode="stretch_width",
        )

    def _epoch_slider(self) -> Any:
        import panel as pn

        epochs: list[Any] = []
        with suppress(MissingTableError):
            epochs = np.unique(self._results.checkpoints.units["epoch"].values).tolist()
        options = [*epochs, _END]
        return pn.widgets.DiscreteSlider(label="epoch", options=options, value=_END)


def compared_runs(runs: xr.Dataset, chosen: list[str]) -> pd.DataFrame:
    """Return what differs between runs, a row each, and a column a run.

    Parameters
    ----------
    runs
        The table :attr:`Results.runs`.
    chosen
        Names of the runs.

    Returns
    -------
    Rows are words for the variables of the table in which the runs differ, with units; values are
    text.
    """
    table = runs.sel(run=chosen)
    rows: dict[str, list[str]] = {}
    for name, variable in table.variables.items():
        if variable.dims != ("run",) or name == "run":
            continue
        words, units = variable.attrs.get("long_name", str(name)), variable.attrs.get("units", "")
        told = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in variable.values.tolist()]
        if len(set(told)) > 1 or len(chosen) == 1:
            rows[f"{words} ({units})" if units not in {"", "1"} else words] = told
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=chosen)
    return frame.rename_axis("differs in" if len(chosen) > 1 else "property")


def _kind_of(order: str) -> str:
    """Return what an order is shown with: the orders of one kind differ in their number alone."""
    kind = re.sub(r"-\d+$", "", order)
    return RANDOM if kind == "random" else kind


def _plot(drawn: Any) -> Any:
    import panel as pn

    return pn.pane.HoloViews(drawn, linked_axes=False, width=WIDTH)
