"""The page of one unit: what it responds to, how classes differ, what breaks without it."""

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import xarray as xr

from unitlens.errors import UnitlensError
from unitlens.explorer.closest_part import closest_part
from unitlens.explorer.epoch_course import course_part
from unitlens.explorer.given_source import source_of_activations
from unitlens.explorer.kept_epochs import epoch_words
from unitlens.explorer.number_parts import class_part, measures_part
from unitlens.explorer.page_panes import OnUnit, note, unit_button
from unitlens.explorer.recording_choice import RecordingChoice, WantedRecording
from unitlens.explorer.unit_samples import samples_part
from unitlens.explorer.unit_source import UnitSource, opened_source

if TYPE_CHECKING:
    import panel as pn

    from unitlens.tables.results import Results


def unit_page(
    results: "Results",
    run: str,
    layer: str,
    channel: int,
    *,
    split: str | None = None,
    wanted: WantedRecording | None = None,
    on_unit: OnUnit | None = None,
    live: bool = True,
    titled: bool = True,
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
        else ``train``, and the page lets the split be chosen where both were recorded, and the
        epoch where some were kept.
    wanted
        The split and the epoch that are shown at first where they are there. What is chosen on the
        page is written to it, for the page of another unit. None for the defaults.
    on_unit
        Called with layer and channel when another unit is chosen on the page, which then has no
        steps to the previous and next unit of its own. If None, the page has these steps, and
        shows the chosen unit in place of this one.
    live
        Whether buttons work. If False, the page has none, for a file: closest units are words.
    titled
        Whether the name of the unit stands above the page. If False, the page begins with the
        line on the run and the layer, and stands below a title of its own.

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

    if not live or split is not None:
        source = opened_source(results, run, split)
        return _ShownUnit(source, layer, channel, run, on_unit, live=live, titled=titled).view
    choice = RecordingChoice(results, run, wanted or WantedRecording())
    shown = _ShownUnit(choice.source, layer, channel, run, on_unit, live=live, titled=titled)
    choice.changed = shown.take
    return pn.Column(choice.view, shown.view, sizing_mode="stretch_width")


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
        titled: bool = True,
    ) -> None:
        import panel as pn

        self.view = pn.Column(sizing_mode="stretch_width")
        self._source, self._title, self._titled = source, title, titled
        self._steps = self._show if live and on_unit is None else None
        self._choose = (on_unit or self._show) if live else None
        self._show(layer, channel)

    def _show(self, layer: str, channel: int) -> None:
        self._unit = layer, channel
        if self._titled:
            head = _header(self._source, layer, channel, self._title, self._steps)
        else:
            head = _line_below_title(self._source, layer, self._title)
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
        missing = {**source.missing, **why}
        source = replace(source, activations=None, missing=missing, named=source.names)
        column = None
    notes = [*source.missing.values(), *source.doubts]
    parts = [
        *samples_part(source, layer, channel, column, notes),
        *class_part(source, layer, channel, column, units, notes),
        *measures_part(channel, units, notes),
        *course_part(source, layer, channel),
        *closest_part(source, layer, channel, go),
    ]
    return [*map(note, notes), *parts]


def _header(source: UnitSource, layer: str, channel: int, title: str, go: OnUnit | None) -> Any:
    import panel as pn

    previous, following = source.neighbours(layer, channel)
    words = _layer_words(source, layer)
    heading = f"<h2 style='margin:0'>{escape(layer)} · unit {channel}</h2>"
    above = f"<div>{escape(title)}</div>" if title else ""
    told = pn.pane.HTML(f"{above}{heading}<div>{escape(words)}</div>")
    if go is None:
        return told
    buttons = [
        unit_button(name, layer, other, go)
        for name, other in (("◀ previous unit", previous), ("next unit ▶", following))
    ]
    return pn.Column(told, pn.Row(*buttons), sizing_mode="stretch_width")


def _line_below_title(source: UnitSource, layer: str, title: str) -> Any:
    import panel as pn

    return pn.pane.HTML(f"<div>{escape(title)} · {escape(_layer_words(source, layer))}</div>")


def _layer_words(source: UnitSource, layer: str) -> str:
    words = f"Layer {layer}, {source.channels[layer].size} units"
    words += f" · {epoch_words(source.epoch)}" if source.course or source.epoch is not None else ""
    if column_count := _samples(source):
        words += f" · activations over {column_count} samples"
        words += f" of split {source.split}" if source.split else ""
    return words


def _samples(source: UnitSource) -> int:
    if source.activations is not None:
        return int(source.activations.sizes["sample"])
    return 0 if source.statistics is None else int(source.statistics["count"].sum())
