"""Scores of positions: every token or pixel with a valid target counts as a sample of its own."""

import torch
from torch import Tensor

from unitlens.data.map_style import Indices
from unitlens.data.positions import no_position, position_targets
from unitlens.data.samples import Samples
from unitlens.errors import ArgumentError
from unitlens.model.outputs import classes_last
from unitlens.perturbation.scores import Score


def score_positions(score: Score, samples: Samples, indices: Indices, ignored: int) -> Score:
    """Return a score whose mean over items is the mean of a score over all valid positions.

    Parameters
    ----------
    score
        The score of single positions: outputs (positions, classes) and targets (positions,).
    samples, indices
        The samples, and the indices of those that are scored.
    ignored
        Target of positions that do not count.

    Returns
    -------
    A score of outputs (samples, positions ..., classes) or (samples, classes, positions ...) and
    integer targets (samples, positions ...). The loss of an item is the sum over its valid
    positions, divided by the mean number of valid positions of an item; hits are alike.

    Raises
    ------
    DatasetError
        Where targets are no integers with positions, or no position is valid.
    """
    valid = sum(int((targets != ignored).sum()) for targets in position_targets(samples, indices))
    if valid == 0:
        raise no_position(ignored)
    scale = len(indices) / valid

    def of_items(output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        by_position = classes_last(output, targets)
        counted = targets != ignored
        items = counted.nonzero()[:, 0]
        classes = targets[counted].long()
        _check_classes(classes, by_position.shape[-1], ignored)
        sums = []
        for values in score(by_position[counted], classes):
            zeros = values.new_zeros(len(targets), dtype=torch.float64)
            sums.append(zeros.index_add(0, items, values) * scale)
        return sums[0], sums[1]

    return Score(score.name, None, of_items)


def _check_classes(classes: Tensor, count: int, ignored: int) -> None:
    wrong = classes[(classes < 0) | (classes >= count)]
    if len(wrong):
        raise ArgumentError(
            f"the data set has the target {int(wrong[0])}, but the model puts out {count} logits a "
            f"position, so targets must be 0 to {count - 1}, or {ignored} where a position is not "
            f"scored; correct the targets, or set ignore_index={int(wrong[0])}"
        )
