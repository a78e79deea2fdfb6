"""The rule by which the paper's result and ours are compared."""

from typing import Literal, NamedTuple

import numpy as np

from unitlens.reproduction.evidence import Evidence
from unitlens.reproduction.kinds import (
    Direction,
    Finding,
    Number,
    Order,
    Sign,
)

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
Way = Literal["nearer", "farther", "as near"]
SHOWN = 5e-4  # half of the last digit that is written
SURE = 0.95  # share of the resamples in which an order must hold
Z = 1.959963984540054  # of a two-sided interval of 95 %

RULE = """\
* A number **agrees** where our 95 % interval overlaps the paper's value give or take its reading
  error; a correlation must have the same sign too, unless the paper's own interval holds 0. The
  reading error is .01 for a value read off a figure, and one unit of the last digit given where
  it is told as "near" or "about". A correlation over a known number n of pairs has Fisher's 95 %
  interval, tanh(artanh r \N{PLUS-MINUS SIGN} 1.96 / sqrt(n - 3)), where that is wider. A
  correlation that does not agree has the **same direction** where both intervals lie on the same
  side of 0.
* A direction (the sign of a difference or of a correlation) is the **same direction** where our
  95 % interval lies wholly on the paper's side of 0; where the paper finds a negative relation or
  none, where it does not lie wholly above 0.
* An order is the **same order** where it holds in at least 95 % of the resamples; where the paper
  finds no strict order, where one holds in at most 5 %.
* What is asked beyond the paper is **above 0** or **below 0** where our 95 % interval is.
* A direction, order or question is **undecided** where neither it nor its contrary is sure by the
  same measure, or where nothing could be resampled. (A number then has no interval but itself.)
* Everything else **differs**; what has no number is **not measured**.
* A suspected cause of a difference is tested by an extra experiment that differs in it. A number
  is then **nearer** or **farther**, or as near, by its distance from the paper's value give or
  take its reading error; **surely** where that is so of all values in the two 95 % intervals and
  the same was resampled for both.
"""


class Moved(NamedTuple):
    """How a result changes where a cause is tested.

    Attributes
    ----------
    way
        Where a number goes.
    sure
        Whether that is sure.
    was
        The earlier number, or the earlier verdict where that has changed.
    """

    way: Way | None = None
    sure: bool = False
    was: str = ""


def paper_interval(paper: Number) -> tuple[float, float]:
    """Return the least and the largest value that the paper's number may stand for.

    Examples
    --------
    >>> paper_interval(Number(0.5, 0.1))
    (0.4, 0.6)
    """
    low, high = paper.value - paper.error, paper.value + paper.error
    if paper.n > 3:
        z, half = np.arctanh(paper.value), Z / np.sqrt(paper.n - 3)
        low, high = min(low, float(np.tanh(z - half))), max(high, float(np.tanh(z + half)))
    return low, high


def judge(paper: Finding, ours: Evidence) -> Verdict:
    """Compare a result of the paper with ours, by :data:`RULE`.

    Parameters
    ----------
    paper
        What the paper has.
    ours
        What we have.

    Returns
    -------
    The verdict.
    """
    if ours.missing:
        return "not measured"
    if isinstance(paper, Number):
        return _number(paper, ours)
    if not ours.over:
        return "undecided"
    if isinstance(paper, Sign):
        if ours.low > 0:
            return "above 0"
        return "below 0" if ours.high < 0 else "undecided"
    if isinstance(paper, Direction):
        return _direction(paper, ours)
    return _order(paper, ours)


def moved(paper: Finding, before: Evidence, after: Evidence) -> Moved:
    """Say how a result changes where a suspected cause of a difference is tested, by :data:`RULE`.

    Parameters
    ----------
    paper
        What the paper has.
    before, after
        What we have without and with the change.

    Returns
    -------
    The way that a number goes, else the earlier verdict where that has changed, or nothing.
    """
    if after.missing:
        return Moved()
    if isinstance(paper, Number) and not before.missing:
        return Moved(*_way(paper, before, after), f"{before.value + 0.0:.3f}")
    if not before.missing and len(before.values) != len(after.values):  # orders of other levels
        return Moved()
    old = judge(paper, before)
    return Moved(was=old) if old != judge(paper, after) else Moved()


def _way(paper: Number, before: Evidence, after: Evidence) -> tuple[Way, bool]:
    """Compare distances from what the paper's number may stand for."""
    (least, at, most), (nearest, now, farthest) = (_distances(paper, of) for of in (before, after))
    if abs(now - at) < SHOWN:
        return "as near", False
    alike = bool(before.over) and before.over == after.over
    if now < at:
        return "nearer", alike and farthest < least
    return "farther", alike and nearest > most


def _distances(paper: Number, ours: Evidence) -> tuple[float, float, float]:
    """Return the least distance, that of our value, and the largest."""
    low, high = paper_interval(paper)

    def of(value: float) -> float:
        return max(low - value, value - high, 0.0)

    ends = of(ours.low), of(ours.high)
    spans = ours.low <= high and ours.high >= low
    return 0.0 if spans else min(ends), of(ours.value), max(ends)


def _number(paper: Number, ours: Evidence) -> Verdict:
    low, high = paper_interval(paper)
    overlap = ours.low <= high and ours.high >= low
    if not paper.correlation:
        return "agrees" if overlap else "differs"
    open_sign = low <= 0 <= high
    if overlap and (open_sign or ours.value * paper.value > 0):
        return "agrees"
    sides = (low > 0 and ours.low > 0) or (high < 0 and ours.high < 0)
    return "same direction" if sides else "differs"


def _direction(paper: Direction, ours: Evidence) -> Verdict:
    least, most = sorted((paper.sign * ours.low, paper.sign * ours.high))
    if least > 0 or (paper.or_none and most >= 0):
        return "same direction"
    return "differs" if most < 0 else "undecided"


def _order(paper: Order, ours: Evidence) -> Verdict:
    share = ours.ordered if paper.strict else 1 - ours.ordered
    if share >= SURE:
        return "same order"
    return "differs" if share <= 1 - SURE else "undecided"
