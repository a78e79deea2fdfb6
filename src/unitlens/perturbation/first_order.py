"""First-order importance: the loss increase of each ablation, estimated from gradients.

To first order, replacing the values ``a`` of a unit by ``v`` changes the loss ``l`` of a sample by

    sum over positions of (v - a) dl / da

One backward pass gives this change for all units. It is exact where the loss is linear in the
unit. Molchanov et al. 2017 (arXiv 1611.06440) and 2019 (arXiv 1906.10771) rank units by its size;
here the change keeps its sign.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from unitlens.errors import ArgumentError, ModelError, UnitlensError
from unitlens.memory_errors import lacks_memory
from unitlens.model.graph import Edit
from unitlens.model.layers import UnitLayer
from unitlens.perturbation.engine.perturbed_directions import Replacement
from unitlens.perturbation.mean_errors import ratio_and_error
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Batch, Session
from unitlens.perturbation.values.clamping import Clamping


class NoGradientError(UnitlensError):
    """No gradient can be computed.

    Parameters
    ----------
    reason
        The reason.
    of_score
        Whether it is the score that has no gradient, and not the model.
    """

    def __init__(self, reason: str, *, of_score: bool = False) -> None:
        super().__init__(reason)
        self.of_score = of_score


def first_order_importance(session: Session, clamping: Clamping) -> dict[str, Floats]:
    """Return the first-order loss increase of every unit of the session's layers.

    Parameters
    ----------
    session
        The session.
    clamping
        The replacement of activations.

    Returns
    -------
    The mean over samples, or over positions where these are samples, and its standard error by the
    name of the declared variable, each of shape (units,).

    Raises
    ------
    ArgumentError
        Where the score function returns losses without a gradient.
    ModelError
        Where no gradient can be computed through the model.
    """
    sums, weights = np.zeros((3, session.units)), np.zeros((3, 1))
    kept_bytes = clamping.kept_bytes
    at_most = session.engine.memory.backward_samples(kept_bytes)
    for batch in session.batches("first-order importance", at_most=at_most, kept_bytes=kept_bytes):
        try:
            changes = first_order_changes(session, batch, clamping.replacement(batch))
        except NoGradientError as missing:
            kind = ArgumentError if missing.of_score else ModelError
            raise kind(f"{missing}; set first_order to False") from missing
        weight = session.score.weights(batch.targets).unsqueeze(1)
        sums += _sums(changes, weight)
        counts = weight.sum(), weight.square().sum(), (weight > 0).sum()
        weights += np.array([[float(count)] for count in counts])
    mean, error = ratio_and_error(sums, weights)
    return {"loss_increase_first_order": mean, "loss_increase_first_order_se": error}


def _sums(changes: Tensor, weight: Tensor) -> Floats:
    """Return the sums over samples of changes, their squares, and their products with weights."""
    columns = [changes.sum(0), changes.square().sum(0), (changes * weight).sum(0)]
    sums: Floats = torch.stack(columns).cpu().numpy()
    return sums


def first_order_changes(session: Session, batch: Batch, replacement: Replacement) -> Tensor:
    """Return the first-order change of each sample's loss by each unit, float64 (samples, units).

    Where samples of a batch depend on each other, the change is that of the batch's summed loss.
    Where no gradient reaches a layer, the change is 0.

    Parameters
    ----------
    session, batch
        The session and one of its batches.
    replacement
        The replacement of the batch's activations.
    """

    def losses(output: Tensor) -> Tensor:
        return session.score(output, batch.targets.clone())[0]

    def differences(layer: UnitLayer, activation: Tensor) -> Tensor:
        return replacement(layer, activation) - activation

    found = layer_gradients(session, batch, session.layers, differences, losses)
    columns = [_sum_over_positions(layer, *found[layer.name]) for layer in session.layers]
    return torch.cat(columns, dim=1)


def layer_gradients(
    session: Session,
    batch: Batch,
    layers: Sequence[UnitLayer],
    keep: Callable[[UnitLayer, Tensor], Tensor],
    quantity: Callable[[Tensor], Tensor],
) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Return a function of each layer's activation, and the gradient of a quantity there.

    Parameters
    ----------
    session, batch
        The session and one of its batches.
    layers
        The layers.
    keep
        Function of a layer and its activation (samples, ...). It runs without gradients.
    quantity
        Differentiable function of the network's output that returns one number a sample.

    Returns
    -------
    By the name of the layer, what `keep` returned, and the gradient of the sum of the quantity at
    the activation, (samples, ...); None where no gradient reaches the layer.

    Raises
    ------
    NoGradientError
        Where no gradient can be computed through the model or the quantity.
    """
    kept: dict[str, Tensor] = {}
    edges: dict[str, GradientEdge] = {}

    def noting(layer: UnitLayer) -> Edit:
        def note(activation: Tensor) -> Tensor:
            if not torch.is_grad_enabled():
                raise NoGradientError(
                    f"layer '{layer.name}' runs under torch.no_grad, but its gradient is needed"
                )
            if not activation.requires_grad:  # no parameter before it does: it becomes a leaf
                activation = activation.detach().requires_grad_().clone()
            # The edge belongs to the value at this point; later operations in place do not move it.
            edges[layer.name] = get_gradient_edge(activation)
            with torch.no_grad():
                kept[layer.name] = keep(layer, activation)
            return activation

        return note

    with torch.inference_mode(mode=False), torch.enable_grad():
        # Tensors that were made in inference mode cannot be part of a graph of gradients; clones
        # can.
        inputs = batch.inputs.clone()
        edits = {layer.name: noting(layer) for layer in layers}
        try:
            output = session.network.forward_with(inputs, edits)
            quantities = quantity(output)
            _check(session, output, quantities)
            in_order = [edges[layer.name] for layer in layers]
            gradients = torch.autograd.grad(quantities.sum(), in_order, allow_unused=True)
        except RuntimeError as error:
            if lacks_memory(error):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise NoGradientError(
                f"no gradient can be computed through the model ({reason})"
            ) from error
    pairs = zip(layers, gradients, strict=True)
    return {layer.name: (kept[layer.name], gradient) for layer, gradient in pairs}


def _check(session: Session, output: Tensor, losses: Tensor) -> None:
    if not output.requires_grad:
        raise NoGradientError(
            "the model's output has no gradient, as where it is computed with detach"
        )
    if not losses.requires_grad:
        raise NoGradientError(
            f"the score function '{session.score.name}' returned losses without a gradient, as "
            "where operations are not torch's or not differentiable",
            of_score=True,
        )


def _sum_over_positions(layer: UnitLayer, differences: Tensor, gradient: Tensor | None) -> Tensor:
    """Return the sums of differences times gradients over positions, (samples, units)."""
    by_unit = differences.movedim(layer.axis, 1)
    if gradient is None:  # the loss does not depend on the layer
        return by_unit.new_zeros(by_unit.shape[:2], dtype=torch.float64)
    products = by_unit * gradient.movedim(layer.axis, 1)
    return products.reshape(*products.shape[:2], -1).sum(dim=2, dtype=torch.float64)
