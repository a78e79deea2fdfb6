"""Our result beside a claim: a number over networks, or the numbers and tests of an order."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from unitlens.reproduction.estimates import Estimate, NetworkValue
from unitlens.reproduction.experiment_runs import Runs
from unitlens.reproduction.network_means import FEWEST, estimate_mean, estimate_within
from unitlens.reproduction.setting_estimates import SETTINGS
from unitlens.reproduction.student_t import Floats, Statistic


class Counts(NamedTuple):
    """Units, and orders or draws of noise, that an estimate is over; 0 where they play no part."""

    units: int = 0
    orders: int = 0


NO_COUNTS = Counts()
SHARE, SHARE_CHANGE, CORRELATION = (0.0, 1.0), (-1.0, 1.0), (-1.0, 1.0)  # bounds


@dataclass(frozen=True)
class Evidence:
    """Our result beside a claim, or the reason why there is none.

    Attributes
    ----------
    estimate
        The number with its standard error; for an order, None.
    networks
        Number of networks.
    units
        Number of units, 0 where they play no part.
    orders
        Number of random orders, or of draws of noise, 0 where they play no part.
    levels
        For an order: the number at each level.
    steps
        For an order: the difference of each level and the level before it.
    alternative
        The number that would be seen if the finding did not hold, where our networks give it.
    adjusted_p
        For an open question: the p-value, adjusted for the number of questions.
    missing
        The reason why there is no result; empty where there is one.
    notes
        Remarks on the networks.
    """

    estimate: Estimate | None = None
    networks: int = 0
    units: int = 0
    orders: int = 0
    levels: tuple[float, ...] = ()
    steps: tuple[Estimate, ...] = ()
    alternative: float = math.nan
    adjusted_p: float = math.nan
    missing: str = ""
    notes: tuple[str, ...] = ()

    def with_notes(self, *notes: str) -> "Evidence":
        """Return the evidence with further remarks."""
        return replace(self, notes=(*self.notes, *notes))

    @property
    def over_networks(self) -> bool:
        """Whether the result says something of networks beyond those that were measured."""
        estimates = (*self.steps, *((self.estimate,) if self.estimate else ()))
        return bool(estimates) and all(one.over_networks for one in estimates)


# The name of each claim of a group, with the function that measures our result.
Measurements = Iterator[tuple[str, Callable[[], Evidence]]]


def estimate_over(
    runs: Runs,
    rows: Mapping[str, Floats],
    statistic: Statistic,
    word: str,
    *,
    resolution: float = 0.0,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate:
    """Estimate the mean over networks of a statistic of the rows of each network.

    Parameters
    ----------
    runs
        The networks, or more.
    rows
        The rows of each network, by its name: a row an order, draw, unit or epoch.
    statistic
        Function of the rows of one network.
    word
        What a row is, such as ``orders``.
    resolution
        Step of the grid on which the statistic lies; 0 without one.
    bounds
        Least and largest number that the statistic can be.

    Returns
    -------
    The mean, with its standard error over networks, or over the rows within them where there are
    fewer than three.
    """
    seeds = dict(zip(runs.names, runs.table["seed"].values.tolist(), strict=True))
    networks = [NetworkValue(run, seeds[run], statistic(own)) for run, own in rows.items()]
    estimate = (
        estimate_mean(networks, resolution=resolution)
        if len(networks) >= FEWEST
        else estimate_within(networks, list(rows.values()), statistic, word)
    )
    return replace(estimate, bounds=bounds)


def estimate_evidence(
    estimate: Estimate,
    runs: Runs,
    counts: Counts = NO_COUNTS,
    notes: Sequence[str] = (),
) -> Evidence:
    """Return the evidence of an estimate.

    Parameters
    ----------
    estimate
        The estimate.
    runs
        The networks that it comes from.
    counts
        Units and orders that it is over.
    notes
        Remarks beside that on networks that have not memorised.
    """
    known = np.isfinite(estimate.value)
    equal = known and not estimate.within and estimate.se == 0 and estimate.over != SETTINGS
    same = "all networks have the very same value"
    same += ", whose sign is judged by a sign test" if estimate.value else ", 0"
    return Evidence(
        estimate,
        networks=len(runs.names),
        units=counts.units,
        orders=counts.orders,
        missing="" if known else "the result is undefined on these networks",
        notes=(*runs.memorisation_notes(), *((same,) if equal else ()), *notes),
    )
