"""Sums over drawn pairs, and the estimates and errors that follow from them.

With d_iu the loss change of sample i without unit u, t_iu its prediction, and pi_iu the probability
with which the pair is drawn, independently of all other pairs, the estimate of the loss increase

    D_u = (1 / N) (sum_i t_iu + sum_{i drawn} (d_iu - t_iu) / pi_iu)

is unbiased, and an unbiased estimate of its variance is

    V_u = sum_{i drawn} v_iu / N^2,    v_iu = (d_iu - t_iu)^2 (1 - pi_iu) / pi_iu^2

(Horvitz & Thompson 1952, doi:10.1080/01621459.1952.10483446; the difference estimator of Sarndal,
Swensson & Wretman 1992, Model Assisted Survey Sampling, section 6.3).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional

from unitlens.analysis.drop_intervals import MeasuredDrops, interval_variables
from unitlens.perturbation.engine.repeatable_sums import add_at
from unitlens.perturbation.paired_sums import PairedSums
from unitlens.perturbation.scores import Floats

COVERAGE = 0.95  # of an interval


class SampledSums(PairedSums):
    """Sums of loss changes and hit changes over drawn pairs, by row of a table and by class.

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
        Whether hits are known to be 0 or 1.
    """

    summed: ClassVar[tuple[str, ...]] = (
        *PairedSums.summed, "_variances", "_flips", "_fourth",
    )  # fmt: skip

    def __init__(
        self,
        rows: int,
        classes: int,
        device: torch.device,
        *,
        by_class: bool = True,
        are_shares: bool = True,
    ) -> None:
        super().__init__(rows, classes, device, by_class=by_class, are_shares=are_shares)
        # Variances, times N^2, of the sums of loss changes and of hit changes, by class; and the
        # variances that one more flipped hit would have, summed, and the number of drawn pairs.
        self._variances = torch.zeros((2, rows, classes), dtype=torch.float64, device=device)
        self._flips = torch.zeros((2, rows, classes), dtype=torch.float64, device=device)
        self._fourth = torch.zeros(rows, dtype=torch.float64, device=device)

    def count(self, classes: Tensor) -> None:
        """Count the samples of a batch by class, before changes on the batch are added.

        Parameters
        ----------
        classes
            Class of each sample, (samples,).
        """
        super().count(classes)
        more = self.classes - self._variances.shape[2]
        if more:
            self._variances = functional.pad(self._variances, (0, more))
            self._flips = functional.pad(self._flips, (0, more))

    def add_predictions(self, changes: Tensor, classes: Tensor) -> None:
        """Add the predicted loss changes of all pairs of a batch.

        Parameters
        ----------
        changes
            Predicted change of each pair, (rows, samples).
        classes
            Class of each sample, (samples,).
        """
        for sums, terms in zip(self._sums[:2], (changes, changes.square()), strict=True):
            add_at(sums, 1, classes, terms)

    def add_drawn(
        self,
        rows: Tensor,
        classes: Tensor,
        probabilities: Tensor,
        loss: Tensor,
        predicted: Tensor,
        hits: Tensor,
    ) -> None:
        """Add drawn pairs.

        Parameters
        ----------
        rows, classes
            Row and class of each pair, (pairs,).
        probabilities
            Probability with which the pair was drawn, (pairs,).
        loss, predicted
            Change of the loss, and its prediction, (pairs,).
        hits
            Change of the hit, (pairs,).
        """
        self.see_changes(rows, hits)
        inverse = 1 / probabilities
        errors = loss - predicted
        self.add_terms(
            rows, classes, inverse * errors, inverse * (loss.square() - predicted.square()),
            inverse * hits, inverse * hits.square(),
        )  # fmt: skip
        spread = (1 - probabilities) * inverse.square()
        cells = rows * self.classes + classes
        variances = errors.square() * spread
        for sums, addend in zip(
            (*self._variances, *self._flips),
            (variances, hits.square() * spread, spread, torch.ones_like(spread)),
            strict=True,
        ):
            add_at(sums.view(-1), 0, cells, addend)
        add_at(self._fourth, 0, rows, variances.square())

    def importance(self) -> dict[str, Floats]:
        """Return estimates and their errors by the name of the declared variable.

        The standard error of drawing pairs is that of the number that all pairs would give. The
        standard error over samples holds it too. For hits, one more flipped hit is assumed, at the
        mean weight of the drawn pairs, so that no error is 0 because no flip was drawn. Intervals
        of accuracy drops hold what all samples like these would give.
        """
        samples = self.samples
        total = samples.sum()
        variances = self._variances.cpu().numpy()
        weights, drawn = self._flips.cpu().numpy()
        variables = self._means()
        variables |= interval_variables(*self._estimated_drops(variables))
        over_samples = variables["loss_increase_se"]
        flips = variances[1] + _ratio(weights, drawn)
        overall = variances[1].sum(1) + _ratio(weights.sum(1), drawn.sum(1))
        errors = {
            "loss_increase": np.sqrt(variances[0].sum(1)) / total,
            "accuracy_drop": np.sqrt(overall) / total,
        }
        if self._are_classes:
            by_sample = np.where(samples > 0, samples, np.nan)
            errors["class_loss_increase"] = np.sqrt(variances[0]) / by_sample
            errors["class_accuracy_drop"] = np.sqrt(flips) / by_sample
        for name, error in errors.items():
            variables[f"{name}_se"] = np.hypot(variables[f"{name}_se"], error)
            variables[f"{name}_sampling_se"] = error
        if self._are_classes:
            chosen = variables["most_damaged_class"].clip(0).astype(np.int64)
            rows = np.arange(len(chosen))
            largest = variables["class_accuracy_drop_se"][rows, chosen]
            variables["class_accuracy_drop_max_se"] = largest
        fourth = self._fourth.cpu().numpy()
        margin = _half_widths(variances[0].sum(1), fourth) / total
        mean = variables["loss_increase"]
        return variables | {
            "loss_increase_low": mean - margin,
            "loss_increase_high": mean + margin,
            "pairs": drawn.sum(1).astype(np.int64),
            "effective_samples": _effective_samples(over_samples, errors["loss_increase"], total),
        }

    def _estimated_drops(self, means: Mapping[str, Floats]) -> Iterator[MeasuredDrops]:
        """Yield the accuracy drops over all samples and by class, of which the pairs are drawn."""
        variances, (weights, drawn) = self._variances[1].cpu().numpy(), self._flips.cpu().numpy()
        one_more = _ratio(weights.sum(1), drawn.sum(1))
        overall, *by_class = self._drops(means)
        yield with_drawing(overall, variances.sum(1), one_more)
        of_class = np.where(drawn > 0, _ratio(weights, drawn), one_more[:, None])
        for drops in by_class:
            yield with_drawing(drops, variances, of_class)


def with_drawing(drops: MeasuredDrops, variance: Floats, one_more: Floats) -> MeasuredDrops:
    """Return drops whose errors and numbers of samples take the drawing of pairs into account.

    Parameters
    ----------
    drops
        Estimates, with the errors over samples that all pairs would have.
    variance
        Variance, by drawing, of the sum of the changes of hits.
    one_more
        The term that one more flipped hit would add to it, on average: 0 where all pairs are drawn.

    Notes
    -----
    The variance of the sum over ``n`` samples is ``n (changed - drop^2)`` with all pairs. Drawing
    multiplies it by a factor, and the effective number of samples is n over this factor (Korn &
    Graubard, "Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data", Survey Methodology 24, 1998). For the factor, one more flipped hit
    is assumed, with the weight w that the term belongs to, ``w^2 - w``: where no flip was drawn,
    the factor is w.
    """
    samples = np.asarray(drops.samples, np.float64)
    drawing = variance + one_more
    weight = (1 + np.sqrt(1 + 4 * one_more)) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        of_all = samples * np.maximum(drops.changed - drops.drop**2, 0)
        factor = 1 + drawing / (of_all + weight)
        error = np.hypot(drops.error, np.sqrt(drawing) / samples)
    return replace(drops, error=error, samples=np.where(samples > 0, samples / factor, 0.0))


def _ratio(numerators: Floats, denominators: Floats) -> Floats:
    """Return ratios, 0 where the denominator is 0."""
    ratios: Floats = np.divide(
        numerators, denominators, out=np.zeros_like(numerators), where=denominators > 0
    )
    return ratios


def _half_widths(variances: Floats, fourth: Floats) -> Floats:
    """Return half the width of the interval around each estimate, in units of the estimates.

    Few drawn pairs can make most of a variance. The interval is that of the t distribution with as
    many degrees of freedom as pairs contribute: ``(sum_i v_i)^2 / sum_i v_i^2``.

    Parameters
    ----------
    variances
        Sum over drawn pairs of their contributions v to the variance, (rows,).
    fourth
        Sum of the squares of the contributions, (rows,).
    """
    freedom = np.maximum(_ratio(variances**2, fourth), 1.0)
    widths: Floats = stats.t.ppf(0.5 + COVERAGE / 2, freedom) * np.sqrt(variances)
    return widths


def _effective_samples(over_samples: Floats, of_drawing: Floats, samples: np.float64) -> Floats:
    """Return how many plain random samples would give the same standard error.

    With S^2 the variance over samples, n of N samples drawn without replacement give the squared
    error ``S^2 (1 / n - 1 / N)``.

    Parameters
    ----------
    over_samples
        ``S / sqrt(N)``.
    of_drawing
        Standard error of drawing pairs.
    samples
        Number N of samples.
    """
    square = over_samples**2
    return samples * np.divide(
        square, square + of_drawing**2, out=np.ones_like(square), where=of_drawing > 0
    )
