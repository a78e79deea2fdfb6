"""The page of one unit: what it responds to, how classes differ, what breaks without it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

import xarray as xr

from unitlens.errors import UnitlensError
from unitlens.explorer.closest_units import bytes_read, closest_units
from unitlens.explorer.unit_charts import (
    MOST_CLASSES,
    damage_chart,
    profile_chart,
    quantile_chart,
)
from unitlens.explorer.unit_facts import class_damage, class_quantiles, measure_places
from unitlens.explorer.unit_markup import places_table
from unitlens.explorer.unit_samples import samples_part
from unitlens.explorer.unit_source import (
    SPLITS,
    UnitSource,
    source_of_activations,
    source_of_run,
)

if TYPE_CHECKING:
    import panel as pn

    from unitlens.tables.results import Results

AT_ONCE = 2**28  # bytes of a layer that closest units are looked for in without being asked
_OPENED = 8  # runs whose stores and data sets stay open

OnUnit = Callable[[str, int], None]


def unit_page(
    results: "Results",
    run: str,
    layer: str,
    channel: int,
    *,
    split: str | None = None,
    on_unit: OnUnit | None = None,
    live: bool = True,
) -> "pn.Column":
    """Build the page of a unit of a results folder.

    Parameters
    ----------
    results
        What :func:`unitlens.open_results` returns.
    run
        Name of the run.
    layer, channel
        The unit.
    split
        Split whose activations and samples are shown. If None, ``test`` where it was recorded,
        else ``train``, and the page lets the split be chosen where both were recorded.
    on_unit
        Called with layer and channel when another unit is chosen on the page, which then has no
        steps to the previous and next unit of its own. If None, the page has these steps, and
        shows the chosen unit in place of this one.
    live
        Whether buttons work. If False, the page has none, for a file: closest units are words.

    Returns
    -------
    A Panel column. Parts that are missing are left out, with a line that says why.

    Raises
    ------
    TableError
        Where there is no such run.
    LayerError
        Where the run has no such layer.
    ArgumentError
        Where the layer has no such unit.
    """
    import panel as pn

    source = _open_source(results, run, split)
    shown = _ShownUnit(source, layer, channel, run, on_unit, live=live)
    if not live or split is not None or not _has_both_splits(results, run):
        return shown.view
    choice = pn.widgets.RadioButtonGroup(label="split", options=list(SPLITS), value=source.split)

    def change(_event: Any) -> None:
        shown.take(_open_source(results, run, choice.value))

    choice.param.watch(change, "value")
    words = pn.pane.HTML("Activations and samples of the split")
    return pn.Column(pn.Row(words, choice), shown.view, sizing_mode="stretch_width")


@lru_cache(_OPENED)
def _has_both_splits(results: "Results", run: str) -> bool:
    for name in SPLITS:
        try:
            results.activations(run, name)
        except UnitlensError:
            return False
    return True


@lru_cache(_OPENED)
def _open_source(results: "Results", run: str, split: str | None) -> UnitSource:
    return source_of_run(results, run, split)


def unit_of_activations(
    acts: xr.DataTree | None,
    layer: str,
    channel: int,
    *,
    importance: xr.Dataset | None = None,
    dataset: Any = None,
    on_unit: OnUnit | None = None,
) -> "pn.Column":
    """Build the page of a unit of an own model, from what there is.

    Parameters
    ----------
    acts
        What :func:`unitlens.open_activations` returns, or None.
    layer, channel
        The unit.
    importance
        What :func:`unitlens.unit_ablation` returns, or any table of units; None without one.
    dataset
        The data set that the activations were recorded over; None without one.
    on_unit
        As for :func:`unit_page`.

    Returns
    -------
    As :func:`unit_page`.

    Raises
    ------
    LayerError
        Where there is no such layer.
    ArgumentError
        Where the layer has no such unit, or neither `acts` nor `importance` is given.
    """
    source = source_of_activations(acts, importance, dataset)
    return page_of_source(source, layer, channel, on_unit=on_unit)


def page_of_source(
    source: UnitSource,
    layer: str,
    channel: int,
    *,
    title: str = "",
    on_unit: OnUnit | None = None,
    live: bool = True,
) -> "pn.Column":
    """Build the page of a unit from an opened source, which many pages may share.

    Parameters
    ----------
    source
        What :func:`source_of_run` or :func:`source_of_activations` returns.
    layer, channel
        The unit.
    title
        Text above the name of the unit, such as the run.
    on_unit, live
        As for :func:`unit_page`.
    """
    return _ShownUnit(source, layer, channel, title, on_unit, live=live).view


class _ShownUnit:
    """The unit that a page shows, which buttons change."""

    def __init__(
        self,
        source: UnitSource,
        layer: str,
        channel: int,
        title: str,
        on_unit: OnUnit | None,
        *,
        live: bool,
    ) -> None:
        import panel as pn

        self.view = pn.Column(sizing_mode="stretch_width")
        self._source, self._title = source, title
        self._steps = self._show if live and on_unit is None else None
        self._choose = (on_unit or self._show) if live else None
        self._show(layer, channel)

    def _show(self, layer: str, channel: int) -> None:
        self._unit = layer, channel
        head = _header(self._source, layer, channel, self._title, self._steps)
        self.view[:] = [head, *_parts(self._source, layer, channel, self._choose)]

    def take(self, source: UnitSource) -> None:
        """Show the same unit from another source."""
        self._source = source
        self._show(*self._unit)


def _parts(source: UnitSource, layer: str, channel: int, go: OnUnit | None) -> list[Any]:
    units = source.layer_units(layer)
    try:
        column = source.column(layer, channel)
    except UnitlensError as error:
        why = {"activations": f"activations are left out: {error}"}
        source = replace(source, activations=None, missing={**source.missing, **why})
        column = None
    notes = [*source.missing.values(), *source.doubts]
    parts = [
        *samples_part(source, layer, channel, column, notes),
        *_class_part(source, layer, channel, column, units, notes),
        *_measures_part(channel, units, notes),
        *_closest_part(source, layer, channel, go),
    ]
    return [*map(note, notes), *parts]


def _header(source: UnitSource, layer: str, channel: int, title: str, go: OnUnit | None) -> Any:
    import panel as pn

    previous, following = source.neighbours(layer, channel)
    count = source.channels[layer].size
    words = f"Layer {layer}, {count} units"
    if column_count := _samples(source):
        words += f" · activations over {column_count} samples"
        words += f" of split {source.split}" if source.split else ""
    heading = f"<h2 style='margin:0'>{escape(layer)} · unit {channel}</h2>"
    above = f"<div>{escape(title)}</div>" if title else ""
    told = pn.pane.HTML(f"{above}{heading}<div>{escape(words)}</div>")
    if go is None:
        return told
    buttons = [
        _unit_button(name, layer, other, go)
        for name, other in (("◀ previous unit", previous), ("next unit ▶", following))
    ]
    return pn.Column(told, pn.Row(*buttons), sizing_mode="stretch_width")


def _samples(source: UnitSource) -> int:
    if source.activations is not None:
        return int(source.activations.sizes["sample"])
    return 0 if source.statistics is None else int(source.statistics["count"].sum())


def _unit_button(name: str, layer: str, channel: int | None, go: OnUnit) -> Any:
    import panel as pn

    button = pn.widgets.Button(label=name, disabled=channel is None)
    if channel is not None:
        button.on_click(lambda _event: go(layer, channel))
    return button


def note(text: str) -> Any:
    """Return a pane of one line that says what is missing or doubtful."""
    import panel as pn

    style = "border-left:3px solid #E69F00;padding-left:8px"
    return pn.pane.HTML(f"<div style='{style}'>{escape(text)}</div>", sizing_mode="stretch_width")


def _heading(text: str) -> Any:
    import panel as pn

    return pn.pane.HTML(f"<h3 style='margin:12px 0 0'>{escape(text)}</h3>")


def _class_part(
    source: UnitSource,
    layer: str,
    channel: int,
    column: xr.DataArray | None,
    units: xr.Dataset | None,
    notes: list[str],
) -> list[Any]:
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
    if units is not None:
        charts += _damage_charts(units, channel, names, notes)
    if profile is not None and profile.sizes["class"] > MOST_CLASSES:
        notes.append(_few_classes("activations", profile.sizes["class"]))
    if not charts:
        return []
    cards = [_chart_card(title, chart) for title, chart in charts]
    return [_heading("Classes"), pn.FlexBox(*cards, sizing_mode="stretch_width", gap="12px")]


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
        if damage[variable].any() or damage[f"{variable}_se"].any():
            title = f"{words}, ± 1 standard error{_ablation_words(units)}"
            charts.append((title, damage_chart(damage, variable, names)))
        else:
            notes.append(f"{words}{_ablation_words(units)}: exactly 0 in every class")
    if damage.sizes["class"] > MOST_CLASSES:
        notes.append(_few_classes("damage", damage.sizes["class"]))
    return charts


def _few_classes(what: str, classes: int) -> str:
    return f"charts of {what} show the {MOST_CLASSES} classes with the largest sizes, of {classes}"


def _ablation_words(units: xr.Dataset) -> str:
    """Return over which samples units were ablated, where the table says so."""
    attributes = units.attrs
    for prefix in ("unit_ablation_", ""):
        samples = attributes.get(f"{prefix}samples")
        if samples is not None:
            split = attributes.get(f"{prefix}split", "")
            value = attributes.get(f"{prefix}value", "")
            clamped = f"; clamped to {value}" if value else ""
            return f" ({samples} samples{f' of {split}' if split else ''}{clamped})"
    return ""


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


def _measures_part(channel: int, units: xr.Dataset | None, notes: list[str]) -> list[Any]:
    import panel as pn

    if units is None:
        return []
    places = measure_places(units, channel)
    why = str(units["undefined"].values[_row_of(units, channel)]) if "undefined" in units else ""
    if why:
        notes.append(f"the selectivity of this unit is not defined: {why}")
    words = (
        "Percentile: share of the layer's units with a smaller value, and half of those equal. "
        "Measures are those of the table of units, whichever samples are shown above."
    )
    return [
        _heading("Place in its layer"),
        pn.pane.HTML(f"{places_table(places)}<small>{words}</small>", sizing_mode="stretch_width"),
    ]


def _row_of(units: xr.Dataset, channel: int) -> int:
    return int((units["channel"].values == channel).argmax())


def _closest_part(source: UnitSource, layer: str, channel: int, go: OnUnit | None) -> list[Any]:
    import panel as pn

    table = source.layer_activations(layer)
    if table is None:
        return []
    activation = table["activation"]
    sizes = activation.sizes
    size = bytes_read(sizes["sample"], sizes["unit"], activation.dtype.itemsize)
    found = pn.Column(sizing_mode="stretch_width")

    def find(_event: Any = None) -> None:
        try:
            found[:] = _closest_names(source, layer, channel, go)
        except UnitlensError as error:
            found[:] = [note(f"closest units are left out: {error}")]

    if size <= AT_ONCE:
        find()
    elif go is None:
        return []
    else:
        ask = pn.widgets.Button(label=f"find the closest units (reads {size / 2**20:.0f} MB)")
        ask.on_click(find)
        found[:] = [ask]
    return [_heading("Closest units of the layer, by correlation of activations"), found]


def _closest_names(source: UnitSource, layer: str, channel: int, go: OnUnit | None) -> list[Any]:
    import panel as pn

    table = source.layer_activations(layer)
    if table is None:
        return []
    closest = closest_units(table["activation"], source.check(layer, channel))
    channels = source.channels[layer][closest["place"].values].tolist()
    if not channels:
        return [
            note("no unit of the layer has a correlation with this unit, which may be constant")
        ]
    correlations = closest["correlation"].values.tolist()
    names = [f"unit {at}: r = {r:+.2f}" for at, r in zip(channels, correlations, strict=True)]
    samples, of = closest.attrs["samples"], closest.attrs["of_samples"]
    words = f"Pearson's r over {'all ' if samples == of else ''}{samples}"
    words += f" of {of} samples" if samples != of else " samples"
    told = pn.pane.HTML(f"<small>{words}</small>")
    if go is None:
        return [pn.pane.HTML("; ".join(names), sizing_mode="stretch_width"), told]
    pairs = zip(names, channels, strict=True)
    return [pn.FlexBox(*(_unit_button(name, layer, at, go) for name, at in pairs)), told]
