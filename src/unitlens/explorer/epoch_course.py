"""The place of a unit in its layer at each epoch of training, on the unit's page."""

from html import escape
from typing import Any

import numpy as np
import xarray as xr

from unitlens.errors import UnitlensError
from unitlens.explorer.keyboard_design import describe_chart
from unitlens.explorer.page_panes import note, section_heading
from unitlens.explorer.unit_facts import measure_places
from unitlens.explorer.unit_source import UnitSource
from unitlens.plot.style import COLOURS

DRAWN = ("selectivity", "mutual_information", "loss_increase")
_DASHES = ("solid", "dashed", "dotted")


def course_part(source: UnitSource, layer: str, channel: int) -> list[Any]:
    """Build the part with the measures of a unit over the epochs of its network.

    Parameters
    ----------
    source, layer, channel
        The unit.

    Returns
    -------
    Nothing where no kept epoch was measured.
    """
    import panel as pn

    if len(source.course) < 2:
        return []
    title = section_heading("Over the epochs of training")
    try:
        places = {
            words: measure_places(_layer_units(units, layer), channel)
            for words, units in source.course.items()
        }
    except UnitlensError as error:
        return [title, note(f"measures over the epochs are left out: {error}")]
    parts = [title, pn.pane.HTML(course_table(places), sizing_mode="stretch_width")]
    chart = course_chart(places)
    return parts if chart is None else [title, pn.pane.Bokeh(chart), parts[1]]


def _layer_units(units: xr.Dataset, layer: str) -> xr.Dataset:
    return units.isel(unit=np.flatnonzero(units["layer"].values == layer))


def course_table(places: dict[str, xr.Dataset]) -> str:
    """Return the table of a unit's measures at each epoch as HTML, in which names are text.

    Parameters
    ----------
    places
        What :func:`measure_places` returns at each epoch, by words for the epoch.
    """
    head = "".join(f"<th scope='col'>{escape(words)}</th>" for words in places)
    last = list(places.values())[-1]
    rows = ""
    for name in last["measure"].values.tolist():
        at = last.sel(measure=name)
        unit = str(at["unit_of_measure"].item())
        words = str(at["long_name"].item()) + (f" ({unit})" if unit not in {"1", ""} else "")
        cells = "".join(f"<td>{_cell(table, name)}</td>" for table in places.values())
        rows += f"<tr><th scope='row'>{escape(words)}</th>{cells}</tr>"
    style = (
        "<style>.course{border-collapse:collapse;font-size:13px}"
        ".course th,.course td{padding:2px 12px 2px 0;text-align:right;white-space:nowrap;"
        "font-weight:normal}.course th[scope=row]{text-align:left}"
        ".course thead th{border-bottom:1px solid #6B6B6B}</style>"
    )
    caption = "Value, and percentile in the layer, at each epoch."
    return (
        f"{style}<div style='overflow-x:auto'><table class='course'><caption "
        f"style='text-align:left'>{caption}</caption><thead><tr><td></td>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(places: xr.Dataset, name: str) -> str:
    if name not in places["measure"].values:
        return "not measured"
    at = places.sel(measure=name)
    value, percentile = float(at["value"]), float(at["percentile"])
    shown = "none" if np.isnan(value) else f"{value:.4g}"
    return shown if np.isnan(percentile) else f"{shown} ({percentile:.0f} %)"


def course_chart(places: dict[str, xr.Dataset]) -> Any:
    """Draw the percentiles of a unit in its layer over the epochs; None without such measures.

    Parameters
    ----------
    places
        As for :func:`course_table`.
    """
    from bokeh.models import FixedTicker, Range1d
    from bokeh.plotting import figure

    last = list(places.values())[-1]
    names = [name for name in DRAWN if name in last["measure"].values]
    if not names:
        return None
    at = np.arange(len(places))
    chart = figure(
        height=260, width=560, toolbar_location=None, tools=[], y_range=Range1d(-4, 104),
        x_range=Range1d(-0.4, at.size - 0.6),
    )  # fmt: skip
    describe_chart(chart, "percentile of the unit in its layer by kept epoch; a table has it too")
    for name, colour, dash in zip(names, COLOURS, _DASHES, strict=False):
        shown = [
            float(table["percentile"].sel(measure=name))
            if name in table["measure"].values
            else np.nan
            for table in places.values()
        ]
        words = str(last["long_name"].sel(measure=name).item())
        chart.line(at, shown, color=colour, line_dash=dash, line_width=2, legend_label=words)
        chart.scatter(at, shown, color=colour, size=6, legend_label=words)
    chart.xaxis.ticker = FixedTicker(ticks=at.tolist())
    chart.xaxis.major_label_overrides = {
        place: words.removeprefix("epoch ").replace("end of training", "end")
        for place, words in enumerate(places)
    }
    chart.xaxis.axis_label, chart.yaxis.axis_label = "kept epoch", "percentile in the layer"
    for axis in (*chart.xaxis, *chart.yaxis):
        axis.axis_label_text_font_style = "normal"
    chart.add_layout(chart.legend[0], "right")
    return chart
