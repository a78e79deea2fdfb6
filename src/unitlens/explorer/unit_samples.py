"""The samples on a unit's page: those of largest activation, a spread, and where in the image."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from unitlens.errors import UnitlensError
from unitlens.explorer.class_words import sample_classes
from unitlens.explorer.page_panes import heading_markup
from unitlens.explorer.unit_facts import (
    mapped_responses,
    spread_responses,
    top_from_statistics,
    top_responses,
)
from unitlens.explorer.unit_images import Pixels, SampleView, overlay_map, read_samples
from unitlens.explorer.unit_markup import sample_strip

if TYPE_CHECKING:
    from unitlens.explorer.unit_source import UnitSource

_CAPTION = "Under each sample: its activation in bold, and the quantile among all samples."
_MAP_CAPTION = "Orange: where the unit is active, clear at the map's minimum, full at its maximum."
MAPPED_TITLE = "Where in the image, of samples with kept feature maps"
TOP, SPREAD, MAPPED = 16, 12, 8  # samples of each strip


def samples_part(
    source: "UnitSource", layer: str, channel: int, column: xr.DataArray | None, notes: list[str]
) -> list[Any]:
    """Build the strips of samples of a unit.

    Parameters
    ----------
    source
        Where the samples come from.
    layer, channel
        The unit.
    column
        Its activations; None without a store.
    notes
        Lines above the page, to which what is missing or doubtful is added.
    """
    import panel as pn

    groups = _groups(source, layer, channel, column, notes)
    parts = []
    for title, responses in groups:
        mapped = title == MAPPED_TITLE
        try:
            maps = kept_maps(source, layer, channel, responses) if mapped else None
        except UnitlensError as error:
            _add(notes, f"feature maps are left out: {error}")
            continue
        strip = _strip(source, responses, maps, notes)
        told = [_CAPTION, sample_classes(column), _MAP_CAPTION if mapped else ""]
        caption = " ".join(filter(None, told))
        heading = f"{heading_markup(title)}<small>{caption}</small>"
        html = f"{heading}<div style='margin-top:6px'>{strip}</div>"
        parts.append(pn.pane.HTML(html, sizing_mode="stretch_width"))
    return parts


def _groups(
    source: "UnitSource", layer: str, channel: int, column: xr.DataArray | None, notes: list[str]
) -> list[tuple[str, xr.Dataset]]:
    if column is None:
        if source.statistics is None:
            return []
        top = top_from_statistics(source.statistics, layer, channel, TOP)
        return [("Samples of largest activation", top)]
    missing = int(np.isnan(column.values).sum())
    if missing:
        notes.append(
            f"{missing} of the {column.size} activations of this unit are NaN: they are not "
            "among the samples, and the means of their classes are NaN"
        )
    groups = [
        ("Samples of largest activation", top_responses(column, TOP)),
        ("Samples spread over its quantiles", spread_responses(column, SPREAD)),
    ]
    table = source.layer_activations(layer)
    if source.dataset is not None and table is not None and _has_image_maps(table):
        mapped = mapped_responses(column, table["map_sample"].values, MAPPED)
        groups.insert(1, (MAPPED_TITLE, mapped))
    return groups


def _has_image_maps(table: xr.Dataset) -> bool:
    return "map" in table and {"y", "x"} <= set(table["map"].dims)


def kept_maps(
    source: "UnitSource", layer: str, channel: int, responses: xr.Dataset
) -> list[npt.NDArray[Any] | None]:
    """Read the feature maps of a unit on some samples, and no others.

    Parameters
    ----------
    source
        Where the maps come from.
    layer, channel
        The unit.
    responses
        Samples with the coordinate ``index``.

    Returns
    -------
    The map of each sample, of shape (y, x); None where it was not kept.
    """
    table = source.layer_activations(layer)
    if table is None or "map" not in table:
        return [None] * responses.sizes["sample"]
    places = {int(index): at for at, index in enumerate(table["map_sample"].values)}
    wanted = [places.get(int(index)) for index in responses["index"].values]
    rows = [place for place in wanted if place is not None]
    one = table["map"].isel(unit=source.check(layer, channel))
    read = {row: one.isel(map_sample=row).to_numpy() for row in rows}
    return [None if place is None else read[place] for place in wanted]


def _strip(
    source: "UnitSource",
    responses: xr.Dataset,
    maps: list[npt.NDArray[Any] | None] | None,
    notes: list[str],
) -> str:
    views, overlays = None, None
    if source.dataset is not None:
        try:
            places, positions = _places(responses)
            views = read_samples(source.dataset, places, positions, source.position_count)
        except UnitlensError as error:
            _add(notes, f"the samples themselves are left out: {error}")
    if views is not None:
        for view in views:
            _add(notes, view.note)
        _add(notes, doubt_of_labels(responses, views))
        if maps is not None:
            overlays = _overlays(views, maps)
    return sample_strip(responses, views, source.class_names, overlays)


def _places(responses: xr.Dataset) -> tuple[list[int], list[int | None]]:
    """Return the index in the data set of each sample, and the position in its item."""
    name = "item" if "item" in responses.coords else "index"
    places = [int(place) for place in responses[name].values]
    if "position" in responses.coords:
        return places, [int(position) for position in responses["position"].values]
    return places, [None] * len(places)


def doubt_of_labels(responses: xr.Dataset, views: list[SampleView]) -> str:
    """Return a line where the data set states other labels than the activations; else nothing.

    Parameters
    ----------
    responses
        Samples with the coordinate ``label``, and ``true_label`` where it is known.
    views
        The samples as the data set has them.
    """
    if "label" not in responses.coords or "position" in responses.coords:
        return ""
    kinds = [name for name in ("label", "true_label") if name in responses.coords]
    recorded = [responses[name].values.astype(np.int64).tolist() for name in kinds]
    differ = [
        view.label is not None and view.label not in labels
        for view, labels in zip(views, zip(*recorded, strict=True), strict=True)
    ]
    if not any(differ):
        return ""
    return (
        f"{sum(differ)} of {len(views)} shown samples have another label in the data set than in "
        "the activations: the data set is not the one that they were recorded over, so the samples "
        "shown may be wrong; give the data set of the recording"
    )


def _overlays(views: list[SampleView], maps: list[npt.NDArray[Any] | None]) -> list[Pixels | None]:
    return [
        overlay_map(view.image, one)
        if view.image is not None and one is not None and one.ndim == 2
        else None
        for view, one in zip(views, maps, strict=True)
    ]


def _add(notes: list[str], line: str) -> None:
    if line and line not in notes:
        notes.append(line)
