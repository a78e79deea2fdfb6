"""Intervals of accuracy drops: their formula, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from unitlens.analysis.drop_intervals import (
    MeasuredDrops,
    drop_interval,
    interval_variables,
    paired_interval,
)

Z = 1.959963984540054


def drops_of(changes, samples=None):
    """Return the drops of changes of hits, samples on the last axis."""
    count = changes.shape[-1]
    are_shares = np.isin(changes, (-1, 0, 1)).all(-1)
    return MeasuredDrops(
        -changes.mean(-1),
        changes.std(-1, ddof=1) / np.sqrt(count),
        np.square(changes).mean(-1),
        np.float64(count) if samples is None else samples,
        are_shares,
    )


def by_the_formula(lost, gained, n):
    """Return the interval of Bonett & Price (2012, equation 3), number by number."""
    p, q = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    half = Z * np.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return max(p - q - half, -1), min(p - q + half, 1)


def test_interval__is_that_of_bonett_and_price():
    rng = np.random.default_rng(0)
    for n, lost, gained in ((7, 7, 0), (100, 0, 0), (250, 9, 3), (2, 1, 1), (40, 0, 17)):
        changes = rng.permutation(np.repeat([-1.0, 1.0, 0.0], [lost, gained, n - lost - gained]))
        low, high = drop_interval(drops_of(changes))
        np.testing.assert_allclose((low, high), by_the_formula(lost, gained, n), rtol=1e-12)
        assert low <= (lost - gained) / n <= high


def exact_coverage(n, lost, gained):
    """Return the probability that the interval holds the truth, summed over all outcomes.

    The numbers of samples that are hits only before, and only after, are trinomial.
    """
    most = min(n, int(0.05 * n + 9 * np.sqrt(0.05 * n) + 10))
    b, c = np.meshgrid(np.arange(most + 1), np.arange(most + 1), indexing="ij")
    low, high = paired_interval((b - c) / n, (b + c) / n, n)
    first = stats.binom.pmf(b, n, lost)
    second = stats.binom.pmf(c, np.maximum(n - b, 0), gained / (1 - lost))
    holds = (low <= lost - gained) & (lost - gained <= high)
    return (first * second)[holds].sum()


@pytest.mark.parametrize("samples", [100, 120, 250, 1000])
def test_coverage__is_at_least_93_percent_whatever_the_rates_of_flips(samples):
    """Flips to wrong and flips to right, each from none to .05 of the samples."""
    rates = np.linspace(0, 0.05, 41)
    covered = {
        (lost, gained): exact_coverage(samples, lost, gained)
        for lost in rates
        for gained in (0, 0.0005, 0.002, 0.01, 0.05)
    }
    assert min(covered.values()) >= 0.93
    assert covered[0, 0] > 0.999


def hits_before_and_after(rng, rows, samples, middle, shift):
    """Return changes of hits: the margin of each sample, and the margin less a noisy shift."""
    margin = rng.normal(middle, 1, (rows, samples))
    ablated = margin - shift + rng.normal(0, 0.1, margin.shape)
    truth = stats.norm.cdf(middle) - stats.norm.cdf((middle - shift) / np.hypot(1, 0.1))
    return (ablated > 0) * 1.0 - (margin > 0), truth


@pytest.mark.parametrize("samples", [100, 500, 2000])
@pytest.mark.parametrize(("middle", "shift"), [(3, 0.01), (2, 0.05), (1.5, 0.0), (1.5, 0.15)])
def test_coverage__of_networks_whose_hits_go_together(samples, middle, shift):
    rng = np.random.default_rng([samples, int(100 * middle), int(100 * shift)])
    changes, truth = hits_before_and_after(rng, 2000, samples, middle, shift)
    drops = drops_of(changes)
    low, high = drop_interval(drops)

    def covered(low, high):
        return ((low <= truth) & (truth <= high)).mean()

    assert covered(low, high) >= 0.93
    by_errors = covered(drops.drop - Z * drops.error, drops.drop + Z * drops.error)
    seen = samples * drops.changed.mean()  # flips
    if seen < 2:
        assert by_errors < 0.85  # why errors do not do
    if seen > 5:  # not needlessly wide
        assert (high - low).mean() < 1.25 * 2 * Z * drops.error.mean()


def draw_classes(rng, rows, samples, lost, gained):
    """Return the drops by class of rows that are drawn independently of each other."""
    b = rng.binomial(samples, lost, (rows, len(lost)))
    c = rng.binomial(samples - b, gained / (1 - lost))
    drop, changed = (b - c) / samples, (b + c) / samples
    error = np.sqrt((changed - drop**2) / (samples - 1))
    return MeasuredDrops(drop, error, changed, np.full(len(lost), float(samples)))


NOISE = np.full(10, 0.03)
ONE = np.eye(10)[3]


@pytest.mark.parametrize(
    ("lost", "gained"),
    [
        (0 * NOISE, 0 * NOISE),
        (0.1 * NOISE, 0.1 * NOISE),
        (NOISE, NOISE),
        (NOISE, 0 * NOISE),
        (0.03 * ONE, 0 * NOISE),
        (0.05 * ONE + NOISE, NOISE),
        (0.3 * ONE, 0.1 * NOISE),
    ],
)
@pytest.mark.parametrize("samples", [100, 500])
def test_largest_drop__is_held_though_it_was_looked_for(samples, lost, gained):
    """Ten classes, 100 or 500 samples of each: of no effect, of equal ones, and of one damaged."""
    drops = draw_classes(np.random.default_rng(samples), 4000, samples, lost, gained)
    found = interval_variables(drops_of(np.zeros((1, 2))), drops)
    largest = (lost - gained).max()

    low, high = (found[f"class_accuracy_drop_max_{end}"] for end in ("low", "high"))
    assert ((low <= largest) & (largest <= high)).mean() >= 0.93
    estimate = drops.drop.max(1)
    assert ((low <= estimate) & (estimate <= high)).all()
    truth = lost - gained
    low, high = (found[f"class_accuracy_drop_{end}"] for end in ("low", "high"))
    assert ((low <= truth) & (truth <= high)).mean(0).min() >= 0.93


def test_largest_drop__of_the_chosen_class_alone_is_too_large():
    """Why the interval of the chosen class is not given for the largest drop."""
    drops = draw_classes(np.random.default_rng(0), 4000, 500, NOISE, NOISE)
    low, high = drop_interval(drops)
    rows, chosen = np.arange(4000), drops.drop.argmax(1)
    assert ((low[rows, chosen] <= 0) & (high[rows, chosen] >= 0)).mean() < 0.85


def test_hits_that_are_no_shares__have_the_interval_of_a_mean():
    changes = np.random.default_rng(0).normal(0.1, 0.2, (3, 50))
    changes[1] = 0  # nothing tells how much these hits may change
    are_shares = np.zeros(3, bool)
    drops = drops_of(changes)
    low, high = drop_interval(
        MeasuredDrops(drops.drop, drops.error, drops.changed, drops.samples, are_shares)
    )
    for row in (0, 2):
        expected = stats.t.interval(0.95, 49, -changes[row].mean(), stats.sem(changes[row]))
        np.testing.assert_allclose((low[row], high[row]), expected)
    assert np.isnan([low[1], high[1]]).all()


def test_no_samples__no_interval():
    nan, zero = np.array([np.nan]), np.zeros(1)
    assert np.isnan(drop_interval(MeasuredDrops(nan, nan, zero, zero))).all()
    found = interval_variables(
        MeasuredDrops(nan, nan, zero, zero),
        MeasuredDrops(nan[None], nan[None], zero[None], zero),
    )
    assert all(np.isnan(values).all() for values in found.values())


def test_fewer_effective_samples__make_wider_intervals():
    """Half as many samples with the same shares: the interval of a table of half the size."""
    changes = np.repeat([-1.0, 1.0, 0.0], [12, 4, 184])
    found = drop_interval(drops_of(changes, np.float64(100)))
    np.testing.assert_allclose(found, by_the_formula(6, 2, 100))
