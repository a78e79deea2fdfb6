"""The place of a unit in its layer at each epoch of training, on the unit's page."""

from html import escape
from typing import Any

import numpy as np
import xarray as xr

from unitlens.errors import UnitlensError
from unitlens.explorer.page_panes import note, section_heading
from unitlens.explorer.unit_facts import measure_places
from unitlens.explorer.unit_source import UnitSource


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
    return [title, pn.pane.HTML(course_table(places), sizing_mode="stretch_width")]


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
