"""AUC as a predictor of generalisation, against plain loops over all cases."""

from itertools import combinations

import numpy as np
import pytest
import xarray as xr

from unitlens.analysis.generalisation import (
    best_and_worst,
    early_stops,
    selected_share,
    selection_rates,
    setting_means,
)
from unitlens.analysis.run_groups import FIELDS
from unitlens.errors import ArgumentError


def every_half(auc, accuracy, top):
    """Return the rates over all halves, one after another."""
    hits, lost, chance = dict.fromkeys(top, 0), [], []
    halves = list(combinations(range(len(auc)), len(auc) // 2))
    for half in halves:
        picked = max(half, key=lambda i: (auc[i], -i))
        ranked = sorted((accuracy[i] for i in half), reverse=True)
        for k in top:
            hits[k] += accuracy[picked] >= ranked[k - 1]
        lost.append(ranked[0] - accuracy[picked])
        chance.append(np.mean([ranked[0] - value for value in ranked]))
    shares = {k: count / len(halves) for k, count in hits.items()}
    return shares, np.mean(lost), np.mean(chance)


@pytest.mark.parametrize("count", [8, 9])
def test_selection_rates__are_those_over_all_halves(count):
    rng = np.random.default_rng(1)
    accuracy = rng.random(count)
    auc = accuracy + rng.normal(0, 0.3, count)
    auc[3], accuracy[2] = auc[5], accuracy[6]

    rates = selection_rates(auc, accuracy, top=(1, 2, 3))

    top, lost, chance = every_half(auc, accuracy, (1, 2, 3))
    assert rates.size == 4
    assert rates.top == pytest.approx(top)
    assert (rates.lost, rates.lost_by_chance) == pytest.approx((lost, chance))


@pytest.mark.parametrize(("half", "top"), [(5, 2), (3, 1), (4, 4)])
def test_selected_share__is_that_of_all_subsets_of_any_size(half, top):
    settings = np.random.default_rng(5).normal(size=(11, 2))

    hits = [
        (settings[list(of), 1] > settings[max(of, key=lambda i: settings[i, 0]), 1]).sum() < top
        for of in combinations(range(11), half)
    ]

    assert selected_share(settings, top, half) == np.mean(hits)


def test_selection_rates__of_a_perfect_and_of_the_worst_choice():
    accuracy = np.arange(12.0)

    perfect = selection_rates(accuracy, accuracy)
    worst = selection_rates(-accuracy, accuracy)

    assert perfect.top == {1: 1.0, 5: 1.0}  # among six the top ten cannot fail
    assert perfect.lost == 0
    assert worst.top == {1: 0.0, 5: 0.0}
    with pytest.raises(ArgumentError, match="auc has 3 settings, but must have at least 4"):
        selection_rates(accuracy[:3], accuracy[:3])


def test_setting_means__are_over_seeds():
    rates, seeds = [0.1, 0.1, 0.01, 0.01, 0.001], [1, 2, 1, 2, 1]
    same = {name: ("run", ["x"] * 5) for name in FIELDS}
    runs = xr.Dataset(
        same
        | {
            "learning_rate": ("run", rates),
            "seed": ("run", seeds),
            "auc": ("run", [0.5, 0.7, 0.2, 0.3, np.nan]),
            "test_accuracy": ("run", [0.9, 0.8, 0.6, 0.5, 0.1]),
        },
        coords={"run": list("abcde")},
    )

    auc, accuracy = setting_means(runs)

    np.testing.assert_allclose(auc, [0.25, 0.6])  # by learning rate; that without AUC is left out
    np.testing.assert_allclose(accuracy, [0.55, 0.85])


@pytest.mark.parametrize(("size", "count"), [(2, 1), (7, 1), (8, 2), (19, 4), (20, 5), (200, 5)])
def test_best_and_worst__are_five_or_a_quarter(size, count):
    score = np.random.default_rng(size).permutation(size)

    best, worst = best_and_worst(score)

    assert score[best].tolist() == list(range(size - 1, size - 1 - count, -1))
    assert score[worst].tolist() == list(range(count - 1, -1, -1))


def test_early_stops__cost_what_the_best_epoch_has_more():
    stops = early_stops(
        np.array([0.1, 0.6, 0.6, 0.4]),
        np.array([2.3, 0.9, 0.5, 0.8]),
        np.array([0.1, 0.7, 0.95, 0.9]),
    )

    assert {name: stop.place for name, stop in stops.items()} == {
        "auc": 1,
        "test_loss": 2,
        "end": 3,
    }
    assert [round(stop.cost, 6) for stop in stops.values()] == [0.25, 0.0, 0.05]
