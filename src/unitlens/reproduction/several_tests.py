"""Several tests at once: the order of levels, the smallest of differences, Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unitlens.reproduction.estimates import Estimate
from unitlens.reproduction.student_t import LEVEL, critical_t, exceeding_chance

ALPHA = 1 - LEVEL


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, so that 5 % of families have a false finding.

    Parameters
    ----------
    p_values
        The p-values of one family of tests.

    Notes
    -----
    Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal
    of Statistics 6, 65.

    Examples
    --------
    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.maximum.accumulate(factors * np.asarray(p_values, float)[order])
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(p) for p in adjusted]


def fall_p(steps: Sequence[Estimate]) -> float:
    """Return the p-value of a strict fall: each step from one level to the next is below 0.

    Parameters
    ----------
    steps
        The differences of neighbouring levels, later minus earlier.

    Returns
    -------
    The largest one-sided p-value of the steps; NaN where that of a step is not known.

    Notes
    -----
    All steps must be below 0, so that no correction is needed: Berger, R. L. (1982).
    Multiparameter hypothesis testing and acceptance sampling, doi:10.2307/1267823.
    """
    return float(np.max([step.p_below() for step in steps]))


def rise_p(steps: Sequence[Estimate]) -> float:
    """Return the p-value of "some step is above 0": Holm's smallest adjusted one-sided p-value.

    Parameters
    ----------
    steps
        As for :func:`fall_p`.
    """
    smallest = np.min([1 - step.p_below() for step in steps])
    return float(np.minimum(len(steps) * smallest, 1.0))


def fall_power(steps: Sequence[Estimate], size: float) -> float:
    """Return the least probability with which a strict fall by equal steps would be found.

    Parameters
    ----------
    steps
        As for :func:`fall_p`; of their standard errors.
    size
        Size of each true step down, above 0.

    Returns
    -------
    1 minus the sum over the steps of the probability that the test of the step fails
    (Bonferroni's inequality), at least 0.
    """
    found = [_chance(step, 1 - 2 * ALPHA, size) for step in steps]
    return max(0.0, 1 - sum(1 - chance for chance in found))


def rise_power(steps: Sequence[Estimate], size: float) -> float:
    """Return the least probability with which one step that truly rises would be found.

    Parameters
    ----------
    steps
        As for :func:`fall_p`; of their standard errors.
    size
        Size of the true rise, above 0.

    Returns
    -------
    The smallest probability over the steps of rejection at the first of Holm's levels.
    """
    return min(_chance(step, 1 - 2 * ALPHA / len(steps), size) for step in steps)


def _chance(step: Estimate, level: float, size: float) -> float:
    if not step.se > 0:
        return 1.0
    return exceeding_chance(critical_t(level, step.df), step.df, size / step.se)


@dataclass(frozen=True)
class SmallestEstimate(Estimate):
    """The smallest of several differences.

    Attributes
    ----------
    differences
        The differences.
    """

    differences: tuple[Estimate, ...] = ()

    def interval(self, level: float = LEVEL, *, others: int = 0) -> tuple[float, float]:
        """Return an interval of the smallest true difference.

        Parameters
        ----------
        level
            Confidence level.
        others
            As for :meth:`Estimate.interval`.

        Returns
        -------
        The smallest of the lower ends, and the smallest of the upper ends at the level that
        Bonferroni's correction gives. The smallest difference is one of them, so that its lower
        end needs no correction; which one is not known, so that the upper end does.
        """
        corrected = 1 - (1 - level) / len(self.differences)
        low = min(one.interval(level, others=others)[0] for one in self.differences)
        high = min(one.interval(corrected, others=others)[1] for one in self.differences)
        return low, high


def smallest(differences: Sequence[Estimate]) -> SmallestEstimate:
    """Return the smallest of several differences of means.

    Parameters
    ----------
    differences
        The differences, of at least one group of networks to others.

    Returns
    -------
    Its value is the smallest difference; its interval is over 0 only where each is surely above 0.
    """
    least = min(differences, key=lambda one: one.value)
    overs = dict.fromkeys(one.over for one in differences if one.over)
    return SmallestEstimate(
        least.value,
        least.se,
        least.df,
        min(one.n for one in differences),
        " or ".join(overs),
        within=any(one.within for one in differences),
        differences=tuple(differences),
    )
