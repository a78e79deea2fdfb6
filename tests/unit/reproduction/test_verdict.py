"""The rule by which the paper's results and ours are compared, on made-up networks."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import nct, t

from unitlens.reproduction.claim_makers import correlation_claim
from unitlens.reproduction.claim_types import (
    Alternative,
    Claim,
    OpenQuestion,
    ReportedNumber,
    ReportedOrder,
    ReportedSign,
    has_known_sign,
    pairs_of_p_value,
    paper_interval,
)
from unitlens.reproduction.claims import PAPER_CLAIMS
from unitlens.reproduction.estimates import Estimate, NetworkValue
from unitlens.reproduction.evidence import Evidence
from unitlens.reproduction.follow_ups import CLAIM_GROUPS
from unitlens.reproduction.network_means import difference, estimate_mean, estimate_within
from unitlens.reproduction.several_tests import holm, smallest
from unitlens.reproduction.verdict import judge, power

FAR = Alternative("far away", (9.0,))
NEGATIVE = Claim("a", "1", "a", ReportedSign(-1, "falls"))
NOT_POSITIVE = Claim(
    "a", "1", "a", ReportedSign(-1, "falls or nothing", or_none=True), "F", Alternative("a", (0.3,))
)


def number(value, error=0.01, *, networks=1, alternative=FAR):
    return Claim("a", "1", "a", ReportedNumber(value, error, networks=networks), "F", alternative)


def over(values, first_seed=0):
    """Return the estimate of networks with these values."""
    return estimate_mean(
        [NetworkValue(f"n{seed}", seed, value) for seed, value in enumerate(values, first_seed)]
    )


def ours(low, high, *, n=1000):
    """Return the evidence of so many networks whose interval has these ends."""
    half = (high - low) / 2
    se = half / t.ppf(0.975, n - 1)
    return Evidence(Estimate((low + high) / 2, se, n - 1, n, "networks"), networks=n)


def test_number__differs_where_the_difference_is_beyond_the_reading_error():
    """By hand: values .78, .79, .80, .81, .82; s = .0158, and one network of the paper."""
    values = np.array([0.78, 0.79, 0.80, 0.81, 0.82])
    half = t.ppf(0.975, 4) * values.std(ddof=1) * math.sqrt(1 / 5 + 1)
    just_beyond = 0.8 + half + 0.01 + 1e-6
    just_within = 0.8 + half + 0.01 - 1e-6

    evidence = Evidence(over(values))

    assert judge(number(just_beyond), evidence) == "differs"
    assert judge(number(just_within), evidence) == "agrees"
    assert judge(number(just_beyond, 0.0101), evidence) == "agrees"
    # The mean of ten networks of the paper is known better.
    assert judge(number(just_within, networks=10), evidence) == "differs"
    assert judge(number(0.8, networks=10), evidence) == "agrees"


def test_power__is_that_of_the_noncentral_t():
    """By hand: the alternative is .1 from the paper's value, .09 from its reading error."""
    values = np.array([0.77, 0.8, 0.83])
    claim = number(0.8, alternative=Alternative("another level", (0.7,)))

    se = values.std(ddof=1) * math.sqrt(1 / 3 + 1)
    limit = t.ppf(0.975, 2)
    expected = nct.sf(limit, 2, 0.09 / se) + nct.cdf(-limit, 2, 0.11 / se)

    assert power(claim, Evidence(over(values))) == pytest.approx(expected, abs=1e-6)
    assert expected < 0.8
    assert judge(claim, Evidence(over(values))) == "compatible"
    close = over(0.8 + (values - 0.8) / 10)
    assert power(claim, Evidence(close)) > 0.99
    assert judge(claim, Evidence(close)) == "agrees"


def test_power__is_the_least_over_several_alternatives():
    values = Evidence(over([0.05, 0.1, 0.15]))
    both, near, far = (
        number(0.1, alternative=Alternative("a", numbers))
        for numbers in ((-0.3, 0.3), (0.3,), (-0.3,))
    )

    assert power(both, values) == min(power(near, values), power(far, values)) < power(far, values)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.75, -0.70, "agrees"),
        (-0.5, -0.4, "same direction"),
        (-0.95, -0.9, "same direction"),
        (0.2, 0.5, "differs"),
        (-0.05, 0.05, "differs"),
        (-1.5, 0.5, "compatible"),  # as well with no correlation
    ],
)
def test_correlation__needs_the_same_sign(low, high, verdict):
    claim = correlation_claim("a", "4b", "a", -0.728)

    assert judge(claim, ours(low, high, n=4)) == verdict


def test_correlation_near_zero__has_no_direction_to_share():
    """Figure 7d: r = -.012 has p = .149, so that the paper's own interval holds 0."""
    (claim,) = (of for of in PAPER_CLAIMS["imagenet_importance"].claims if of.name == "all")

    assert claim.finding.n == pytest.approx(14_464, abs=2)
    assert not has_known_sign(claim.finding)
    assert judge(claim, ours(-0.35, -0.19, n=4)) == "differs"
    assert judge(claim, ours(-0.05, 0.03, n=4)) == "agrees"
    assert judge(claim, ours(-0.4, 0.3, n=4)) == "compatible"


def test_pairs_of_a_p_value__have_that_p_value():
    """By the t distribution of a correlation, to which Fisher's z is close."""
    for r, p in ((0.095, 0.288), (-0.012, 0.149)):
        n = pairs_of_p_value(r, p)
        assert 2 * t.sf(abs(r) * math.sqrt((n - 2) / (1 - r * r)), n - 2) == pytest.approx(
            p, abs=2e-3
        )


def test_paper_interval__of_a_correlation_is_fishers():
    # artanh(.914) = 1.5513 and 1.96 / sqrt(189) = .14257, by hand.
    low, high = paper_interval(ReportedNumber(0.914, correlation=True, n=192))

    assert low == pytest.approx(math.tanh(1.5513 - 0.14257), abs=1e-4)
    assert high == pytest.approx(math.tanh(1.5513 + 0.14257), abs=1e-4)


def test_paper_interval__is_never_narrower_than_the_reading():
    assert paper_interval(ReportedNumber(0.5, 0.1, n=100_000)) == (0.4, 0.6)


@pytest.mark.parametrize(
    ("low", "high", "negative", "not_positive"),
    [
        (-0.5, -0.1, "same direction", "same direction"),
        (-0.2, 0.1, "undecided", "same direction"),
        (-0.4, 0.35, "undecided", "compatible"),  # .3 would hardly have been seen
        (0.1, 0.4, "differs", "differs"),
    ],
)
def test_direction__needs_an_interval_on_one_side(low, high, negative, not_positive):
    assert judge(NEGATIVE, ours(low, high)) == negative
    assert judge(NOT_POSITIVE, ours(low, high)) == not_positive
    rises = Claim("a", "1", "a", ReportedSign(1, "rises"))
    assert judge(rises, ours(-high, -low)) == negative


def steps_of(*levels):
    """Return the evidence of an order: networks of other seeds at each level."""
    estimates = [over(values, 100 * place) for place, values in enumerate(levels)]
    steps = tuple(difference(later, earlier) for earlier, later in pairwise(estimates))
    return Evidence(levels=tuple(estimate.value for estimate in estimates), steps=steps)


FALLING = steps_of([0.79, 0.8, 0.81], [0.59, 0.6, 0.61], [0.39, 0.4, 0.41])
NOISY = steps_of([0.7, 0.8, 0.9], [0.5, 0.6, 0.7], [0.49, 0.59, 0.69])
RISING = steps_of([0.79, 0.8, 0.81], [0.59, 0.6, 0.61], [0.69, 0.7, 0.71])


@pytest.mark.parametrize(
    ("evidence", "strict", "not_strict"),
    [
        (FALLING, "same order", "differs"),
        (NOISY, "undecided", "undecided"),
        (RISING, "differs", "same order"),
    ],
)
def test_order__is_that_of_tests_of_its_steps(evidence, strict, not_strict):
    rise, fall = Alternative("one step rises"), Alternative("a strict fall")

    assert judge(Claim("a", "1", "a", ReportedOrder((0.8, 0.3)), "F", rise), evidence) == strict
    no_order = Claim("a", "1", "a", ReportedOrder(strict=False), "F", fall)
    assert judge(no_order, evidence) == not_strict


def test_order__that_could_hardly_fail_is_compatible():
    """A step surely rises, but a strict fall by the mean spacing would not have been found."""
    levels = [0.55, 0.6, 0.65], [0.5, 0.51, 0.52], [0.6, 0.61, 0.62]
    claim = Claim("a", "1", "a", ReportedOrder(strict=False), "F", Alternative("a strict fall"))

    evidence = steps_of(*levels)

    assert power(claim, evidence) < 0.8
    assert judge(claim, evidence) == "compatible"


def test_smallest_difference__is_above_zero_only_where_all_are():
    clean, near, far = (
        over([0.7, 0.71, 0.72]),
        over([0.6, 0.7, 0.72], 10),
        over([0.3, 0.31, 0.32], 20),
    )
    claim = Claim("a", "1b", "a", ReportedSign(1, "most robust"))
    least = smallest([difference(clean, near), difference(clean, far)])

    assert least.value == pytest.approx(0.71 - (0.6 + 0.7 + 0.72) / 3)
    assert judge(claim, Evidence(least)) == "undecided"
    assert judge(claim, Evidence(smallest([difference(clean, far)]))) == "same direction"
    larger = difference(far, clean)
    assert judge(claim, Evidence(smallest([larger, difference(far, near)]))) == "differs"


def test_too_few_networks__have_no_verdict():
    networks = [NetworkValue("a", 0, 0.5), NetworkValue("b", 1, 0.6)]
    rows = [np.array([0.4, 0.5, 0.6]), np.array([0.5, 0.6, 0.7])]

    within = estimate_within(networks, rows, lambda values: values.mean(), "orders")

    assert within.over == "orders within two networks"
    for claim in (number(0.55), NEGATIVE, NOT_POSITIVE, Claim("a", "b", "a", OpenQuestion(), "")):
        assert judge(claim, Evidence(within)) == "too few networks"
        assert math.isnan(power(claim, Evidence(within)))
    step = difference(within, over([0.1, 0.2, 0.3]))
    order = Claim("a", "1", "a", ReportedOrder(), "F", Alternative("a rise"))
    assert judge(order, Evidence(levels=(0.5, 0.1), steps=(step,))) == "too few networks"


@pytest.mark.parametrize(
    ("n", "verdict"), [(3, "undecided"), (5, "undecided"), (6, "same direction")]
)
def test_sign_of_equal_networks__is_that_of_a_sign_test(n, verdict):
    """All have the very same value: how others scatter is not known. 2 / 2 ** 6 is .031."""
    evidence = Evidence(over([-0.1] * (n - 1) + [0.2 - 0.3]))

    assert judge(NEGATIVE, evidence) == verdict
    question = Claim("a", "beyond", "a", OpenQuestion(), "")
    assert (judge(question, evidence) == "below 0") == (n == 6)
    assert evidence.estimate.p_value() == pytest.approx(2 * 0.5**n)


def test_what_is_missing__is_not_measured():
    assert judge(number(0.8), Evidence(missing="nobody looked")) == "not measured"


@pytest.mark.parametrize(
    ("value", "p", "verdict"),
    [(0.2, 0.04, "above 0"), (-0.2, 0.04, "below 0"), (0.2, 0.06, "undecided")],
)
def test_question__is_answered_by_its_adjusted_p_value(value, p, verdict):
    claim = Claim("a", "beyond", "a", OpenQuestion(), "")

    evidence = Evidence(Estimate(value, 0.001, 9, 10, "networks"), adjusted_p=p)

    assert judge(claim, evidence) == verdict


def test_holm__against_its_definition():
    p_values = [0.011, 0.02, 0.6, 0.012, 0.04]
    stepped, largest = {}, 0.0
    for rank, p in enumerate(sorted(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        stepped[p] = largest

    assert holm(p_values) == pytest.approx([stepped[p] for p in p_values])
    assert holm([]) == []


def test_claims__that_could_hold_by_default_state_an_alternative():
    """Numbers, orders and signs that hold without any relation; each outside the paper's value."""
    for group in CLAIM_GROUPS.values():
        for claim in group.claims:
            finding = claim.finding
            by_default = isinstance(finding, ReportedNumber | ReportedOrder) or (
                isinstance(finding, ReportedSign) and finding.or_none
            )
            assert (claim.alternative is not None) == by_default
            if isinstance(finding, ReportedNumber):
                low, high = finding.reading
                assert not any(low < value < high for value in claim.alternative.values)
