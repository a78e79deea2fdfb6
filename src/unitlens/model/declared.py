"""Layers that a user declares: the output of any module or graph node, by name or pattern."""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, fx

from unitlens.config.base import DeclaredLayer
from unitlens.errors import ArgumentError, LayerError, nearest
from unitlens.model.call_graph import CallGraph
from unitlens.model.finding import FoundLayer, Values, axis_of, sample_view
from unitlens.model.layers import UnitLayer
from unitlens.model.observation import BatchAxisError
from unitlens.model.operations import function_name
from unitlens.model.unit_view import UnitView


def layer(name: str, *, axis: int | None = None, heads: int | None = None) -> DeclaredLayer:
    """Declare that the output of a module or graph node is a layer of units.

    The result is an entry of the argument `layers` of all functions that take layers. Where a
    module returns several tensors, the first one counts.

    Parameters
    ----------
    name
        Name of a module, of a call of it (``relu_1`` is the second), or of a graph node. Or a
        pattern: ``*`` stands for any characters but dots, ``**`` for any characters. Modules are
        looked for before graph nodes.
    axis
        Axis of the units in the output (samples, ...), such as 1 or -1. By default it is told by
        the operations before the output, as for nonlinearities.
    heads
        Number of units that the axis is split into, such as the heads of attention. By default
        each entry of the axis is a unit.

    Raises
    ------
    ArgumentError
        Where `name` is empty, or `heads` is below 1.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> import unitlens as ul
    >>> model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    >>> ul.unit_layers(model, torch.zeros(1, 4), layers=["1", ul.layer("0", heads=3)])
    depth  layer  units  shape
        2  0          3  3 x 2
        0  1          6  6
    2 layers, 9 units, named by graph nodes
    """
    if not name:
        raise ArgumentError(f"name is {name!r}, but must be the name of a module or graph node")
    if heads is not None and (isinstance(heads, bool) or heads < 1):
        raise ArgumentError(f"heads is {heads!r}, but must be a number of at least 1")
    return DeclaredLayer(name=name, axis=axis, heads=heads)


def is_pattern(name: str) -> bool:
    """Tell whether a name is a pattern."""
    return "*" in name


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that a pattern stands for; a name stands for itself.

    Examples
    --------
    >>> matching("blocks.*", ["blocks.0", "blocks.0.mlp", "blocks.1"])
    ['blocks.0', 'blocks.1']
    """
    parts = re.split(r"(\*\*|\*)", pattern)
    wild = {"**": ".*", "*": "[^.]*"}
    expression = re.compile("".join(wild.get(part, re.escape(part)) for part in parts))
    return [name for name in names if expression.fullmatch(name)]


def named_values(graph: CallGraph, values: Values) -> tuple[dict[str, fx.Node], dict[str, fx.Node]]:
    """Return the nodes that can be declared, by name: of calls of modules, and of other calls.

    Parameters
    ----------
    graph
        The calls of a network.
    values
        Values of the nodes.
    """
    modules: dict[str, fx.Node] = {}
    others: dict[str, fx.Node] = {}
    outputs = {call.name: call.output for call in graph.calls}
    for node in graph.nodes:
        if node.op in ("placeholder", "get_attr"):
            continue
        value = _tensor_node(node, values)
        if value is not None:
            (modules if node in graph.modules else others)[graph.names[node]] = value
    for name, output in outputs.items():
        value = None if output is None else _tensor_node(output, values)
        if value is not None:
            modules[name] = value
    return modules, others


def _tensor_node(node: fx.Node, values: Values) -> fx.Node | None:
    """Return the node of a value, or of its first entry where it is several tensors."""
    if isinstance(values.get(node), Tensor):
        return node
    for user in node.users:
        if function_name(user.target) == "getitem" and user.args[1:] == (0,):
            return _tensor_node(user, values)
    return None


def resolve(
    declared: DeclaredLayer, modules: Mapping[str, fx.Node], others: Mapping[str, fx.Node]
) -> list[str]:
    """Return the names of the modules, or else of the graph nodes, that a declaration stands for.

    Parameters
    ----------
    declared
        The declaration.
    modules, others
        Nodes by name, from :func:`named_values`.

    Raises
    ------
    LayerError
        Where there is none.
    """
    names = matching(declared.name, modules) or matching(declared.name, others)
    if not names:
        kind = "pattern" if is_pattern(declared.name) else "layer"
        raise LayerError(
            f"the model has no layer '{declared.name}'; {nearest(declared.name, modules)}"
            if kind == "layer"
            else f"the model has no layer that fits '{declared.name}'; a * stands for any "
            f"characters but dots; {nearest(declared.name, modules)}"
        )
    return names


def declared_layer(
    graph: CallGraph,
    node: fx.Node,
    values: tuple[Values, Values],
    declared: DeclaredLayer,
    depth: int,
) -> FoundLayer:
    """Return the layer that is declared to be a node's value.

    Parameters
    ----------
    graph
        The calls of the network.
    node
        The node.
    values
        Values of the nodes on two and on three samples.
    declared
        The declaration, with the name of the layer.
    depth
        Depth of the layer.

    Raises
    ------
    LayerError
        Where the value has no axis of samples.
    ArgumentError
        Where it does not have the declared axis, or the axis cannot be split.
    """
    name, value = declared.name, values[0][node]
    try:
        view = sample_view(value, values[1].get(node))
    except BatchAxisError as error:
        raise LayerError(f"'{name}' cannot be a layer of units: its output {error}") from None
    activation = view.to_units(torch.empty(value.shape, device="meta"))
    if declared.axis is None:
        axis = axis_of(graph, node, values[0])(activation) % activation.dim()
    else:
        axis = _given_axis(declared, value, view)
    view, axis = _arrange(declared, activation, view, axis)
    shape = view.to_units(torch.empty(value.shape, device="meta")).shape
    return FoundLayer(UnitLayer(name, depth, shape[axis], tuple(shape[1:]), axis), node, view)


def _given_axis(declared: DeclaredLayer, value: Tensor, view: UnitView) -> int:
    """Return the declared axis of a value as the axis of its activation."""
    axes, given = value.dim(), declared.axis or 0
    if not -axes <= given < axes or given % axes == view.samples:
        raise ArgumentError(
            f"layer '{declared.name}' has axis = {declared.axis}, but its output of shape "
            f"{tuple(value.shape)} for two samples has units on another axis than that of the "
            f"samples, {view.samples}"
        )
    axis = given % axes
    return axis + 1 if axis < view.samples or view.rows > 1 else axis


def _arrange(
    declared: DeclaredLayer, activation: Tensor, view: UnitView, axis: int
) -> tuple[UnitView, int]:
    """Return the arrangement with the units of an axis on axis 1 or -1, and that axis."""
    entries, last = activation.shape[axis], activation.dim() - 1
    heads = declared.heads
    if heads is None and axis in (1, last):
        return view, 1 if axis == 1 else -1
    if heads is not None and entries % heads:
        raise ArgumentError(
            f"layer '{declared.name}' has heads = {heads}, but its axis of {entries} entries must "
            "be a multiple of them"
        )
    if view.single and heads is not None:
        return view, 1
    return UnitView(view.samples, view.rows, axis, heads, view.single), 1
