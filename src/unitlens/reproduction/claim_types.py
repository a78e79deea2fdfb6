"""The kinds of results that ours are compared with, and how a claim states one."""

import math
from dataclasses import dataclass
from statistics import NormalDist

from unitlens.reproduction.protocol import PaperProtocol

READING_ERROR = 0.01  # of a value that is read off a figure
SMALL_CORRELATION = 0.3  # what a correlation near 0 must be told from
Z = NormalDist().inv_cdf(0.975)  # of a two-sided 95 % interval


@dataclass(frozen=True)
class ReportedNumber:
    """A value that the paper reports.

    Attributes
    ----------
    value
        The value.
    error
        Its reading error: 0.01 for a value that is read off a figure, one unit of the last digit
        given for a value that the paper calls near or about.
    correlation
        Whether the value is a correlation, whose sign is a finding of its own.
    n
        Number of pairs that a correlation is over, 0 if unknown; it says whether the sign of the
        correlation is known.
    text
        The value as text, where a decimal number would not do.
    networks
        Number of networks that the value is of: as many as known, else 1. Of a correlation over a
        sweep the number of its settings, of a share of halves of the settings 2, for two halves
        are independent.
    """

    value: float
    error: float = READING_ERROR
    correlation: bool = False
    n: int = 0
    text: str = ""
    networks: int = 1

    @property
    def reading(self) -> tuple[float, float]:
        """The value minus and plus its reading error."""
        return self.value - self.error, self.value + self.error


@dataclass(frozen=True)
class ReportedOrder:
    """The order of several values.

    Attributes
    ----------
    values
        The values, if the paper reports any.
    strict
        Whether each value is smaller than the one before; if False, the values are in no strict
        order.
    """

    values: tuple[float, ...] = ()
    strict: bool = True


@dataclass(frozen=True)
class ReportedSign:
    """The sign of a difference or of a correlation.

    Attributes
    ----------
    sign
        1 or -1.
    text
        The finding in words.
    or_none
        Whether the finding holds as well where there is no relation at all.
    """

    sign: int
    text: str
    or_none: bool = False


@dataclass(frozen=True)
class OpenQuestion:
    """A question beyond the paper: is a number above or below 0? No answer is reported."""


Finding = ReportedNumber | ReportedOrder | ReportedSign | OpenQuestion


@dataclass(frozen=True)
class Alternative:
    """What would be seen if a finding did not hold.

    Attributes
    ----------
    reason
        The alternative in words.
    values
        The quantity then: one number, or several of which any may be true. For an order, the size
        of a step between levels. Empty where our networks give the number: a share by chance, the
        mean step.
    """

    reason: str
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A result of the paper or of later work, or an open question.

    Attributes
    ----------
    name
        Name of the claim within its group.
    figure
        Figure of the paper, its ``text`` or ``appendix``, the later work, or ``beyond`` for an open
        question.
    quantity
        The quantity that is measured.
    finding
        The reported result, or the question.
    source
        How the finding is known, a letter: F read off the paper's own figures, D a slide deck
        that paraphrases the paper, R a replication's code or data, M recalled, I inferred, L said
        by later work; empty for an open question.
    alternative
        What would be seen if the finding did not hold. Each number and each order has one, and
        each sign that holds without any relation as well; None for other claims, which a quantity
        of 0 would leave undecided.
    """

    name: str
    figure: str
    quantity: str
    finding: Finding
    source: str = "F"
    alternative: Alternative | None = None


@dataclass(frozen=True)
class ClaimGroup:
    """Claims that are measured on the same experiments.

    Attributes
    ----------
    title
        Heading on the page.
    figures
        Names of our figures that show the results.
    claims
        The claims.
    protocol
        How the paper measured them; None for claims beyond the paper.
    """

    title: str
    figures: tuple[str, ...]
    claims: tuple[Claim, ...]
    protocol: PaperProtocol | None = None


def paper_interval(paper: ReportedNumber) -> tuple[float, float]:
    """Return the smallest and the largest value that a reported number may stand for.

    Parameters
    ----------
    paper
        The number. A correlation over n pairs has Fisher's 95 % interval where that is wider than
        the reading error.

    Examples
    --------
    >>> paper_interval(ReportedNumber(0.5, 0.1))
    (0.4, 0.6)
    """
    low, high = paper.reading
    if paper.n > 3:
        z, half = math.atanh(paper.value), Z / math.sqrt(paper.n - 3)
        low, high = min(low, math.tanh(z - half)), max(high, math.tanh(z + half))
    return low, high


def has_known_sign(paper: ReportedNumber) -> bool:
    """Return whether all values that a reported number may stand for are on one side of 0."""
    low, high = paper_interval(paper)
    return low > 0 or high < 0


def pairs_of_p_value(correlation: float, p_value: float) -> int:
    """Return the number of pairs at which a correlation has a p-value.

    Parameters
    ----------
    correlation
        The correlation.
    p_value
        Its two-sided p-value, by Fisher's z.

    Examples
    --------
    >>> pairs_of_p_value(0.095, 0.288)
    127
    """
    z = NormalDist().inv_cdf(1 - p_value / 2)
    return round(3 + (z / math.atanh(correlation)) ** 2)
