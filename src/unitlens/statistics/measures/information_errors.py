"""The error of the jackknifed mutual information: chance, and what correction and bins leave.

Three parts add up to the error; docs/method/statistics.md has the formulas.

- The variance over samples that are drawn independently of each other. The jackknife of the
  jackknifed information counts what is of second order in the counts twice, of third order three
  times, and so on (Efron & Stein, "The jackknife estimate of variance", Ann. Stat. 9, 1981). The
  surplus of a Poisson count is a function of its mean alone: :data:`SURPLUS`. A variance is at
  least that of second order, which is all that a unit has that knows nothing: that of
  chi-squared / 2 N.
- The bias that the jackknife leaves, which is largest for counts of 2 to 5: the difference to the
  estimate of Grassberger ("Entropy estimates from insufficient samplings", arXiv physics/0307138,
  2003), whose bias is next to nothing from counts of 2 on. It jumps from odd counts to even ones,
  which only small counts need: its jumps are multiplied by ``1 - n / 10``, and end there.
- What the bins lose: :data:`LOST_SHARE` of what information falls by where neighbouring bins are
  merged to half as many. Where the loss falls with the number of bins as 1 / B, it is all of this,
  as 1 / B^2 a third.
"""

from functools import lru_cache

import numpy as np
from scipy import special

from unitlens.statistics.block_states import Floats

_TABULATED = 2**16  # counts whose terms are looked up
# Of what half as many bins lose, the share that is taken for what the bins lose: found by
# simulation (docs/information.md).
LOST_SHARE = 0.75
JUMPS_END = 10  # count from which on Grassberger's jumps are left out
# By how much a count of 0, 1, 2 and of more adds to the jackknife's variance in excess. Their mean
# over a Poisson count is within .12 of its surplus of variance, whatever the mean of the count.
SURPLUS = (0.0, 0.9, 3.7, 0.5)


def information_error(information: Floats, variance: Floats, bias: Floats, lost: Floats) -> Floats:
    """Return the error of jackknifed information, in nats.

    Parameters
    ----------
    information
        The information, not clipped at 0.
    variance
        Its variance over samples.
    bias
        What is to be added to it for the bias that the jackknife leaves.
    lost
        By how much it falls where neighbouring bins are merged.

    Returns
    -------
    Estimates of the root mean square error of the information clipped at 0, each of the shape of
    the arguments.

    Notes
    -----
    The truth is taken for normal about the information without bias, but not below 0: the mean m
    of this distribution is ``mu + s phi(mu / s) / Phi(mu / s)``, with ``mu`` the information
    without bias and ``s^2`` the variance, and its second moment ``s^2 + mu m``.

    Examples
    --------
    >>> far, near = information_error(
    ...     np.array([0.5, -0.01]), np.array([1e-4, 1e-4]), np.array([0.01, 0.01]), np.zeros(2)
    ... )
    >>> round(float(far), 4), round(float(near), 4)  # sqrt(.01^2 + .01^2), and .01
    (0.0141, 0.01)
    """
    chance, unbiased, stated = np.sqrt(variance), information + bias, np.maximum(information, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = np.sqrt(2 / np.pi) / special.erfcx(-unbiased / chance / np.sqrt(2))  # phi / Phi
        mean = unbiased + chance * slope
        square = variance + unbiased * mean - 2 * stated * mean + stated**2
    square = np.where(variance > 0, square, (np.maximum(unbiased, 0) - stated) ** 2)
    error: Floats = np.sqrt(np.maximum(square, 0) + (LOST_SHARE * np.maximum(lost, 0)) ** 2)
    return error


@lru_cache(4)
def count_terms(samples: int) -> Floats:
    """Return the terms of counts n that are looked up, of shape (4, counts).

    Parameters
    ----------
    samples
        The largest count.

    Returns
    -------
    The jackknife's term of a count in an entropy, ``n (n ln n - (n - 1) ln(n - 1))``; by how much
    it is above that of n - 1; Grassberger's term less that of the jackknife; and the surplus of the
    jackknife's variance. The last column is for all larger counts too, where there are any.
    """
    n = np.arange(min(max(samples, 3), _TABULATED) + 1.0)
    logs = np.log(np.maximum(n, 1))
    step = np.zeros(len(n))
    step[2:] = n[2:] * (n[2:] * logs[2:] - (n[2:] - 1) * logs[1:-1])
    return np.stack([step, np.diff(step, prepend=0.0), _left(n, step, samples), _surplus(n)])


def _left(n: Floats, step: Floats, samples: int) -> Floats:
    k = n[1:]
    halves = special.digamma((k + 1) / 2) - special.digamma(k / 2)
    jumps = np.where(k % 2, -0.5, 0.5) * halves * np.maximum(1 - k / JUMPS_END, 0)
    left = np.zeros(len(n))
    left[1:] = k * (special.digamma(k) + jumps) + k - step[1:]
    if samples > _TABULATED:
        left[-1] = 0.0
    return left


def _surplus(n: Floats) -> Floats:
    surplus = np.full(len(n), SURPLUS[-1])
    surplus[: len(SURPLUS) - 1] = SURPLUS[:-1]
    return surplus
