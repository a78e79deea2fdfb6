"""The rule by which the paper's result and ours are compared."""

from typing import Literal

import numpy as np

from unitlens.reproduction.evidence import Evidence
from unitlens.reproduction.kinds import Direction, Finding, Number, Order, Sign

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
  of its is **nearer** or **farther** where it lies nearer to the paper's value, or farther from
  it, than the number above; **surely** where the two intervals do not overlap.
"""


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


def moved(paper: Finding, before: Evidence, after: Evidence) -> str:
    """Say how a result changes where a suspected cause of a difference is tested.

    Parameters
    ----------
    paper
        What the paper has.
    before, after
        What we have without and with the change.

    Returns
    -------
    The earlier value, after "nearer" or "farther" for a number; or the earlier verdict where that
    has changed. Empty where one of the two was not measured.
    """
    if before.missing or after.missing:
        return ""
    if isinstance(paper, Number):
        way = _way(paper.value, before, after)
        return f"{way}: was {before.value:.3f}" if way else ""
    old = judge(paper, before)
    return f"was {old}" if old != judge(paper, after) else ""


def _way(value: float, before: Evidence, after: Evidence) -> str:
    closer = abs(before.value - value) - abs(after.value - value)
    if closer == 0:
        return ""
    apart = bool(before.over and after.over) and (
        before.high < after.low or after.high < before.low
    )
    return f"{'surely ' if apart else ''}{'nearer' if closer > 0 else 'farther'}"


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
