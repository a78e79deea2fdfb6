"""The rule by which the paper's results and ours are compared, on made-up intervals."""

import math

import pytest

from unitlens.reproduction.evidence import Evidence
from unitlens.reproduction.kinds import (
    Direction,
    Number,
    Order,
    Sign,
)
from unitlens.reproduction.verdict import judge, moved, paper_interval

NEGATIVE = Direction(-1, "falls")
NOT_POSITIVE = Direction(-1, "falls or nothing", or_none=True)


def ours(low, high, *, over="networks"):
    return Evidence(value=(low + high) / 2, low=low, high=high, over=over)


def ordered(share, *, over="networks"):
    return Evidence(values=(0.9, 0.5), ordered=share, over=over)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.70, 0.795, "agrees"),
        (0.805, 0.9, "agrees"),
        (0.5, 0.9, "agrees"),
        (0.70, 0.785, "differs"),
        (0.815, 0.9, "differs"),
    ],
)
def test_number__agrees_where_intervals_overlap(low, high, verdict):
    assert judge(Number(0.8), ours(low, high)) == verdict


def test_number__may_be_as_far_off_as_its_reading_error():
    assert judge(Number(1.9, 0.1), ours(1.7, 1.81)) == "agrees"
    assert judge(Number(1.9, 0.1), ours(1.7, 1.79)) == "differs"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.8, -0.72, "agrees"),
        (-0.5, -0.1, "same direction"),
        (-0.95, -0.9, "same direction"),
        (-0.5, 0.1, "differs"),  # of the same sign, but not surely
        (0.2, 0.5, "differs"),
        (-0.73, 0.9, "differs"),  # overlaps, but is of the other sign
    ],
)
def test_correlation__needs_the_same_sign(low, high, verdict):
    assert judge(Number(-0.728, correlation=True), ours(low, high)) == verdict


def test_correlation__near_zero_has_no_sign_to_share():
    paper = Number(-0.02, correlation=True, n=128)

    assert judge(paper, ours(0.05, 0.1)) == "agrees"
    assert judge(paper, ours(0.2, 0.3)) == "differs"


def test_paper_interval__of_a_correlation_is_fishers():
    # artanh(.914) = 1.5513 and 1.96 / sqrt(189) = .14257, by hand.
    low, high = paper_interval(Number(0.914, correlation=True, n=192))

    assert low == pytest.approx(math.tanh(1.5513 - 0.14257), abs=1e-4)
    assert high == pytest.approx(math.tanh(1.5513 + 0.14257), abs=1e-4)


def test_paper_interval__is_never_narrower_than_the_reading():
    assert paper_interval(Number(0.5, 0.1, n=100_000)) == (0.4, 0.6)


@pytest.mark.parametrize(
    ("low", "high", "negative", "not_positive"),
    [
        (-0.5, -0.1, "same direction", "same direction"),
        (-0.2, 0.1, "undecided", "same direction"),
        (0.1, 0.4, "differs", "differs"),
    ],
)
def test_direction__needs_an_interval_on_one_side(low, high, negative, not_positive):
    assert judge(NEGATIVE, ours(low, high)) == negative
    assert judge(NOT_POSITIVE, ours(low, high)) == not_positive
    assert judge(Direction(1, "rises"), ours(-high, -low)) == negative


@pytest.mark.parametrize(
    ("share", "strict", "not_strict"),
    [
        (0.95, "same order", "differs"),
        (0.5, "undecided", "undecided"),
        (0.05, "differs", "same order"),
    ],
)
def test_order__holds_in_nearly_all_resamples(share, strict, not_strict):
    assert judge(Order((0.8, 0.3)), ordered(share)) == strict
    assert judge(Order(strict=False), ordered(share)) == not_strict


def test_without_resamples__directions_and_orders_are_undecided():
    assert judge(NEGATIVE, ours(-0.5, -0.5, over="")) == "undecided"
    assert judge(Order((0.8, 0.3)), ordered(1.0, over="")) == "undecided"
    assert judge(Number(0.8), ours(0.8, 0.8, over="")) == "agrees"


def test_what_is_missing__is_not_measured():
    assert judge(Number(0.8), Evidence(missing="nobody looked")) == "not measured"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ((0.4, 0.5), (0.6, 0.7), ("nearer", True, "0.450")),
        ((0.4, 0.6), (0.55, 0.75), ("nearer", False, "0.500")),
        ((0.4, 0.6), (0.2, 0.3), ("farther", True, "0.500")),
        ((0.7, 0.72), (0.98, 1.0), ("farther", True, "0.710")),  # past the paper's value
        ((0.7, 0.72), (0.78, 0.98), ("nearer", False, "0.710")),  # perhaps as far past it
        ((0.5, 0.6), (0.7, 0.9), ("nearer", True, "0.550")),  # .1 off at most, before .2 at least
        ((0.795, 0.8), (0.8, 0.81), ("as near", False, "0.798")),  # within the reading error
        ((0.4, 0.6), (0.4, 0.6), ("as near", False, "0.500")),
        ((0.4, 0.6), (0.4004, 0.6004), ("as near", False, "0.500")),
    ],
)
def test_a_tested_cause__brings_a_number_nearer_or_farther(before, after, told):
    assert moved(Number(0.8), ours(*before), ours(*after)) == told


@pytest.mark.parametrize("over", ["", "orders"])
def test_a_tested_cause__is_sure_only_where_the_same_was_resampled(over):
    alone = ours(0.4, 0.5, over=over)

    assert moved(Number(0.8), alone, ours(0.6, 0.7)) == ("nearer", False, "0.450")


def test_a_tested_cause__may_change_a_verdict():
    nothing = Evidence(missing="not measured")

    assert moved(NEGATIVE, ours(-0.1, 0.2), ours(-0.2, -0.1)).was == "undecided"
    assert moved(NEGATIVE, ours(-0.3, -0.1), ours(-0.2, -0.1)).was == ""
    assert moved(NEGATIVE, nothing, ours(-0.2, -0.1)).was == "not measured"
    assert moved(NEGATIVE, ours(-0.2, -0.1), nothing) == (None, False, "")
    assert moved(Number(0.8), nothing, ours(0.6, 0.7)) == (None, False, "not measured")


def test_a_tested_cause__is_not_judged_by_an_order_of_other_levels():
    before = Evidence(values=(0.9, 0.8, 0.85), ordered=0.1, over="networks")

    assert moved(Order((0.9, 0.5)), before, ordered(0.99)).was == ""
    assert moved(Order((0.9, 0.5)), ordered(0.1), ordered(0.99)).was == "undecided"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, "above 0"), (-0.2, -0.1, "below 0"), (-0.1, 0.1, "undecided")],
)
def test_question__is_answered_by_the_side_of_the_interval(low, high, verdict):
    assert judge(Sign(), ours(low, high)) == verdict
