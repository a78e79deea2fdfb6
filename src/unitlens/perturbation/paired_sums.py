"""Sums over paired samples of the changes of loss and hits by ablations, and their means."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unitlens.analysis.drop_intervals import MeasuredDrops, interval_variables
from unitlens.perturbation.engine.repeatable_sums import add_at
from unitlens.perturbation.mean_errors import mean_and_error, most_damaged
from unitlens.perturbation.scores import Floats


class PairedSums:
    """Sums over samples of the changes of loss and hits, by row of a table and by class.

    A row is a unit, direction or group that is ablated alone. A change is the score of a sample
    under the ablation minus its score without. Samples that are never added count as unchanged.

    Parameters
    ----------
    rows
        Number of rows.
    classes
        Number of classes.
    device
        Device of the sums.
    by_class
        Whether to return the importance by class.
    are_shares
        Whether hits are known to be 0 or 1, as those of built-in scores are. Others are looked at.

    Attributes
    ----------
    classes
        Number of classes. The number grows where a sample of a further class is counted.
    """

    summed: ClassVar[tuple[str, ...]] = ("classes", "_samples", "_sums", "_partial_hits")

    def __init__(
        self,
        rows: int,
        classes: int,
        device: torch.device,
        *,
        by_class: bool = True,
        are_shares: bool = True,
    ) -> None:
        self.classes, self._are_classes, self._are_shares = classes, by_class, are_shares
        self._samples = torch.zeros(classes, dtype=torch.float64, device=device)
        # Of the loss, the squared loss, the hits and the squared hits.
        self._sums = torch.zeros((4, rows, classes), dtype=torch.float64, device=device)
        # Number of hits other than 0 and 1, and of changes of hits other than -1, 0 and 1.
        self._partial_hits = torch.zeros(rows, dtype=torch.float64, device=device)

    def see_hits(self, hits: Tensor) -> None:
        """Look at hits of the unperturbed network, whether they are 0 or 1.

        Parameters
        ----------
        hits
            Hit of each sample, (samples,).
        """
        if not self._are_shares:
            self._partial_hits += are_partial(hits).sum()

    def count(self, classes: Tensor) -> None:
        """Count the samples of a batch by class, before changes on the batch are added.

        Parameters
        ----------
        classes
            Class of each sample, (samples,).
        """
        counts = torch.bincount(classes, minlength=self.classes)
        if len(counts) > self.classes:
            padding = (0, len(counts) - self.classes)
            self._samples = functional.pad(self._samples, padding)
            self._sums = functional.pad(self._sums, padding)
            self.classes = len(counts)
        self._samples += counts

    def add(self, rows: Tensor, classes: Tensor, loss: Tensor, hits: Tensor) -> None:
        """Add changes, one for each pair of a row and a sample.

        Parameters
        ----------
        rows, classes
            Row and class of each pair, (pairs,).
        loss, hits
            Changes of loss and hit of each pair, float64 (pairs,).
        """
        self.see_changes(rows, hits)
        self.add_terms(rows, classes, loss, loss**2, hits, hits**2)

    def see_changes(self, rows: Tensor, hits: Tensor) -> None:
        """Look at changes of hits, whether they are those of hits that are 0 or 1.

        Parameters
        ----------
        rows
            Row of each pair, (pairs,).
        hits
            Change of the hit of each pair, (pairs,).
        """
        if not self._are_shares:
            add_at(self._partial_hits, 0, rows, are_partial(hits.abs()).double())

    def add_terms(
        self,
        rows: Tensor,
        classes: Tensor,
        loss: Tensor,
        loss_squares: Tensor,
        hits: Tensor,
        hits_squares: Tensor,
    ) -> None:
        """Add one term to each sum for each pair of a row and a sample.

        Parameters
        ----------
        rows, classes
            Row and class of each pair, (pairs,).
        loss, loss_squares, hits, hits_squares
            Terms of the sums of the changes of loss and hits, and of their squares, float64
            (pairs,).
        """
        cells = rows * self.classes + classes
        terms = loss, loss_squares, hits, hits_squares
        for sums, addend in zip(self._sums, terms, strict=True):
            add_at(sums.view(-1), 0, cells, addend)

    @property
    def samples(self) -> Floats:
        """Number of samples of each class that were counted, (classes,)."""
        counts: Floats = self._samples.cpu().numpy()
        return counts

    def add_sums(
        self, rows: Tensor, loss: Tensor, loss_squares: Tensor, hits: Tensor, hits_squares: Tensor
    ) -> None:
        """Add sums over samples of the changes and of their squares.

        Parameters
        ----------
        rows
            Rows of the table, (rows,).
        loss, loss_squares, hits, hits_squares
            Sums by class, each float64 (rows, classes).
        """
        added = (loss, loss_squares, hits, hits_squares)
        for sums, addend in zip(self._sums, added, strict=True):
            add_at(sums, 0, rows, addend)

    def importance(self) -> dict[str, Floats]:
        """Return mean changes and their errors by the name of the declared variable.

        The standard error is that of a mean of paired differences: their standard deviation (with
        n - 1) over the root of n. A mean over no sample is NaN, an error of fewer than two too.
        Accuracy drops have 95 % intervals beside it.
        """
        variables = self._means()
        return variables | interval_variables(*self._drops(variables))

    def _means(self) -> dict[str, Floats]:
        samples = self._samples.cpu().numpy()
        loss, loss_squares, hits, hits_squares = self._sums.cpu().numpy()
        total = samples.sum()
        variables = _named("loss_increase", loss.sum(1), loss_squares.sum(1), total)
        variables |= _named("accuracy_drop", -hits.sum(1), hits_squares.sum(1), total)
        if self._are_classes:
            variables |= _named("class_loss_increase", loss, loss_squares, samples)
            variables |= _named("class_accuracy_drop", -hits, hits_squares, samples)
            drops, errors = (variables[f"class_accuracy_drop{suffix}"] for suffix in ("", "_se"))
            variables |= most_damaged(drops, errors)
        return variables

    def _drops(self, means: Mapping[str, Floats]) -> list[MeasuredDrops]:
        """Return the accuracy drops over all samples and, where there are classes, by class."""
        samples, squares = self.samples, self._sums[3].cpu().numpy()
        are_shares = self._partial_hits.cpu().numpy() == 0
        drop, error = means["accuracy_drop"], means["accuracy_drop_se"]
        changed, total = squares.sum(1) / max(samples.sum(), 1), samples.sum()
        drops = [MeasuredDrops(drop, error, changed, total, are_shares)]
        if self._are_classes:
            drop, error = means["class_accuracy_drop"], means["class_accuracy_drop_se"]
            changed = squares / np.maximum(samples, 1)
            drops.append(MeasuredDrops(drop, error, changed, samples, are_shares[:, None]))
        return drops


def are_partial(hits: Tensor) -> Tensor:
    """Tell which hits are neither 0 nor 1; NaN is neither.

    Parameters
    ----------
    hits
        Hits, or sizes of changes of hits.
    """
    return (hits != 0) & (hits != 1)


def _named(
    name: str, total: Floats, squares: Floats, samples: Floats | np.float64
) -> dict[str, Floats]:
    mean, error = mean_and_error(total, squares, samples)
    return {name: mean, f"{name}_se": error}
