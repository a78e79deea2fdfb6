"""Gradients of dense layers, written out."""

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


class DenseStack:
    """Dense layers with a ReLU between each two, and the mean cross-entropy at their end.

    Parameters
    ----------
    layers
        Dense layers with biases, in float32 on the CPU.
    """

    def __init__(self, layers: list[nn.Linear]) -> None:
        self._layers = layers

    @classmethod
    def of(cls, model: nn.Module) -> "DenseStack | None":
        """Return the stack that a model is, None if it is anything more."""
        if type(model) is not nn.Sequential or not model or type(model[0]) is not nn.Flatten:
            return None
        modules = list(model)
        dense = [m for m in modules[1::2] if is_fast_dense(m) and m.bias is not None]
        relus = [m for m in modules[2::2] if type(m) is nn.ReLU]
        complete = len(dense) == len(relus) + 1 and len(dense) + len(relus) == len(modules) - 1
        trained = all(parameter.requires_grad for parameter in model.parameters())
        watched = any(_has_hooks(module) for module in (model, *modules))
        return cls(dense) if complete and trained and not watched else None

    @torch.no_grad()
    def find_gradients(self, inputs: Tensor, labels: Tensor) -> None:
        """Set the gradients of all parameters, as ``backward()`` of the mean cross-entropy does.

        Parameters
        ----------
        inputs
            float32 of shape (batch, ...).
        labels
            int64 of shape (batch,).
        """
        activations = [inputs.flatten(1)]
        for layer in self._layers[:-1]:
            activations.append(multiply(activations[-1], layer.weight, layer.bias, "relu"))
        last = self._layers[-1]
        logits = multiply(activations[-1], last.weight, last.bias)
        gradient = _cross_entropy_gradient(logits, labels)
        for place in range(len(self._layers) - 1, -1, -1):
            layer, before = self._layers[place], activations[place]
            layer.weight.grad = multiply(gradient.t(), before.t())
            layer.bias.grad = gradient.sum(0)
            if place:
                gradient = multiply(gradient, layer.weight.t())
                gradient = torch.ops.aten.threshold_backward(gradient, before, 0)


def _cross_entropy_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the softmax minus the one-hot labels, over the number of samples."""
    gradient = torch.softmax(logits, 1)
    gradient.scatter_add_(1, labels[:, None], gradient.new_full((len(labels), 1), -1.0))
    return gradient.div_(len(labels))


def _has_hooks(module: nn.Module) -> bool:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name) for name in names)


class Stepper:
    """Applies the gradients of an optimiser's parameters and drops them.

    For SGD with momentum it calls the kernel of PyTorch's fused optimiser on that optimiser's own
    state: around it PyTorch looks every parameter and its state up again at each step, which for
    small networks takes longer than the step. Other optimisers are called as they are.

    Parameters
    ----------
    optimizer
        Of :func:`~unitlens.training.epochs.make_optimizer`, with one group of parameters.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        (self._group,) = optimizer.param_groups
        self._parameters: list[Tensor] = self._group["params"]
        self._momenta = self._find_momenta()

    def step(self) -> None:
        """Make one step."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if len(gradients) < len(self._parameters) or not self._momenta:
            self._optimizer.step()
            self._momenta = self._find_momenta()
        else:
            self._fused_step(gradients)
        for parameter in self._parameters:
            parameter.grad = None

    def _find_momenta(self) -> list[Tensor]:
        """Return the momenta of all parameters, once SGD has made them."""
        if not isinstance(self._optimizer, torch.optim.SGD) or not self._group["fused"]:
            return []
        state = self._optimizer.state
        momenta = [state[p].get("momentum_buffer") for p in self._parameters if p in state]
        found = [momentum for momentum in momenta if momentum is not None]
        return found if len(found) == len(self._parameters) else []

    def _fused_step(self, gradients: list[Tensor]) -> None:
        with torch.no_grad():
            torch._fused_sgd_(
                self._parameters,
                gradients,
                self._momenta,
                weight_decay=self._group["weight_decay"],
                momentum=self._group["momentum"],
                lr=self._group["lr"],
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=False,
            )
