"""The numbers on a unit's page: charts by class, and the table of its place in its layer."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from unitlens.analysis.drop_intervals import interval_ends
from unitlens.explorer.class_words import ablation_facts, activation_classes, damage_classes
from unitlens.explorer.page_panes import section_heading, small_line
from unitlens.explorer.unit_charts import (
    MOST_CLASSES,
    damage_chart,
    profile_chart,
    quantile_chart,
)
from unitlens.explorer.unit_facts import class_damage, class_quantiles, measure_places
from unitlens.explorer.unit_markup import places_table
from unitlens.explorer.unit_source import UnitSource

Ends = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def class_part(
    source: UnitSource,
    layer: str,
    channel: int,
    column: xr.DataArray | None,
    units: xr.Dataset | None,
    notes: list[str],
) -> list[Any]:
    """Build the charts by class of a unit.

    Parameters
    ----------
    source, layer, channel
        The unit.
    column
        Its activations; None without a store.
    units
        Table of the units of its layer; None without one.
    notes
        Lines above the page, to which what is missing is added.
    """
    import panel as pn

    names = source.class_names
    profile = source.profile(layer, channel, column)
    charts = []
    if profile is not None:
        words = "Mean activation by class, ± 1 standard error"
        charts.append((words, profile_chart(profile, names)))
    elif source.no_classes:
        notes.append(f"classes are left out: {source.no_classes}")
    if column is not None and profile is not None:
        chart = quantile_chart(class_quantiles(column), names)
        charts.append(("Activations by class: quartiles, 5 to 95 %, extremes", chart))
    damage = [] if units is None else _damage_charts(units, channel, names, notes)
    charts += damage
    if profile is not None and profile.sizes["class"] > MOST_CLASSES:
        notes.append(_few_classes("activations", profile.sizes["class"]))
    if not charts:
        return []
    lines = [activation_classes(source, column)] if profile is not None else []
    lines += [damage_classes(source, units)] if units is not None and damage else []
    cards = [_chart_card(title, chart) for title, chart in charts]
    return [
        section_heading("Classes"),
        *(small_line(line) for line in lines),
        pn.FlexBox(*cards, sizing_mode="stretch_width", gap="12px"),
    ]


def _damage_charts(
    units: xr.Dataset, channel: int, names: Sequence[str], notes: list[str]
) -> list[tuple[str, Any]]:
    damage = class_damage(units, channel)
    if damage is None:
        notes.append("damage by class is left out: the table of units has none for this unit")
        return []
    charts = []
    for quantity in ("loss increase", "accuracy drop"):
        variable = f"class_{quantity.replace(' ', '_')}"
        if variable not in damage:
            continue
        words = f"{quantity.capitalize()} by class without the unit"
        ends = interval_ends(damage, variable)
        if damage[variable].any() or damage[f"{variable}_se"].any():
            lines = "± 1 standard error" if ends is None else "95 % intervals"
            charts.append((f"{words}, {lines}", damage_chart(damage, variable, names)))
        else:
            notes.append(f"{words}{_over(units)}: exactly 0 in every class{_reach(ends)}")
    if damage.sizes["class"] > MOST_CLASSES:
        notes.append(_few_classes("damage", damage.sizes["class"]))
    return charts


def _reach(ends: Ends | None) -> str:
    """Tell how far the intervals of drops that are 0 reach."""
    if ends is None:
        return ""
    low, high = np.nanmin(ends[0]), np.nanmax(ends[1])
    return f", with 95 % intervals of at most {low:.2g} to {high:.2g}"


def _few_classes(what: str, classes: int) -> str:
    return f"charts of {what} show the {MOST_CLASSES} classes with the largest sizes, of {classes}"


def _over(units: xr.Dataset) -> str:
    samples, split, value = ablation_facts(units)
    clamped = f"; clamped to {value}" if value else ""
    return f" ({samples} samples{f' of {split}' if split else ''}{clamped})" if samples else ""


def _chart_card(title: str, chart: Any) -> Any:
    import panel as pn

    words = pn.pane.HTML(f"<div style='font-size:13px'>{escape(title)}</div>", margin=(5, 5, 0, 10))
    return pn.Column(
        words,
        pn.pane.Bokeh(chart, sizing_mode="stretch_width"),
        styles={"flex": "1 1 360px"},
        sizing_mode="stretch_width",
        min_width=350,
        max_width=760,
    )


def measures_part(channel: int, units: xr.Dataset | None, notes: list[str]) -> list[Any]:
    """Build the table of a unit's place in its layer.

    Parameters
    ----------
    channel, units, notes
        As for :func:`class_part`.
    """
    import panel as pn

    if units is None:
        return []
    places = measure_places(units, channel)
    why = str(units["undefined"].values[_row_of(units, channel)]) if "undefined" in units else ""
    if why:
        notes.append(f"the selectivity of this unit is not defined: {why}")
    words = (
        "Percentile: share of the layer's units with a smaller value, and half of those equal. "
        "Measures are those of the table of units, whichever samples are shown above. "
        "[low, high]: 95 % interval; ±: standard error, of mutual information the error as "
        "estimated."
    )
    return [
        section_heading("Place in its layer"),
        pn.pane.HTML(f"{places_table(places)}<small>{words}</small>", sizing_mode="stretch_width"),
    ]


def _row_of(units: xr.Dataset, channel: int) -> int:
    return int((units["channel"].values == channel).argmax())
