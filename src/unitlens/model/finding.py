"""Finding the layers of units of a network among its calls, and what is left out of them."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from unitlens.model.call_graph import CallGraph, is_single_node
from unitlens.model.expressions import written_out
from unitlens.model.layers import UnitLayer
from unitlens.model.observation import BatchAxisError, batch_axis
from unitlens.model.operations import (
    NONLINEAR_MODULES,
    WeightedOperation,
    function_name,
    is_nonlinear_function,
    is_rectifying_clamp,
    nearest_weighted_operation,
    unit_axis,
)
from unitlens.model.outputs import OutputReader
from unitlens.model.recurrent import hidden_values, is_recurrent
from unitlens.model.unit_view import UnitView

# Operations that change the shape of a tensor and not its numbers.
_RESHAPING = frozenset(
    ("flatten", "view", "reshape", "squeeze", "unsqueeze", "permute", "transpose", "contiguous")
)
_EXPANDING = _RESHAPING | {"expand", "expand_as"}
Values = Mapping[fx.Node, Any]


@dataclass(frozen=True)
class FoundLayer:
    """A layer of units with the node whose value it is, and the arrangement of its axes."""

    layer: UnitLayer
    node: fx.Node
    view: UnitView

    def at_depth(self, depth: int) -> "FoundLayer":
        """Return the same layer at another depth."""
        return replace(self, layer=replace(self.layer, depth=depth))


@dataclass
class Findings:
    """The layers of units of a network, and what is left out with the reason, by name."""

    layers: list[FoundLayer] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, node: fx.Node, values: tuple[Any, Any], axis: "AxisOf") -> None:
        """Add a layer, or leave it out where its value has no axis of samples."""
        try:
            view = sample_view(*values)
        except BatchAxisError as error:
            self.left_out[name] = f"its output {error}"
            return
        self.layers.append(arranged(name, node, values[0], view, axis, len(self.layers)))


def find_layers(
    graph: CallGraph, two: Values, three: Values, reader: OutputReader | None = None
) -> Findings:
    """Find the layers of units of a network.

    Parameters
    ----------
    graph
        The calls of the network.
    two
        Values of the nodes on two samples, as meta tensors.
    three
        The same on three samples.
    reader
        What reads the logits from the output; by default the default reader.
    """
    logits = logits_node(graph, reader or OutputReader())
    reaching = set(graph.nodes) if logits is None else graph.ancestors(logits)
    hidden, missing = hidden_values(graph, two, three)
    findings = Findings(left_out=missing)
    for name, node in _candidates(graph, two, hidden):
        if node is logits:
            continue
        if node not in reaching:
            findings.left_out[name] = "it does not reach the output"
        elif node not in three:
            findings.left_out[name] = "it is called with two samples and not with three"
        else:
            findings.add(name, node, (two[node], three[node]), axis_of(graph, node, two, hidden))
    for node in graph.nodes:
        if kind := _opaque_kind(graph, node):
            findings.left_out[graph.names[node]] = f"what a {kind} computes inside is not seen"
    return findings


class AxisOf:
    """How the axis of the units of a value is told from the operations around it."""

    def __init__(self, source: WeightedOperation, *, last: bool | None = None) -> None:
        self._source, self._last = source, last

    def __call__(self, activation: Tensor) -> int:
        """Return the axis of the units of an activation: 1 or -1."""
        if self._last is not None and activation.dim() > 2:
            return -1 if self._last else 1
        return unit_axis(activation, self._source)


def axis_of(
    graph: CallGraph, node: fx.Node, values: Values, hidden: Collection[fx.Node] = ()
) -> AxisOf:
    """Return how the axis of the units of a node's value is told.

    Parameters
    ----------
    graph
        The calls of the network.
    node
        The node.
    values
        Values of the nodes.
    hidden
        Nodes whose values are hidden units of recurrent modules.
    """
    if node in hidden or is_recurrent(graph, node):
        return AxisOf(WeightedOperation(None, None), last=True)
    source = nearest_weighted_operation(graph, node)
    return AxisOf(source, last=_is_channel_gate(graph, node, values) or None)


def _is_channel_gate(graph: CallGraph, node: fx.Node, values: Values) -> bool:
    """Tell whether a value (samples, 1, channels) is reshaped to gate maps of these channels."""
    value = values.get(node)
    if not isinstance(value, Tensor) or value.dim() != 3 or value.shape[1] != 1:
        return False
    waiting = [*node.users]
    while waiting:
        user = waiting.pop()
        if function_name(user.target) in _EXPANDING and user in graph.index:
            reshaped = values.get(user)
            if isinstance(reshaped, Tensor) and reshaped.shape[1:2] == value.shape[2:]:
                return True
            waiting += [*user.users]
    return False


def _opaque_kind(graph: CallGraph, node: fx.Node) -> str:
    """Return what a node calls where its operations are not known, empty for other nodes."""
    function: Any = node.target
    if isinstance(function, torch.jit.ScriptFunction):
        return "scripted function"
    module = graph.modules.get(node)
    return type(module).__name__ if module is not None and _is_opaque(module) else ""


def _is_opaque(module: nn.Module) -> bool:
    """Tell whether the operations of a module that is one node are not known."""
    if isinstance(module, torch.jit.ScriptModule):
        return False  # one that has units is refused before
    kind = type(module)
    fused = any(part in kind.__name__ for part in ("LU", "LSTM", "GRU", "wish", "Sigmoid"))
    return not is_single_node(module) or (kind.__module__.startswith("torch.ao.nn") and fused)


def sample_view(two: Any, three: Any) -> UnitView:
    """Return the arrangement of a value with samples first.

    Parameters
    ----------
    two
        The value on two samples; only its shape is read.
    three
        The value on three samples.

    Raises
    ------
    BatchAxisError
        Where the value has no axis of samples.
    """
    if not isinstance(two, Tensor) or not isinstance(three, Tensor):
        raise BatchAxisError("is no tensor")
    shape = tuple(two.shape)
    problem = f"has the shape {shape} for two samples, not (2, units, ...)"
    try:
        axis = batch_axis(two, three)
    except BatchAxisError:
        rows, rest = divmod(shape[0], 2) if shape else (0, 0)
        same = two.dim() == three.dim() > 1 and two.shape[1:] == three.shape[1:]
        if not same or rest or rows * 3 != three.shape[0]:
            raise BatchAxisError(problem) from None
        return UnitView(rows=rows)
    if axis is None or not two.numel():
        raise BatchAxisError(problem if two.numel() else "has no entries")
    return UnitView(samples=axis, single=two.dim() == 1)


def arranged(
    name: str, node: fx.Node, value: Tensor, view: UnitView, axis: AxisOf, depth: int
) -> FoundLayer:
    """Return a layer from its value on two samples."""
    activation = view.to_units(torch.empty(value.shape, device="meta"))
    units = axis(activation)
    shape = tuple(activation.shape[1:])
    return FoundLayer(UnitLayer(name, depth, activation.shape[units], shape, units), node, view)


def _candidates(
    graph: CallGraph, values: Values, hidden: Mapping[fx.Node, str]
) -> Iterator[tuple[str, fx.Node]]:
    """Yield the name and node of each nonlinearity, in the order of the forward pass."""
    activations = {one.end: one for one in written_out(graph, values)}
    graph.written = {end: one.source for end, one in activations.items()}
    inner = frozenset[fx.Node]().union(*(one.inner for one in activations.values()))
    for node in graph.nodes:
        if node in hidden:
            yield hidden[node], node
        elif node in activations:
            yield activations[node].name or graph.names[node], node
        elif node not in inner and _is_nonlinear(graph, node):
            yield graph.names[node], node


def _is_nonlinear(graph: CallGraph, node: fx.Node) -> bool:
    if node in graph.modules:
        return isinstance(graph.modules[node], NONLINEAR_MODULES)
    if node.op not in ("call_function", "call_method"):
        return False
    return is_nonlinear_function(node.target) or is_rectifying_clamp(
        node.target, node.args, dict(node.kwargs)
    )


def logits_node(graph: CallGraph, reader: OutputReader) -> fx.Node | None:
    """Return the node that computes the logits, before operations that only reshape them.

    Parameters
    ----------
    graph
        The calls of the network.
    reader
        What reads the logits from the output.
    """
    node = reader.node(graph.output.args[0])
    while isinstance(node, fx.Node) and _reshapes(graph, node):
        node = node.all_input_nodes[0]
    return node


def _reshapes(graph: CallGraph, node: fx.Node) -> bool:
    if node in graph.modules:
        return isinstance(graph.modules[node], nn.Flatten | nn.Unflatten | nn.Identity)
    called = node.op in ("call_function", "call_method")
    return called and function_name(node.target) in _RESHAPING and bool(node.all_input_nodes)
