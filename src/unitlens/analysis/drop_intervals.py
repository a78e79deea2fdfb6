"""Intervals for accuracy drops, which hold also where hits change rarely or not at all."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]

COVERAGE = 0.95
_TAIL = (1 - COVERAGE) / 2


@dataclass(frozen=True)
class MeasuredDrops:
    """Accuracy drops, and what their intervals follow from; all arrays broadcast.

    Attributes
    ----------
    drop
        Mean over the samples of the hit without ablation minus the hit with it; NaN without samples.
    error
        Standard error of the drop.
    changed
        Mean of the squared change of the hit: the share of the samples whose hit changes, where
        hits are 0 or 1.
    samples
        Number of samples that are drawn independently and tell as much as those measured; 0 without
        samples.
    are_shares
        Whether all hits are 0 or 1, so that the drop is a difference of two shares.
    """

    drop: Floats
    error: Floats
    changed: Floats
    samples: Floats | np.float64
    are_shares: npt.NDArray[np.bool_] | bool = True


def interval_variables(
    overall: MeasuredDrops, by_class: MeasuredDrops | None = None
) -> dict[str, Floats]:
    """Return the intervals of accuracy drops by the name of the declared variable.

    Parameters
    ----------
    overall
        Drops over all samples, (rows,).
    by_class
        Drops over the samples of each class, (rows, classes); None where there are none.
    """
    pairs = {"accuracy_drop": drop_interval(overall)}
    if by_class is not None:
        pairs["class_accuracy_drop"] = drop_interval(by_class)
        pairs["class_accuracy_drop_max"] = largest_drop_interval(by_class)
    return {
        f"{name}_{end}": values
        for name, pair in pairs.items()
        for end, values in zip(("low", "high"), pair, strict=True)
    }


def drop_interval(drops: MeasuredDrops, tail: float = _TAIL) -> tuple[Floats, Floats]:
    """Return the lower and the upper end of the interval of each drop.

    Parameters
    ----------
    drops
        The drops.
    tail
        Probability with which the drop may lie below the interval, and above it.

    Notes
    -----
    Where hits are 0 or 1, the interval is that of :func:`paired_interval`. Other hits have the
    interval of a mean, drop -+ t error, with as many degrees of freedom as samples less one; NaN
    where no hit changes, since then nothing tells how much hits may change.
    """
    samples, changed = np.asarray(drops.samples, np.float64), np.minimum(drops.changed, 1.0)
    with np.errstate(invalid="ignore"):
        lost = samples * np.maximum(changed + drops.drop, 0) / 2
        gained = samples * np.maximum(changed - drops.drop, 0) / 2
    low, high = paired_interval(lost, gained, samples, tail)
    if np.all(drops.are_shares):
        return low, high
    with np.errstate(invalid="ignore"):
        margin = special.stdtrit(np.maximum(samples - 1, 1), 1 - tail) * drops.error
        known = (samples > 1) & (drops.error > 0) & np.isfinite(drops.drop)
    return (
        np.where(drops.are_shares, low, np.where(known, drops.drop - margin, np.nan)),
        np.where(drops.are_shares, high, np.where(known, drops.drop + margin, np.nan)),
    )


def largest_drop_interval(by_class: MeasuredDrops) -> tuple[Floats, Floats]:
    """Return the ends of an interval for the largest of the drops of all classes.

    Parameters
    ----------
    by_class
        Drops by class, (rows, classes).

    Returns
    -------
    Lower and upper end by row, (rows,) each: NaN for a row without the interval of any class.

    Notes
    -----
    The interval holds the largest of the drops that the classes have in truth, whichever class has
    it; that it is looked for among noisy drops is taken into account. The largest drop is at most
    the largest of the upper ends if the upper end holds for one class, the one that has it. It is
    at least the largest of the lower ends if the lower ends of all k classes hold, each of which
    therefore fails with probability 1 - (1 - tail)^(1 / k) (Sidak, J. Am. Stat. Assoc. 62, 1967);
    the samples of different classes are independent of each other.
    """
    classes = max(np.count_nonzero(np.atleast_2d(by_class.samples).any(axis=0)), 1)
    low, _ = drop_interval(by_class, -np.expm1(np.log1p(-_TAIL) / classes))
    _, high = drop_interval(by_class)
    return _largest(low), _largest(high)


def _largest(ends: Floats) -> Floats:
    """Return the largest number of each row; NaN where there is none."""
    known = np.isfinite(ends)
    largest: Floats = np.where(known, ends, -np.inf).max(axis=1, initial=-np.inf)
    return np.where(known.any(axis=1), largest, np.nan)


def paired_interval(
    lost: npt.ArrayLike, gained: npt.ArrayLike, samples: npt.ArrayLike, tail: float = _TAIL
) -> tuple[Floats, Floats]:
    """Return an interval for the difference of two shares of the same samples.

    Parameters
    ----------
    lost, gained
        Number of samples that are hits only before, and only after; they need not be whole.
    samples
        Number of samples.
    tail
        Probability with which the difference may lie below the interval, and above it.

    Returns
    -------
    Lower and upper end, each of the shape to which the arguments broadcast, within -1 and 1; NaN
    without samples.

    Notes
    -----
    The interval of Bonett & Price, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data", J. Educ. Behav. Stat. 37, 2012, doi:10.3102/1076998611411915:
    with one sample more in each of ``lost`` and ``gained``, two more in all,

        b = (lost + 1) / (n + 2)    c = (gained + 1) / (n + 2)
        b - c -+ z sqrt((b + c - (b - c)^2) / (n + 2))

    Examples
    --------
    >>> low, high = paired_interval([0, 5], [0, 0], 100)
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([-0.027, -0.001], [0.027, 0.099])
    """
    n = np.asarray(samples, np.float64) + 2
    before, after = (np.asarray(count, np.float64) + 1 for count in (lost, gained))
    difference = (before - after) / n
    variance = np.maximum((before + after) / n - difference**2, 0) / n
    margin = -special.ndtri(tail) * np.sqrt(variance)
    known = (n > 2) & np.isfinite(margin)
    return (
        np.where(known, np.maximum(difference - margin, -1), np.nan),
        np.where(known, np.minimum(difference + margin, 1), np.nan),
    )
