"""Evidence from the distributions of measures over units: figures 6a and 6b."""

import numpy as np

from unitlens.reproduction.evidence import (
    SHARE,
    SHARE_CHANGE,
    Counts,
    Evidence,
    Measurements,
    estimate_evidence,
    estimate_over,
)
from unitlens.reproduction.evidence_units import unit_rows
from unitlens.reproduction.experiment_runs import NotMeasuredError, Runs
from unitlens.reproduction.network_means import difference
from unitlens.reproduction.result_texts import estimate_text
from unitlens.reproduction.student_t import Floats, Statistic, mean


def batch_norm_selectivity(runs: Runs) -> Measurements:
    """Measure figure 6a: the distribution of class selectivity with and without batch norm."""
    name = "selectivity"
    yield "mode", lambda: _mode(runs, 1, name, 0.05)
    yield "high", lambda: _with_minus_without(runs, name, lambda values: mean(values > 0.7), SHARE)
    yield "broad", lambda: _with_minus_without(runs, name, _interquartile_range)
    yield (
        "ends",
        lambda: _with_minus_without(
            runs, name, lambda values: mean((values < 0.02) | (values > 0.98)), SHARE
        ),
    )


def batch_norm_information(runs: Runs) -> Measurements:
    """Measure figure 6b: the distribution of mutual information with and without batch norm."""
    name = "mutual_information"
    yield (
        "near-zero",
        lambda: _distribution(runs, 0, name, lambda values: mean(values < 0.05), SHARE),
    )
    yield "mode", lambda: _mode(runs, 1, name, 0.02)
    yield "bump", lambda: _bump(runs, name)


def _bump(runs: Runs, name: str) -> Evidence:
    """Return the bump with batch norm; a remark has that without."""
    with_it = _distribution(runs, 1, name, bump)
    try:
        without = _distribution(runs, 0, name, bump).estimate
    except NotMeasuredError:
        return with_it
    if without is None or not without.over_networks:
        return with_it
    return with_it.with_notes(f"without batch norm: {estimate_text(without)}")


def mode(values: Floats, width: float) -> float:
    """Return the middle of the fullest bin; bins have the given width and start at 0."""
    counts = np.bincount(np.floor(np.clip(values, 0, None) / width).astype(int))
    return float((np.argmax(counts) + 0.5) * width)


def bump(values: Floats) -> float:
    """Return the share of values from .5 to .6 minus half the share of values from .3 to .5."""
    at = ((values >= 0.5) & (values < 0.6)).mean()
    return float(at - ((values >= 0.3) & (values < 0.5)).mean() / 2)


def _interquartile_range(values: Floats) -> float:
    return float(np.subtract(*np.percentile(values, (75, 25))))


def _mode(runs: Runs, flag: int, name: str, width: float) -> Evidence:
    """Return the mean over networks of the mode of the units, in bins of a width."""
    measured, values = _unit_values(runs.select_equal("batch_norm", flag), name)
    estimate = estimate_over(
        measured,
        values,
        lambda rows: mode(rows, width),
        "units",
        resolution=width,
        bounds=(0.0, np.inf),
    )
    return estimate_evidence(estimate, measured, Counts(units=sum(map(len, values.values()))))


def _distribution(
    runs: Runs,
    flag: int,
    name: str,
    statistic: Statistic,
    bounds: tuple[float, float] = SHARE_CHANGE,
) -> Evidence:
    """Return the mean of a statistic of the units over networks with (1) or without (0) batch norm.

    Parameters
    ----------
    runs
        The networks.
    flag
        1 for those with batch norm, 0 for the others.
    name
        Variable of the units.
    statistic
        Function of the variable's values in one network.
    bounds
        Least and largest number that the statistic can be.
    """
    measured, values = _unit_values(runs.select_equal("batch_norm", flag), name)
    estimate = estimate_over(measured, values, statistic, "units", bounds=bounds)
    return estimate_evidence(estimate, measured, Counts(units=sum(map(len, values.values()))))


def _with_minus_without(
    runs: Runs,
    name: str,
    statistic: Statistic,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Evidence:
    """Return a statistic of the networks with batch norm minus that of the others."""
    (with_it, with_values), (without, without_values) = (
        _unit_values(runs.select_equal("batch_norm", flag), name) for flag in (1, 0)
    )
    change = difference(
        estimate_over(with_it, with_values, statistic, "units", bounds=bounds),
        estimate_over(without, without_values, statistic, "units", bounds=bounds),
    )
    both = runs.select_names([*with_it.names, *without.names])
    units = sum(map(len, (*with_values.values(), *without_values.values())))
    return estimate_evidence(change, both, Counts(units=units))


def _unit_values(runs: Runs, name: str) -> tuple[Runs, dict[str, Floats]]:
    """Return the runs in which a variable of the units is known, and its values in each."""
    rows = {run: values[:, 0] for run, values in unit_rows(runs, name).items() if len(values)}
    if not rows:
        raise NotMeasuredError(f"{name} was not measured on these networks")
    return runs.select_names(rows), rows
