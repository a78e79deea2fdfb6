"""The kinds of results that ours are set beside."""

from dataclasses import dataclass

READING = 0.01  # error of a value that is read off a figure


@dataclass(frozen=True)
class Number:
    """A value of the paper.

    Attributes
    ----------
    value
        As the paper has it.
    error
        By how much it may be off: 0.01 where it is read off a figure, one unit of the last digit
        given where it is told as near or about.
    correlation
        Whether its sign is a finding of its own.
    n
        Pairs that a correlation is over, where it is known: it then has an interval of its own.
    text
        How the value is written, where not as a decimal.
    """

    value: float
    error: float = READING
    correlation: bool = False
    n: int = 0
    text: str = ""


@dataclass(frozen=True)
class Order:
    """Values that fall strictly from each to the next, or (`strict` false) do not."""

    values: tuple[float, ...] = ()
    strict: bool = True


@dataclass(frozen=True)
class Direction:
    """The sign of a difference or of a correlation.

    Attributes
    ----------
    sign
        1 or -1.
    text
        What the paper says.
    or_none
        Whether nothing at all fits the paper as well.
    """

    sign: int
    text: str
    or_none: bool = False


@dataclass(frozen=True)
class Sign:
    """A question: on which side of 0 a number lies. Nobody's answer is set beside ours."""


Finding = Number | Order | Direction | Sign


@dataclass(frozen=True)
class Claim:
    """One result of the paper, of later work, or a question.

    Attributes
    ----------
    name
        Within its group.
    figure
        Of the paper, "appendix", or the later work.
    what
        What is measured.
    paper
        What the paper has, or who asked first.
    known
        How that is known; L of later work.
    """

    name: str
    figure: str
    what: str
    paper: Finding
    known: str = "F"


@dataclass(frozen=True)
class ClaimGroup:
    """Claims that are shown by the same experiments.

    Attributes
    ----------
    title
        Heading on the page.
    pictures
        Our figures that show them.
    claims
        The claims.
    """

    title: str
    pictures: tuple[str, ...]
    claims: tuple[Claim, ...]
