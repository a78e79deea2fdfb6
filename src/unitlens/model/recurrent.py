"""Hidden units of PyTorch's recurrent modules: the values of a network that hold them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, fx, nn

from unitlens.model.call_graph import CallGraph
from unitlens.model.observation import BatchAxisError, batch_axis
from unitlens.model.operations import function_name

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
# Operations that choose or rearrange entries of the states.
_CHOOSING = frozenset(
    (
        *("getitem", "select", "squeeze", "unsqueeze", "view", "reshape", "flatten", "transpose"),
        *("permute", "contiguous", "index_select", "cat", "concat", "_entry_of"),
    )
)
Values = Mapping[fx.Node, Any]


def is_recurrent(graph: CallGraph, node: fx.Node) -> bool:
    """Tell whether a node is the call of a recurrent module."""
    return isinstance(graph.modules.get(node), RECURRENT)


def hidden_values(
    graph: CallGraph, two: Values, three: Values
) -> tuple[dict[fx.Node, str], dict[str, str]]:
    """Return the values that hold the hidden units of the recurrent modules of a network.

    Parameters
    ----------
    graph
        The calls of the network.
    two, three
        Values of the nodes on two and on three samples.

    Returns
    -------
    The node and name of each value: of the output of a module, with the module's name; where the
    output is not read, or is packed, of what is made of the states. And the reason for each module
    of which there is no such value.
    """
    found: dict[fx.Node, str] = {}
    missing: dict[str, str] = {}
    for node in filter(lambda node: is_recurrent(graph, node), graph.nodes):
        outputs = [n for n in _outputs(node, two) if _readers(n)]
        of_module = [*_by_sample(graph, outputs, two, three)]
        if not of_module:
            states = _states(node, two)
            of_module = [*_by_sample(graph, states, two, three, itself=False)]
            if not of_module and isinstance(graph.modules[node], nn.RNNBase):
                of_module = [
                    n for n in states if _is_readable(n) and _has_samples(two.get(n), three.get(n))
                ]
        name = graph.names[node]
        for number, value in enumerate(of_module):
            found[value] = graph.names[value] if number else name
        if not of_module and node.users:
            kind = type(graph.modules[node]).__name__
            missing[name] = f"no value with an axis of samples is made of the output of this {kind}"
    return found, missing


def _outputs(node: fx.Node, values: Values) -> list[fx.Node]:
    """Return the nodes of the output of a recurrent module, without its states."""
    if isinstance(values.get(node), Tensor):
        return [node]
    return [user for user in node.users if _is_entry(user, 0)]


def _is_entry(node: fx.Node, number: int) -> bool:
    is_item = function_name(node.target) == "getitem"
    return is_item and isinstance(node.args[1], int) and node.args[1] == number


def _states(node: fx.Node, values: Values) -> list[fx.Node]:
    """Return the nodes of the last states of a recurrent module."""
    if isinstance(values.get(node), Tensor):
        return [user for user in node.users if function_name(user.target) == "_entry_of"]
    states = [user for user in node.users if _is_entry(user, 1)]
    of_pairs = [user for state in states for user in state.users if _is_entry(user, 0)]
    tuples = [state for state in states if not isinstance(values.get(state), Tensor)]
    return of_pairs if tuples else states


def _readers(node: fx.Node) -> list[fx.Node]:
    return [user for user in node.users if function_name(user.target) != "_entry_of"]


def _by_sample(
    graph: CallGraph,
    nodes: Iterable[fx.Node],
    two: Values,
    three: Values,
    *,
    itself: bool = True,
) -> Iterator[fx.Node]:
    """Yield the first values made of some values that have an axis of samples."""
    for node in nodes:
        packed = function_name(node.target) == "_pad_packed_sequence" or node in graph.modules
        sorted_back = [n for n in _readers(node) if function_name(n.target) == "index_select"]
        if packed and sorted_back:  # samples are in the order of their lengths before
            yield from sorted_back
        elif itself and _has_samples(two.get(node), three.get(node)):
            yield node
        else:
            chosen = [n for n in _readers(node) if _chooses(n)]
            yield from _by_sample(graph, chosen, two, three)


def _is_readable(node: fx.Node) -> bool:
    return function_name(node.target) != "_entry_of" and bool(_readers(node))


def _chooses(node: fx.Node) -> bool:
    called = node.op in ("call_function", "call_method")
    name = function_name(node.target)
    return called and (name in _CHOOSING or name == "_pad_packed_sequence")


def _has_samples(two: Any, three: Any) -> bool:
    if not isinstance(two, Tensor) or not isinstance(three, Tensor):
        return False
    try:
        return batch_axis(two, three) is not None and two.dim() > 1
    except BatchAxisError:
        return False
