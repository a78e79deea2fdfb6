"""Results of the paper and ours as text."""

import math

from unitlens.reproduction.claim_types import Claim, OpenQuestion, ReportedNumber, ReportedSign
from unitlens.reproduction.estimates import Estimate


def paper_text(claim: Claim) -> str:
    """Return the reported result of a claim as text.

    Examples
    --------
    >>> from unitlens.reproduction.claims import PAPER_CLAIMS
    >>> claim = PAPER_CLAIMS["mnist_noise"].claims[0]
    >>> claim.quantity, paper_text(claim)
    ('noise scale at which train accuracy is one half, corruption 0.2', '1.9 ± 0.1')
    """
    finding = claim.finding
    if isinstance(finding, ReportedSign):
        return finding.text
    if isinstance(finding, OpenQuestion):
        return "an open question"
    if isinstance(finding, ReportedNumber):
        over = f" (n = {finding.n:,})" if finding.n else ""
        value = finding.text or f"{finding.value:g}"
        return f"{value} \N{PLUS-MINUS SIGN} {finding.error:.2g}{over}"
    if not finding.strict:
        return "in no strict order"
    return " > ".join(f"{value:g}" for value in finding.values)


def p_text(p: float, equals: str = "") -> str:
    """Return a p-value with three decimals at most; empty for NaN.

    Examples
    --------
    >>> p_text(0.0123), p_text(0.2), p_text(0.0001), p_text(0.2, "= ")
    ('0.012', '0.200', '< 0.001', '= 0.200')
    """
    if math.isnan(p):
        return ""
    return "< 0.001" if p < 5e-4 else f"{equals}{p:.3f}"


def estimate_text(estimate: Estimate) -> str:
    """Return a number with its 95 % interval.

    Examples
    --------
    >>> print(estimate_text(Estimate(0.5, se=0.1, df=4, n=5, over="networks")))
    0.500 [0.222, 0.778]
    """
    low, high = map(number_text, estimate.interval())
    return f"{number_text(estimate.value)} [{low}, {high}]"


def number_text(value: float) -> str:
    """Return a number with three decimals, without a minus before zero.

    Examples
    --------
    >>> number_text(-0.0001)
    '0.000'
    """
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text
