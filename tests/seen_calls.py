"""The calls of nonlinearities of a plain forward pass, as a naive reference for layers of units.

A function mode sees each call of a nonlinear function, inside of PyTorch's modules too. Neither
hooks nor graphs take part.
"""

import torch
from torch.overrides import TorchFunctionMode

NONLINEAR = frozenset(("relu", "gelu", "silu", "tanh", "sigmoid", "hardswish", "softplus", "elu"))


class SeenCalls(TorchFunctionMode):
    """Keeps the result of each nonlinear call, and replaces the results of some by number."""

    def __init__(self, edits):
        super().__init__()
        self.edits, self.seen = edits, []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "").rstrip("_") not in NONLINEAR:
            return result
        number = len(self.seen)
        self.seen.append(result.clone())
        if number not in self.edits:
            return result
        edited = self.edits[number](result.clone())
        return result.copy_(edited) if result is args[0] else edited


def seen_calls(model, inputs, edits=None):
    """Run a model in eval mode; return its output, and the results of its nonlinear calls."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    mode = SeenCalls(edits or {})
    try:
        with torch.no_grad(), mode:
            output = model.eval()(inputs.clone())
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return output, mode.seen
