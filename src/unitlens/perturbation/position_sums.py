"""Sums of the changes of loss and hits at positions, by the class of the position."""

import logging
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unitlens.analysis.drop_intervals import MeasuredDrops, interval_variables
from unitlens.model.outputs import classes_last
from unitlens.perturbation.engine.repeatable_sums import add_at, repeatable_sums
from unitlens.perturbation.mean_errors import most_damaged, ratio_and_error
from unitlens.perturbation.paired_sums import are_partial
from unitlens.perturbation.position_scores import PositionScore
from unitlens.perturbation.scores import Floats

logger = logging.getLogger("unitlens")
_BYTES = 8 * 20  # of a row and a class: seven sums, means, errors, intervals, and between them


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

    summed: ClassVar[tuple[str, ...]] = (
        "classes", "left_out", "_weights", "_sums", "_flips", "_partial_hits",
    )  # fmt: skip

    def __init__(
        self, rows: int, score: PositionScore, budget: float, device: torch.device
    ) -> None:
        self._rows, self._score, self._budget, self._device = rows, score, budget, device
        self.classes, self.left_out = 0, ""
        # Of the loss and of the hits: (2, 3, rows, classes and all); no columns before a batch.
        self._sums = torch.zeros((2, 3, rows, 0), dtype=torch.float64, device=device)
        self._weights = torch.zeros((3, 0), dtype=torch.float64, device=device)
        # Of the squared changes of the hits of single positions; and the number of hits and of
        # changes that are not those of hits that are 0 or 1.
        self._flips = torch.zeros((rows, 0), dtype=torch.float64, device=device)
        self._partial_hits = torch.zeros(rows, dtype=torch.float64, device=device)

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
        if self._score.single.top is None:
            self._partial_hits += are_partial(self._before[1]).sum()
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
        flips = ablated[1] - self._before[1][samples]
        add_at(self._flips, 0, rows, self._by_class(flips**2, targets))
        if self._score.single.top is None:
            partial = are_partial(flips.abs()).flatten(1).sum(1)
            add_at(self._partial_hits, 0, rows, partial.double())

    def importance(self) -> dict[str, Floats]:
        """Return mean changes and their standard errors by the name of the declared variable.

        Means are over positions, standard errors over items, and intervals of accuracy drops over
        the effective number of positions.
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
        overall = self._drops(mean[:, -1], error[:, -1], -1)
        if not self.classes:
            return variables | interval_variables(overall)
        of_classes = slice(None, -1)
        by_class = self._drops(mean[:, of_classes], error[:, of_classes], of_classes)
        return variables | interval_variables(overall, by_class)

    def _drops(self, mean: Floats, error: Floats, columns: int | slice) -> MeasuredDrops:
        flips, weights = self._flips[:, columns].cpu().numpy(), self._weights[:, columns]
        are_shares = self._partial_hits.cpu().numpy() == 0
        if isinstance(columns, slice):
            are_shares = are_shares[:, None]
        return drops_of_items(mean, error, flips, weights.cpu().numpy(), are_shares)

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
        self._flips = torch.zeros_like(self._sums[0, 0])

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


def drops_of_items(
    drop: Floats,
    error: Floats,
    flips: Floats,
    weights: Floats,
    are_shares: npt.NDArray[np.bool_],
) -> MeasuredDrops:
    """Return accuracy drops over the positions of items, with the effective number of positions.

    Parameters
    ----------
    drop, error
        Mean drop over positions, and its standard error over items.
    flips
        Sum over positions of the squared change of the hit.
    weights
        Sums over items of the number n of their positions and of n^2, and the number of items with
        a position; (3, ...), of a shape that broadcasts.
    are_shares
        Whether hits are 0 or 1.

    Notes
    -----
    Positions of an item are not independent. The effective number of positions is that of
    independent ones that would give the drop the variance that it has over items (Korn & Graubard,
    "Confidence intervals for proportions with small expected number of positive counts estimated
    from survey data", Survey Methodology 24, 1998), but at most their number. So that it is known
    where no hit changes, one more flipped position is added to both variances, as if all positions
    of an item flipped together: without any flip, the effective number is ``(sum n)^2 / sum n^2``,
    the number of items where these are equally long.
    """
    parts, squares, items = weights
    with np.errstate(invalid="ignore", divide="ignore"):
        changed = flips / parts
        over_items = error**2 * (items - 1) / items
        one_more = 1 / parts
        variance = np.maximum(changed - drop**2, 0) + one_more
        effective = variance / (over_items + one_more * squares / parts**2)
    known = np.where(items > 1, np.minimum(effective, parts), items)
    return MeasuredDrops(drop, error, changed, known, are_shares)
