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
class Estimate:
    """A value and its resamples; `over` names what was resampled, empty where nothing could be."""

    value: float
    resamples: Floats
    over: str

    def minus(self, other: "Estimate") -> "Estimate":
        """Return the difference of two independent estimates."""
        over = (
            self.over
            if self.over == other.over
            else " or ".join(filter(None, (self.over, other.over)))
        )
        return Estimate(self.value - other.value, self.resamples - other.resamples, over)


def interval(resamples: Floats) -> tuple[float, float]:
    """Return the 2.5th and the 97.5th percentile."""
    finite = resamples[np.isfinite(resamples)]
    if finite.size == 0:
        return float("nan"), float("nan")
    low, high = np.percentile(finite, (2.5, 97.5))
    return float(low), float(high)


def mean_over_networks(
    networks: Sequence[Floats], statistic: Statistic, rows: str, *, key: int = 0
) -> Estimate:
    """Estimate the mean over networks of a statistic of each.

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
        return Estimate(_mean(values), values[chosen].mean(1), "networks")
    if min(len(network) for network in networks) < FEWEST:
        return Estimate(_mean(values), np.full(TIMES, _mean(values)), "")
    drawn = [
        _mean(np.array([statistic(_resampled(network, rng)) for network in networks]))
        for _ in range(TIMES)
    ]
    return Estimate(_mean(values), np.array(drawn), rows)


def of_all_rows(
    networks: Sequence[Floats], statistic: Statistic, rows: str, *, key: int = 0
) -> Estimate:
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
        return Estimate(value, np.array(drawn), "networks")
    if len(together) < FEWEST:
        return Estimate(value, np.full(TIMES, value), "")
    drawn = [statistic(_resampled(together, rng)) for _ in range(TIMES)]
    return Estimate(value, np.array(drawn), rows)


def _resampled(rows: Floats, rng: np.random.Generator) -> Floats:
    return rows[rng.integers(len(rows), size=len(rows))]


def _mean(values: Floats) -> float:
    return float(values.mean())
