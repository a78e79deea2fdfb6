"""Means over networks and their differences, with standard errors."""

import math
from collections.abc import Sequence

import numpy as np

from unitlens.reproduction.estimates import Estimate, NetworkValue
from unitlens.reproduction.student_t import Floats, Statistic, mean, mean_error, welch

FEWEST = 3  # networks of a statement about other networks
RESAMPLES, SEED = 200, 0  # of the rows within a network, for a standard error
NUMBER_WORDS = {1: "one network", 2: "two networks"}


def estimate_mean(networks: Sequence[NetworkValue], *, resolution: float = 0.0) -> Estimate:
    """Estimate the mean of a number over networks, of at least three.

    Parameters
    ----------
    networks
        The number of each network.
    resolution
        Step of the grid on which the number lies, such as the width of a bin. All networks share
        its rounding error, so that `resolution` ** 2 / 12 is added to the variance of the mean.

    Examples
    --------
    >>> networks = [NetworkValue(name, 0, value) for name, value in zip("abc", (1, 2, 3))]
    >>> low, high = estimate_mean(networks).interval()
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    values = np.array([network.value for network in networks], float)
    se = math.hypot(float(mean_error(values)), resolution / math.sqrt(12))
    n = len(values)
    return Estimate(mean(values), se, n - 1, n, "networks", tuple(networks))


def estimate_within(
    networks: Sequence[NetworkValue], rows: Sequence[Floats], statistic: Statistic, word: str
) -> Estimate:
    """Estimate the mean of a statistic over one or two networks, with the spread within them.

    Parameters
    ----------
    networks
        The statistic of each network.
    rows
        The rows of each network, in the same order.
    statistic
        Function of the rows of one network.
    word
        What a row is, such as ``orders``.

    Returns
    -------
    The mean. Its standard error is over 200 seeded resamples of the rows within each network, and
    missing where a network has fewer than three rows.
    """
    value = mean(np.array([network.value for network in networks]))
    if min(map(len, rows)) < FEWEST:
        return Estimate(value, networks=tuple(networks), within=True)
    rng = np.random.default_rng(SEED)
    resampled = np.array(
        [
            [statistic(own[rng.integers(len(own), size=len(own))]) for own in rows]
            for _ in range(RESAMPLES)
        ]
    ).mean(1)
    known = resampled[np.isfinite(resampled)]
    se = float(known.std(ddof=1)) if len(known) >= FEWEST else math.nan
    over = f"{word} within {NUMBER_WORDS[len(networks)]}"
    n = min(map(len, rows))
    return Estimate(value, se, n=n, over=over, networks=tuple(networks), within=True)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """Return the first of two means over networks minus the second.

    Parameters
    ----------
    first
        Mean of one group of networks.
    second
        Mean of another group.

    Returns
    -------
    The difference. Where both groups have the same seeds, once each, its standard error is over
    the differences of networks of one seed (a paired t), else it is Welch's. Where a group has
    fewer than three networks, it is that within the networks.
    """
    value = first.value - second.value
    bounds = (first.bounds[0] - second.bounds[1], first.bounds[1] - second.bounds[0])
    if first.within or second.within:
        over = " or ".join(dict.fromkeys(filter(None, (first.over, second.over))))
        se = math.hypot(first.se, second.se)
        known = math.isfinite(se)
        n = min(first.n, second.n)
        return Estimate(value, se, n=n, over=over if known else "", within=True, bounds=bounds)
    groups = [{of.seed: of.value for of in group.networks} for group in (first, second)]
    seeds = groups[0].keys()
    unique = all(len(a) == len(of.networks) for a, of in zip(groups, (first, second), strict=True))
    if unique and seeds == groups[1].keys():
        changes = np.array([groups[0][seed] - groups[1][seed] for seed in sorted(seeds)])
        n = len(changes)
        se, over = float(mean_error(changes)), "pairs of one seed"
        return Estimate(value, se, n - 1, n, over, bounds=bounds)
    values = [np.array([of.value for of in group.networks]) for group in (first, second)]
    se, df = map(float, welch(*values))
    return Estimate(value, se, df, min(first.n, second.n), "networks", bounds=bounds)
