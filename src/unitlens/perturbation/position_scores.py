"""Scores of positions: every token or pixel with a valid target counts as a sample of its own."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unitlens.data.map_style import Indices
from unitlens.data.positions import no_position, position_targets
from unitlens.data.samples import Samples
from unitlens.errors import ArgumentError
from unitlens.model.outputs import classes_last
from unitlens.perturbation.scores import Score


@dataclass(frozen=True)
class PositionScore(Score):
    """A score of items whose mean is the mean of a score over all valid positions.

    Outputs are (samples, positions ..., classes) or (samples, classes, positions ...), targets are
    integers (samples, positions ...). The loss of an item is the sum over its valid positions,
    divided by the mean number of valid positions of an item; hits are alike.

    Attributes
    ----------
    single
        The score of single positions: outputs (positions, classes) and targets (positions,).
    ignored
        Target of positions that do not count.
    scale
        Number of items over the number of valid positions.
    """

    single: Score = field(kw_only=True)
    ignored: int = field(kw_only=True)
    scale: float = field(kw_only=True)

    def __call__(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the hit of each item; see the class."""
        losses, hits = self.by_position(output, targets)
        return losses.flatten(1).sum(1) * self.scale, hits.flatten(1).sum(1) * self.scale

    def by_position(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the hit of each position, 0 where it does not count.

        Parameters
        ----------
        output, targets
            Output and targets, samples on axis 0.

        Returns
        -------
        Losses and hits in float64, each of the shape of the targets.
        """
        counted = targets != self.ignored
        classes = targets[counted].long()
        logits = self._logits(output, targets)[counted]
        _check_classes(classes, logits.shape[-1], self.ignored)
        loss, hits = (
            torch.zeros_like(targets, dtype=torch.float64).masked_scatter(counted, values)
            for values in self.single(logits, classes)
        )
        return loss, hits

    def weights(self, targets: Tensor) -> Tensor:
        """Return the weight of each item in means over items: its share of the positions."""
        return (targets != self.ignored).flatten(1).sum(1).double() * self.scale

    def as_logits(self, output: Tensor, targets: Tensor) -> Tensor | None:
        """Return what a built-in score takes for logits, a row a position; None where it is none.

        Parameters
        ----------
        output, targets
            Output and targets, samples on axis 0.
        """
        counted = targets != self.ignored
        return None if self.single.top is None else self._logits(output, targets)[counted]

    def _logits(self, output: Tensor, targets: Tensor) -> Tensor:
        logits = classes_last(output if self.restore is None else self.restore(output), targets)
        self.single.check(logits.flatten(0, -2).shape)
        return logits


def score_positions(
    score: Score, samples: Samples, indices: Indices, ignored: int
) -> PositionScore:
    """Return the score of items whose mean is that of a score over all valid positions.

    Parameters
    ----------
    score
        The score of single positions.
    samples, indices
        The samples, and the indices of those that are scored.
    ignored
        Target of positions that do not count.

    Raises
    ------
    DatasetError
        Where targets are no integers with positions, or no position is valid.
    """
    valid = sum(int((targets != ignored).sum()) for targets in position_targets(samples, indices))
    if valid == 0:
        raise no_position(ignored)
    scale = len(indices) / valid
    return PositionScore(score.name, None, single=score, ignored=ignored, scale=scale)


def _check_classes(classes: Tensor, count: int, ignored: int) -> None:
    wrong = classes[(classes < 0) | (classes >= count)]
    if len(wrong):
        raise ArgumentError(
            f"the data set has the target {int(wrong[0])}, but the model puts out {count} logits a "
            f"position, so targets must be 0 to {count - 1}, or {ignored} where a position is not "
            f"scored; correct the targets, or set ignore_index={int(wrong[0])}"
        )
