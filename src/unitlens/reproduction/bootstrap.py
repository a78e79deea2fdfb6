"""Estimates with 95 % intervals, by a seeded bootstrap over networks or their rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], float]

RESAMPLES, SEED = 1000, 0
MIN_RESAMPLED = 3  # networks or rows: two have three resamples only


@dataclass(frozen=True)
class BootstrapEstimate:
    """A value and its bootstrap resamples.

    Attributes
    ----------
    value
        The estimate.
    resamples
        The estimate from each resample, shape (1,000,).
    over
        What was resampled, such as ``networks``; empty where there was too little to resample.
    n
        Number of networks or rows that were resampled; 0 where `over` is empty.
    """

    value: float
    resamples: Floats
    over: str
    n: int

    def minus(self, other: "BootstrapEstimate") -> "BootstrapEstimate":
        """Return the difference of two independent estimates."""
        over = " or ".join(dict.fromkeys(filter(None, (self.over, other.over))))
        differences = self.resamples - other.resamples
        return BootstrapEstimate(self.value - other.value, differences, over, min(self.n, other.n))


def confidence_interval(estimate: BootstrapEstimate) -> tuple[float, float]:
    """Return the 95 % interval of an estimate, between expanded percentiles of its resamples.

    Parameters
    ----------
    estimate
        The estimate. Resamples that are not finite are left out.

    Returns
    -------
    The lower and the upper end; NaN where no resample is finite.

    Notes
    -----
    The plain percentile interval of a small sample is too narrow. The expanded percentiles are
    those at which the mean of n normal values has Student's t interval:
    Phi(-sqrt(n / (n - 1)) t(.975, n - 1)) and 1 minus that. Hesterberg, T. (2015). What teachers
    should know about the bootstrap. The American Statistician 69, 371.
    """
    from scipy.stats import norm, t

    finite = estimate.resamples[np.isfinite(estimate.resamples)]
    if finite.size == 0:
        return float("nan"), float("nan")
    n = max(estimate.n, 2)
    tail = 100 * norm.cdf(-np.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1))
    low, high = np.percentile(finite, (tail, 100 - tail))
    return float(low), float(high)


def mean(values: npt.NDArray[Any]) -> float:
    """Return the mean of an array as a number of Python."""
    return float(values.mean())


def mean_over_networks(
    networks: Sequence[Floats], statistic: Statistic, rows: str, *, key: int = 0
) -> BootstrapEstimate:
    """Estimate the mean over networks of a statistic of each network.

    Parameters
    ----------
    networks
        The rows of each network: a row an order, draw, unit or epoch.
    statistic
        Function of the rows of one network.
    rows
        What a row is, such as ``orders``.
    key
        Part of the random seed; independent estimates need different keys.

    Returns
    -------
    The estimate. Networks are resampled where there are at least three, else the rows within
    each network.
    """
    rng = np.random.default_rng((SEED, key))
    values = np.array([statistic(network) for network in networks])
    if len(networks) >= MIN_RESAMPLED:
        places = rng.integers(len(networks), size=(RESAMPLES, len(networks)))
        return BootstrapEstimate(mean(values), values[places].mean(1), "networks", len(networks))
    shortest = min(len(network) for network in networks)
    if shortest < MIN_RESAMPLED:
        return _without_resamples(mean(values))
    resamples = [
        mean(np.array([statistic(_resample(network, rng)) for network in networks]))
        for _ in range(RESAMPLES)
    ]
    return BootstrapEstimate(mean(values), np.array(resamples), rows, shortest)


def pooled_statistic(
    networks: Sequence[Floats], statistic: Statistic, rows: str, *, key: int = 0
) -> BootstrapEstimate:
    """Estimate a statistic of the rows of all networks together.

    Parameters
    ----------
    networks
        The rows of each network.
    statistic
        Function of rows.
    rows
        What a row is, such as ``units``.
    key
        Part of the random seed; independent estimates need different keys.

    Returns
    -------
    The estimate. Networks are resampled where there are at least three, else all rows.
    """
    rng = np.random.default_rng((SEED, key))
    pooled = np.concatenate(list(networks))
    value = statistic(pooled)
    if len(networks) >= MIN_RESAMPLED:
        draws = (rng.integers(len(networks), size=len(networks)) for _ in range(RESAMPLES))
        resamples = [statistic(np.concatenate([networks[i] for i in draw])) for draw in draws]
        return BootstrapEstimate(value, np.array(resamples), "networks", len(networks))
    if len(pooled) < MIN_RESAMPLED:
        return _without_resamples(value)
    resamples = [statistic(_resample(pooled, rng)) for _ in range(RESAMPLES)]
    return BootstrapEstimate(value, np.array(resamples), rows, len(pooled))


def _without_resamples(value: float) -> BootstrapEstimate:
    return BootstrapEstimate(value, np.full(RESAMPLES, value), "", 0)


def _resample(rows: Floats, rng: np.random.Generator) -> Floats:
    return rows[rng.integers(len(rows), size=len(rows))]
