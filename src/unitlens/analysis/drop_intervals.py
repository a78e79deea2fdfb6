"""Intervals for accuracy drops, which hold also where hits change rarely or not at all."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import special

from unitlens.variables.schemas import ACCURACY_DROPS

Floats = npt.NDArray[np.float64]

COVERAGE = 0.95
TAIL = (1 - COVERAGE) / 2
_CELLS_AT_ONCE = 2**18  # of a row and a class, so that the arrays of the same size take some MB


@dataclass(frozen=True)
class MeasuredDrops:
    """Accuracy drops, and what their intervals follow from; all arrays broadcast.

    Attributes
    ----------
    drop
        Mean over the samples of the hit without ablation minus the hit with it; NaN without
        samples.
    error
        Standard error of the drop.
    changed
        Mean over the samples of the squared change of the hit: the share of the samples whose hit
        changes, where hits are 0 or 1.
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

    def of_rows(self, rows: slice) -> "MeasuredDrops":
        """Return the drops of some rows of drops by class, (rows, classes)."""

        def cut(values: Any) -> Any:
            return values[rows] if np.ndim(values) == 2 else values

        fields = self.drop, self.error, self.changed, self.samples, self.are_shares
        return MeasuredDrops(*map(cut, fields))


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
    low, high = drop_interval(overall)
    variables = {"accuracy_drop_low": low, "accuracy_drop_high": high}
    if by_class is None:
        return variables
    ends, largest = np.empty((2, *by_class.drop.shape)), np.empty((2, len(by_class.drop)))
    step = max(_CELLS_AT_ONCE // max(by_class.drop.shape[1], 1), 1)
    for first in range(0, len(by_class.drop), step):
        rows = slice(first, first + step)
        drops = by_class.of_rows(rows)
        ends[:, rows] = drop_interval(drops)
        largest[:, rows] = largest_drop_interval(drops, ends[1, rows])
    pairs = {"class_accuracy_drop": ends, "class_accuracy_drop_max": largest}
    return variables | {
        f"{name}_{end}": values
        for name, pair in pairs.items()
        for end, values in zip(("low", "high"), pair, strict=True)
    }


def interval_ends(table: xr.Dataset, name: str) -> tuple[Floats, Floats] | None:
    """Return the lower and the upper ends of the intervals of a variable of a table.

    Parameters
    ----------
    table
        A table of units, directions or groups, or some rows of it.
    name
        Name of the variable.

    Returns
    -------
    None where the variable is no accuracy drop, or where the table has no interval of it, as those
    of unitlens before 0.9.
    """
    ends = [f"{name}_low", f"{name}_high"]
    if name not in ACCURACY_DROPS or not set(ends) <= set(table.variables):
        return None
    low, high = (np.asarray(table[end].values, np.float64) for end in ends)
    return (low, high) if np.isfinite(low).any() else None


def drop_interval(drops: MeasuredDrops, tail: float = TAIL) -> tuple[Floats, Floats]:
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
    low, high = paired_interval(drops.drop, drops.changed, drops.samples, tail)
    if np.all(drops.are_shares):
        return low, high
    with np.errstate(invalid="ignore"):
        freedom = np.maximum(np.asarray(drops.samples) - 1, 1)
        margin = special.stdtrit(freedom, 1 - tail) * drops.error
        known = (drops.samples > 1) & (drops.error > 0) & np.isfinite(drops.drop)
    return (
        np.where(drops.are_shares, low, np.where(known, drops.drop - margin, np.nan)),
        np.where(drops.are_shares, high, np.where(known, drops.drop + margin, np.nan)),
    )


def largest_drop_interval(by_class: MeasuredDrops, high: Floats) -> tuple[Floats, Floats]:
    """Return the ends of an interval for the largest of the drops of all classes.

    Parameters
    ----------
    by_class
        Drops by class, (rows, classes).
    high
        Upper ends of their intervals, (rows, classes).

    Returns
    -------
    Lower and upper end by row, (rows,) each: NaN for a row without the interval of any class.

    Notes
    -----
    The interval holds the largest of the drops that the classes have in truth, whichever class has
    it; that it is looked for among noisy drops is allowed for. The largest drop is at most the
    largest of the upper ends if the upper end holds for one class, the one that has it. It is at
    least the largest of the lower ends if the lower ends of all k classes hold, each of which
    therefore fails with probability 1 - (1 - tail)^(1 / k) (Sidak, "Rectangular confidence regions
    for the means of multivariate normal distributions", J. Am. Stat. Assoc. 62, 1967); the samples
    of different classes are independent of each other.
    """
    classes = max(np.count_nonzero(np.atleast_2d(by_class.samples).any(axis=0)), 1)
    low, _ = drop_interval(by_class, -np.expm1(np.log1p(-TAIL) / classes))
    return _largest(low), _largest(high)


def _largest(ends: Floats) -> Floats:
    """Return the largest number of each row; NaN where there is none."""
    known = np.isfinite(ends)
    largest: Floats = np.where(known, ends, -np.inf).max(axis=1, initial=-np.inf)
    return np.where(known.any(axis=1), largest, np.nan)


def paired_interval(
    drop: npt.ArrayLike, changed: npt.ArrayLike, samples: npt.ArrayLike, tail: float = TAIL
) -> tuple[Floats, Floats]:
    """Return an interval for the difference of two shares of the same samples.

    Parameters
    ----------
    drop
        The share before minus the share after.
    changed
        Share of the samples that count before or after, but not both times.
    samples
        Number of samples, which need not be whole.
    tail
        Probability with which the difference may lie below the interval, and above it.

    Returns
    -------
    Lower and upper end, each of the shape to which the arguments broadcast, within -1 and 1; NaN
    without samples.

    Notes
    -----
    The interval of Bonett & Price, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data", J. Educ. Behav. Stat. 37, 2012, doi:10.3102/1076998611411915.
    With b samples that count only before and c that count only after, and one sample more of each,

        p = (b + 1) / (n + 2)    q = (c + 1) / (n + 2)
        p - q -+ z sqrt((p + q - (p - q)^2) / (n + 2))

    Examples
    --------
    >>> low, high = paired_interval([0, 0.05], [0, 0.05], 100)
    >>> low.round(3).tolist(), high.round(3).tolist()
    ([-0.027, -0.001], [0.027, 0.099])
    """
    n = np.asarray(samples, np.float64)
    middle = np.clip(drop, -1, 1) * (n / (n + 2))
    variance = np.minimum(changed, 1) * (n / (n + 2)) + 2 / (n + 2) - middle**2
    margin = -special.ndtri(tail) * np.sqrt(np.maximum(variance, 0) / (n + 2))
    known = (n > 0) & np.isfinite(margin)
    return (
        np.where(known, np.maximum(middle - margin, -1), np.nan),
        np.where(known, np.minimum(middle + margin, 1), np.nan),
    )
