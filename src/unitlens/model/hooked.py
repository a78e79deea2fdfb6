"""Networks that cannot be traced: their calls are recorded, read and replaced as they happen."""

from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.weak import WeakIdKeyDictionary

from unitlens.model.call_graph import (
    CallGraph,
    ModuleCall,
    first_tensor,
    is_single_node,
    with_first_tensor,
)
from unitlens.model.call_watch import CallWatch
from unitlens.model.calling import call_model
from unitlens.model.graph import Edit, find_logits
from unitlens.model.inputs import AnyInputs, Inputs
from unitlens.model.memory_watch import MemoryWatch
from unitlens.model.observed_calls import CallMode, ObservedCall


class HookedNetwork:
    """A model whose activations are read and replaced call by call in its own forward pass.

    Parameters
    ----------
    model
        The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def run(
        self, inputs: AnyInputs, edits: Mapping[str, Edit], watch: CallWatch | None = None
    ) -> Any:
        """Run the model with some activations replaced.

        Parameters
        ----------
        inputs
            One batch.
        edits
            For the name of a call, a function of its activation that returns the replacement.
        watch
            What notes the calls, if anything.

        Returns
        -------
        The output of the model.
        """

        def replace(call: ObservedCall) -> Any:
            if watch is not None:
                watch.see(call)
            if call.name not in edits:
                return call.result
            activation = first_tensor(call.result)
            if activation is None:
                return call.result
            edited = edits[call.name](activation)
            if edited is activation:
                return call.result
            if call.works_in_place:
                activation.copy_(edited)  # other modules may read the same memory
                return call.result
            return with_first_tensor(call.result, edited)

        if not edits and watch is None:
            return call_model(self._model, inputs)
        with CallMode(self._model, replace).observing():
            return call_model(self._model, inputs)

    def record(self, inputs: AnyInputs) -> tuple["RecordedCalls", MemoryWatch]:
        """Run the model and record its calls.

        Parameters
        ----------
        inputs
            One batch.

        Returns
        -------
        The calls, and the memory of the pass.
        """
        recorder = _Recorder(self._model, inputs)
        with CallMode(self._model, recorder.observe).observing(), MemoryWatch() as memory:
            output = call_model(self._model, inputs)
        return recorder.finish(output), memory


class RecordedCalls(CallGraph):
    """The recorded calls of one pass.

    Attributes
    ----------
    values
        First tensor of each node's value, as a meta tensor; other values are None.
    seen
        Names of all calls.
    """

    values: dict[fx.Node, Tensor | None]
    seen: set[str]
    writes: Mapping[fx.Node, Collection[fx.Node]]

    def read_by(self, node: fx.Node) -> Collection[fx.Node]:
        """Return the nodes whose values a node reads, also those that wrote into their memory."""
        return {*node.all_input_nodes, *self.writes.get(node, ())} - {node}


class _Recorder:
    """Makes a node of each observed call."""

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        self._graph = fx.Graph()
        self._producer: Any = WeakIdKeyDictionary()
        self._names: dict[fx.Node, str] = {}
        self._modules: dict[fx.Node, nn.Module] = {}
        self._constants: dict[fx.Node, Any] = {}
        self._values: dict[fx.Node, Tensor | None] = {}
        self._calls: list[ModuleCall] = []
        self._seen: set[str] = set()
        self._order: list[int] = []  # number of nodes before each call ended
        self._written: dict[int, list[fx.Node]] = {}
        self._writes: dict[fx.Node, set[fx.Node]] = {}
        self._weights = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        fx.node.map_aggregate(
            _plain(inputs.value if isinstance(inputs, Inputs) else inputs), self._node_of
        )

    def observe(self, call: ObservedCall) -> Any:
        """Add the node or nodes of a call."""
        self._seen.add(call.name)
        if isinstance(call.target, nn.Module) and not is_single_node(call.target):
            first = self._order[call.inside] if call.inside < len(self._order) else len(self._names)
            output = first_tensor(call.result)
            if output is not None and output not in self._producer:  # what it did was not seen
                self._add(call)
            node = None if output is None else self._producer[output]
            inside = tuple(islice(self._names, first, None))
            self._calls.append(ModuleCall(call.name, call.path, inside, node))
            self._order.append(len(self._names))
        else:
            self._order.append(len(self._names))
            self._add(call)
        return call.result

    def _add(self, call: ObservedCall) -> None:
        read: set[fx.Node] = set()
        args = tuple(self._arguments(call.args, read))
        kwargs = self._arguments(call.kwargs, read)
        target = call.target
        if isinstance(target, nn.Module):
            node = self._graph.create_node("call_module", call.path, args, kwargs)
            self._modules[node] = target
        else:
            node = self._graph.create_node("call_function", target, args, kwargs)
        self._names[node] = call.name
        self._writes[node] = read
        self._register(node, call.result)
        if call.works_in_place:
            self._written.setdefault(_address(call.result), []).append(node)

    def _register(self, node: fx.Node, result: Any) -> None:
        """Note which node each tensor of a result comes from: the first from the call itself."""
        tensor = first_tensor(result)
        self._values[node] = None if tensor is None else _meta(tensor)

        def register(value: Any) -> Any:
            if isinstance(value, Tensor):
                self._producer[value] = node if value is tensor else self._entry(node, value)
            return value

        fx.node.map_aggregate(_plain(result), register)

    def _entry(self, node: fx.Node, value: Tensor) -> fx.Node:
        entry = self._graph.create_node("call_function", _entry_of, (node,))
        self._names[entry] = f"{self._names[node]}.{entry}"
        self._values[entry] = _meta(value)
        return entry

    def _arguments(self, values: Any, read: set[fx.Node]) -> Any:
        def argument(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value if isinstance(value, _PLAIN) else None
            read.update(self._written.get(_address(value), ()))
            return self._node_of(value)

        return fx.node.map_aggregate(_plain(values), argument)

    def _node_of(self, value: Any) -> Any:
        """Return the node that a tensor comes from; a new one for inputs and constants."""
        if not isinstance(value, Tensor):
            return value
        if value not in self._producer:
            kind = "get_attr" if id(value) in self._weights else "placeholder"
            node = self._graph.create_node(kind, f"value_{len(self._names)}")
            self._names[node], self._values[node] = str(node), _meta(value)
            if kind == "get_attr":
                self._constants[node] = value
            self._producer[value] = node
        return self._producer[value]

    def finish(self, output: Any) -> RecordedCalls:
        """Return the recorded calls of a pass with this output."""
        read: set[fx.Node] = set()
        if not isinstance(output, Tensor | Mapping | tuple | list):
            output = vars(output) if hasattr(output, "__dict__") else find_logits(output)
        node = self._graph.output(self._arguments(output, read))
        nodes = [*self._names]
        recorded = RecordedCalls(
            nodes, node, self._names, self._modules, self._constants, self._calls
        )
        recorded.values, recorded.seen = self._values, self._seen
        recorded.writes = {**self._writes, node: read}
        return recorded


_PLAIN = (int, float, complex, str, torch.dtype, torch.device, torch.Size)


def _entry_of(value: Any) -> Any:
    """Stand for one of the later tensors that a call returns."""
    return value


def _plain(value: Any) -> Any:
    """Return a value whose containers are tuples, lists and dictionaries."""
    if hasattr(value, "_fields"):
        value = dict(zip(value._fields, value, strict=True))
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list) and not isinstance(value, torch.Size):
        return [_plain(entry) for entry in value]
    return value


def _address(value: Any) -> int:
    try:
        return int(value.untyped_storage().data_ptr())
    except (RuntimeError, NotImplementedError):  # sparse tensors and others without a storage
        return id(value)


def _meta(value: Tensor) -> Tensor:
    return torch.empty(value.shape, dtype=value.dtype, device="meta")
