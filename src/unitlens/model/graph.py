"""The forward pass of a network as a graph of named nodes, each run by itself."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from unitlens.model.call_graph import CallGraph, CallNames, ModuleCall, first_node, is_single_node
from unitlens.model.inputs import AnyInputs, map_structure, tensors_in

Edit = Callable[[Tensor], Tensor]  # of an activation: the activation that replaces it
Values = dict[fx.Node, Any]


class UnitTracer(fx.Tracer):
    """Trace a model's forward pass, with the node names of torchvision's feature extraction.

    A node's name is the path of the module that it runs in, then the operation; the second use of
    a name gets ``_1``. Modules of ``torch.nn`` are single nodes. All other modules are traced into,
    also torchvision's composite operations (``Conv2dNormActivation``, ``SqueezeExcitation``), which
    are single nodes in torchvision's own extraction: they contain layers of units. So are modules
    that are made inside of ``forward``, which have no path: their operations are those of the
    module that makes them.

    Attributes
    ----------
    names
        Name of each node.
    calls
        Calls of modules that consist of several nodes, each with the last node before its end.
    leaves
        Node of each tensor of the inputs.

    Parameters
    ----------
    given
        Inputs by the names of the parameters of ``forward``: each a tensor, or a structure of
        tensors, whose every tensor becomes an input of the graph. By default ``forward`` gets one
        tensor as its first argument.
    """

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        # A model with torchvision's operations has imported them: importing them here costs time.
        operations: Any = [
            sys.modules[name] for name in ("torchvision.ops",) if name in sys.modules
        ]
        super().__init__(autowrap_modules=(math, *operations))
        self.names: dict[fx.Node, str] = {}
        self.calls: list[ModuleCall] = []
        self.leaves: list[fx.Node] = []
        self._given = given
        self._scope = ""
        self._names = CallNames()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        """Tell whether a module is one node."""
        return is_single_node(m)

    def create_args_for_root(
        self,
        root_fn: Callable[..., Any],
        is_module: bool,  # noqa: FBT001  torch's signature
        concrete_args: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Trace with the default value of each argument of ``forward`` that is not given."""
        function, args = super().create_args_for_root(root_fn, is_module, concrete_args)
        given = self._given
        if given is None:
            self.leaves = [args[1].node]
            return function, [*args[:2], *(_default(argument) for argument in args[2:])]
        by_name = {_parameter_name(argument): argument for argument in args[1:]}
        inputs = {name: self._input(by_name[name], value) for name, value in given.items()}
        return function, [
            args[0],
            *(
                inputs[name] if name in given else _default(argument)
                for name, argument in by_name.items()
            ),
        ]

    def _input(self, argument: fx.Proxy, value: Any) -> Any:
        """Return an argument with a proxy in the place of each tensor."""
        if isinstance(value, Tensor):
            self.leaves.append(argument.node)
            return argument
        if str(argument.node.target).startswith("*"):
            raise NotImplementedError("forward takes any number of arguments")

        def proxy(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            name = f"{argument.node.target}_{len(self.leaves)}"
            made = self.create_proxy("placeholder", name, (), {})
            self.leaves.append(made.node)
            return made

        return map_structure(proxy, value)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Record the call of a module as one node, or trace into the module."""
        outer = self._scope
        try:
            path = self.path_of_module(m)
        except NameError:  # it is made inside of forward
            return forward(*args, **kwargs)
        try:
            self._scope = path
            if self.is_leaf_module(m, path):
                return self.create_proxy("call_module", path, args, kwargs)
            before = len(self.names)
            result = forward(*args, **kwargs)
        finally:
            self._scope = outer
        inside = tuple(islice(self.names, before, None))
        self.calls.append(ModuleCall(self._names.next(path), path, inside, first_node(result)))
        return result

    def create_proxy(self, kind: str, *args: Any, **kwargs: Any) -> fx.Proxy:
        """Record a node and name it."""
        proxy = super().create_proxy(kind, *args, **kwargs)
        self.names[proxy.node] = self._name(proxy.node)
        return proxy

    def _name(self, node: fx.Node) -> str:
        name = self._scope
        if node.op != "call_module":
            name = f"{name}.{node}" if name else str(node)
        stem, _, number = name.rpartition("_")
        if stem and number.isdecimal():  # fx numbers uses in the whole graph, we in each module
            name = stem
        return self._names.next(name)


def _parameter_name(argument: Any) -> str:
    return str(argument.node.target).lstrip("*")


def _default(argument: Any) -> Any:
    if not isinstance(argument, fx.Proxy):
        return argument
    if str(argument.node.target).startswith("**"):
        return {}
    return argument.node.args[0] if argument.node.args else argument


class Program(CallGraph):
    """A traced network: its nodes in order, each run by itself.

    Parameters
    ----------
    model
        The model.
    graph
        Its graph.
    names
        Name of each node.
    calls
        Calls of modules that consist of several nodes.
    leaves
        Node of each tensor of the inputs.

    Attributes
    ----------
    last_use
        Index of the last node that reads each node's value.
    overwrites
        For each node that works in place, the nodes whose values it would overwrite. It gets
        copies of these values, so that a value never changes.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: fx.Graph,
        names: Mapping[fx.Node, str],
        calls: Iterable[ModuleCall],
        leaves: Sequence[fx.Node],
    ) -> None:
        nodes = [node for node in graph.nodes if node.op != "output"]
        super().__init__(
            nodes,
            next(node for node in graph.nodes if node.op == "output"),
            names,
            {n: model.get_submodule(n.target) for n in nodes if n.op == "call_module"},
            {n: _attribute(model, n.target) for n in nodes if n.op == "get_attr"},
            [*calls],
        )
        self._leaves = tuple(leaves)
        self.overwrites: dict[fx.Node, set[fx.Node]] = {}
        self.relink()

    def relink(self) -> None:
        """Find the last use of each value; to be called after a change of the graph."""
        self.last_use: dict[fx.Node, int] = {}
        for node in self.nodes:
            self.last_use[node] = max(map(self.position, node.users), default=self.index[node])
        self._frees: list[list[fx.Node]] = [[] for _ in self.nodes]
        for node, index in self.last_use.items():
            if index < len(self.nodes):
                self._frees[index].append(node)

    def remove(self, node: fx.Node) -> None:
        """Remove a node that nothing reads; :meth:`relink` is to be called afterwards.

        What a call of a module returns is from then on the value that the node read.
        """
        for call in self.calls:
            if call.output is node:
                call.output = node.all_input_nodes[0]
        node.graph.erase_node(node)
        self.nodes.remove(node)
        self.index = {other: index for index, other in enumerate(self.nodes)}
        for by_node in (self.modules, self.names, self.overwrites):
            by_node.pop(node, None)

    def insert_behind(self, node: fx.Node, function: Callable[[Any], Any]) -> fx.Node:
        """Insert a call of a function of a node's value; :meth:`relink` is to be called afterwards.

        The nodes behind it go on to read the old node.
        """
        with node.graph.inserting_after(node):
            inserted = node.graph.call_function(function, (node,))
        self.nodes.insert(self.index[node] + 1, inserted)
        self.index = {other: index for index, other in enumerate(self.nodes)}
        self.names[inserted] = f"{self.names[node]}.{inserted}"
        return inserted

    def run(self, inputs: AnyInputs, edits: Mapping[fx.Node, Edit] | None = None) -> Any:
        """Run all nodes.

        Parameters
        ----------
        inputs
            One batch.
        edits
            For a node, a function of its value that returns the value to go on with.

        Returns
        -------
        The output of the network.
        """
        values = self.start(inputs)
        for node in self.nodes:
            self.step(node, values, edits)
        return self.outcome(values)

    def start(self, inputs: AnyInputs) -> Values:
        """Return the values before the first node."""
        return dict(zip(self._leaves, tensors_in(inputs), strict=True))

    def outcome(self, values: Values) -> Any:
        """Return the output of the network from the values of the nodes that it reads."""
        return map_arg(self.output.args[0], values.__getitem__)

    def step(
        self, node: fx.Node, values: Values, edits: Mapping[fx.Node, Edit] | None = None
    ) -> Any:
        """Run one node, and free the values that no later node reads.

        Parameters
        ----------
        node
            The node.
        values
            Values of the nodes before it. The node's value is added.
        edits
            As for :meth:`run`.

        Returns
        -------
        The value of the node, edited or not.
        """
        value = self.compute(node, values)
        if edits and node in edits:
            value = edits[node](value)
        values[node] = value
        for unused in self._frees[self.index[node]]:
            values.pop(unused, None)
        return value

    def compute(self, node: fx.Node, values: Values) -> Any:
        """Return the value of a node from the values that it reads."""
        if node.op == "placeholder":
            return values.get(node)
        if node.op == "get_attr":
            return self._constants[node]
        args, kwargs = self._arguments(node, values)
        if node.op == "call_module":
            return self.modules[node](*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _arguments(self, node: fx.Node, values: Values) -> Any:
        overwritten = self.overwrites.get(node, ())

        def value(argument: fx.Node) -> Any:
            read = values[argument]
            return read.clone() if argument in overwritten else read

        return map_arg(node.args, value), map_arg(node.kwargs, value)


def _attribute(model: nn.Module, path: str) -> Any:
    value: Any = model
    for part in path.split("."):
        value = getattr(value, part)
    return value


def trace(model: nn.Module, given: Mapping[str, Any] | None = None) -> Program:
    """Trace a model in its present mode.

    A model that cannot be traced raises any exception, of its own or of torch.fx.

    Parameters
    ----------
    model
        The model.
    given
        Inputs by the names of the parameters of ``forward``, as for :class:`UnitTracer`.
    """
    tracer = UnitTracer(given)
    graph = tracer.trace(model)
    return Program(model, graph, tracer.names, tracer.calls, tracer.leaves)


def find_logits(output: Any) -> Any:
    """Find the logits in a model's output.

    Parameters
    ----------
    output
        The output: a tensor, or a container of tensors. For the output of a graph, nodes stand for
        tensors.

    Returns
    -------
    The output itself where it is a tensor. Of a container, the entry or attribute ``logits`` or
    ``out`` where it has one, else its only tensor. None where there is no tensor, or several.
    """
    if isinstance(output, Tensor | fx.Node):
        return output
    for name in ("logits", "out"):
        entry = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(entry, Tensor | fx.Node):
            return entry
    entries = output.values() if isinstance(output, Mapping) else output
    found = (
        [entry for entry in entries if isinstance(entry, Tensor | fx.Node)]
        if isinstance(entries, Iterable)
        else []
    )
    return found[0] if len(found) == 1 else None


def same_storage(one: Any, other: Any) -> bool:
    """Tell whether two values are tensors in the same memory."""
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return False
    if torch.Size([0]) in (one.shape, other.shape):
        return False
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
