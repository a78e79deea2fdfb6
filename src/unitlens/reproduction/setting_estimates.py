"""Estimates over the settings of a sweep, which are independent while their networks are not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unitlens.analysis.generalisation import selected_share
from unitlens.reproduction.estimates import Estimate
from unitlens.reproduction.student_t import LEVEL, Floats, critical_t

MIN_SETTINGS = 6  # of an interval; docs/method/paper.md has its coverage
MOST_TRIALS = 9  # of a share; the jackknife of a share near 0 or 1 gives more, which cover less
SETTINGS = "settings"
LARGEST_CORRELATION = 1 - 1e-12  # whose artanh is finite


@dataclass(frozen=True)
class CorrelationEstimate(Estimate):
    """A correlation, whose standard error is that of its artanh (Fisher's z)."""

    def _scaled(self, value: float) -> float:
        return math.atanh(max(-LARGEST_CORRELATION, min(LARGEST_CORRELATION, value)))

    def _unscaled(self, value: float) -> float:
        return math.tanh(value)


@dataclass(frozen=True)
class ShareEstimate(Estimate):
    """A share of the halves of the settings.

    Attributes
    ----------
    effective
        Number of independent trials that would give the share its variance.
    """

    effective: float = 0.0

    def interval(self, level: float = LEVEL, *, others: int = 0) -> tuple[float, float]:
        """Return Clopper and Pearson's interval for the effective number of trials.

        Parameters
        ----------
        level
            Confidence level.
        others
            As for :meth:`Estimate.interval`.

        Returns
        -------
        The lower and the upper end; the share itself where there is no standard error.

        Notes
        -----
        Korn, E. L. & Graubard, B. I. (1998). Confidence intervals for proportions with small
        expected number of positive counts estimated from survey data. Survey Methodology 24, 193.
        """
        from scipy.stats import beta

        if not math.isfinite(self.se):
            return self.value, self.value
        trials, tail = self._trials_beside(others), (1 - level) / 2
        hits, misses = self.value * trials, (1 - self.value) * trials
        low = float(beta.ppf(tail, hits, misses + 1)) if hits > 0 else 0.0
        high = float(beta.ppf(1 - tail, hits + 1, misses)) if misses > 0 else 1.0
        return low, high

    def chance_outside(self, low: float, high: float, *, truth: float, others: int = 0) -> float:
        """Return the probability that the 95 % interval would miss a range.

        Parameters
        ----------
        low
            Lower end of the range.
        high
            Upper end of the range.
        truth
            The true share in this calculation.
        others
            As for :meth:`Estimate.interval`.

        Returns
        -------
        The probability, by the normal approximation at the true share.
        """
        se = math.sqrt(truth * (1 - truth) / self._trials_beside(others))
        return Estimate(self.value, se).chance_outside(low, high, truth=truth)

    def _trials_beside(self, others: int) -> float:
        return self.effective / (1 + self.n / others) if others else self.effective


def setting_sums(x: Floats, y: Floats) -> Floats:
    """Return the sums of each setting that a correlation needs.

    Parameters
    ----------
    x
        One variable of the networks of each setting, shape (..., networks).
    y
        Another, of the same shape.

    Returns
    -------
    Number of networks, and sums of x, y, x ** 2, y ** 2 and x y, on a last axis of six.
    """
    columns = (np.ones_like(x), x, y, x * x, y * y, x * y)
    sums: Floats = np.stack([column.sum(-1) for column in columns], -1)
    return sums


def fisher_jackknife(sums: Floats) -> tuple[Floats, Floats]:
    """Return artanh of a correlation over networks, and its standard error over settings.

    Parameters
    ----------
    sums
        Of :func:`setting_sums`, shape (..., settings, 6).

    Returns
    -------
    Fisher's z and the standard error of the jackknife that leaves out one setting at a time.

    Notes
    -----
    Efron, B. & Stein, C. (1981). The jackknife estimate of variance, doi:10.1214/aos/1176345462.
    """
    total = sums.sum(-2, keepdims=True)
    settings = sums.shape[-2]
    z, left_out = _fisher(total)[..., 0], _fisher(total - sums)
    spread = ((left_out - left_out.mean(-1, keepdims=True)) ** 2).sum(-1)
    return z, np.sqrt((settings - 1) / settings * spread)


def _fisher(sums: Floats) -> Floats:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    product = (n * xx - x * x) * (n * yy - y * y)
    correlation = np.full(product.shape, np.nan)  # of a constant
    np.divide(n * xy - x * y, np.sqrt(np.abs(product)), out=correlation, where=product > 0)
    z: Floats = np.arctanh(np.clip(correlation, -LARGEST_CORRELATION, LARGEST_CORRELATION))
    return z


def correlation_over_settings(settings: Sequence[Floats]) -> Estimate:
    """Estimate the correlation of two variables over all networks of a sweep.

    Parameters
    ----------
    settings
        A row a network and a column a variable, for each setting.

    Returns
    -------
    The correlation. Its standard error is over settings, with as many degrees of freedom as
    settings but one; there is none for fewer than six settings.
    """
    middle = np.concatenate(list(settings)).mean(0)
    centred = [of_setting - middle for of_setting in settings]
    z, se = fisher_jackknife(np.stack([setting_sums(*own.T) for own in centred]))
    value, count = math.tanh(float(z)), len(settings)
    if count < MIN_SETTINGS:
        return Estimate(value, within=True)
    return CorrelationEstimate(value, float(se), count - 1, count, SETTINGS)


def share_over_settings(settings: Floats, top: int) -> Estimate:
    """Estimate the share of halves in which selecting by AUC finds one of the best settings.

    Parameters
    ----------
    settings
        AUC and test accuracy of each setting, shape (settings, 2).
    top
        As for :func:`unitlens.analysis.generalisation.selected_share`.

    Returns
    -------
    The share. Its effective number of trials follows from its jackknife over settings. It is at
    least the number of halves without common settings, two, and at most nine, so that the interval
    covers 94 to 100 % in simulations of 18 and 48 settings. There is none for fewer than six.
    """
    count = len(settings)
    half = count // 2
    share = selected_share(settings, top, half)
    if count < MIN_SETTINGS:
        return Estimate(share, within=True)
    left_out = [selected_share(np.delete(settings, one, 0), top, half) for one in range(count)]
    variance = (count - 1) * float(np.var(left_out))
    trials = share * (1 - share) / variance if variance > 0 else 0.0
    trials *= (critical_t(LEVEL, math.inf) / critical_t(LEVEL, count - 1)) ** 2
    effective = min(max(count / half, trials), MOST_TRIALS)
    return ShareEstimate(share, math.sqrt(variance), n=2, over=SETTINGS, effective=effective)
