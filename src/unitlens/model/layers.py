"""Layers of units: finding them in a network, and choosing among them."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from torch import Tensor, fx, nn

from unitlens.config.base import LastLayers
from unitlens.errors import ArgumentError, LayerError, nearest
from unitlens.model.graph import Program, find_logits
from unitlens.model.observation import BatchAxisError, Observation, batch_axis
from unitlens.model.operations import (
    NONLINEAR_MODULES,
    WeightedOperation,
    function_name,
    is_nonlinear_function,
    is_rectifying_clamp,
    is_sigmoid,
    nearest_weighted_operation,
    silu_gate,
    unit_axis,
)

logger = logging.getLogger("unitlens")
# Operations that change the shape of a tensor and not its numbers.
_RESHAPING = frozenset(
    ("flatten", "view", "reshape", "squeeze", "unsqueeze", "permute", "transpose", "contiguous")
)
# Modules of torch whose units are inside of one compiled operation.
_OPAQUE = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.RNNBase, nn.RNNCellBase)


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

    Attributes
    ----------
    traced
        Whether the network could be traced. Then layers have the names of graph nodes, else of
        modules.
    reason
        Why the network could not be traced; empty for a traced network.
    """

    def __init__(
        self, layers: Iterable[UnitLayer], *, traced: bool = True, reason: str = ""
    ) -> None:
        self._layers = tuple(layers)
        self.traced = traced
        self.reason = reason

    @overload
    def __getitem__(self, index: int) -> UnitLayer: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[UnitLayer, ...]: ...
    def __getitem__(self, index: int | slice) -> UnitLayer | tuple[UnitLayer, ...]:
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
        named_by = "graph nodes" if self.traced else f"modules; not traced: {self.reason}"
        total = sum(layer.units for layer in self._layers)
        return "\n".join([*lines, f"{len(self)} layers, {total:,} units, named by {named_by}"])


def layers_of_program(
    program: Program, observation: Observation
) -> list[tuple[UnitLayer, fx.Node]]:
    """Return the layers of units of a traced network, each with its node.

    Parameters
    ----------
    program
        The traced network.
    observation
        Its values on two and three samples.
    """
    logits = _logits_node(program)
    layers: list[tuple[UnitLayer, fx.Node]] = []
    for node in program.nodes:
        if node is logits or not node.users or not _is_nonlinear(program, node):
            continue
        values = observation.two[node], observation.three[node]
        layer = _make_layer(
            program.names[node], len(layers), values, nearest_weighted_operation(program, node)
        )
        if layer is not None:
            layers.append((layer, node))
    for node, module in program.modules.items():
        if any(isinstance(inner, _OPAQUE) for inner in module.modules()):
            kind = type(module).__name__
            logger.info("the units inside '%s' (%s) are left out", program.names[node], kind)
    return layers


def layers_of_calls(
    two: Mapping[str, tuple[Tensor, WeightedOperation]],
    three: Mapping[str, tuple[Tensor, WeightedOperation]],
) -> list[UnitLayer]:
    """Return the layers of units of a network that cannot be traced.

    Parameters
    ----------
    two
        For the name of each call of an activation module, its activation on two samples and the
        weighted operation before it.
    three
        The same on three samples.
    """
    layers: list[UnitLayer] = []
    for name in (name for name in two if name in three):
        activation, source = two[name]
        layer = _make_layer(name, len(layers), (activation, three[name][0]), source)
        if layer is not None:
            layers.append(layer)
    return layers


def _make_layer(
    name: str, depth: int, values: tuple[Tensor, Tensor], source: WeightedOperation
) -> UnitLayer | None:
    """Return a layer from its activations on two and three samples; None where it has no units."""
    activation = values[0]
    try:
        samples_first = batch_axis(*values) == 0
    except BatchAxisError:
        samples_first = False
    if activation.dim() < 2 or not samples_first:
        shape = tuple(activation.shape)
        logger.info(
            "'%s' is left out: its output for two samples has the shape %s, not (2, units, ...)",
            name,
            shape,
        )
        return None
    axis = unit_axis(activation, source)
    return UnitLayer(name, depth, activation.shape[axis], tuple(activation.shape[1:]), axis)


def _is_nonlinear(program: Program, node: fx.Node) -> bool:
    if node in program.modules:
        return isinstance(program.modules[node], NONLINEAR_MODULES)
    if silu_gate(node) is not None:
        return True
    if is_sigmoid(node) and any(silu_gate(user) is node for user in node.users):
        return False
    if node.op not in ("call_function", "call_method"):
        return False
    return is_nonlinear_function(node.target) or is_rectifying_clamp(
        node.target, node.args, dict(node.kwargs)
    )


def _logits_node(program: Program) -> fx.Node | None:
    """Return the node that computes the logits, before operations that only reshape them."""
    output = program.output.args[0]
    if isinstance(output, fx.Node) and isinstance(output.target, type):  # a named tuple
        output = dict(zip(getattr(output.target, "_fields", ()), output.args, strict=False))
    node = find_logits(output)
    while isinstance(node, fx.Node) and _reshapes(program, node):
        node = node.all_input_nodes[0]
    return node if isinstance(node, fx.Node) else None


def _reshapes(program: Program, node: fx.Node) -> bool:
    if node in program.modules:
        return isinstance(program.modules[node], nn.Flatten | nn.Unflatten | nn.Identity)
    called = node.op in ("call_function", "call_method")
    return called and function_name(node.target) in _RESHAPING and bool(node.all_input_nodes)


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
        reason = layers.reason if isinstance(layers, UnitLayers) else ""
        untraced = (
            f"; it cannot be traced ({reason}), so only activation modules count: use modules "
            "such as torch.nn.ReLU, or make forward traceable by torch.fx"
        )
        raise LayerError(
            "the model has no layer of units: no nonlinearity was found before its output"
            + (untraced if reason else "")
        )
    if choice is None:
        return tuple(layers)
    if isinstance(choice, int | LastLayers):
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
