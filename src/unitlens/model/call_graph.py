"""The calls of one forward pass as the nodes of a graph, whichever way the calls were seen."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

# Containers of torch.nn that run other modules: their operations are seen one by one.
CONTAINERS: tuple[type[nn.Module], ...] = (
    nn.Sequential,
    nn.Transformer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
)


def is_single_node(module: nn.Module) -> bool:
    """Tell whether the call of a module is one node: of PyTorch's own modules that compute."""
    home = module.__module__
    if home.startswith("torchvision.ops") and not any(module.children()):
        return True
    return home.startswith(("torch.nn", "torch.ao.nn")) and not isinstance(module, CONTAINERS)


@dataclass
class ModuleCall:
    """One call of a module that consists of several nodes.

    Attributes
    ----------
    name
        Path of the module; a second call of the same module gets ``_1``.
    path
        Path of the module.
    nodes
        The nodes of the call, those of its submodules included.
    output
        Node of the first tensor that the call returns; None where it returns none.
    """

    name: str
    path: str
    nodes: tuple[fx.Node, ...]
    output: fx.Node | None


class CallNames:
    """Names of calls: the path of the module, then the operation; a second use gets ``_1``."""

    def __init__(self) -> None:
        self._uses: dict[str, int] = {}

    def next(self, name: str) -> str:
        """Return a name, numbered where it was used before."""
        uses = self._uses.get(name, 0)
        self._uses[name] = uses + 1
        return f"{name}_{uses}" if uses else name


class CallGraph:
    """The calls of a forward pass in order, with what each reads.

    Parameters
    ----------
    nodes
        The nodes in the order in which they run, without the output node.
    output
        The output node.
    names
        Name of each node.
    modules
        Module of each node that calls a module.
    constants
        Parameter, buffer or constant of each node that stands for one.
    calls
        Calls of modules that consist of several nodes, in the order in which they end.

    Attributes
    ----------
    nodes, output, names, modules, calls
        As the parameters.
    index
        Index of each node in `nodes`.
    written
        Node that each activation that is written out in several operations reads, by the node of
        its last operation.
    """

    def __init__(
        self,
        nodes: Sequence[fx.Node],
        output: fx.Node,
        names: Mapping[fx.Node, str],
        modules: Mapping[fx.Node, nn.Module],
        constants: Mapping[fx.Node, Any],
        calls: Sequence[ModuleCall],
    ) -> None:
        self.nodes, self.output = list(nodes), output
        self.names, self.modules = dict(names), dict(modules)
        self.calls = list(calls)
        self._constants = dict(constants)
        self.index = {node: index for index, node in enumerate(self.nodes)}
        self.written: dict[fx.Node, fx.Node] = {}

    def constant(self, node: Any) -> Any:
        """Return the parameter, buffer or constant that a node stands for, None for other nodes."""
        return self._constants.get(node)

    def position(self, node: fx.Node) -> int:
        """Return the index of a node; that of the output node is the number of nodes."""
        return self.index.get(node, len(self.nodes))

    def read_by(self, node: fx.Node) -> Collection[fx.Node]:
        """Return the nodes whose values a node reads."""
        return node.all_input_nodes

    def ancestors(self, node: fx.Node) -> set[fx.Node]:
        """Return a node and all nodes that its value is computed from."""
        found: set[fx.Node] = set()
        waiting = [node]
        while waiting:
            earlier = waiting.pop()
            if earlier not in found:
                found.add(earlier)
                waiting += self.read_by(earlier)
        return found


def first_node(value: Any) -> fx.Node | None:
    """Return the node of the first tensor in a value that holds proxies or nodes."""
    if isinstance(value, fx.Proxy):
        return value.node
    if isinstance(value, fx.Node):
        return value
    entries = value.values() if isinstance(value, Mapping) else value
    if isinstance(entries, list | tuple) or isinstance(value, Mapping):
        return next((node for node in map(first_node, entries) if node is not None), None)
    return None


def first_tensor(value: Any) -> Tensor | None:
    """Return the first tensor in a value: itself, or the first in a container."""
    if isinstance(value, Tensor):
        return value
    entries = value.values() if isinstance(value, Mapping) else value
    if isinstance(entries, list | tuple) or isinstance(value, Mapping):
        return next((one for one in map(first_tensor, entries) if one is not None), None)
    return None


def with_first_tensor(value: Any, new: Tensor) -> Any:
    """Return a value with another tensor in place of its first tensor."""
    if isinstance(value, Tensor):
        return new
    if isinstance(value, Mapping):
        key = next(key for key, entry in value.items() if first_tensor(entry) is not None)
        replaced = {**value, key: with_first_tensor(value[key], new)}
        return type(value)(**replaced)
    place = next(i for i, entry in enumerate(value) if first_tensor(entry) is not None)
    entries = [*value]
    entries[place] = with_first_tensor(value[place], new)
    return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)
