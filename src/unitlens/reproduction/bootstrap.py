"""Estimates with 95 % intervals: a seeded bootstrap over networks, or over what one is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], float]

TIMES, SEED = 1000, 0
FEWEST = 3  # networks, or rows, that are resampled: two have but three resamples


@dataclass(frozen=True)
class BootstrapEstimate:
    """A value and its resamples.

    Attributes
    ----------
    value, resamples
        The estimate, and what it is of each resample.
    over
        What was resampled; empty where nothing could be.
    n
        How many of those there are.
    """

    value: float
    resamples: Floats
    over: str
    n: int

    def minus(self, other: "BootstrapEstimate") -> "BootstrapEstimate":
        """Return the difference of two independent estimates."""
        over = (
            self.over
            if self.over == other.over
            else " or ".join(filter(None, (self.over, other.over)))
        )
        apart = self.resamples - other.resamples
        return BootstrapEstimate(self.value - other.value, apart, over, min(self.n, other.n))


def interval(estimate: BootstrapEstimate) -> tuple[float, float]:
    """Return the 95 % interval of an estimate, between expanded percentiles of its resamples.

    Notes
    -----
    A bootstrap of few is too narrow: the percentiles are those at which a mean of n normal values
    has the t interval, Phi(-sqrt(n / (n - 1)) t(.975, n - 1)) and its mirror image. Hesterberg, T.
    (2015). What teachers should know about the bootstrap. The American Statistician 69, 371.
    """
    from scipy.stats import norm, t

    finite = estimate.resamples[np.isfinite(estimate.resamples)]
    if finite.size == 0:
        return float("nan"), float("nan")
    n = max(estimate.n, 2)
    tail = 100 * norm.cdf(-np.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1))
    low, high = np.percentile(finite, (tail, 100 - tail))
    return float(low), float(high)


def mean_over_networks(
    networks: Sequence[Floats], statistic: Statistic, rows: str, *, key: int = 0
) -> BootstrapEstimate:
    """BootstrapEstimate the mean over networks of a statistic of each.

    Parameters
    ----------
    networks
        What is known of each network: one row an order, draw, unit or epoch.
    statistic
        Of the rows of one network.
    rows
        What the rows are.
    key
        Number that keeps apart the random numbers of estimates that are to be independent.

    Returns
    -------
    The estimate; its resamples are over networks where there are at least three, else over the
    rows within each network.
    """
    rng = np.random.default_rng((SEED, key))
    values = np.array([statistic(network) for network in networks])
    if len(networks) >= FEWEST:
        chosen = rng.integers(len(networks), size=(TIMES, len(networks)))
        return BootstrapEstimate(_mean(values), values[chosen].mean(1), "networks", len(networks))
    fewest = min(len(network) for network in networks)
    if fewest < FEWEST:
        return BootstrapEstimate(_mean(values), np.full(TIMES, _mean(values)), "", 0)
    drawn = [
        _mean(np.array([statistic(_resampled(network, rng)) for network in networks]))
        for _ in range(TIMES)
    ]
    return BootstrapEstimate(_mean(values), np.array(drawn), rows, fewest)


def of_all_rows(
    networks: Sequence[Floats], statistic: Statistic, rows: str, *, key: int = 0
) -> BootstrapEstimate:
    """Estimate a statistic of the rows of all networks together; see :func:`mean_over_networks`."""
    rng = np.random.default_rng((SEED, key))
    together = np.concatenate(list(networks))
    value = statistic(together)
    if len(networks) >= FEWEST:
        drawn = [
            statistic(
                np.concatenate(
                    [networks[i] for i in rng.integers(len(networks), size=len(networks))]
                )
            )
            for _ in range(TIMES)
        ]
        return BootstrapEstimate(value, np.array(drawn), "networks", len(networks))
    if len(together) < FEWEST:
        return BootstrapEstimate(value, np.full(TIMES, value), "", 0)
    drawn = [statistic(_resampled(together, rng)) for _ in range(TIMES)]
    return BootstrapEstimate(value, np.array(drawn), rows, len(together))


def _resampled(rows: Floats, rng: np.random.Generator) -> Floats:
    return rows[rng.integers(len(rows), size=len(rows))]


def _mean(values: Floats) -> float:
    return float(values.mean())
