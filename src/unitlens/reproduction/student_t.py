"""Student's t: standard errors of means and of differences of means, limits and power."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], float]

LEVEL = 0.95
ROUNDING = 1e-12  # by which equal numbers may differ, as a share of the largest
LARGEST_SHIFT = 37.0  # of a noncentral t; beyond, its tail is 0 or 1


def critical_t(level: float, df: float) -> float:
    """Return the number that Student's t exceeds in absolute value with probability 1 - level.

    Examples
    --------
    >>> round(critical_t(0.95, 2), 3)
    4.303
    """
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, df))


def exceeding_chance(limit: float, df: float, shift: float) -> float:
    """Return the probability that a noncentral t exceeds a limit.

    Parameters
    ----------
    limit
        The limit, above 0.
    df
        Degrees of freedom.
    shift
        Noncentrality: the true difference in standard errors.

    Examples
    --------
    >>> round(exceeding_chance(critical_t(0.95, 10), 10, 0.0), 3)
    0.025
    """
    from scipy.stats import nct, norm

    if abs(shift) > LARGEST_SHIFT:
        return float(shift > 0)
    if math.isinf(df):
        return float(norm.sf(limit - shift))
    return float(nct.sf(limit, df, shift))


def mean(values: npt.NDArray[Any]) -> float:
    """Return the mean of an array as a number of Python."""
    return float(values.mean())


def mean_error(values: Floats) -> Floats:
    """Return the standard error of the mean along the last axis.

    It is exactly 0 where the values are equal but for rounding.

    Examples
    --------
    >>> round(float(mean_error(np.array([1.0, 2.0, 3.0]))), 3)
    0.577
    """
    error: Floats = values.std(-1, ddof=1) / np.sqrt(values.shape[-1])
    return np.where(np.ptp(values, -1) <= ROUNDING * abs(values).max(-1), 0.0, error)


def welch(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return the standard error of a difference of two means, and its degrees of freedom.

    Parameters
    ----------
    first
        Values of one group, along the last axis.
    second
        Values of another group, as independent of the first.

    Returns
    -------
    The standard error and Welch's degrees of freedom; those of equal variances where neither group
    scatters.

    Notes
    -----
    Welch, B. L. (1947). The generalization of Student's problem when several different population
    variances are involved, doi:10.2307/2332510.
    """
    parts = [mean_error(values) ** 2 for values in (first, second)]
    sizes = [values.shape[-1] - 1 for values in (first, second)]
    variance = parts[0] + parts[1]
    weights = sum(part**2 / size for part, size in zip(parts, sizes, strict=True))
    df = np.full(np.shape(variance), float(sum(sizes)))
    np.divide(variance**2, weights, out=df, where=np.asarray(weights) > 0)
    return np.sqrt(variance), df
