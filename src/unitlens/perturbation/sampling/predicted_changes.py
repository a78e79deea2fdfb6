"""Predictions of the loss change of each pair of a unit and a sample, from one backward pass.

For cross-entropy, the loss of a sample is ``log(1 + exp(-m))``. The margin ``m`` is the logit of
the label minus the log-sum-exp of the other logits. The gradient of ``m`` predicts the change of
``m`` to first order, and the change of the loss follows from the formula of the loss, so that
samples that are classified with certainty are predicted well too. For other scores, the gradient
of the loss itself predicts the change of the loss.

The size of a pair tells how far the prediction may be wrong: the root mean square of the gradient
of the sample's loss over the layer, times the mean distance between the unit's activation and the
value.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from unitlens.model.layers import UnitLayer
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.first_order import layer_gradients
from unitlens.perturbation.session import Batch, Session


@dataclass(frozen=True)
class Predictions:
    """Predictions of the loss changes on a batch.

    Attributes
    ----------
    changes
        Predicted change of the loss of a sample by a unit, float64 (units, samples).
    sizes
        Size of the pair, at least 0, float64 (units, samples).
    changed
        Whether the ablation changes any activation of the unit on the sample, (units, samples).
    """

    changes: Tensor
    sizes: Tensor
    changed: Tensor

    @classmethod
    def of_all(cls, batches: Sequence["Predictions"]) -> "Predictions":
        """Return the predictions of all samples of some batches."""
        changes = torch.cat([batch.changes for batch in batches], dim=1)
        sizes = torch.cat([batch.sizes for batch in batches], dim=1)
        return cls(changes, sizes, torch.cat([batch.changed for batch in batches], dim=1))


@dataclass(frozen=True)
class LayerChanges:
    """First-order changes of each sample's margin, or loss, by the directions of a layer.

    Attributes
    ----------
    changes
        Change by each direction, float64 (directions, samples).
    distances
        Mean distance over positions of each direction from its value, float64 (directions,
        samples).
    slope
        Root mean square of the gradient over the layer, float64 (samples,).
    """

    changes: Tensor
    distances: Tensor
    slope: Tensor


def first_order_by_layer(
    session: Session, batch: Batch, directions: Sequence[Directions]
) -> tuple[list[LayerChanges], Tensor | None]:
    """Return first-order changes by the directions of each layer, and the margins on a batch.

    Parameters
    ----------
    session, batch
        The session and one of its batches.
    directions
        The units or directions, one entry per layer, with their replacements of this batch.

    Returns
    -------
    Changes of the margin by layer, and the margin of each sample, float64 (samples,). Under a
    score function, changes of the loss, and None.

    Raises
    ------
    NoGradientError
        Where no gradient can be computed through the model or the score.
    """
    targets, of_cross_entropy = batch.targets, session.score.top is not None
    by_name = {of_layer.layer.name: of_layer for of_layer in directions}
    margins: list[Tensor] = []

    def quantity(output: Tensor) -> Tensor:
        if not of_cross_entropy:
            return session.score(output, targets.clone())[0]
        found = logit_margins(output, targets.clone())
        margins.append(found.detach())
        return found

    def distances_of(layer: UnitLayer, activation: Tensor) -> Tensor:
        return by_name[layer.name].distances(activation)

    layers = [of_layer.layer for of_layer in directions]
    gradients = layer_gradients(session, batch, layers, distances_of, quantity)
    by_layer = []
    for of_layer in directions:
        moved, gradient = gradients[of_layer.layer.name]
        distances = of_layer.mean_distance(moved).double()
        changes, slope = torch.zeros_like(distances), distances.new_zeros(len(targets))
        if gradient is not None:
            changes = of_layer.first_order(moved, gradient).double()
            slope = _root_mean_square(gradient)
        by_layer.append(LayerChanges(changes, distances, slope))
    return by_layer, margins[-1] if of_cross_entropy else None


def predict_changes(
    session: Session, batch: Batch, directions: Sequence[Directions]
) -> Predictions:
    """Predict the loss changes on a batch.

    Parameters
    ----------
    session, batch
        The session and one of its batches.
    directions
        The units or directions that are ablated alone, one entry per layer, with their
        replacements of this batch. Together they have all rows of a table.

    Raises
    ------
    NoGradientError
        Where no gradient can be computed through the model or the score.
    """
    by_layer, margins = first_order_by_layer(session, batch, directions)
    rows = sum(len(of_layer) for of_layer in directions)
    changes, distances, sizes = torch.zeros(
        (3, rows, len(batch.targets)), dtype=torch.float64, device=batch.targets.device
    )
    for of_layer, found in zip(directions, by_layer, strict=True):
        changes[of_layer.table_rows] = found.changes
        distances[of_layer.table_rows] = found.distances
        sizes[of_layer.table_rows] = found.distances * found.slope
    if margins is not None:
        changes = loss_changes(margins, changes)
        sizes *= torch.sigmoid(-margins)  # change of the loss per change of the margin
    return finite_predictions(changes, sizes, distances != 0)


def loss_changes(margins: Tensor, changes: Tensor) -> Tensor:
    """Return the changes of the cross-entropy by changes of margins, exactly 0 where these are 0.

    Parameters
    ----------
    margins
        Margin of each sample, (samples,).
    changes
        Changes of the margins, (rows, samples).
    """
    after = functional.softplus(-margins - changes)
    return torch.where(changes == 0, 0.0, after - functional.softplus(-margins))


def finite_predictions(changes: Tensor, sizes: Tensor, changed: Tensor) -> Predictions:
    """Return predictions that predict nothing where a number overflows: drawn pairs tell all."""
    changes = changes.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    return Predictions(changes, sizes.nan_to_num(nan=0.0, posinf=0.0), changed)


def _root_mean_square(gradient: Tensor) -> Tensor:
    """Return the root of the mean squared gradient of each sample, (samples,)."""
    by_sample = gradient.flatten(1)
    numbers = by_sample.to(torch.promote_types(by_sample.dtype, torch.float32))
    return numbers.square().sum(1).double().div(by_sample.shape[1]).sqrt()


def plain_predictions(units: int, samples: int, device: torch.device) -> Predictions:
    """Return predictions where no gradient predicts: no change, and one size for all pairs.

    Parameters
    ----------
    units, samples
        Numbers of units and of samples.
    device
        Device of the predictions.
    """
    changes = torch.zeros((units, samples), dtype=torch.float64, device=device)
    sizes = torch.ones_like(changes)
    return Predictions(changes, sizes, sizes.bool())


def logit_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the margin of each sample, float64 (samples,).

    The cross-entropy of a sample is ``log(1 + exp(-margin))``.

    Parameters
    ----------
    logits
        Logits of shape (samples, classes).
    labels
        Class of each sample, (samples,).

    Examples
    --------
    >>> import torch
    >>> logits, labels = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([0])
    >>> losses = torch.nn.functional.softplus(-logit_margins(logits, labels))
    >>> bool(torch.isclose(losses.float(), torch.nn.functional.cross_entropy(logits, labels)))
    True
    """
    numbers, places = logits.double(), labels.unsqueeze(1)
    others = numbers.scatter(1, places, -torch.inf).logsumexp(dim=1)
    return numbers.gather(1, places)[:, 0] - others
