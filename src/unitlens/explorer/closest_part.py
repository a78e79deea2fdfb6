"""The closest units on a unit's page, as buttons or as words."""

from typing import Any

from unitlens.errors import UnitlensError
from unitlens.explorer.closest_units import bytes_read, closest_units
from unitlens.explorer.page_panes import OnUnit, note, section_heading, unit_button
from unitlens.explorer.unit_source import UnitSource

AT_ONCE = 2**28  # bytes of a layer that closest units are looked for in without being asked


def closest_part(source: UnitSource, layer: str, channel: int, go: OnUnit | None) -> list[Any]:
    """Build the list of the closest units of a unit.

    Parameters
    ----------
    source, layer, channel
        The unit.
    go
        Called with layer and channel of a unit that is chosen; None for words in place of buttons,
        in which case closest units of a large layer are left out.
    """
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
    return [section_heading("Closest units of the layer, by correlation of activations"), found]


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
    return [pn.FlexBox(*(unit_button(name, layer, at, go) for name, at in pairs)), told]
