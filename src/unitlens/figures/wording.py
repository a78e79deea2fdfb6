"""Words and numbers that the findings and labels of several figures share."""

from collections.abc import Sequence

import numpy as np

from unitlens.analysis.correlations import pearson, spearman
from unitlens.figures.needs import Tell, runs_by_dataset
from unitlens.tables.results import Results


def tell_by_dataset(results: Results, runs: Sequence[str], tell: Tell) -> str:
    """Return the finding of each data set, after the name of the data set where there are several.

    Parameters
    ----------
    results
        The results.
    runs
        Names of the runs.
    tell
        Function that tells the finding of runs of one data set.
    """
    groups = runs_by_dataset(results, runs)
    if len(groups) == 1:
        return tell(results, runs)
    return " ".join(f"{group.label}: {tell(results, group.runs)}" for group in groups)


def auc_correlation(auc: np.ndarray, other: np.ndarray, what: str, over: str) -> str:
    """Return a sentence on the correlation of AUC with another variable.

    Parameters
    ----------
    auc
        AUC of each network or setting.
    other
        Values of the other variable for the same networks or settings.
    what
        Name of the other variable.
    over
        What the values belong to, with their number, such as "12 networks".

    Examples
    --------
    >>> auc_correlation(np.array([1, 2, 3]), np.array([3, 2, 1]), "the error", "3 networks")
    'Over 3 networks the correlation of AUC with the error is r = -1.00 (rank correlation -1.00).'
    >>> auc_correlation(np.array([1]), np.array([3]), "the error", "1 network")
    '1 network cannot show a correlation of AUC with the error.'
    """
    r, rho = pearson(auc, other), spearman(auc, other)
    if not np.isfinite(r):
        return f"{over} cannot show a correlation of AUC with {what}."
    return (
        f"Over {over} the correlation of AUC with {what} is r = {r:.2f} "
        f"(rank correlation {rho:.2f})."
    )


def percent(share: float) -> str:
    """Return a share in percent, rounded to whole numbers.

    Examples
    --------
    >>> percent(0.126)
    '13 %'
    """
    return f"{100 * share:.0f} %"


def known_mean(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN where there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def mean_spread(values: np.ndarray) -> str:
    """Return the mean, with the standard deviation where there are several values.

    Examples
    --------
    >>> mean_spread(np.array([0.5, 0.7, np.nan]))
    '0.60 ± 0.10'
    >>> mean_spread(np.array([np.nan]))
    'none'
    """
    known = values[np.isfinite(values)]
    if known.size == 0:
        return "none"
    spread = f" ± {known.std():.2f}" if known.size > 1 else ""
    return f"{known.mean():.2f}{spread}"
