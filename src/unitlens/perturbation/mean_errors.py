"""Means of changes over samples, their standard errors, and the class that loses most."""

import numpy as np

from unitlens.perturbation.scores import Floats


def mean_and_error(
    total: Floats, squares: Floats, samples: Floats | np.float64
) -> tuple[Floats, Floats]:
    """Return means and their standard errors from sums over samples.

    Parameters
    ----------
    total, squares
        Sums of numbers and of their squares, of one shape.
    samples
        Number of samples of each sum, of a shape that broadcasts.

    Examples
    --------
    >>> mean, error = mean_and_error(np.array([6.0]), np.array([20.0]), np.float64(2))  # 2 and 4
    >>> mean.item(), error.item()
    (3.0, 1.0)
    """
    n = np.asarray(samples, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n + 0.0  # no negative zeros
        variance = np.maximum(squares - total**2 / n, 0) / (n - 1)
        error = np.where(n > 1, np.sqrt(variance / n), np.nan)
    return np.where(n > 0, mean, np.nan), error


def ratio_and_error(sums: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return means over the parts of items, and their standard errors over items.

    The mean is the sum ``t`` of the numbers ``x`` of all items over the sum ``w`` of their weights
    ``n``, the numbers of parts. Its standard error is that of a ratio, to first order: the root of
    ``k / (k - 1) * sum((x - t / w * n) ** 2)`` over ``w``, where ``k`` items have a part. Where
    each item has one part, it is that of :func:`mean_and_error`.

    Parameters
    ----------
    sums
        Sums over items of x, of x ** 2 and of x * n, (3, ...).
    weights
        Sums over items of n and of n ** 2, and the number of items with a part; (3, ...), of a
        shape that broadcasts.

    Examples
    --------
    >>> mean, error = ratio_and_error(np.array([6.0, 20, 6]), np.array([2.0, 2, 2]))  # 2 and 4
    >>> mean.item(), error.item()
    (3.0, 1.0)
    """
    total, squares, products = sums
    parts, part_squares, items = weights
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / parts + 0.0  # no negative zeros
        deviation = np.maximum(squares - 2 * mean * products + mean**2 * part_squares, 0)
        error = np.sqrt(deviation * items / (items - 1)) / parts
    return np.where(items > 0, mean, np.nan), np.where(items > 1, error, np.nan)


def most_damaged(drops: Floats, errors: Floats) -> dict[str, Floats]:
    """Return the largest accuracy drop of a class, by row (Zhou et al. 2018, arXiv 1806.02891).

    Parameters
    ----------
    drops, errors
        Accuracy drops and their standard errors, (rows, classes); NaN for a class without samples.
    """
    has_samples = np.isfinite(drops).any(1)
    largest = np.where(np.isfinite(drops), drops, -np.inf).argmax(1)
    rows = np.arange(len(drops))
    return {
        "class_accuracy_drop_max": np.where(has_samples, drops[rows, largest], np.nan),
        "class_accuracy_drop_max_se": np.where(has_samples, errors[rows, largest], np.nan),
        "most_damaged_class": np.where(has_samples, largest, -1),
    }
