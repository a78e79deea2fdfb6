"""Evidence from single units: rank correlations of their measures."""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import numpy as np

from unitlens.analysis.correlations import spearman
from unitlens.reproduction.evidence import (
    CORRELATION,
    Counts,
    Evidence,
    Measurements,
    estimate_evidence,
    estimate_over,
)
from unitlens.reproduction.experiment_runs import NotMeasuredError, Runs
from unitlens.reproduction.protocol import CHANNELS
from unitlens.reproduction.student_t import Floats, Statistic, mean

MIN_UNITS = 4  # of a rank correlation
UnitRows = Mapping[str, Floats]  # run: a row a unit, a column a variable


def unit_rows(runs: Runs, *names: str) -> dict[str, Floats]:
    """Return variables of the units of each run.

    Parameters
    ----------
    runs
        The runs.
    names
        Variables of the table of units.

    Returns
    -------
    For each run a row a unit and a column a variable; units with a value that is not finite are
    left out.

    Raises
    ------
    NotMeasuredError
        Where a variable was not measured.
    """
    units = runs.units(*names)
    values = np.stack([units[name].values.astype(float) for name in names], 1)
    run_of_unit, finite = units["run"].values, np.isfinite(values).all(1)
    return {run: values[finite & (run_of_unit == run)] for run in runs.names}


def mnist_importance(runs: Runs) -> Measurements:
    """Measure figure 7a: the rank correlation of selectivity and importance, all units."""
    yield "all", lambda: _importance_correlation(runs, "selectivity")
    yield "early", lambda: _importance_correlation(runs, "depth")


def cifar10_importance(runs: Runs) -> Measurements:
    """Measure figures 7b and 7c: the same over all maps, and layer by layer."""
    layers = len(CHANNELS)
    yield "all", lambda: _with_sides_of_layers(runs, layers)
    yield "early", lambda: _importance_correlation(runs, "depth")
    for place in range(layers):
        yield f"layer-{place + 1}", partial(_layer_correlation, runs, place, layers)


def imagenet_importance(runs: Runs) -> Measurements:
    """Measure figures 7d and 7e: the same over all maps, and in the first layer."""
    yield from mnist_importance(runs)
    yield "first", lambda: _layer_correlation(runs, 0, None)


def information_importance(runs: Runs) -> Measurements:
    """Measure the appendix: mutual information and importance, all units."""
    yield "all", lambda: _importance_correlation(runs, "mutual_information")


def selectivity_depth(runs: Runs) -> Measurements:
    """Measure whether units of deeper layers are more selective."""
    yield "selectivity", lambda: _depth_correlation(runs)


def l1_norm_selectivity(runs: Runs) -> Measurements:
    """Measure the appendix: L1 norm and selectivity, within layers.

    Units of different layers have different numbers of weights.
    """
    yield "selectivity", lambda: l1_norm_correlation(runs, "selectivity")


def l1_norm_correlation(runs: Runs, name: str) -> Evidence:
    """Return the rank correlation of L1 norm and a variable of the units, within layers."""
    rows = unit_rows(runs, "l1_norm", name, "depth")
    return rank_evidence(runs, rows, correlation_within_layers)


def _importance_correlation(runs: Runs, name: str) -> Evidence:
    """Correlate a variable with importance over all layers of each network.

    Raises
    ------
    NotMeasuredError
        Where units of some layers only were ablated.
    """
    rows = unit_rows(runs, name, "loss_increase", "depth")
    units = runs.results.units
    depths, run_of_unit = units["depth"].values, units["run"].values
    for run, values in rows.items():
        layers = np.unique(depths[run_of_unit == run]).size
        ablated = np.unique(values[:, 2]).size
        if ablated not in (0, layers):
            raise NotMeasuredError(f"units of {ablated} of {layers} layers only were ablated")
    pairs = {run: values[:, :2] for run, values in rows.items()}
    return rank_evidence(runs, pairs, rank_correlation)


def _with_sides_of_layers(runs: Runs, layers: int) -> Evidence:
    """Correlate selectivity and importance over all units, with a remark on single layers."""
    evidence = _importance_correlation(runs, "selectivity")
    sides: dict[int, list[str]] = {1: [], -1: [], 0: []}
    for place in range(layers):
        with suppress(NotMeasuredError):
            of_layer = _layer_correlation(runs, place, layers).estimate
            if of_layer and of_layer.over_networks:
                sides[of_layer.side()].append(str(place + 1))
    if not any(sides.values()):
        return evidence
    told = [
        f"{side} 0 within layers {', '.join(sides[sign])}"
        for side, sign in (("above", 1), ("below", -1))
        if sides[sign]
    ]
    return evidence.with_notes(f"surely {' and '.join(told) or 'on no side of 0 within any layer'}")


def _depth_correlation(runs: Runs) -> Evidence:
    """Correlate the depth of the layer with selectivity over all units of each network."""
    return rank_evidence(runs, unit_rows(runs, "depth", "selectivity"), rank_correlation)


def _layer_correlation(runs: Runs, place: int, layers: int | None) -> Evidence:
    """Correlate selectivity and importance in one layer, of networks with so many layers."""
    pairs = {}
    for run, values in unit_rows(runs, "selectivity", "loss_increase", "depth").items():
        depths = np.unique(values[:, 2])
        if layers is not None and depths.size not in (0, layers):
            raise NotMeasuredError(f"these networks have {depths.size} layers, not {layers}")
        in_layer = values[:, 2] == depths[place] if depths.size else np.zeros(0, bool)
        pairs[run] = values[in_layer, :2]
    return rank_evidence(runs, pairs, rank_correlation)


def rank_evidence(runs: Runs, rows: UnitRows, correlation: Statistic) -> Evidence:
    """Return the mean over networks of a rank correlation.

    Parameters
    ----------
    runs
        The runs that the rows are of.
    rows
        Rows of the units of each run.
    correlation
        Function of the rows of one run: :func:`rank_correlation` or
        :func:`correlation_within_layers`. Networks where the correlation is NaN are left out.
    """
    defined = {run: values for run, values in rows.items() if np.isfinite(correlation(values))}
    if not defined:
        raise NotMeasuredError("too few units have both values, or one of the two is constant")
    estimate = estimate_over(runs, defined, correlation, "units", bounds=CORRELATION)
    counts = Counts(units=sum(map(len, defined.values())))
    return estimate_evidence(estimate, runs.select_names(defined), counts)


def rank_correlation(pairs: Floats) -> float:
    """Return the rank correlation of two columns; NaN for fewer than four rows."""
    return float("nan") if len(pairs) < MIN_UNITS else spearman(*pairs.T)


def correlation_within_layers(rows: Floats) -> float:
    """Return the mean over layers of the rank correlation of two columns in each layer.

    Parameters
    ----------
    rows
        A row a unit; the third column is the depth of its layer.

    Returns
    -------
    The mean over the layers where the correlation is defined; NaN where there is none.
    """
    depths = rows[:, 2]
    correlations = [rank_correlation(rows[depths == depth, :2]) for depth in np.unique(depths)]
    defined = np.array([value for value in correlations if np.isfinite(value)])
    return mean(defined) if defined.size else float("nan")
