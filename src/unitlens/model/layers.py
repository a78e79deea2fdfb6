"""Layers of units: which nodes or module calls of a network are one, and the choice among them."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from torch import Tensor, fx, nn

from unitlens.config.base import LastLayers
from unitlens.errors import (
    LayerError,
    nearest,
)
from unitlens.model.graph import Program, first_tensor
from unitlens.model.observation import Observation, UnfoldableError, batch_axis
from unitlens.model.operations import (
    NONLINEAR_MODULES,
    Source,
    function_name,
    is_nonlinear_function,
    is_rectifying_clamp,
    is_sigmoid,
    nearest_source,
    silu_gate,
    unit_axis,
)

logger = logging.getLogger("unitlens")
# Operations that change the form of a tensor and not its numbers.
_RESHAPING = frozenset(
    ("flatten", "view", "reshape", "squeeze", "unsqueeze", "permute", "transpose", "contiguous")
)
# Modules of torch that hold units in one piece of compiled code.
_OPAQUE = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.RNNBase, nn.RNNCellBase)


@dataclass(frozen=True)
class UnitLayer:
    """One place where units live.

    Attributes
    ----------
    name
        Name of the graph node, or of the module in a model that cannot be traced.
    depth
        Index of the layer in the forward pass, from 0.
    units
        Number of units.
    shape
        Shape of the activation of one sample.
    axis
        Axis of the units, counted with the batch axis: 1 or -1.
    """

    name: str
    depth: int
    units: int
    shape: tuple[int, ...]
    axis: int

    @property
    def positions(self) -> int:
        """Number of positions of a unit: one in a dense layer."""
        return math.prod(self.shape) // self.units

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Shape of a unit's feature map for one sample: empty in a dense layer."""
        at = len(self.shape) - 1 if self.axis == -1 else self.axis - 1
        return self.shape[:at] + self.shape[at + 1 :]


class UnitLayers(Sequence[UnitLayer]):
    """The layers of a network, in the order of the forward pass.

    Attributes
    ----------
    traced
        Whether the names are of graph nodes; else they are of modules.
    reason
        Why the network could not be traced; empty if it was.
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
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"{depth:>{wide[0]}}  {name:<{wide[1]}}  {units:>{wide[2]}}  {shape}"
            for depth, name, units, shape in rows
        ]
        how = "graph nodes" if self.traced else f"modules; not traced: {self.reason}"
        total = sum(layer.units for layer in self._layers)
        return "\n".join([*lines, f"{len(self)} layers, {total:,} units, named by {how}"])


def layers_of_program(
    program: Program, observation: Observation
) -> list[tuple[UnitLayer, fx.Node]]:
    """Return the layers of units of a traced network, each with its node."""
    logits = _makes_output(program)
    found: list[tuple[UnitLayer, fx.Node]] = []
    for node in program.nodes:
        if node is logits or not node.users or not _is_nonlinear(program, node):
            continue
        name, two, three = program.names[node], observation.two[node], observation.three[node]
        layer = _layer(name, len(found), (two, three), nearest_source(program, node))
        if layer is not None:
            found.append((layer, node))
    for node, module in program.modules.items():
        if any(isinstance(inner, _OPAQUE) for inner in module.modules()):
            kind = type(module).__name__
            logger.info("the units inside '%s' (%s) are not seen", program.names[node], kind)
    return found


def layers_of_calls(
    two: Mapping[str, tuple[Tensor, Source]], three: Mapping[str, tuple[Tensor, Source]]
) -> list[UnitLayer]:
    """Return the layers from the calls of activation modules on two and on three samples."""
    found: list[UnitLayer] = []
    for name in (name for name in two if name in three):
        activation, source = two[name]
        layer = _layer(name, len(found), (activation, three[name][0]), source)
        if layer is not None:
            found.append(layer)
    return found


def _layer(name: str, depth: int, pair: tuple[Tensor, Tensor], source: Source) -> UnitLayer | None:
    activation = pair[0]
    try:
        samples_first = batch_axis(*pair) == 0
    except UnfoldableError:
        samples_first = False
    if activation.dim() < 2 or not samples_first:
        shape = tuple(activation.shape)
        logger.info(
            "'%s' puts out %s for two samples: not one row of units each; left out", name, shape
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


def _makes_output(program: Program) -> fx.Node | None:
    """Return the node whose numbers are the logits, behind operations that only reshape."""
    output = program.output.args[0]
    if isinstance(output, fx.Node) and isinstance(output.target, type):  # a named tuple
        output = dict(zip(getattr(output.target, "_fields", ()), output.args, strict=False))
    node = first_tensor(output)
    while isinstance(node, fx.Node) and _reshapes(program, node):
        node = node.all_input_nodes[0]
    return node if isinstance(node, fx.Node) else None


def _reshapes(program: Program, node: fx.Node) -> bool:
    if node in program.modules:
        return isinstance(program.modules[node], nn.Flatten | nn.Unflatten | nn.Identity)
    called = node.op in ("call_function", "call_method")
    return called and function_name(node.target) in _RESHAPING and bool(node.all_input_nodes)


REDUCTIONS = ("mean", "max", "active")


def choose_layers(
    layers: Sequence[UnitLayer], choice: Sequence[str] | LastLayers | None
) -> tuple[UnitLayer, ...]:
    """Return the chosen ones of a network's layers.

    Parameters
    ----------
    layers
        All layers of the network.
    choice
        Names, or how many of the last layers, or None for all.

    Returns
    -------
    The layers, in the order of the forward pass whatever the order of the names.

    Raises
    ------
    LayerError
        Where a name is not among the layers, where nothing is chosen, or where more last layers
        are asked for than there are.
    """
    names = [layer.name for layer in layers]
    if not names:
        reason = layers.reason if isinstance(layers, UnitLayers) else ""
        untraced = (
            f"; it cannot be traced ({reason}), so only activation modules are seen: use "
            "modules such as torch.nn.ReLU, or make forward traceable by torch.fx"
        )
        raise LayerError(
            "the model has no layer of units: no nonlinearity was found before its output"
            + (untraced if reason else "")
        )
    if choice is None:
        return tuple(layers)
    if isinstance(choice, LastLayers):
        if choice.last > len(names):
            raise LayerError(
                f"the last {choice.last} layers were asked for, but there are {len(names)}"
            )
        return tuple(layers[len(names) - choice.last :])
    chosen = [choice] if isinstance(choice, str) else list(choice)
    if not chosen:
        raise LayerError(f"layers is empty, but must name at least one layer; {nearest('', names)}")
    for name in chosen:
        if name not in names:
            raise LayerError(f"the model has no layer '{name}'; {nearest(name, names)}")
    return tuple(layer for layer in layers if layer.name in chosen)


def reduce_positions(activation: Tensor, layer: UnitLayer, reduce: str = "mean") -> Tensor:
    """Reduce an activation to one value a sample and unit.

    Parameters
    ----------
    activation
        Activation of a layer, (samples, ...).
    layer
        The layer.
    reduce
        One of :data:`REDUCTIONS`: mean or maximum over the positions, or the share of them that
        is not zero (a NaN is not).

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
