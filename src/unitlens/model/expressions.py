"""Activations that are written out in several operations: x * sigmoid(x), where(x > 0, x, 0)."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, fx, nn

from unitlens.model.call_graph import CallGraph, ModuleCall
from unitlens.model.operations import (
    CLAMPS,
    NONLINEAR_FUNCTIONS,
    NONLINEAR_MODULES,
    function_name,
)

_MOST_OPERATIONS = 40  # of one activation
# Operations on each entry by itself.
_LINEAR = frozenset(
    (
        *("add", "sub", "subtract", "rsub", "mul", "multiply", "div", "divide", "true_divide"),
        *("truediv", "neg", "negative", "pos", "positive", "float", "double", "half", "bfloat16"),
        *("to", "type", "type_as", "contiguous", "clone"),
    )
)
_POLYNOMIAL = frozenset(("pow", "square", "sqrt", "reciprocal"))
# Those that bend a line, beside PyTorch's own activations.
_CURVED = frozenset(
    (
        *("erf", "exp", "expm1", "log", "log1p", "sin", "cos", "abs", "sign", "heaviside"),
        *("gt", "ge", "lt", "le", "greater", "less", "where", "masked_fill", "maximum"),
        *("minimum", "max", "min"),
    )
)
_WAVES = frozenset(("sin", "cos", "erf", "exp", "expm1"))
_BENDING = _CURVED | CLAMPS | (NONLINEAR_FUNCTIONS - {"glu"})
_ELEMENTWISE = _LINEAR | _POLYNOMIAL | _BENDING
_PRODUCTS = frozenset(("mul", "multiply", "div", "divide", "true_divide", "truediv"))
_SUMS = frozenset(("add", "sub", "subtract", "rsub"))
_CHOICES = frozenset(("where", "masked_fill", "maximum", "minimum", "max", "min"))
_FILLED = frozenset(("zeros", "zeros_like", "new_zeros", "ones_like", "full_like", "new_full"))
_RANDOM = ("rand", "normal", "bernoulli", "dropout", "empty")


class WrittenOut(NamedTuple):
    """An activation that is written out.

    Attributes
    ----------
    end
        Node of its last operation.
    source
        Node of the value that it is an activation of.
    inner
        Nodes of its other operations.
    name
        Name of the module that holds all of it; empty where it is part of a larger ``forward``.
    """

    end: fx.Node
    source: fx.Node
    inner: frozenset[fx.Node]
    name: str = ""


def written_out(graph: CallGraph, values: Mapping[fx.Node, Any]) -> list[WrittenOut]:
    """Return the activations of a network that are written out in several operations.

    Parameters
    ----------
    graph
        The calls of the network.
    values
        Value of each node, of which only the types are read.

    Returns
    -------
    The activations. Where one is part of another, there is the whole one alone.
    """
    search = _Search(graph, values)
    found = {one.end: one for one in search.joins()}
    for call in graph.calls:
        module = search.of_module(call)
        if module is not None and not any(module.end in one.inner for one in found.values()):
            found.setdefault(module.end, module)
            found[module.end] = found[module.end]._replace(name=found[module.end].name or call.name)
    inner = frozenset[fx.Node]().union(*(one.inner for one in found.values()))
    return [one for end, one in found.items() if end not in inner]


class _Search:
    """A search for activations that are written out."""

    def __init__(self, graph: CallGraph, values: Mapping[fx.Node, Any]) -> None:
        self._graph, self._values = graph, values
        self._constant: dict[fx.Node, bool] = {}
        for node in graph.nodes:
            self._constant[node] = self._is_constant(node)

    def _is_constant(self, node: fx.Node) -> bool:
        """Tell whether a value depends on no input: a parameter, a number, a tensor of zeros."""
        if node.op == "get_attr" or not isinstance(self._values.get(node), Tensor | list):
            return node.op != "placeholder"
        if node.op not in ("call_function", "call_method"):
            return False
        name = function_name(node.target)
        if name in _FILLED:
            return True
        return all(map(self._constant.__getitem__, node.all_input_nodes)) and not name.startswith(
            _RANDOM
        )

    def _variable_inputs(self, node: fx.Node) -> list[fx.Node]:
        return [earlier for earlier in node.all_input_nodes if not self._constant.get(earlier)]

    def _name(self, node: fx.Node) -> str:
        """Return the name of an operation on each entry by itself, empty for other operations."""
        module = self._graph.modules.get(node)
        if module is not None:
            entrywise = isinstance(module, NONLINEAR_MODULES) and not isinstance(module, nn.GLU)
            return "relu" if entrywise else ""
        name = function_name(node.target)
        if node.op not in ("call_function", "call_method") or name not in _ELEMENTWISE:
            return ""
        if name in ("max", "min"):  # not over an axis
            return name if len(node.args) == 2 and isinstance(node.args[1], fx.Node) else ""
        return name if name != "where" or len(node.args) == 3 else ""

    def joins(self) -> Iterator[WrittenOut]:
        """Yield the activations at whose end all ways from one value meet again."""
        for node in self._graph.nodes:
            name = self._name(node)
            if name not in _PRODUCTS | _SUMS | _CHOICES or node in self._graph.modules:
                continue
            found = self._cut(node)
            if found is None:
                continue
            source, inner = found
            if self._is_thresholded(source, inner):
                continue
            if self._is_activation(node, name, inner) and self._unread(inner, node):
                end = self._scaled(node)
                inside = inner | ({node} if end is not node else frozenset())
                yield WrittenOut(end, source, frozenset(inside))

    def _cut(self, node: fx.Node) -> tuple[fx.Node, set[fx.Node]] | None:
        """Return the nearest value that alone determines a node's, and the nodes between them."""
        frontier, inner = set(self._variable_inputs(node)), set[fx.Node]()
        while len(frontier) > 1:
            latest = max(frontier, key=self._graph.position)
            if not self._name(latest) or len(inner) >= _MOST_OPERATIONS:
                return None
            inner.add(latest)
            frontier.remove(latest)
            frontier |= set(self._variable_inputs(latest))
        return (frontier.pop(), inner) if frontier else None

    def _is_activation(self, node: fx.Node, name: str, inner: set[fx.Node]) -> bool:
        bends = {other for other in inner if self._name(other) in _BENDING}
        if name in _PRODUCTS:
            return bool(bends)
        if name in _CHOICES:
            return bool(inner) or (name in ("maximum", "max") and self._has_zero(node))
        if bends and all(self._name(other) in _WAVES | _CURVED for other in bends):
            return any(self._name(other) in _WAVES for other in bends)
        return all(self._bent(term, inner, bends) for term in self._variable_inputs(node))

    def _is_thresholded(self, source: fx.Node, inner: set[fx.Node]) -> bool:
        """Tell whether a value is an activation's already, of which small entries are cut off."""
        active = NONLINEAR_FUNCTIONS | CLAMPS
        return self._name(source) in active and not any(self._name(n) in active for n in inner)

    def _bent(self, term: fx.Node, inner: set[fx.Node], bends: set[fx.Node]) -> bool:
        """Tell whether a term of a sum is curved in the value that the sum is a function of."""
        waiting = [term]
        while waiting:
            node = waiting.pop()
            if node in bends:
                return True
            if node in inner:
                waiting += self._variable_inputs(node)
        return False

    def _has_zero(self, node: fx.Node) -> bool:
        return any(self._is_zero(argument) for argument in node.args)

    def _is_zero(self, argument: Any) -> bool:
        if not isinstance(argument, fx.Node):
            return argument == 0 and isinstance(argument, int | float)
        constant = self._graph.constant(argument)
        if isinstance(constant, Tensor):
            return not bool(constant.any())
        name = function_name(argument.target)
        made = name in ("tensor", "as_tensor", "scalar_tensor") and bool(argument.args)
        return "zeros" in name or (made and self._is_zero(argument.args[0]))

    def _unread(self, inner: set[fx.Node], end: fx.Node) -> bool:
        """Tell whether nothing else reads the inner values."""
        return all(user in inner or user is end for node in inner for user in node.users)

    def _scaled(self, node: fx.Node) -> fx.Node:
        """Return the last of the multiplications by plain numbers that follow a node."""
        while len(node.users) == 1:
            (user,) = node.users
            others = [argument for argument in user.args if argument is not node]
            numbers = all(isinstance(other, int | float) for other in others)
            if self._name(user) not in _PRODUCTS or not numbers or user.args.count(node) != 1:
                break
            if self._name(user) not in ("mul", "multiply") and user.args[0] is not node:
                break
            node = user
        return node

    def of_module(self, call: ModuleCall) -> WrittenOut | None:
        """Return the activation that a call of a module is, None where it is something else."""
        end, inside = call.output, {node for node in call.nodes if node in self._constant}
        if end is None or end not in inside or end in self._graph.modules:
            return None
        needed = {node for node in inside if not self._constant[node]}
        reads = {
            source
            for node in needed
            for source in self._variable_inputs(node)
            if source not in inside
        }
        bends = any(self._name(node) in _BENDING for node in needed)
        if len(reads) != 1 or not bends or not all(map(self._name, needed)):
            return None
        (source,) = reads
        return WrittenOut(end, source, frozenset(needed - {end}), call.name)
