"""Layers in figures: their units, colours and names, on axes and in legends."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.plot.style import whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_TICKS = 6  # layers that an axis names; more layers are numbered


def units_by_depth(units: xr.Dataset) -> dict[int, xr.Dataset]:
    """Return the units at each depth, the first layer first."""
    depths = units["depth"].values
    return {
        depth: units.isel(unit=np.flatnonzero(depths == depth))
        for depth in sorted(set(depths.tolist()))
    }


def depth_colours(depths: Sequence[int]) -> dict[int, Any]:
    """Return a colour for each depth, from dark for the first layer to light for the last."""
    from matplotlib import colormaps

    ordered = sorted(set(depths))
    places = np.linspace(0.02, 0.86, max(len(ordered), 2))
    return {
        depth: colormaps["viridis"](place) for depth, place in zip(ordered, places, strict=False)
    }


def layer_names(units: xr.Dataset) -> dict[int, str]:
    """Return the name of the layer at each depth, or its number where networks differ in names."""
    names: dict[int, set[str]] = {}
    for depth, layer in zip(units["depth"].values.tolist(), units["layer"].values, strict=True):
        names.setdefault(depth, set()).add(str(layer))
    return {
        depth: layers.pop() if len(layers := names[depth]) == 1 else f"layer {depth}"
        for depth in sorted(names)
    }


def legend_depths(names: Mapping[int, str], most: int) -> list[int]:
    """Return the depths that a legend names: all where there are at most `most`, else both ends."""
    return list(names) if len(names) <= most else [min(names), max(names)]


def label_layers(axes: "Axes", units: xr.Dataset, *, adds: bool = False) -> None:
    """Name the layers on the horizontal axis, or number the layers where they are many.

    Parameters
    ----------
    axes
        The axes.
    units
        Table of units.
    adds
        Whether the axes show layers already, which then keep their names. A depth at which the
        names differ is numbered.
    """
    names = layer_names(units)
    if adds:
        earlier = _labelled_layers(axes)
        differ = {depth for depth in names if earlier.get(depth, names[depth]) != names[depth]}
        joined = earlier | names | {depth: f"layer {depth}" for depth in differ}
        names = {depth: joined[depth] for depth in sorted(joined)}
    if len(names) <= MOST_TICKS:
        axes.set_xticks(list(names), list(names.values()))
        axes.tick_params(axis="x", labelrotation=30 if len(names) > 3 else 0)
        axes.set_xlabel("layer")
    else:
        axes.set_xlabel("depth of the layer")
        whole_numbers(axes)
    axes.set_xlim(min(names) - 0.5, max(names) + 0.5)


def _labelled_layers(axes: "Axes") -> dict[int, str]:
    """Return the names at the depths of axes that :func:`label_layers` has labelled."""
    if axes.get_xlabel() == "layer":
        places = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        return {round(place): text.get_text() for place, text in places}
    low, high = axes.get_xlim()
    return {depth: f"layer {depth}" for depth in range(int(np.ceil(low)), int(high) + 1)}
