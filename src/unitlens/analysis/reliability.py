"""Reliability of estimated importance: how much of its variance over units is no error."""

import numpy as np
import numpy.typing as npt
import xarray as xr

# Attributes of a table of estimates that follow from its rows.
SAMPLING_ATTRIBUTES = ("pairs", "pair_share", "ranking_reliability", "units_above_tolerance")


def sampling_attributes(table: xr.Dataset) -> dict[str, object]:
    """Return the attributes of a table of estimates that follow from its rows.

    Parameters
    ----------
    table
        Table of importance that was estimated from drawn pairs, with the attributes ``samples``
        and, where one was asked for, ``tolerance``.

    Returns
    -------
    ``pairs``, ``pair_share``, ``ranking_reliability`` and, with a tolerance,
    ``units_above_tolerance``.
    """
    pairs = int(table["pairs"].sum())
    importance = table["loss_increase"].to_numpy()
    errors = table["loss_increase_sampling_se"].to_numpy()
    attributes: dict[str, object] = {
        "pairs": pairs,
        "pair_share": pairs / max(len(importance) * table.attrs["samples"], 1),
        "ranking_reliability": ranking_reliability(importance, errors),
    }
    if "tolerance" in table.attrs:
        attributes["units_above_tolerance"] = int((errors > table.attrs["tolerance"]).sum())
    return attributes


def ranking_reliability(
    importance: npt.NDArray[np.float64], errors: npt.NDArray[np.float64]
) -> float:
    """Return the share of the variance of importance over units that is no sampling error.

    Parameters
    ----------
    importance
        Estimated importance of each unit.
    errors
        Standard error of each estimate.

    Returns
    -------
    A number from 0 to 1; NaN for fewer than two units, or where all estimates are equal.

    Examples
    --------
    >>> import numpy as np
    >>> ranking_reliability(np.array([0.0, 2.0, 4.0]), np.array([1.0, 1.0, 1.0]))
    0.75
    """
    if len(importance) < 2 or not (variance := float(np.var(importance, ddof=1))) > 0:
        return float("nan")
    return float(np.clip(1 - np.mean(errors**2) / variance, 0.0, 1.0))


def corrected_for_attenuation(correlation: float, reliability: float) -> float:
    """Return a correlation with importance as it would be without sampling error.

    Parameters
    ----------
    correlation
        Correlation of estimated importance with a measure that has no sampling error.
    reliability
        Reliability of the estimates, 0 to 1.

    Returns
    -------
    The correlation divided by the root of the reliability, cut at 1 and -1; NaN where the
    reliability is 0.

    Notes
    -----
    Spearman, C. (1904), doi:10.2307/1412159. The formula is that of Pearson's correlation; for a
    rank correlation it is an approximation, good where few neighbours in rank change places.

    Examples
    --------
    >>> corrected_for_attenuation(0.45, 0.81)
    0.5
    """
    if not reliability > 0:
        return float("nan")
    return float(np.clip(correlation / np.sqrt(reliability), -1.0, 1.0))
