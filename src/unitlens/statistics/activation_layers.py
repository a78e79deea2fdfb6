"""The layers of an activation tree: their order, their units, the range of each unit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from dask.base import compute

from unitlens.errors import TableError
from unitlens.statistics.block_states import Floats

_RANGE = ("minimum", "maximum")


@dataclass(frozen=True)
class ActivationLayer:
    """One layer: its node's table, whose `activation` is chunked, and its place."""

    name: str
    depth: int
    table: xr.Dataset

    @property
    def activation(self) -> xr.DataArray:
        """Return the activations, dimensions (sample, unit), as blocks of a dask array."""
        return self.table["activation"].transpose("sample", "unit").chunk()

    @property
    def units(self) -> tuple[str, int, np.ndarray[Any, np.dtype[np.int64]]]:
        """Return name, depth and channels, as :func:`unit_coordinates` takes them."""
        return self.name, self.depth, self.channel

    @property
    def channel(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the index of each unit in its layer."""
        if "channel" in self.table.variables:
            return self.table["channel"].to_numpy().astype(np.int64)
        return np.arange(self.table.sizes["unit"], dtype=np.int64)


def activation_layers(acts: xr.DataTree) -> list[ActivationLayer]:
    """Return the layers of `acts` in the order of the forward pass.

    Raises
    ------
    TableError
        Where no child of the root has a variable ``activation``, or one's has other dimensions
        than ``sample`` and ``unit`` or values that are no real numbers.
    """
    nodes = [node for node in acts.children.values() if "activation" in node.data_vars]
    if not nodes:
        raise TableError(
            "the activations have no layers: no child of the root holds a variable 'activation' "
            "with dimensions (sample, unit); open them with unitlens.open_activations"
        )
    layers = [
        ActivationLayer(str(node.name), _depth(node, position), node.to_dataset(inherit=False))
        for position, node in enumerate(nodes)
    ]
    for layer in layers:
        _check_activation(layer)
    return sorted(layers, key=lambda layer: layer.depth)


def layer_ranges(layers: Sequence[ActivationLayer]) -> list[tuple[Floats, Floats]]:
    """Return the smallest and the largest activation of each unit, layer by layer.

    They are the layer's variables ``minimum`` and ``maximum`` where it has them and they are
    finite, otherwise they are read from the activations. NaN where a unit has a NaN, or there
    are no samples.
    """
    lazy = [_stored_range(layer) for layer in layers]
    known = [_as_floats(pair) for pair in computed(lazy)]
    missing = [at for at, pair in enumerate(known) if not np.isfinite(pair).all()]
    found = computed([_read_range(layers[at]) for at in missing])
    for at, pair in zip(missing, found, strict=True):
        known[at] = _as_floats(pair)
    return known


def computed(lazy: Any) -> Any:
    """Return `lazy` with every dask object in it computed, all in one go."""
    return compute(lazy)[0]  # type: ignore[no-untyped-call]


def _depth(node: xr.DataTree, position: int) -> int:
    return int(node.attrs.get("depth", node["activation"].attrs.get("depth", position)))


def _check_activation(layer: ActivationLayer) -> None:
    activation = layer.table["activation"]
    if set(activation.dims) != {"sample", "unit"} or activation.dtype.kind not in "fiub":
        raise TableError(
            f"'activation' of layer '{layer.name}' has dimensions {activation.dims} and dtype "
            f"{activation.dtype}, but must have ('sample', 'unit') and a real type; reduce it over "
            "its positions first"
        )


def _stored_range(layer: ActivationLayer) -> tuple[Any, Any]:
    if all(name in layer.table.variables for name in _RANGE):
        return layer.table["minimum"].data, layer.table["maximum"].data
    nothing = np.full(layer.table.sizes["unit"], np.nan)
    return nothing, nothing


def _read_range(layer: ActivationLayer) -> tuple[Any, Any]:
    activation = layer.activation
    if not activation.sizes["sample"]:
        nothing = np.full(activation.sizes["unit"], np.nan)
        return nothing, nothing
    return (
        activation.min("sample", skipna=False).data,
        activation.max("sample", skipna=False).data,
    )


def _as_floats(pair: tuple[Any, Any]) -> tuple[Floats, Floats]:
    return np.asarray(pair[0], np.float64), np.asarray(pair[1], np.float64)
