"""Claims of each kind, with the alternative that follows from the kind."""

from unitlens.reproduction.claim_types import (
    SMALL_CORRELATION,
    Alternative,
    Claim,
    OpenQuestion,
    ReportedNumber,
    ReportedSign,
    has_known_sign,
)


def number_claim(
    name: str,
    figure: str,
    quantity: str,
    finding: ReportedNumber,
    alternative: Alternative,
    *,
    source: str = "F",
) -> Claim:
    """Return the claim that a quantity has a value rather than another."""
    return Claim(name, figure, quantity, finding, source, alternative)


def correlation_claim(
    name: str, figure: str, quantity: str, value: float, n: int = 0, *, networks: int = 1
) -> Claim:
    """Return the claim that a correlation over n pairs has a value.

    Parameters
    ----------
    name
        Name of the claim within its group.
    figure
        Figure of the paper.
    quantity
        The correlation in words.
    value
        The correlation.
    n
        Number of pairs, 0 if unknown.
    networks
        As for :class:`ReportedNumber`.

    Returns
    -------
    The claim. Its alternative is no correlation, or 0.3 with either sign where the paper's
    correlation may be 0.
    """
    finding = ReportedNumber(value, correlation=True, n=n, networks=networks)
    small = (-SMALL_CORRELATION, SMALL_CORRELATION)
    alternative = (
        Alternative("no correlation", (0.0,))
        if has_known_sign(finding)
        else Alternative("a correlation of .3 with either sign", small)
    )
    return Claim(name, figure, quantity, finding, alternative=alternative)


def sign_claim(
    name: str, figure: str, quantity: str, sign: int, text: str, *, source: str = "F"
) -> Claim:
    """Return the claim that a quantity has a sign, with the finding in words."""
    return Claim(name, figure, quantity, ReportedSign(sign, text), source)


def no_positive_claim(
    name: str, figure: str, quantity: str, text: str, *, source: str = "D"
) -> Claim:
    """Return the claim that a correlation is negative or 0, with the finding in words."""
    alternative = Alternative("a correlation of .3", (SMALL_CORRELATION,))
    return Claim(name, figure, quantity, ReportedSign(-1, text, or_none=True), source, alternative)


def question_claim(name: str, quantity: str) -> Claim:
    """Return the open question whether a quantity is above or below 0."""
    return Claim(name, "beyond", quantity, OpenQuestion(), "")
