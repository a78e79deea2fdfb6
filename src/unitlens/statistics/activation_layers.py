"""The layers of an activation tree: order of the layers, their units, range of each unit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from dask.base import compute

from unitlens.errors import LayerError, TableError, nearest
from unitlens.statistics.block_states import Floats

_RANGE = ("minimum", "maximum")


@dataclass(frozen=True)
class ActivationLayer:
    """One layer of an activation tree.

    Attributes
    ----------
    name
        Name of the layer.
    depth
        Index of the layer in the forward pass, from 0.
    table
        Variables of the layer's node, ``activation`` (sample, unit) among them.
    """

    name: str
    depth: int
    table: xr.Dataset

    @property
    def activation(self) -> xr.DataArray:
        """The activations, dimensions (sample, unit), as a dask array."""
        return self.table["activation"].transpose("sample", "unit").chunk()

    @property
    def units(self) -> tuple[str, int, np.ndarray[Any, np.dtype[np.int64]]]:
        """Name, depth and channels, as :func:`unit_coordinates` takes them."""
        return self.name, self.depth, self.channel

    @property
    def channel(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The index of each unit in the layer."""
        if "channel" in self.table.variables:
            return self.table["channel"].to_numpy().astype(np.int64)
        return np.arange(self.table.sizes["unit"], dtype=np.int64)


def activation_layers(acts: xr.DataTree) -> list[ActivationLayer]:
    """Return the layers of `acts` in the order of the forward pass.

    Raises
    ------
    TableError
        Where no child of the root has a variable ``activation``, or an ``activation`` has other
        dimensions than ``sample`` and ``unit`` or a dtype that is not real.
    """
    nodes = [node for node in acts.children.values() if "activation" in node.data_vars]
    if not nodes:
        raise TableError(
            "the activations have no layers: no child of the root holds a variable 'activation' "
            "with dimensions (sample, unit); open a store with unitlens.open_activations"
        )
    layers = [
        ActivationLayer(str(node.name), _depth(node, position), node.to_dataset(inherit=False))
        for position, node in enumerate(nodes)
    ]
    for layer in layers:
        _check_activation(layer)
    return sorted(layers, key=lambda layer: layer.depth)


def select_layers(acts: xr.DataTree, layer: str | None) -> list[ActivationLayer]:
    """Return the layer of a name, or all layers in the order of the forward pass.

    Parameters
    ----------
    acts
        The activations.
    layer
        Name of a layer, or None for all layers.

    Raises
    ------
    LayerError
        Where `acts` has no layer of the name.
    TableError
        As :func:`activation_layers`.
    """
    layers = activation_layers(acts)
    if layer is None:
        return layers
    named = [one for one in layers if one.name == layer]
    if not named:
        known = [one.name for one in layers]
        raise LayerError(f"the activations have no layer '{layer}'; {nearest(layer, known)}")
    return named


def layer_ranges(layers: Sequence[ActivationLayer]) -> list[tuple[Floats, Floats]]:
    """Return the smallest and the largest activation of each unit, layer by layer.

    Parameters
    ----------
    layers
        The layers.

    Returns
    -------
    Two arrays of shape (units,) for each layer: the variables ``minimum`` and ``maximum`` where
    the layer has both with finite values, otherwise the range of the activations, which are read
    for this purpose. NaN where a unit has a NaN, or there are no samples.
    """
    ranges = [_as_floats(pair) for pair in computed([_stored_range(layer) for layer in layers])]
    missing = [at for at, pair in enumerate(ranges) if not np.isfinite(pair).all()]
    read = computed([_read_range(layers[at]) for at in missing])
    for at, pair in zip(missing, read, strict=True):
        ranges[at] = _as_floats(pair)
    return ranges


def computed(lazy: Any) -> Any:
    """Return `lazy` with all dask objects inside computed at once."""
    return compute(lazy)[0]  # type: ignore[no-untyped-call]


def _depth(node: xr.DataTree, position: int) -> int:
    return int(node.attrs.get("depth", node["activation"].attrs.get("depth", position)))


def _check_activation(layer: ActivationLayer) -> None:
    activation = layer.table["activation"]
    if set(activation.dims) != {"sample", "unit"} or activation.dtype.kind not in "fiub":
        raise TableError(
            f"'activation' of layer '{layer.name}' has dimensions {activation.dims} and dtype "
            f"{activation.dtype}, but must have ('sample', 'unit') and a real type; reduce feature "
            "maps over their positions first"
        )


def _stored_range(layer: ActivationLayer) -> tuple[Any, Any]:
    if all(name in layer.table.variables for name in _RANGE):
        return layer.table["minimum"].data, layer.table["maximum"].data
    unknown = np.full(layer.table.sizes["unit"], np.nan)
    return unknown, unknown


def _read_range(layer: ActivationLayer) -> tuple[Any, Any]:
    activation = layer.activation
    if not activation.sizes["sample"]:
        unknown = np.full(activation.sizes["unit"], np.nan)
        return unknown, unknown
    return (
        activation.min("sample", skipna=False).data,
        activation.max("sample", skipna=False).data,
    )


def _as_floats(pair: tuple[Any, Any]) -> tuple[Floats, Floats]:
    return np.asarray(pair[0], np.float64), np.asarray(pair[1], np.float64)
