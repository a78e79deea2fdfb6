"""Scores of positions: every token or pixel with a valid target counts as a sample of its own."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from unitlens.data.batches import iterate_batches
from unitlens.data.map_style import Indices
from unitlens.data.samples import Samples
from unitlens.errors import ArgumentError, DatasetError
from unitlens.perturbation.scores import Score

Positions = Literal["samples"] | None
IGNORED = -100  # target of positions that are not scored, as in torch
_BATCH = 256


def check_positions(positions: Positions) -> None:
    """Raise ArgumentError where `positions` is neither None nor ``samples``."""
    if positions not in (None, "samples"):
        raise ArgumentError(
            f"positions is {positions!r}, but must be 'samples', so that each position with a "
            "target is a sample, or None"
        )


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
    valid = sum(int((targets != ignored).sum()) for targets in _targets(samples, indices))
    if valid == 0:
        raise DatasetError(
            f"all targets are {ignored}, so no position is scored; give targets of classes from 0, "
            "or another ignore_index"
        )
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


def _targets(samples: Samples, indices: Indices) -> Iterator[Tensor]:
    for _, _, targets in iterate_batches(samples, _BATCH, indices=indices, targets="any"):
        if targets.dim() < 2 or targets.is_floating_point():
            raise DatasetError(
                f"the targets have the type {targets.dtype} and the shape "
                f"{tuple(targets.shape[1:])} an item, but positions='samples' needs one integer a "
                "position; leave positions away, or give such targets"
            )
        yield targets


def classes_last(output: Tensor, targets: Tensor) -> Tensor:
    """Return an output with the classes on its last axis.

    Parameters
    ----------
    output
        Shape (samples, positions ..., classes) or (samples, classes, positions ...).
    targets
        Shape (samples, positions ...).

    Raises
    ------
    ArgumentError
        Where the shape of the output is neither, or could be both.
    """
    last = output.shape[:-1] == targets.shape
    second = (*output.shape[:1], *output.shape[2:]) == tuple(targets.shape)
    if last and second:
        raise ArgumentError(
            f"the output has the shape {tuple(output.shape)}, so that its classes could lie on "
            "axis 1 or on the last axis; give a function as output that adds a class, such "
            "as torch.nn.functional.pad with -inf"
        )
    if not last and not second:
        raise ArgumentError(
            f"the output has the shape {tuple(output.shape)} and the targets "
            f"{tuple(targets.shape)}, but positions='samples' needs logits of shape (samples, "
            "positions, classes) or (samples, classes, positions); give a function as output that "
            "brings the logits to this shape"
        )
    return output if last else output.movedim(1, -1)


def _check_classes(classes: Tensor, count: int, ignored: int) -> None:
    wrong = classes[(classes < 0) | (classes >= count)]
    if len(wrong):
        raise ArgumentError(
            f"the data set has the target {int(wrong[0])}, but the model puts out {count} logits a "
            f"position, so targets must be 0 to {count - 1}, or {ignored} where a position is not "
            f"scored; correct the targets, or set ignore_index={int(wrong[0])}"
        )
