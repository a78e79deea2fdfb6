"""Evidence from sweeps over settings: AUC beside generalisation, and selection by AUC."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from unitlens.analysis.correlations import pearson
from unitlens.analysis.generalisation import setting_means
from unitlens.analysis.run_groups import group_runs, rows_of
from unitlens.reproduction.evidence import Evidence, Measurements, estimate_evidence
from unitlens.reproduction.experiment_runs import NotMeasuredError, Runs
from unitlens.reproduction.paper_values import SETTINGS_IN_HALF, TOP_SHARES
from unitlens.reproduction.setting_estimates import (
    MIN_SETTINGS,
    SETTINGS,
    correlation_over_settings,
    share_over_settings,
)
from unitlens.reproduction.student_t import Floats

MIN_NETWORKS = 3  # of a correlation


def hyperparameter_selection(runs: Runs) -> Measurements:
    """Measure figure 4c: AUC and test accuracy over networks, and selection by AUC."""
    yield "correlation", lambda: _selection_correlation(runs)
    for top in TOP_SHARES:
        yield f"top-{top}", partial(_selection_evidence, runs, top)


def _selection_correlation(runs: Runs) -> Evidence:
    """Correlate AUC and test accuracy, with a remark on the AUC that starts at 1."""
    evidence = correlation_with_auc(runs, lambda accuracy: accuracy)
    table = _runs_with_auc(runs).table
    auc, train, test = (table[name].values for name in ("auc", "train_accuracy", "test_accuracy"))
    if not (train > 0).all():
        return evidence
    r, relative = pearson(auc, train), pearson(auc / train, test)
    if not np.isfinite((r, relative)).all():
        return evidence
    return evidence.with_notes(
        f"train accuracy without ablation has r = {r:.3f} with AUC, and AUC divided by this "
        f"accuracy has r = {relative:.3f} with test accuracy"
    )


def _runs_with_auc(runs: Runs) -> Runs:
    measured = runs.select(np.isfinite(runs.table["auc"].values))
    if len(measured.names) < MIN_NETWORKS:
        raise NotMeasuredError(f"only {len(measured.names)} networks have an AUC")
    return measured


def correlation_with_auc(runs: Runs, score: Callable[[Floats], Floats]) -> Evidence:
    """Correlate AUC with a score of generalisation over all networks.

    The interval is over settings. Where all networks have one setting and differ by their seeds
    alone, each network counts as a setting of its own.

    Parameters
    ----------
    runs
        The networks.
    score
        Function of the test accuracies of the networks of a setting that returns their scores.

    Raises
    ------
    NotMeasuredError
        Where fewer than three networks have an AUC.
    """
    measured = _runs_with_auc(runs)
    groups = [rows_of(measured.table, group.runs) for group in group_runs(measured.table)]
    settings = [
        np.stack([rows["auc"].values, score(rows["test_accuracy"].values)], 1) for rows in groups
    ]
    if alone := len(settings) == 1:
        settings = list(settings[0][:, None])
    estimate = correlation_over_settings(settings)
    if alone and estimate.over:
        estimate = replace(estimate, over="networks")
    notes = _setting_notes(len(settings), "networks of one setting" if alone else SETTINGS)
    return estimate_evidence(estimate, measured, notes=notes)


def _selection_evidence(runs: Runs, top: int) -> Evidence:
    measured = _runs_with_auc(runs)
    settings = np.stack(setting_means(measured.table), 1)
    half = len(settings) // 2
    if half < top + 1:
        raise NotMeasuredError(
            f"half of {len(settings)} settings is no more than {top}: any selected setting is "
            f"among the top {top}"
        )
    by_chance = (
        f"each half has {half} of {len(settings)} settings: a random setting of a half is among "
        f"its top {top} with probability {top / half:.0%} (in the paper "
        f"{top / SETTINGS_IN_HALF:.0%}, of {SETTINGS_IN_HALF} settings)"
    )
    notes = [*_setting_notes(len(settings)), by_chance]
    evidence = estimate_evidence(share_over_settings(settings, top), measured, notes=notes)
    return replace(evidence, alternative=top / half)


def _setting_notes(count: int, word: str = SETTINGS) -> list[str]:
    if count >= MIN_SETTINGS:
        return []
    return [f"{count} {word}, of at least {MIN_SETTINGS} that an interval needs"]
