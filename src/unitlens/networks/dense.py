"""Dense layers through oneDNN while a network trains on a CPU.

PyTorch multiplies float32 matrices with MKL, which runs well under half of the speed of oneDNN on
processors of other makers than its own (105 against 220 GFLOP/s on a core of an AMD Zen 5), and
no setting turns that. Results differ from PyTorch's in the last bits only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

SMALLEST = 2**16  # weights; below, the cost of a call outweighs the faster product


class _OneDNNLinear(torch.autograd.Function):
    """``x @ weight.T + bias`` and its gradients, for matrices."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return multiply(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        (gradient,) = gradients
        wanted = ctx.needs_input_grad
        return (
            multiply(gradient, weight.t()) if wanted[0] else None,
            multiply(gradient.t(), inputs.t()) if wanted[1] else None,
            gradient.sum(0) if wanted[2] else None,
        )


def multiply(
    inputs: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none"
) -> Tensor:
    """Return ``inputs @ weight.T + bias``, through a ReLU if asked for."""
    if weight.numel() < SMALLEST and len(inputs) * len(weight) < SMALLEST:
        product = nn.functional.linear(inputs, weight, bias)
        return product.relu_() if activation == "relu" else product
    fast: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
        inputs, weight, bias, activation, [], ""
    )
    return fast


@contextmanager
def fast_dense_layers(model: nn.Module) -> Iterator[None]:
    """Compute the dense layers of a model by oneDNN inside the block.

    Parameters
    ----------
    model
        Any model. Only its ``torch.nn.Linear`` modules (no subclasses) with float32 weights on
        the CPU change the way they compute; afterwards all are as they were.
    """
    layers = [module for module in model.modules() if is_fast_dense(module)]
    for layer in layers:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _forward(layer: nn.Linear, inputs: Tensor) -> Tensor:
    if inputs.dim() != 2 or inputs.dtype != torch.float32:
        return nn.functional.linear(inputs, layer.weight, layer.bias)
    output: Tensor = _OneDNNLinear.apply(inputs, layer.weight, layer.bias)
    return output


def is_fast_dense(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Tell whether :func:`multiply` can stand for a module's product."""
    if type(module) is not nn.Linear or "forward" in vars(module):
        return False
    weight = module.weight
    on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
    return on_cpu and hasattr(torch.ops.mkldnn, "_linear_pointwise")
