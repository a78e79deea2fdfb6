"""A term of the loss that raises or lowers the class selectivity of all units in training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from unitlens.errors import ModelError
from unitlens.model.operations import NONLINEAR_MODULES

EPSILON = 1e-7  # in the denominator: a unit that is zero on the whole batch has selectivity 0


def batch_selectivity(activation: Tensor, labels: Tensor) -> Tensor:
    """Return the mean class selectivity of the units of one layer within a batch.

    Parameters
    ----------
    activation
        Output of a nonlinearity, of shape (batch, units), (batch, units, height, width) or
        (batch, tokens, units). Positions are averaged first.
    labels
        int64 labels of shape (batch,).

    Returns
    -------
    The mean over units of ``(mu_max - mu_rest) / (mu_max + mu_rest + epsilon)``, a scalar with
    gradients. With the mean activation of each class in the batch, mu_max is the largest, and
    mu_rest the mean of the others. Zero where the batch holds one class only.

    References
    ----------
    Leavitt & Morcos 2020 (arXiv 2003.01262).
    """
    units = _average_positions(activation)
    _, class_indices = torch.unique(labels, return_inverse=True)
    one_hot = nn.functional.one_hot(class_indices).to(units.dtype)
    classes = one_hot.shape[1]
    if classes == 1:
        return units.sum() * 0.0
    means = one_hot.t() @ units / one_hot.sum(0)[:, None]
    largest = means.amax(0)
    rest = (means.sum(0) - largest) / (classes - 1)
    return ((largest - rest) / (largest + rest + EPSILON)).mean()


def _average_positions(activation: Tensor) -> Tensor:
    if activation.dim() == 3:
        return activation.mean(1)
    return activation.flatten(2).mean(2) if activation.dim() > 3 else activation


class SelectivityTerm:
    """The regularising term of a loss.

    The outputs of all nonlinearities are collected during a forward pass.

    Parameters
    ----------
    strength
        Factor of the term; 0 for no term.
    """

    def __init__(self, strength: float) -> None:
        self._strength = strength
        self._activations: list[Tensor] = []

    @contextmanager
    def collecting(self, model: nn.Module) -> Iterator[None]:
        """Collect the outputs of the activation modules of a model inside the block.

        Raises
        ------
        ModelError
            Where the model has no activation module.
        """
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
            # A copy: a later operation may change the activation in place.
            self._activations.append(_average_positions(activation).clone())

    def regularised(self, loss: Tensor, labels: Tensor) -> Tensor:
        """Return ``loss - strength x mean over layers of the mean selectivity of the units``.

        The collected activations are dropped.
        """
        if not self._activations:
            return loss
        layers = [batch_selectivity(activation, labels) for activation in self._activations]
        self._activations.clear()
        return loss - self._strength * torch.stack(layers).mean()
