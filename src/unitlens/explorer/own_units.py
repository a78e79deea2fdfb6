"""The explorer of an own model: the choice of a unit, and the unit's page."""

from typing import TYPE_CHECKING, Any

import xarray as xr

from unitlens.errors import UnitlensError
from unitlens.explorer.given_source import source_of_activations
from unitlens.explorer.page_panes import note
from unitlens.explorer.unit_page import page_of_source

if TYPE_CHECKING:
    import panel as pn


def own_units(
    acts: xr.DataTree | None = None, importance: xr.Dataset | None = None, dataset: Any = None
) -> "pn.Column":
    """Show the units of an own model one by one, from what there is.

    Parameters
    ----------
    acts
        What :func:`unitlens.open_activations` returns; None without a store.
    importance
        What :func:`unitlens.unit_ablation` returns, or any table of units; None without one. The
        first unit that is shown is that of the largest loss increase.
    dataset
        The data set that the activations were recorded over; None without one.

    Returns
    -------
    A Panel column: the layer and the channel, which can be changed, and the page of the unit.

    Raises
    ------
    ArgumentError
        Where neither `acts` nor `importance` is given, or `importance` names no units.
    """
    import panel as pn

    source = source_of_activations(acts, importance, dataset)
    first_layer, first_channel = _first_unit(importance, source.channels)
    layer = pn.widgets.Select(label="layer", options=list(source.channels), value=first_layer)
    channel = pn.widgets.IntInput(label="channel", value=first_channel, start=0, width=120)
    page = pn.Column(sizing_mode="stretch_width")

    def show(*_: Any) -> None:
        try:
            page[:] = [page_of_source(source, layer.value, channel.value or 0, on_unit=choose)]
        except UnitlensError as error:
            page[:] = [note(str(error))]

    def choose(_layer: str, other: int) -> None:
        channel.value = other

    for widget in (layer, channel):
        widget.param.watch(show, "value")
    show()
    return pn.Column(pn.Row(layer, channel), page, sizing_mode="stretch_width")


def _first_unit(importance: xr.Dataset | None, channels: dict[str, Any]) -> tuple[str, int]:
    """Return the unit of the largest loss increase, else the first unit of the first layer."""
    if importance is not None and "loss_increase" in importance:
        known = importance["loss_increase"].fillna(-float("inf")).values
        at = int(known.argmax())
        layer = str(importance["layer"].values[at])
        if layer in channels:
            return layer, int(importance["channel"].values[at])
    layer = next(iter(channels))
    return layer, int(channels[layer][0])
