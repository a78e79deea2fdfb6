"""Layers of units: finding them in a network, and choosing among them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from torch import Tensor

from unitlens.config.base import DeclaredLayer, LastLayers
from unitlens.errors import ArgumentError, LayerError, nearest

if TYPE_CHECKING:
    from typing_extensions import TypeIs

# A choice of layers: names, patterns and declarations; a number of last layers; None for all.
LayersChosen = Sequence[str | DeclaredLayer] | int | LastLayers | None


def is_by_name(choice: LayersChosen) -> "TypeIs[Sequence[str | DeclaredLayer]]":
    """Tell whether a choice of layers names them, so that none that is found can be left out.

    Examples
    --------
    >>> [is_by_name(choice) for choice in (None, 3, LastLayers(last=3), ["relu1"], "relu1")]
    [False, False, False, True, True]
    """
    return choice is not None and not isinstance(choice, int | LastLayers)


@dataclass(frozen=True)
class UnitLayer:
    """A layer of units: the output of one nonlinearity of a network.

    Attributes
    ----------
    name
        Name of the graph node, or of the module in a model that cannot be traced.
    depth
        Index of the layer in the forward pass, from 0.
    units
        Number of units: of neurons in a dense layer, of feature maps (channels) in a
        convolutional one.
    shape
        Shape of the activation of one sample, such as (64, 16, 16).
    axis
        Axis of the units in an activation (samples, ...): 1 or -1.

    Examples
    --------
    >>> layer = UnitLayer("layer1.0.relu", depth=1, units=64, shape=(64, 16, 16), axis=1)
    >>> layer.positions, layer.map_shape
    (256, (16, 16))
    """

    name: str
    depth: int
    units: int
    shape: tuple[int, ...]
    axis: int

    @property
    def positions(self) -> int:
        """Number of positions of a unit in one sample; 1 in a dense layer."""
        return math.prod(self.shape) // self.units

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Shape of a unit's feature map for one sample; empty in a dense layer."""
        units_axis = len(self.shape) - 1 if self.axis == -1 else self.axis - 1
        return self.shape[:units_axis] + self.shape[units_axis + 1 :]


class UnitLayers(Sequence[UnitLayer]):
    """The layers of units of a network: a sequence of :class:`UnitLayer`, printed as a table.

    The layers come in the order of the forward pass. :func:`unitlens.unit_layers` returns them.

    Parameters
    ----------
    layers
        The layers.
    traced
        Whether the network could be traced.
    reason
        Why the network could not be traced.
    left_out
        Why units were left out, by the name of the module or call.
    modules
        Names of all modules that the network calls.

    Attributes
    ----------
    traced
        Whether the network could be traced. If not, its calls are read and replaced as they happen.
    reason
        Why the network could not be traced; empty for a traced network.
    left_out
        Why units were left out, by the name of the module or call: their output has no axis of
        samples, they do not reach the output, what a module computes inside is not seen.
    modules
        Names of all modules that the network calls. The output of each can be chosen as a layer.
    """

    def __init__(
        self,
        layers: Iterable[UnitLayer],
        *,
        traced: bool = True,
        reason: str = "",
        left_out: Mapping[str, str] | None = None,
        modules: Iterable[str] = (),
    ) -> None:
        self._layers = tuple(layers)
        self.traced = traced
        self.reason = reason
        self.left_out = dict(left_out or {})
        self.modules = tuple(modules)

    @overload
    def __getitem__(self, index: int | str) -> UnitLayer: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[UnitLayer, ...]: ...
    def __getitem__(self, index: int | str | slice) -> UnitLayer | tuple[UnitLayer, ...]:
        if isinstance(index, str):
            return choose_layers(self, (index,))[0]
        return self._layers[index]

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        rows = [("depth", "layer", "units", "shape")]
        rows += [
            (str(layer.depth), layer.name, str(layer.units), " x ".join(map(str, layer.shape)))
            for layer in self._layers
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{depth:>{widths[0]}}  {name:<{widths[1]}}  {units:>{widths[2]}}  {shape}"
            for depth, name, units, shape in rows
        ]
        named_by = "graph nodes" if self.traced else f"calls; not traced: {self.reason}"
        total = sum(layer.units for layer in self._layers)
        lines.append(f"{len(self)} layers, {total:,} units, named by {named_by}")
        lines += [f"left out: {text}" for text in self.reasons()]
        return "\n".join(lines)

    def reasons(self) -> list[str]:
        """Return a line for each reason why units were left out, with the names."""
        names: dict[str, list[str]] = {}
        for name, reason in self.left_out.items():
            names.setdefault(reason, []).append(f"'{name}'")
        return [f"{listed(of_reason)}: {reason}" for reason, of_reason in names.items()]


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return some names as a text, and the number of the others.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def choose_layers(
    layers: Sequence[UnitLayer], choice: Sequence[str] | int | LastLayers | None
) -> tuple[UnitLayer, ...]:
    """Choose among the layers of a network.

    Parameters
    ----------
    layers
        All layers of the network.
    choice
        Names of layers, a number of last layers (``3`` or ``LastLayers(last=3)``), or None for
        all layers.

    Returns
    -------
    The layers in the order of the forward pass, whatever the order of the names.

    Raises
    ------
    ArgumentError
        Where the number of last layers is a truth value or below 1.
    LayerError
        Where a name is not among the layers, where nothing is chosen, or where more last layers
        are asked for than there are.

    Examples
    --------
    >>> layers = [UnitLayer(f"relu{i}", i, units=8, shape=(8,), axis=1) for i in range(3)]
    >>> [layer.name for layer in choose_layers(layers, 2)]
    ['relu1', 'relu2']
    """
    names = [layer.name for layer in layers]
    if not names:
        reasons = layers.reasons() if isinstance(layers, UnitLayers) else []
        modules = layers.modules if isinstance(layers, UnitLayers) else ()
        raise LayerError(
            "the model has no layer of units: no nonlinearity was found before its output"
            + "".join(f"; {reason}" for reason in reasons)
            + (f"; name modules whose outputs are units, such as {modules[0]!r}" if modules else "")
        )
    if choice is None:
        return tuple(layers)
    if not is_by_name(choice):
        return tuple(layers[len(names) - _count_last(choice, len(names)) :])
    chosen_names = [choice] if isinstance(choice, str) else list(choice)
    if not chosen_names:
        raise LayerError(f"layers is empty, but must name at least one layer; {nearest('', names)}")
    for name in chosen_names:
        if name not in names:
            raise LayerError(f"the model has no layer '{name}'; {nearest(name, names)}")
    return tuple(layer for layer in layers if layer.name in chosen_names)


def _count_last(choice: int | LastLayers, available: int) -> int:
    count = choice.last if isinstance(choice, LastLayers) else choice
    if isinstance(count, bool) or count < 1:
        raise ArgumentError(
            f"layers is {count!r}, but must be at least 1 to mean that many last layers; give a "
            "larger number, names of layers, or None for all"
        )
    if count > available:
        raise LayerError(f"the last {count} layers were asked for, but there are {available}")
    return count


REDUCTIONS = ("mean", "max", "active")


def reduce_positions(activation: Tensor, layer: UnitLayer, reduce: str = "mean") -> Tensor:
    """Reduce an activation to one value for each sample and unit.

    Parameters
    ----------
    activation
        Activation of a layer, (samples, ...).
    layer
        The layer.
    reduce
        ``mean`` or ``max`` over the positions, or ``active``, the share of positions that are not
        zero (NaN is not zero).

    Returns
    -------
    Shape (samples, units), in the dtype of the activation.
    """
    if activation.dim() == 2:
        return activation if reduce != "active" else activation.ne(0).to(activation.dtype)
    flat = activation.movedim(layer.axis, 1).flatten(2)
    if reduce == "active":
        return flat.count_nonzero(-1).to(flat.dtype) / flat.shape[-1]
    return flat.mean(-1) if reduce == "mean" else flat.amax(-1)
