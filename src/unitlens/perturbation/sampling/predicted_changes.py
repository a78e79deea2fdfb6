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

from unitlens.perturbation.engine.perturbed_directions import Replacement
from unitlens.perturbation.first_order import LayerGradient, layer_gradients
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

    def of_rows(self, rows: Tensor) -> "Predictions":
        """Return the predictions of some units."""
        return Predictions(self.changes[rows], self.sizes[rows], self.changed[rows])

    @classmethod
    def of_all(cls, batches: Sequence["Predictions"]) -> "Predictions":
        """Return the predictions of all samples of some batches."""
        changes = torch.cat([batch.changes for batch in batches], dim=1)
        sizes = torch.cat([batch.sizes for batch in batches], dim=1)
        return cls(changes, sizes, torch.cat([batch.changed for batch in batches], dim=1))


def predict_changes(session: Session, batch: Batch, replacement: Replacement) -> Predictions:
    """Predict the loss changes by all units of the session's layers on a batch.

    Parameters
    ----------
    session, batch
        The session and one of its batches.
    replacement
        The replacement of the batch's activations.

    Raises
    ------
    NoGradientError
        Where no gradient can be computed through the model or the score.
    """
    targets = batch.targets
    if session.score.top is None:
        gradients = layer_gradients(
            session, batch, replacement, lambda output: session.score(output, targets.clone())[0]
        )
        ones = torch.ones(len(targets), dtype=torch.float64, device=targets.device)
        return _by_unit(gradients, ones, torch.cat([g.changes() for g in gradients], 1))
    found: list[Tensor] = []

    def margins(output: Tensor) -> Tensor:
        margin = logit_margins(output, targets.clone())
        found.append(margin.detach())
        return margin

    gradients = layer_gradients(session, batch, replacement, margins)
    margin = found[-1].unsqueeze(1)
    after = margin + torch.cat([gradient.changes() for gradient in gradients], dim=1)
    changes = functional.softplus(-after) - functional.softplus(-margin)
    return _by_unit(gradients, torch.sigmoid(-margin[:, 0]), changes)


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


def _by_unit(gradients: list[LayerGradient], scales: Tensor, changes: Tensor) -> Predictions:
    """Return predictions by unit.

    Parameters
    ----------
    gradients
        Gradient of the margin or of the loss at each layer.
    scales
        Change of the loss per change of the quantity that the gradients are of, (samples,).
    changes
        Predicted changes of the loss, (samples, units).
    """
    distances = torch.cat([gradient.sizes() for gradient in gradients], dim=1)
    slopes = [
        (scales * gradient.root_mean_square()).unsqueeze(1).expand(-1, gradient.layer.units)
        for gradient in gradients
    ]
    sizes = (distances * torch.cat(slopes, dim=1)).nan_to_num(nan=0.0, posinf=0.0)
    by_unit = (values.t().contiguous() for values in (changes, sizes, distances != 0))
    return Predictions(*by_unit)
