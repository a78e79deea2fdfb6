"""The kinds of results that ours are compared with, and how a claim states one."""

from dataclasses import dataclass

from unitlens.reproduction.protocol import PaperProtocol

READING_ERROR = 0.01  # of a value that is read off a figure


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
        Number of pairs that a correlation is over, 0 if unknown; it gives the value an interval.
    text
        The value as text, where a decimal number would not do.
    """

    value: float
    error: float = READING_ERROR
    correlation: bool = False
    n: int = 0
    text: str = ""


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
class Claim:
    """A result of the paper or of later work, or an open question.

    Attributes
    ----------
    name
        Name of the claim within its group.
    figure
        Figure of the paper, ``appendix``, the later work, or ``beyond`` for an open question.
    quantity
        The quantity that is measured.
    finding
        The reported result, or the question.
    source
        How the finding is known, a letter: F read off the paper's own figures, D a slide deck
        that paraphrases the paper, R a replication's code or data, M recalled, I inferred, L said
        by later work; empty for an open question.
    """

    name: str
    figure: str
    quantity: str
    finding: Finding
    source: str = "F"


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


def number_claim(
    name: str,
    figure: str,
    quantity: str,
    value: float,
    error: float = READING_ERROR,
    *,
    source: str = "F",
) -> Claim:
    """Return the claim that a quantity has a value, with its reading error."""
    return Claim(name, figure, quantity, ReportedNumber(value, error), source)


def correlation_claim(name: str, figure: str, quantity: str, value: float, n: int = 0) -> Claim:
    """Return the claim that a correlation over n pairs has a value."""
    return Claim(name, figure, quantity, ReportedNumber(value, correlation=True, n=n))


def sign_claim(
    name: str, figure: str, quantity: str, sign: int, text: str, *, source: str = "F"
) -> Claim:
    """Return the claim that a quantity has a sign, with the finding in words."""
    return Claim(name, figure, quantity, ReportedSign(sign, text), source)


def question_claim(name: str, quantity: str) -> Claim:
    """Return the open question whether a quantity is above or below 0."""
    return Claim(name, "beyond", quantity, OpenQuestion(), "")
