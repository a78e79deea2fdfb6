"""Faster dense layers on a CPU: oneDNN's products, and back-propagation of a plain MLP.

:func:`fast_dense_layers` is the only name for use outside of this module.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from unitlens.model.rewriting import is_patched

_SMALLEST = 2**16  # weights or outputs; with fewer of both, the call costs more than it gains

SetGradients = Callable[[Tensor, Tensor], None]


# Measured: plain torch (nn.Linear, loss.backward()) in its place takes 1.14 times as long for an
# epoch and 1.1 to 1.4 times for scoring, with one and with two threads of an AMD EPYC:
# `python benchmarks/training_epoch.py --data ROOT --plain --threads 1`.
@contextmanager
def fast_dense_layers(model: nn.Module) -> Iterator[SetGradients | None]:
    """Compute the dense layers of a model by oneDNN inside the block.

    Parameters
    ----------
    model
        Any model. Only its ``torch.nn.Linear`` modules (no subclasses) with float32 weights on
        the CPU compute differently. After the block all modules are as they were.

    Yields
    ------
    For a plain MLP (``Flatten``, then dense layers with biases and a ReLU between each two, all
    parameters trained, no hooks) a function of float32 inputs (batch, ...) and int64 labels
    (batch,). It sets the gradients of all parameters, as ``backward()`` of the mean cross-entropy
    does. None for any other network.
    """
    layers = [module for module in model.modules() if _is_fast(module)]
    dense = _dense_layers_of_mlp(model)
    for layer in layers:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    try:
        yield None if dense is None else partial(_set_gradients, dense)
    finally:
        for layer in layers:
            del layer.forward


def _is_fast(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Tell whether oneDNN can compute the product of a module."""
    if type(module) is not nn.Linear or "forward" in vars(module):
        return False
    weight = module.weight
    on_cpu = weight.device.type == "cpu" and weight.dtype == torch.float32
    return on_cpu and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _forward(layer: nn.Linear, inputs: Tensor) -> Tensor:
    if inputs.dim() != 2 or inputs.dtype != torch.float32:
        return nn.functional.linear(inputs, layer.weight, layer.bias)
    output: Tensor = _OneDNNLinear.apply(inputs, layer.weight, layer.bias)
    return output


class _OneDNNLinear(torch.autograd.Function):
    """``x @ weight.T + bias`` and its gradients, for matrices."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        return _multiply(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        (gradient,) = gradients
        of_inputs, of_weight, of_bias = ctx.needs_input_grad
        return (
            _multiply(gradient, weight.t()) if of_inputs else None,
            _multiply(gradient.t(), inputs.t()) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


def _multiply(
    inputs: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none"
) -> Tensor:
    """Return ``inputs @ weight.T + bias``, through a ReLU where `activation` is ``relu``."""
    if weight.numel() < _SMALLEST and len(inputs) * len(weight) < _SMALLEST:
        product = nn.functional.linear(inputs, weight, bias)
        return product.relu_() if activation == "relu" else product
    fast: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001  no public name
        inputs, weight, bias, activation, [], ""
    )
    return fast


def _dense_layers_of_mlp(model: nn.Module) -> list[nn.Linear] | None:
    """Return the dense layers of a plain MLP, None for any other network."""
    if type(model) is not nn.Sequential or not model or type(model[0]) is not nn.Flatten:
        return None
    modules = list(model)
    dense = [m for m in modules[1::2] if _is_fast(m) and m.bias is not None]
    relus = [m for m in modules[2::2] if type(m) is nn.ReLU]
    complete = len(dense) == len(relus) + 1 and len(dense) + len(relus) == len(modules) - 1
    trained = all(parameter.requires_grad for parameter in model.parameters())
    return dense if complete and trained and not is_patched(model, *modules) else None


@torch.no_grad()
def _set_gradients(layers: list[nn.Linear], inputs: Tensor, labels: Tensor) -> None:
    """Set the gradients of dense layers with a ReLU between each two."""
    activations = [inputs.flatten(1)]
    for layer in layers[:-1]:
        activations.append(_multiply(activations[-1], layer.weight, layer.bias, "relu"))
    logits = _multiply(activations[-1], layers[-1].weight, layers[-1].bias)
    gradient = _cross_entropy_gradient(logits, labels)
    for index in reversed(range(len(layers))):
        layer, layer_inputs = layers[index], activations[index]
        layer.weight.grad = _multiply(gradient.t(), layer_inputs.t())
        layer.bias.grad = gradient.sum(0)
        if index:
            gradient = _multiply(gradient, layer.weight.t())
            gradient = torch.ops.aten.threshold_backward(gradient, layer_inputs, 0)


def _cross_entropy_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the softmax minus the one-hot labels, over the number of samples."""
    gradient = torch.softmax(logits, 1)
    gradient.scatter_add_(1, labels[:, None], gradient.new_full((len(labels), 1), -1.0))
    return gradient.div_(len(labels))
