"""The rule by which a result of the paper and ours are compared."""

from typing import Literal, NamedTuple

import numpy as np

from unitlens.reproduction.claim_types import (
    Finding,
    OpenQuestion,
    ReportedNumber,
    ReportedOrder,
    ReportedSign,
)
from unitlens.reproduction.evidence import Evidence

Verdict = Literal[
    "agrees",
    "same order",
    "same direction",
    "above 0",
    "below 0",
    "undecided",
    "differs",
    "not measured",
]
Movement = Literal["nearer", "farther", "as near"]
LEAST_MOVEMENT = 5e-4  # half of the last digit that is written
LEVEL = 0.95  # share of the resamples in which an order must hold
Z = 1.959963984540054  # of a two-sided 95 % interval

RULE = """\
* A reported number **agrees** with ours where our 95 % interval overlaps the paper's value plus or
  minus its reading error. A correlation must also have the same sign, unless the paper's own
  interval holds 0. The reading error is .01 for a value read off a figure, and one unit of the last
  digit for a value given as "near" or "about". A correlation over a known number n of pairs has
  Fisher's 95 % interval, tanh(artanh r \N{PLUS-MINUS SIGN} 1.96 / sqrt(n - 3)), where that is
  wider. A correlation that does not agree has the **same direction** where both intervals lie on
  the same side of 0.
* A reported direction (the sign of a difference or of a correlation) is the **same direction**
  where our 95 % interval lies wholly on the paper's side of 0. Where the paper finds a negative
  relation or none, the direction is the same unless our interval lies wholly above 0.
* A reported order is the **same order** where the order holds in at least 95 % of the resamples.
  Where the paper finds no strict order, a strict order must hold in at most 5 %.
* An open question beyond the paper is answered **above 0** or **below 0** where our 95 % interval
  lies wholly on that side.
* A direction, order or question is **undecided** where neither the result nor its opposite meets
  the criterion, or where there was too little to resample. (A number without resamples has an
  interval of length 0.)
* Every other measured result **differs**. A result without a number of ours is **not measured**.
* A suspected cause of a difference is tested by an extra experiment that changes the cause. A
  number is then **nearer**, **farther** or **as near**, by its distance from the paper's value plus
  or minus the reading error. It is **surely** nearer or farther where that holds for all values of
  both 95 % intervals, and the same was resampled for both.
"""


class CauseEffect(NamedTuple):
    """The effect of changing a suspected cause on our result.

    Attributes
    ----------
    movement
        Whether a number is nearer to the paper's; None for other results.
    sure
        Whether the movement is sure.
    before
        The earlier number, or the earlier verdict if it has changed; else None.
    """

    movement: Movement | None = None
    sure: bool = False
    before: float | Verdict | None = None


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
    low, high = paper.value - paper.error, paper.value + paper.error
    if paper.n > 3:
        z, half = np.arctanh(paper.value), Z / np.sqrt(paper.n - 3)
        low, high = min(low, float(np.tanh(z - half))), max(high, float(np.tanh(z + half)))
    return low, high


def judge(finding: Finding, ours: Evidence) -> Verdict:
    """Compare a reported result with ours, by :data:`RULE`.

    Parameters
    ----------
    finding
        The reported result, or an open question.
    ours
        Our result.

    Returns
    -------
    The verdict.

    Examples
    --------
    >>> judge(ReportedNumber(0.8), Evidence(value=0.78, low=0.7, high=0.795, over="networks"))
    'agrees'
    """
    if ours.missing:
        return "not measured"
    if isinstance(finding, ReportedNumber):
        return _judge_number(finding, ours)
    if not ours.over:
        return "undecided"
    if isinstance(finding, OpenQuestion):
        if ours.low > 0:
            return "above 0"
        return "below 0" if ours.high < 0 else "undecided"
    if isinstance(finding, ReportedSign):
        return _judge_sign(finding, ours)
    return _judge_order(finding, ours)


def effect_of_cause(finding: Finding, before: Evidence, after: Evidence) -> CauseEffect:
    """Compare our result with and without a change of a suspected cause, by :data:`RULE`.

    Parameters
    ----------
    finding
        The reported result, or an open question.
    before
        Our result without the change.
    after
        Our result with the change.

    Returns
    -------
    The movement of a number, or the earlier verdict if it has changed. Nothing for an order of
    other levels than before, or for a result that was not measured with the change.
    """
    if after.missing:
        return CauseEffect()
    if isinstance(finding, ReportedNumber) and not before.missing:
        return CauseEffect(*_movement(finding, before, after), before.value)
    if not before.missing and len(before.values) != len(after.values):
        return CauseEffect()
    verdict = judge(finding, before)
    return CauseEffect(before=verdict) if verdict != judge(finding, after) else CauseEffect()


def _movement(paper: ReportedNumber, before: Evidence, after: Evidence) -> tuple[Movement, bool]:
    """Compare our distances from the paper's interval."""
    old, new = _distances(paper, before), _distances(paper, after)
    if abs(new.of_value - old.of_value) < LEAST_MOVEMENT:
        return "as near", False
    comparable = bool(before.over) and before.over == after.over
    if new.of_value < old.of_value:
        return "nearer", comparable and new.largest < old.smallest
    return "farther", comparable and new.smallest > old.largest


class _Distances(NamedTuple):
    """Distances from the paper's interval: of our value, and over our 95 % interval."""

    smallest: float
    of_value: float
    largest: float


def _distances(paper: ReportedNumber, ours: Evidence) -> _Distances:
    low, high = paper_interval(paper)

    def distance(value: float) -> float:
        return max(low - value, value - high, 0.0)

    ends = distance(ours.low), distance(ours.high)
    overlap = ours.low <= high and ours.high >= low
    return _Distances(0.0 if overlap else min(ends), distance(ours.value), max(ends))


def _judge_number(paper: ReportedNumber, ours: Evidence) -> Verdict:
    low, high = paper_interval(paper)
    overlap = ours.low <= high and ours.high >= low
    if not paper.correlation:
        return "agrees" if overlap else "differs"
    sign_unknown = low <= 0 <= high
    if overlap and (sign_unknown or ours.value * paper.value > 0):
        return "agrees"
    same_side = (low > 0 and ours.low > 0) or (high < 0 and ours.high < 0)
    return "same direction" if same_side else "differs"


def _judge_sign(paper: ReportedSign, ours: Evidence) -> Verdict:
    smallest, largest = sorted((paper.sign * ours.low, paper.sign * ours.high))
    if smallest > 0 or (paper.or_none and largest >= 0):
        return "same direction"
    return "differs" if largest < 0 else "undecided"


def _judge_order(paper: ReportedOrder, ours: Evidence) -> Verdict:
    share = ours.ordered if paper.strict else 1 - ours.ordered
    if share >= LEVEL:
        return "same order"
    return "differs" if share <= 1 - LEVEL else "undecided"
