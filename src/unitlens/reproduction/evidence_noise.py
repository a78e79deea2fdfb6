"""Evidence from noise on the units: the noise scale at which accuracy is one half."""

from collections.abc import Iterable
from functools import partial

import numpy as np

from unitlens.analysis.curve_summaries import first_crossing, noise_scale_at
from unitlens.analysis.run_groups import rows_of
from unitlens.reproduction.estimates import Estimate
from unitlens.reproduction.evidence import (
    Counts,
    Evidence,
    Measurements,
    estimate_evidence,
    estimate_over,
)
from unitlens.reproduction.experiment_runs import (
    NotMeasuredError,
    Runs,
    measured_networks,
    rows_by_run,
)
from unitlens.reproduction.network_means import difference
from unitlens.reproduction.paper_values import CIFAR10_SCALES, MNIST_SCALES
from unitlens.reproduction.student_t import Floats


def mnist_noise(runs: Runs) -> Measurements:
    """Measure figure 2a: the noise scale at half accuracy at two levels, and its fall."""
    return _half_scales(runs, MNIST_SCALES)


def cifar10_noise(runs: Runs) -> Measurements:
    """Measure figure 2b: the noise scale at half accuracy at two levels, and its fall."""
    return _half_scales(runs, CIFAR10_SCALES)


def _half_scales(runs: Runs, levels: Iterable[float]) -> Measurements:
    for level in levels:
        yield f"corruption {level:g}", partial(_half_scale_evidence, runs, level)
    yield "falls", lambda: _fall_evidence(runs)


def _half_scale_evidence(runs: Runs, level: float) -> Evidence:
    estimate, measured, draws, notes = _half_scale(runs.select_equal("corruption", level))
    return estimate_evidence(estimate, measured, Counts(orders=draws), notes)


def _fall_evidence(runs: Runs) -> Evidence:
    """Compare the least corrupted networks with the most corrupted."""
    levels = runs.corruption_levels()
    if len(levels) < 2:
        raise NotMeasuredError("the claim needs networks at several levels of corruption")
    ends = [runs.select_equal("corruption", level) for level in (levels[0], levels[-1])]
    (least, clean, clean_draws, clean_notes), (most, corrupted, draws, notes) = map(
        _half_scale, ends
    )
    both = runs.select_names([*clean.names, *corrupted.names])
    counts = Counts(orders=max(clean_draws, draws))
    return estimate_evidence(difference(least, most), both, counts, (*clean_notes, *notes))


def _half_scale(runs: Runs) -> tuple[Estimate, Runs, int, tuple[str, ...]]:
    """Return the noise scale at half accuracy with its networks, number of draws and notes."""
    noise = rows_of(runs.results.noise, runs.names).dropna("noise_scale", how="all")
    noise = noise.sortby("noise_scale").transpose("run", "draw", "noise_scale")
    noise = measured_networks(noise, "noise was not added to these networks")
    crosses = np.isfinite(noise_scale_at(noise).values)
    if not crosses.any():
        raise NotMeasuredError(
            "accuracy does not fall from above one half to under one half over the noise scales"
        )
    left_out = (~crosses).sum()
    notes = (f"{left_out} networks left out: accuracy does not cross one half",) if left_out else ()
    noise = noise.isel(run=np.flatnonzero(crosses))
    scales = noise["noise_scale"].values

    def half_scale(rows: Floats) -> float:
        return first_crossing(scales, rows.mean(0), 0.5, logarithmic=True)

    measured = runs.select_names(noise["run"].values)
    draws = rows_by_run(noise["accuracy"], "draw")
    estimate = estimate_over(measured, draws, half_scale, "draws")
    return estimate, measured, noise.sizes["draw"], notes
