"""Estimates over networks and their tests, against SciPy and by hand."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import beta, norm, t, ttest_1samp, ttest_ind, ttest_rel

from unitlens.reproduction.estimates import Estimate, NetworkValue
from unitlens.reproduction.evidence import estimate_evidence
from unitlens.reproduction.network_means import difference, estimate_mean, estimate_within
from unitlens.reproduction.setting_estimates import (
    ShareEstimate,
    correlation_over_settings,
    share_over_settings,
)
from unitlens.reproduction.student_t import exceeding_chance

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(0.5, 0.1, 4), RNG.normal(0.3, 0.2, 4)


def networks(values, seeds):
    return [
        NetworkValue(f"n{seed}", seed, value) for seed, value in zip(seeds, values, strict=True)
    ]


def test_mean__has_the_p_value_and_the_interval_of_scipy():
    estimate = estimate_mean(networks(SECOND, range(4)))

    expected = ttest_1samp(SECOND, 0)
    assert estimate.p_value() == pytest.approx(expected.pvalue)
    assert estimate.p_below() == pytest.approx(ttest_1samp(SECOND, 0, alternative="less").pvalue)
    assert estimate.interval() == pytest.approx(tuple(expected.confidence_interval()))
    assert estimate.interval(0.8) == pytest.approx(tuple(expected.confidence_interval(0.8)))


def test_difference__is_paired_where_both_groups_have_the_same_seeds():
    """Pairs are those of one seed, whatever the order of the networks."""
    first = estimate_mean(networks(FIRST, (3, 1, 2, 0)))
    second = estimate_mean(networks(SECOND[::-1], (0, 2, 1, 3)))

    change = difference(first, second)

    expected = ttest_rel(FIRST, SECOND)
    assert change.over == "pairs of one seed"
    assert change.p_value() == pytest.approx(expected.pvalue)
    assert change.interval() == pytest.approx(tuple(expected.confidence_interval()))


@pytest.mark.parametrize("seeds", [(4, 5, 6, 7), (0, 0, 1, 2), (0, 1, 2)])
def test_difference__is_welchs_where_seeds_differ_or_repeat(seeds):
    values = SECOND[: len(seeds)]
    first, second = (
        estimate_mean(networks(*group)) for group in ((FIRST, range(4)), (values, seeds))
    )

    change = difference(first, second)

    expected = ttest_ind(FIRST, values, equal_var=False)
    assert change.over == "networks"
    assert change.p_value() == pytest.approx(expected.pvalue)
    assert change.interval() == pytest.approx(tuple(expected.confidence_interval()))


def test_interval__beside_other_networks_has_their_scatter_too():
    """The difference between a mean of four and a mean of two has s^2 / 4 + s^2 / 2."""
    low, high = estimate_mean(networks(FIRST, range(4))).interval(others=2)

    half = t.ppf(0.975, 3) * FIRST.std(ddof=1) * math.sqrt(1 / 4 + 1 / 2)
    assert (low, high) == pytest.approx((FIRST.mean() - half, FIRST.mean() + half))


def test_resolution__keeps_the_interval_of_equal_bins_from_vanishing():
    estimate = estimate_mean(networks([0.125] * 3, range(3)), resolution=0.05)

    assert estimate.se == pytest.approx(0.05 / math.sqrt(12))


def test_spread_within_one_network__is_that_of_its_rows():
    rows = np.arange(50.0)

    estimate = estimate_within(
        networks([24.5], [0]), [rows], lambda own: float(own.mean()), "units"
    )

    half = 1.96 * rows.std(ddof=1) / math.sqrt(50)
    assert estimate.interval() == pytest.approx((24.5 - half, 24.5 + half), abs=0.15 * half)
    assert estimate.over == "units within one network"
    assert not estimate.over_networks


def test_spread_within_one_network__needs_three_rows():
    estimate = estimate_within(networks([0.5], [0]), [np.array([0.4, 0.6])], np.mean, "orders")

    assert (estimate.over, estimate.interval()) == ("", (0.5, 0.5))


def test_difference__with_too_few_networks_is_within_them():
    alone = estimate_within(networks([0.5], [0]), [RNG.normal(0.5, 0.1, 20)], np.mean, "orders")
    three = estimate_mean(networks(FIRST[:3], range(3)))

    change = difference(alone, three)

    assert change.within
    assert change.se == pytest.approx(math.hypot(alone.se, three.se))


def test_bounds__end_the_interval():
    estimate = Estimate(0.98, 0.02, 2, 3, "networks", bounds=(0.0, 1.0))

    low, high = estimate.interval()

    assert (round(low, 3), high) == (0.894, 1.0)


def test_correlation_over_settings__needs_six_settings():
    settings = [np.array([[i, i + 0.1], [i, i - 0.2 * i]]) for i in range(6)]

    assert correlation_over_settings(settings).over == "settings"
    few = correlation_over_settings(settings[:5])
    pooled = np.concatenate(settings[:5])
    assert not few.over_networks
    assert few.value == pytest.approx(np.corrcoef(pooled.T)[0, 1])


def test_share__has_clopper_and_pearsons_interval_of_its_effective_trials():
    share = ShareEstimate(0.5, 0.2, n=2, over="settings", effective=6.0)

    assert share.interval() == pytest.approx((beta.ppf(0.025, 3, 4), beta.ppf(0.975, 4, 3)))
    whole = ShareEstimate(1.0, 0.0, n=2, over="settings", effective=2.0)
    assert whole.interval() == pytest.approx((math.sqrt(0.025), 1.0))
    se = math.sqrt(0.2 * 0.8 / 3)  # two halves of the paper halve the trials
    expected = norm.sf(1.96 - (0.49 - 0.2) / se) + norm.cdf(-1.96 - (0.51 - 0.2) / se)
    stated = share.chance_outside(0.49, 0.51, truth=0.2, others=2)
    assert stated == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("shift", "chance"), [(1e9, 1.0), (-1e9, 0.0), (math.inf, 1.0)])
def test_power__of_far_alternatives_is_plain(shift, chance):
    assert exceeding_chance(4.3, 2, shift) == chance


@pytest.mark.parametrize("values", [[0.5] * 5, [0.4, 0.5, 0.6, 0.5, 0.5]])
def test_sign_test__is_remarked_where_it_decides(values):
    runs = SimpleNamespace(names=[*"abcde"], memorisation_notes=lambda: ("beside it",))

    notes = estimate_evidence(estimate_mean(networks(values, range(5))), runs).notes

    assert notes[0] == "beside it"
    assert any("a sign test" in note for note in notes) == (len(set(values)) == 1)


def test_share_of_all_halves__has_no_remark_on_a_sign_test():
    settings = np.repeat(np.linspace(0, 1, 18)[:, None], 2, axis=1)  # AUC orders them as accuracy
    runs = SimpleNamespace(names=[*"abcde"], memorisation_notes=lambda: ())

    evidence = estimate_evidence(share_over_settings(settings, 1), runs)

    assert (evidence.estimate.value, evidence.estimate.se) == (1, 0)
    assert evidence.notes == ()


def test_difference_of_shares__is_none_beyond_one():
    shares = [
        replace(estimate_mean(networks(values, range(3))), bounds=(0, 1))
        for values in ([0.1, 0.9, 0.2], [0.8, 0.1, 0.9])
    ]

    assert difference(*shares).interval() == (-1, 1)
