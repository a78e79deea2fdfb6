"""The gradients of a plain multilayer perceptron, written out.

The bookkeeping of PyTorch's modules and of autograd takes as long as a fifth of the products of a
step of two times 512 units; here is none of it.
"""

import torch
from torch import Tensor, nn

from unitlens.networks.dense import is_fast_dense, multiply


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
