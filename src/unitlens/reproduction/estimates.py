"""A number over networks, with the interval and the tests that Student's t gives it."""

import math
from dataclasses import dataclass

from unitlens.reproduction.student_t import LEVEL, critical_t, exceeding_chance


@dataclass(frozen=True)
class NetworkValue:
    """A number of one network.

    Attributes
    ----------
    run
        Name of the network.
    seed
        Its seed.
    value
        The number.
    """

    run: str
    seed: int
    value: float


@dataclass(frozen=True)
class Estimate:
    """A number with a standard error.

    Attributes
    ----------
    value
        The number.
    se
        Its standard error; NaN where nothing gives one.
    df
        Degrees of freedom of the standard error.
    n
        Number of networks (or pairs of networks, or settings) that the standard error is over.
    over
        What it is over, in words, such as ``networks``; empty where there is no standard error.
    networks
        The number of each network, where `value` is the mean of these.
    within
        Whether there are fewer than three networks. The standard error is then that over the rows
        within them (orders, draws, units), and says nothing of other networks.
    bounds
        The least and the largest number that is possible; intervals end there.
    """

    value: float
    se: float = math.nan
    df: float = math.inf
    n: int = 0
    over: str = ""
    networks: tuple[NetworkValue, ...] = ()
    within: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)

    @property
    def over_networks(self) -> bool:
        """Whether the estimate says something of networks beyond those that were measured."""
        return math.isfinite(self.se) and not self.within

    def interval(self, level: float = LEVEL, *, others: int = 0) -> tuple[float, float]:
        """Return the interval of Student's t.

        Parameters
        ----------
        level
            Confidence level.
        others
            Number of networks behind a value that the estimate is compared with: the interval is
            then that of the difference, set about the estimate, where the other networks scatter
            as ours do. 0 for the interval of the estimate alone.

        Returns
        -------
        The lower and the upper end; the number itself where there is no standard error.
        """
        if not math.isfinite(self.se):
            return self.value, self.value
        half = critical_t(level, self.df) * self._se_beside(others)
        middle, (least, most) = self._scaled(self.value), self.bounds
        return max(least, self._unscaled(middle - half)), min(most, self._unscaled(middle + half))

    def chance_outside(self, low: float, high: float, *, truth: float, others: int = 0) -> float:
        """Return the probability that the 95 % interval would miss a range.

        Parameters
        ----------
        low
            Lower end of the range.
        high
            Upper end of the range.
        truth
            The true number in this calculation. Standard error and degrees of freedom are those of
            the estimate.
        others
            As for :meth:`interval`.

        Returns
        -------
        The probability, by the noncentral t distribution.
        """
        se = self._se_beside(others)
        at, low, high = map(self._scaled, (truth, low, high))
        limit = critical_t(LEVEL, self.df)
        return exceeding_chance(limit, self.df, _ratio(at - high, se)) + exceeding_chance(
            limit, self.df, _ratio(low - at, se)
        )

    def p_below(self) -> float:
        """Return the one-sided p-value of "below 0"; NaN where there is no standard error.

        Where all networks have the very same number, how others scatter is not known: the p-value
        is then that of a sign test, 1 / 2 ** n.
        """
        from scipy.stats import t

        if self.se > 0 or math.isnan(self.se):
            return float(t.cdf(self._scaled(self.value) / self.se, self.df))
        if self.value == 0:
            return 0.5
        chance = 0.5**self.n
        return chance if self.value < 0 else 1 - chance

    def p_value(self) -> float:
        """Return the two-sided p-value of "not 0"; NaN where there is no standard error."""
        below = self.p_below()
        return 2 * min(below, 1 - below)

    def side(self, level: float = LEVEL) -> int:
        """Return 1 or -1 where the interval lies above or below 0, else 0.

        Where all networks have the very same number, the p-value of the sign test decides.
        """
        low, high = self.interval(level)
        if math.isnan(self.se) or (self.se == 0 and self.p_value() > 1 - level):
            return 0
        return int(low > 0) - int(high < 0)

    def _se_beside(self, others: int) -> float:
        return self.se * math.sqrt(1 + self.n / others) if others else self.se

    def _scaled(self, value: float) -> float:
        """Return a number on the scale of the standard error."""
        return value

    def _unscaled(self, value: float) -> float:
        return value


def _ratio(shift: float, se: float) -> float:
    if se > 0:
        return shift / se
    return math.copysign(math.inf, shift) if shift else 0.0
