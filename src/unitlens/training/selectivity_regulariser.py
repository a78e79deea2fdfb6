"""A term of the loss that raises or lowers the class selectivity of all units while training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from unitlens.errors import ModelError
from unitlens.model.operations import NONLINEAR_MODULES

EPSILON = 1e-7  # keeps a unit that is silent on the whole batch at selectivity 0


def batch_selectivity(activation: Tensor, labels: Tensor) -> Tensor:
    """Return the mean class selectivity of the units of one layer within a batch.

    Parameters
    ----------
    activation
        Output of a nonlinearity, of shape (batch, units), (batch, units, height, width) or
        (batch, tokens, units); positions are averaged first.
    labels
        int64 labels of shape (batch,).

    Returns
    -------
    The mean over units of ``(mu_max - mu_rest) / (mu_max + mu_rest + epsilon)``, a scalar with
    gradients; mu are the means over the samples of each class in the batch, mu_rest the mean of
    those of the other classes. Zero where the batch holds one class only.

    References
    ----------
    Leavitt & Morcos 2020 (arXiv 2003.01262).
    """
    units = _positions_averaged(activation)
    _, present = torch.unique(labels, return_inverse=True)
    members = nn.functional.one_hot(present).to(units.dtype)
    classes = members.shape[1]
    if classes == 1:
        return units.sum() * 0.0
    means = members.t() @ units / members.sum(0)[:, None]
    largest = means.amax(0)
    rest = (means.sum(0) - largest) / (classes - 1)
    return ((largest - rest) / (largest + rest + EPSILON)).mean()


def _positions_averaged(activation: Tensor) -> Tensor:
    if activation.dim() == 3:
        return activation.mean(1)
    return activation.flatten(2).mean(2) if activation.dim() > 3 else activation


class SelectivityTerm:
    """Collects every nonlinearity's output in a forward pass, to add the term to the loss."""

    def __init__(self, strength: float) -> None:
        self._strength = strength
        self._activations: list[Tensor] = []

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Watch the activation modules of a model inside the block."""
        modules = [m for m in model.modules() if isinstance(m, NONLINEAR_MODULES)]
        if self._strength and not modules:
            raise ModelError(
                f"training.selectivity_regulariser = {self._strength}: the network has no "
                "activation module (such as torch.nn.ReLU) whose units could be regularised; "
                "set it to 0"
            )
        handles = [m.register_forward_hook(self._collect) for m in modules if self._strength]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _collect(self, module: nn.Module, _: Any, activation: Tensor) -> None:
        if module.training:
            # averaged at once: a later operation in place must not change what was seen
            self._activations.append(_positions_averaged(activation).clone())

    def regularised(self, loss: Tensor, labels: Tensor) -> Tensor:
        """Return ``loss - strength x mean over layers of the mean selectivity of the units``."""
        if not self._activations:
            return loss
        layers = [batch_selectivity(activation, labels) for activation in self._activations]
        self._activations.clear()
        return loss - self._strength * torch.stack(layers).mean()
