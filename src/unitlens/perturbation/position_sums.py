"""Sums of the changes of loss and hits at positions, by the class of the position."""

import logging
from typing import ClassVar

import torch
from torch import Tensor

from unitlens.model.outputs import classes_last
from unitlens.perturbation.engine.repeatable_sums import add_at, repeatable_sums
from unitlens.perturbation.mean_errors import most_damaged, ratio_and_error
from unitlens.perturbation.position_scores import PositionScore
from unitlens.perturbation.scores import Floats

logger = logging.getLogger("unitlens")
_BYTES = 8 * 14  # of a row and a class: six sums, the means and errors of them, and between them


class PositionSums:
    """Sums over items of the changes of loss and hits of their positions, by row and class.

    A row is a unit, direction or group that is ablated alone. The change of an item is the sum over
    its valid positions, of all classes or of one, of the score under the ablation minus the score
    without. Items that are never added count as unchanged.

    Parameters
    ----------
    rows
        Number of rows.
    score
        The score of positions.
    budget
        Most bytes of the sums by class; where they take more, there is no importance by class.
    device
        Device of the sums.

    Attributes
    ----------
    classes
        Number of classes, known from the first batch on; 0 where there is no importance by class.
    left_out
        Why there is no importance by class; empty where there is one.
    """

    summed: ClassVar[tuple[str, ...]] = ("classes", "left_out", "_weights", "_sums")

    def __init__(
        self, rows: int, score: PositionScore, budget: float, device: torch.device
    ) -> None:
        self._rows, self._score, self._budget, self._device = rows, score, budget, device
        self.classes, self.left_out = 0, ""
        # Of the loss and of the hits: (2, 3, rows, classes and all); no columns before a batch.
        self._sums = torch.zeros((2, 3, rows, 0), dtype=torch.float64, device=device)
        self._weights = torch.zeros((3, 0), dtype=torch.float64, device=device)

    def begin(self, targets: Tensor, logits: Tensor) -> None:
        """Take a batch: its targets, and the output of the unperturbed network.

        Parameters
        ----------
        targets
            Targets, (samples, positions ...).
        logits
            Output of the network for these samples.
        """
        if not self._weights.shape[1]:
            self._allocate(classes_last(logits, targets).shape[-1])
        self._targets, self._before = targets, self._score.by_position(logits, targets)
        self._parts = self._by_class((targets != self._score.ignored).double(), targets)
        self._weights += torch.stack(
            [self._parts.sum(0), (self._parts**2).sum(0), (self._parts > 0).double().sum(0)]
        )

    def add_outputs(self, rows: Tensor, samples: Tensor, outputs: Tensor) -> None:
        """Add the changes of outputs, one for each pair of a row and a sample of the batch.

        Parameters
        ----------
        rows, samples
            Row and sample of each pair, (pairs,).
        outputs
            The outputs, (pairs, ...).
        """
        targets, parts = self._targets[samples], self._parts[samples]
        ablated = self._score.by_position(outputs, targets)
        for sums, after, before in zip(self._sums, ablated, self._before, strict=True):
            change = self._by_class(after - before[samples], targets)
            for of_row, addend in zip(sums, (change, change**2, change * parts), strict=True):
                add_at(of_row, 0, rows, addend)

    def importance(self) -> dict[str, Floats]:
        """Return mean changes and their standard errors by the name of the declared variable.

        Means are over positions, and standard errors over items.
        """
        weights = self._weights.cpu().numpy()
        variables: dict[str, Floats] = {}
        for name, sign, sums in zip(
            ("loss_increase", "accuracy_drop"), (1, -1), self._sums, strict=True
        ):
            signed = sums.cpu().numpy()
            signed[[0, 2]] *= sign
            mean, error = ratio_and_error(signed, weights[:, None])
            variables |= {name: mean[:, -1], f"{name}_se": error[:, -1]}
            if self.classes:
                variables |= {f"class_{name}": mean[:, :-1], f"class_{name}_se": error[:, :-1]}
        if self.classes:
            drops, errors = (variables[f"class_accuracy_drop{end}"] for end in ("", "_se"))
            variables |= most_damaged(drops, errors)
        return variables

    def _allocate(self, classes: int) -> None:
        size = _BYTES * self._rows * classes
        if size <= self._budget:
            self.classes = classes
        else:
            self.left_out = (
                f"the sums of {self._rows} rows and {classes} classes take {size / 1e9:.3g} GB, "
                f"but memory_gb is {self._budget / 1e9:g}"
            )
            logger.warning(
                "importance by the class of the position is left out: %s; set memory_gb=%g, or "
                "choose fewer layers or units", self.left_out, 0.1 * (size // 1e8 + 1),
            )  # fmt: skip
        columns = self.classes + 1  # the last one is of all classes
        self._weights = torch.zeros((3, columns), dtype=torch.float64, device=self._device)
        self._sums = torch.zeros(
            (2, 3, self._rows, columns), dtype=torch.float64, device=self._device
        )

    def _by_class(self, values: Tensor, targets: Tensor) -> Tensor:
        """Sum numbers of positions (pairs, positions ...) by class, and over all: (pairs, ...)."""
        flat = values.flatten(1)
        total = flat.sum(1, keepdim=True)
        if not self.classes:
            return total
        places = torch.where(targets == self._score.ignored, 0, targets).flatten(1).long()
        by_class = flat.new_zeros(len(flat), self.classes)
        with repeatable_sums(flat.device):
            by_class.scatter_add_(1, places, flat)
        return torch.cat([by_class, total], dim=1)
