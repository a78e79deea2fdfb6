"""The tab of layers and runs: measures by layer, curves, noise, training, and two runs compared."""

from typing import TYPE_CHECKING, Any

import xarray as xr

from unitlens.errors import UnitlensError
from unitlens.explorer.layer_quartiles import LayerLine, layer_plots
from unitlens.explorer.robustness_lines import RANDOM, ablation_plots, kind_of, noise_plots
from unitlens.explorer.run_comparison import compared_runs, comparison_table
from unitlens.explorer.run_lines import MOST_RUNS
from unitlens.explorer.text_panes import colour_key, text_line, titled_part
from unitlens.explorer.training_lines import training_plots
from unitlens.explorer.unit_columns import columns_of, short_names
from unitlens.plot.style import COLOURS

if TYPE_CHECKING:
    from panel.viewable import Viewable

    from unitlens.tables.results import Results


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

    def view(self) -> "Viewable":
        """Return what is shown."""
        import panel as pn

        choice: list[Any] = [self._runs]
        if len(self._orders.options) > 1:
            choice.append(self._orders)
        shown = pn.bind(self._drawn, self._runs, self._orders)
        return pn.Column(
            pn.FlexBox(*choice),
            pn.panel(shown, loading_indicator=True, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
        )

    def _drawn(self, runs: list[str], order: str) -> "Viewable":
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
        results = self._results
        parts = [
            key,
            *titled_part("Measures by layer", lambda: self._by_layer(runs)),
            *titled_part(
                "Cumulative ablation",
                lambda: ablation_plots(_rows(results.curves, runs), order),
            ),
            *titled_part("Noise", lambda: noise_plots(_rows(results.noise, runs))),
            *titled_part("Training", lambda: training_plots(_rows(results.history, runs))),
            *titled_part(
                "The runs side by side",
                lambda: [comparison_table(compared_runs(results.runs, runs), self._short)],
            ),
        ]
        return pn.Column(*told, *parts, sizing_mode="stretch_width")

    def _by_layer(self, runs: list[str]) -> list[Any]:
        columns = columns_of(self._results)
        there = [
            LayerLine(colour, columns, run)
            for run, colour in zip(runs, COLOURS, strict=False)
            if run in columns.runs
        ]
        drawn = layer_plots(there) if there else []
        without = [self._short[run] for run in runs if run not in columns.runs]
        if without:
            drawn.append(text_line(f"There are no units of: {', '.join(without)}."))
        return drawn

    def _order_kinds(self) -> list[str]:
        try:
            orders = [str(order) for order in self._results.curves["order"].values]
        except UnitlensError:
            return [RANDOM]
        return list(dict.fromkeys(map(kind_of, orders)))


def _rows(table: xr.Dataset, runs: list[str]) -> list[tuple[str, xr.Dataset]]:
    return [(colour, table.sel(run=run)) for run, colour in zip(runs, COLOURS, strict=False)]
