"""The rule by which the paper's results and ours are compared, on made-up intervals."""

import math

import pytest

from unitlens.reproduction.claim_types import (
    OpenQuestion,
    ReportedNumber,
    ReportedOrder,
    ReportedSign,
)
from unitlens.reproduction.evidence import Evidence
from unitlens.reproduction.verdict import effect_of_cause, judge, paper_interval

NEGATIVE = ReportedSign(-1, "falls")
NOT_POSITIVE = ReportedSign(-1, "falls or nothing", or_none=True)


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
    assert judge(ReportedNumber(0.8), ours(low, high)) == verdict


def test_number__may_be_as_far_off_as_its_reading_error():
    assert judge(ReportedNumber(1.9, 0.1), ours(1.7, 1.81)) == "agrees"
    assert judge(ReportedNumber(1.9, 0.1), ours(1.7, 1.79)) == "differs"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.8, -0.72, "agrees"),
        (-0.5, -0.1, "same direction"),
        (-0.95, -0.9, "same direction"),
        (-0.5, 0.1, "differs"),  # of the same sign, but the interval holds 0
        (0.2, 0.5, "differs"),
        (-0.73, 0.9, "differs"),  # overlaps, but has the other sign
    ],
)
def test_correlation__needs_the_same_sign(low, high, verdict):
    assert judge(ReportedNumber(-0.728, correlation=True), ours(low, high)) == verdict


def test_correlation__near_zero_has_no_sign_to_share():
    paper = ReportedNumber(-0.02, correlation=True, n=128)

    assert judge(paper, ours(0.05, 0.1)) == "agrees"
    assert judge(paper, ours(0.2, 0.3)) == "differs"


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
        (0.1, 0.4, "differs", "differs"),
    ],
)
def test_direction__needs_an_interval_on_one_side(low, high, negative, not_positive):
    assert judge(NEGATIVE, ours(low, high)) == negative
    assert judge(NOT_POSITIVE, ours(low, high)) == not_positive
    assert judge(ReportedSign(1, "rises"), ours(-high, -low)) == negative


@pytest.mark.parametrize(
    ("share", "strict", "not_strict"),
    [
        (0.95, "same order", "differs"),
        (0.5, "undecided", "undecided"),
        (0.05, "differs", "same order"),
    ],
)
def test_order__holds_in_nearly_all_resamples(share, strict, not_strict):
    assert judge(ReportedOrder((0.8, 0.3)), ordered(share)) == strict
    assert judge(ReportedOrder(strict=False), ordered(share)) == not_strict


def test_without_resamples__directions_and_orders_are_undecided():
    assert judge(NEGATIVE, ours(-0.5, -0.5, over="")) == "undecided"
    assert judge(ReportedOrder((0.8, 0.3)), ordered(1.0, over="")) == "undecided"
    assert judge(ReportedNumber(0.8), ours(0.8, 0.8, over="")) == "agrees"


def test_what_is_missing__is_not_measured():
    assert judge(ReportedNumber(0.8), Evidence(missing="nobody looked")) == "not measured"


@pytest.mark.parametrize(
    ("before", "after", "effect"),
    [
        ((0.4, 0.5), (0.6, 0.7), ("nearer", True, 0.45)),
        ((0.4, 0.6), (0.55, 0.75), ("nearer", False, 0.5)),
        ((0.4, 0.6), (0.2, 0.3), ("farther", True, 0.5)),
        ((0.7, 0.72), (0.98, 1.0), ("farther", True, 0.71)),  # past the paper's value
        ((0.7, 0.72), (0.78, 0.98), ("nearer", False, 0.71)),  # or as far past the value
        ((0.5, 0.6), (0.7, 0.9), ("nearer", True, 0.55)),  # at most .1 off, before at least .2
        ((0.795, 0.8), (0.8, 0.81), ("as near", False, 0.798)),  # within the reading error
        ((0.4, 0.6), (0.4, 0.6), ("as near", False, 0.5)),
        ((0.4, 0.6), (0.4004, 0.6004), ("as near", False, 0.5)),
    ],
)
def test_cause__brings_a_number_nearer_or_farther(before, after, effect):
    *movement, number = effect_of_cause(ReportedNumber(0.8), ours(*before), ours(*after))

    assert movement == [*effect[:2]]
    assert number == pytest.approx(effect[2], abs=6e-4)


@pytest.mark.parametrize("over", ["", "orders"])
def test_cause__is_sure_only_where_the_same_was_resampled(over):
    alone = ours(0.4, 0.5, over=over)

    effect = effect_of_cause(ReportedNumber(0.8), alone, ours(0.6, 0.7))
    assert (effect.movement, effect.sure) == ("nearer", False)


def test_cause__may_change_a_verdict():
    nothing = Evidence(missing="not measured")

    assert effect_of_cause(NEGATIVE, ours(-0.1, 0.2), ours(-0.2, -0.1)).before == "undecided"
    assert effect_of_cause(NEGATIVE, ours(-0.3, -0.1), ours(-0.2, -0.1)).before is None
    assert effect_of_cause(NEGATIVE, nothing, ours(-0.2, -0.1)).before == "not measured"
    assert effect_of_cause(NEGATIVE, ours(-0.2, -0.1), nothing) == (None, False, None)
    assert effect_of_cause(ReportedNumber(0.8), nothing, ours(0.6, 0.7)) == (
        None,
        False,
        "not measured",
    )


def test_cause__is_not_judged_by_an_order_of_other_levels():
    before = Evidence(values=(0.9, 0.8, 0.85), ordered=0.1, over="networks")

    assert effect_of_cause(ReportedOrder((0.9, 0.5)), before, ordered(0.99)).before is None
    assert (
        effect_of_cause(ReportedOrder((0.9, 0.5)), ordered(0.1), ordered(0.99)).before
        == "undecided"
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, "above 0"), (-0.2, -0.1, "below 0"), (-0.1, 0.1, "undecided")],
)
def test_question__is_answered_by_the_side_of_the_interval(low, high, verdict):
    assert judge(OpenQuestion(), ours(low, high)) == verdict
