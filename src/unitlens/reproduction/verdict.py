"""The verdict on each claim, and whether the claim could have failed, by the rule."""

import math
from typing import Literal

from unitlens.reproduction.claim_types import (
    Alternative,
    Claim,
    OpenQuestion,
    ReportedNumber,
    ReportedOrder,
    ReportedSign,
    has_known_sign,
)
from unitlens.reproduction.estimates import Estimate
from unitlens.reproduction.evidence import Evidence
from unitlens.reproduction.several_tests import ALPHA, fall_p, fall_power, rise_p, rise_power

Verdict = Literal[
    "agrees",
    "same order",
    "same direction",
    "compatible",
    "above 0",
    "below 0",
    "undecided",
    "differs",
    "too few networks",
    "not measured",
]
AGREEMENTS = ("agrees", "same order", "same direction")
ENOUGH_POWER = 0.8


def judge(claim: Claim, ours: Evidence) -> Verdict:
    """Compare a claim with our result, by :data:`unitlens.reproduction.rule.RULE`.

    Parameters
    ----------
    claim
        The claim, or an open question.
    ours
        Our result.

    Returns
    -------
    The verdict.

    Examples
    --------
    >>> from unitlens.reproduction.claim_types import Claim
    >>> claim = Claim("auc", "1a", "AUC", ReportedNumber(0.8), "F", Alternative("none", (0.5,)))
    >>> ours = Estimate(0.79, se=0.01, df=4, n=5, over="networks")
    >>> judge(claim, Evidence(ours, networks=5)), round(power(claim, Evidence(ours)), 2)
    ('agrees', 1.0)
    """
    if ours.missing:
        return "not measured"
    if not ours.over_networks:
        return "too few networks"
    verdict = _judge_measured(claim, ours)
    weak = claim.alternative is not None and not power(claim, ours) >= ENOUGH_POWER
    overlaps = verdict in AGREEMENTS and not _is_sign_of_correlation(claim, verdict)
    return "compatible" if weak and overlaps else verdict


def _is_sign_of_correlation(claim: Claim, verdict: Verdict) -> bool:
    """Return whether a number differs and has the paper's sign: this verdict needs no power."""
    return isinstance(claim.finding, ReportedNumber) and verdict == "same direction"


def _judge_measured(claim: Claim, ours: Evidence) -> Verdict:
    finding, estimate = claim.finding, ours.estimate
    if isinstance(finding, ReportedOrder):
        return _judge_order(finding, ours)
    if estimate is None:
        raise TypeError(f"the evidence of {claim.name} has no number; give an estimate")
    if isinstance(finding, ReportedNumber):
        return _judge_number(finding, estimate)
    if isinstance(finding, OpenQuestion):
        p = estimate.p_value() if math.isnan(ours.adjusted_p) else ours.adjusted_p
        if not p <= ALPHA:
            return "undecided"
        return "above 0" if estimate.value > 0 else "below 0"
    return _judge_sign(finding, estimate)


def _judge_number(paper: ReportedNumber, ours: Estimate) -> Verdict:
    low, high = ours.interval(others=paper.networks)
    least, most = paper.reading
    if low <= most and high >= least:
        return "agrees"
    known = paper.correlation and has_known_sign(paper)
    return "same direction" if known and ours.side() * paper.value > 0 else "differs"


def _judge_sign(paper: ReportedSign, ours: Estimate) -> Verdict:
    side = paper.sign * ours.side()
    if side < 0:
        return "differs"
    return "same direction" if side > 0 or paper.or_none else "undecided"


def _judge_order(paper: ReportedOrder, ours: Evidence) -> Verdict:
    falls, rises = fall_p(ours.steps) <= ALPHA, rise_p(ours.steps) <= ALPHA
    if not falls and not rises:
        return "undecided"
    return "same order" if falls == paper.strict else "differs"


def power(claim: Claim, ours: Evidence) -> float:
    """Return the probability that a claim would have come out as "differs" if it did not hold.

    Parameters
    ----------
    claim
        The claim.
    ours
        Our result, for its standard error.

    Returns
    -------
    The smallest probability over the numbers of the alternative; NaN for a claim without
    alternative and for a result of too few networks.
    """
    finding, alternative = claim.finding, claim.alternative
    if alternative is None or ours.missing or not ours.over_networks:
        return math.nan
    truths = alternative_values(alternative, ours)
    if isinstance(finding, ReportedOrder):
        of_order = rise_power if finding.strict else fall_power
        return min(of_order(ours.steps, size) for size in truths)
    estimate = ours.estimate
    if estimate is None:
        return math.nan
    if isinstance(finding, ReportedNumber):
        low, high = finding.reading
        others = finding.networks
    else:  # a sign that holds without any relation as well: it fails on one side of 0 only
        sign = finding.sign if isinstance(finding, ReportedSign) else 1
        low, high = (-math.inf, 0.0) if sign < 0 else (0.0, math.inf)
        others = 0
    return min(estimate.chance_outside(low, high, truth=truth, others=others) for truth in truths)


def alternative_values(alternative: Alternative, ours: Evidence) -> tuple[float, ...]:
    """Return the numbers of an alternative, from our networks where it states none.

    Examples
    --------
    >>> alternative_values(Alternative("a strict fall"), Evidence(levels=(0.8, 0.5, 0.6)))
    (0.15,)
    """
    if alternative.values:
        return alternative.values
    if ours.levels:
        spacing = (max(ours.levels) - min(ours.levels)) / (len(ours.levels) - 1)
        return (round(spacing, 6),)
    return (ours.alternative,)
