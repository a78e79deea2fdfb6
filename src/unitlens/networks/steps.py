"""Optimiser steps without PyTorch's bookkeeping around them."""

import torch
from torch import Tensor


class Stepper:
    """Applies the gradients of an optimiser's parameters and drops them.

    For SGD with momentum it calls the kernel of PyTorch's fused optimiser on that optimiser's own
    state: around it PyTorch looks every parameter and its state up again at each step, which for
    small networks takes longer than the step. Other optimisers are called as they are.

    Parameters
    ----------
    optimizer
        Of :func:`~unitlens.networks.optimisation.make_optimizer`, with one group of parameters.
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
