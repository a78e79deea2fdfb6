"""The calls of nonlinearities of a plain forward pass, as a naive reference for layers of units.

A function mode sees each call of a nonlinear function, inside of PyTorch's modules too. Neither
hooks nor graphs take part.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

NONLINEAR = frozenset(
    (
        *("elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "prelu"),
        *("relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh"),
    )
)
RECURRENT = frozenset(("lstm", "gru", "rnn_tanh", "rnn_relu"))
CHANNELS_LAST = frozenset(("linear", "layer_norm", *RECURRENT))
CHANNELS_FIRST = frozenset(("conv1d", "conv2d", "conv3d", "batch_norm", "group_norm"))
ARITHMETIC = frozenset(("add", "sub", "mul", "div", "truediv", "pow", "neg"))


@dataclass
class Call:
    """A call of a nonlinear function, or the product at the end of an activation written out.

    `index` counts all calls of the pass. `axis` is that of the channels of the last weighted
    operation before the call; of one channel alone, as in a gate over channels, the other axis.
    """

    index: int
    result: Tensor
    axis: int


def plain_name(function):
    name = getattr(function, "__name__", "")
    inner = name.strip("_").removeprefix("r").removeprefix("i")
    return inner if name.startswith("__") and inner in ARITHMETIC else name.strip("_")


class SeenCalls(TorchFunctionMode):
    """Keeps the result of each nonlinear call, and replaces the results of some by index.

    Where a nonlinear function of a tensor is multiplied by the same tensor (x * sigmoid(x)), the
    product is the call. What is computed of one tensor alone, entry by entry, has this tensor as
    its source.
    """

    def __init__(self, edits):
        super().__init__()
        self.edits, self.calls, self.index, self.axis = edits, {}, -1, 1
        self._sources, self._bent, self._kept, self._states = {}, {}, [], None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.index += 1
        name, index = plain_name(func), self.index
        self.axis = {name in CHANNELS_LAST: -1, name in CHANNELS_FIRST: 1}.get(True, self.axis)
        if name in RECURRENT | {"pad_packed_sequence"}:  # padded: in place of what is packed
            if name == "pad_packed_sequence":
                self.calls.popitem()
            self._states = self._seen(index, result[0], args[0])
            return (self._states, *result[1:])
        if name == "index_select" and args[0] is self._states:  # the order of the samples again
            self.calls.popitem()
            return self._seen(index, result, None)
        if name in NONLINEAR:
            seen = self._seen(index, result, args[0])
            self._of_one_tensor(seen, args[:1], {index}, new=result is args[0])
            return seen
        tensors = [one for one in args if isinstance(one, Tensor) and one.dim()]
        if name in ARITHMETIC and len({self._source(one) for one in tensors}) == 1:
            bent = set().union(*(self._bent.get(id(one), ()) for one in tensors))
            if name == "mul" and bent and len(tensors) == 2:
                for inner in bent:
                    self.calls.pop(inner, None)
                return self._seen(index, result, args[0])
            self._of_one_tensor(result, tensors, bent)
        return result

    def _source(self, tensor):
        return self._sources.get(id(tensor), id(tensor))

    def _of_one_tensor(self, result, tensors, bent, *, new=False):
        self._kept += [result, *tensors]  # so that no other tensor gets their ids
        self._sources[id(result)] = id(result) if new else self._source(tensors[0])
        self._bent[id(result)] = bent

    def _seen(self, index, result, first):
        single = self.axis == 1 and result.dim() == 3 and result.shape[1] == 1
        self.calls[index] = Call(index, result.clone(), -1 if single else self.axis)
        if index not in self.edits:
            return result
        edited = self.edits[index](result.clone())
        return result.copy_(edited) if result is first else edited


class PlainPass:
    """A forward pass of a model in eval mode: its output and its nonlinear calls.

    `inputs` are a tensor, a tuple of positional arguments or a dictionary of keyword arguments.
    """

    def __init__(self, model, inputs):
        self._model, self._inputs = model.eval(), inputs
        self._run({})  # fills what the model caches
        self.output, self.calls = self._run({})

    def edited(self, edits):
        """Return the output where functions replace the results of calls by number."""
        by_index = {self.calls[number].index: edit for number, edit in edits.items()}
        output, calls = self._run(by_index)
        assert {call.index for call in calls} >= set(by_index)
        return output

    def _run(self, edits):
        fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        mode = SeenCalls(edits)
        try:
            with torch.no_grad(), mode:
                output = self._call()
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
        return output, list(mode.calls.values())

    def _call(self):
        if isinstance(self._inputs, dict):
            return self._model(**{name: value.clone() for name, value in self._inputs.items()})
        if isinstance(self._inputs, tuple):
            return self._model(*[value.clone() for value in self._inputs])
        return self._model(self._inputs.clone())


def seen_calls(model, inputs, edits=None):
    """Run a model in eval mode; return its output, and the results of its nonlinear calls."""
    plain = PlainPass(model, inputs)
    output = plain.edited(edits) if edits else plain.output
    return output, [call.result for call in plain.calls]
