"""Ablation on drawn pairs of a unit and a sample: unbiased, with errors that hold."""

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import unitlens as ul
from networks_by_hand import (
    NETWORKS,
    batch_dependent,
    by_hand,
    mlp,
    random_pairs,
    trained_on_noise,
)
from unitlens.errors import ArgumentError, RepeatabilityWarning, SavedSumsError
from unitlens.perturbation.sampling.drawn_changes import DrawnChanges
from unitlens.perturbation.sampling.pair_draws import pair_uniforms
from unitlens.perturbation.sampling.sampled_sums import SampledSums
from unitlens.variables.checks import validate

IMPORTANCE = ("loss_increase", "accuracy_drop", "class_loss_increase", "class_accuracy_drop")


@pytest.fixture(scope="module")
def network():
    return trained_on_noise()


@pytest.fixture(scope="module")
def repeated(network):
    """The exact table, and 150 estimates from a fifth of the pairs."""
    model, data = network
    tables = [ul.unit_ablation(model, data, rate=0.2, seed=seed) for seed in range(150)]
    return ul.unit_ablation(model, data), tables


def stacked(tables, name):
    return np.stack([table[name].to_numpy() for table in tables])


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"batch_dependent"}))
@pytest.mark.parametrize("value", ["zero", "mean", "resample"])
def test_all_pairs__give_the_exact_table(name, value):
    build, shape, _ = NETWORKS[name]
    model, data = build().eval(), random_pairs(30, *shape)
    exact = ul.unit_ablation(model, data, value=value)
    table = ul.unit_ablation(model, data, value=value, rate=1.0)

    for variable in IMPORTANCE:
        np.testing.assert_allclose(table[variable], exact[variable], atol=1e-9)
        np.testing.assert_allclose(table[f"{variable}_se"], exact[f"{variable}_se"], atol=1e-9)
    assert (table["loss_increase_sampling_se"] == 0).all()
    validate(table, "unit_ablation")


@pytest.mark.parametrize("name", IMPORTANCE)
def test_estimates__are_unbiased(repeated, name):
    exact, tables = repeated
    estimates = stacked(tables, name)
    errors = estimates.std(0, ddof=1) / np.sqrt(len(tables))
    distances = (estimates.mean(0) - exact[name].to_numpy())[errors > 0] / errors[errors > 0]

    assert np.abs(distances).max() < 4.5
    assert np.sqrt(np.mean(distances**2)) < 1.3


@pytest.mark.parametrize("name", IMPORTANCE)
def test_sampling_errors__are_those_of_the_estimates(repeated, name):
    exact, tables = repeated
    squared = (stacked(tables, name) - exact[name].to_numpy()) ** 2
    stated = stacked(tables, f"{name}_sampling_se") ** 2
    ratios = np.sqrt(stated.mean(0) / np.maximum(squared.mean(0), 1e-300))

    # Errors of hits count one flipped hit more than was drawn, so they are too large, if anything.
    least, most = (0.9, 1.12) if "loss" in name else (0.95, np.inf)
    assert least < np.median(ratios) < most


def test_intervals__hold_the_exact_loss_increase(repeated):
    exact, tables = repeated
    low, high = stacked(tables, "loss_increase_low"), stacked(tables, "loss_increase_high")
    expected = exact["loss_increase"].to_numpy()
    coverage = ((low <= expected) & (expected <= high)).mean(0)
    pairs = stacked(tables, "pairs").mean(0)

    for depth in (0, 1):
        chosen = (exact["depth"].to_numpy() == depth) & (pairs >= 30)
        assert 0.92 <= np.median(coverage[chosen]) <= 0.985
        assert coverage[chosen].min() >= 0.85


def test_error_over_samples__holds_the_error_of_drawing(repeated):
    exact, tables = repeated
    expected = exact["loss_increase_se"].to_numpy() ** 2
    drawing = stacked(tables, "loss_increase_sampling_se") ** 2
    stated = stacked(tables, "loss_increase_se") ** 2
    alive = expected > 0

    ratios = (stated - drawing).mean(0)[alive] / expected[alive]
    np.testing.assert_allclose(np.median(ratios), 1, rtol=0.1)


def test_fewer_pairs__are_better_drawn_than_plain_samples(repeated):
    exact, tables = repeated
    alive = exact["loss_increase_se"].to_numpy() > 0
    expected = exact["loss_increase"].to_numpy()
    variance = ((stacked(tables, "loss_increase") - expected) ** 2).mean(0)[alive]
    share = stacked(tables, "pairs").mean(0)[alive] / 400
    squared = exact["loss_increase_se"].to_numpy()[alive] ** 2
    effective = stacked(tables, "effective_samples").mean(0)[alive]

    assert np.median(squared * (1 / share - 1) / variance) > 20
    np.testing.assert_allclose(np.median(effective * (1 + variance / squared)), 400, rtol=0.05)


@pytest.mark.parametrize("arguments", [{"rate": 0.2}, {"tolerance": 0.002}])
def test_draws__depend_on_no_batch_and_on_no_other_unit(network, arguments):
    model, data = network
    whole = ul.unit_ablation(model, data, **arguments)
    batches = ul.unit_ablation(model, data, batch_size=37, **arguments)
    some = ul.unit_ablation(model, data, units_per_layer=5, **arguments)

    np.testing.assert_array_equal(whole["pairs"], batches["pairs"])
    np.testing.assert_allclose(whole["loss_increase"], batches["loss_increase"], atol=1e-12)
    places, wanted = (
        [*zip(table["layer"].values, table["channel"].values, strict=True)]
        for table in (whole, some)
    )
    rows = [places.index(place) for place in wanted]
    np.testing.assert_array_equal(whole["pairs"].values[rows], some["pairs"])
    np.testing.assert_allclose(
        whole["loss_increase"].values[rows], some["loss_increase"], atol=1e-12
    )


@pytest.mark.parametrize("arguments", [{"rate": 0.2}, {"tolerance": 0.002}])
def test_parts__join_to_the_whole(network, arguments):
    model, data = network
    whole = ul.unit_ablation(model, data, **arguments)
    parts = [ul.unit_ablation(model, data, part=(k, 3), **arguments) for k in range(3)]
    joined = ul.merge_tables(parts)

    assert joined.attrs["pairs"] == whole.attrs["pairs"]
    for name in ("pair_share", "ranking_reliability"):
        np.testing.assert_allclose(joined.attrs[name], whole.attrs[name], rtol=1e-9)
    for name, values in whole.items():
        np.testing.assert_allclose(joined[name], values, atol=1e-12)


def test_tolerance__is_the_error_of_most_units(network):
    model, data = network
    spread = float(ul.unit_ablation(model, data)["loss_increase"].std())
    loose, strict = (
        ul.unit_ablation(model, data, tolerance=share * spread) for share in (0.1, 0.02)
    )

    errors = strict["loss_increase_sampling_se"].to_numpy()
    assert 0.5 * 0.02 * spread < np.median(errors) < 1.5 * 0.02 * spread
    above = (errors > 0.02 * spread).sum()
    assert strict.attrs["units_above_tolerance"] == above
    assert strict.attrs["pairs"] > loose.attrs["pairs"]
    assert strict.attrs["pair_share"] == strict.attrs["pairs"] / (22 * 400)
    assert strict.attrs["ranking_reliability"] > 0.99


def test_sums__are_those_of_the_formulas():
    random = np.random.default_rng(0)
    rows, samples, classes = 3, 40, np.arange(40) % 2
    changes, predicted = random.normal(size=(2, rows, samples))
    hits = random.integers(-1, 2, (rows, samples)).astype(float)
    probabilities = random.uniform(0.2, 1, (rows, samples))
    drawn = random.random((rows, samples)) < probabilities
    sums = SampledSums(rows, 2, torch.device("cpu"))
    for half in (slice(0, 20), slice(20, 40)):
        labels = torch.from_numpy(classes[half])
        sums.count(labels)
        sums.add_predictions(torch.from_numpy(predicted[:, half]), labels)
        row, sample = map(torch.from_numpy, np.nonzero(drawn[:, half]))
        of_pairs = [
            torch.from_numpy(a[:, half])[row, sample]
            for a in (probabilities, changes, predicted, hits)
        ]
        sums.add_drawn(row, labels[sample], *of_pairs)
    found = sums.importance()

    for unit in range(rows):
        chosen = drawn[unit]
        errors = (changes - predicted)[unit]
        weights = chosen / probabilities[unit]
        estimate = (predicted[unit] + weights * errors).sum() / samples
        variance = (weights**2 * (1 - probabilities[unit]) * errors**2).sum() / samples**2
        np.testing.assert_allclose(found["loss_increase"][unit], estimate)
        np.testing.assert_allclose(found["loss_increase_sampling_se"][unit], variance**0.5)
        np.testing.assert_allclose(
            found["accuracy_drop"][unit], -(weights * hits[unit]).sum() / samples
        )
        second = classes == 1
        by_class = (predicted[unit] + weights * errors)[second].sum() / second.sum()
        np.testing.assert_allclose(found["class_loss_increase"][unit, 1], by_class)
        assert found["pairs"][unit] == chosen.sum()


def test_saved_changes__of_other_pairs_are_refused():
    """On a GPU, another rounding may draw another pair when a call is begun again."""
    drawn = torch.tensor([[True, False], [False, True]])
    saved, changes = DrawnChanges(drawn.device), DrawnChanges(drawn.device)
    saved.begin(drawn)
    changes.begin(~drawn)
    for name in DrawnChanges.summed:  # as a file restores them
        setattr(changes, name, getattr(saved, name))
    one = torch.zeros(1, dtype=torch.int64)

    with pytest.raises(
        SavedSumsError, match=r"other pairs than are drawn now, .*; delete the file"
    ):
        changes.add(one, one + 1, one.double(), one.double())
    with pytest.raises(SavedSumsError, match="other pairs"):
        changes.check()
    saved.add(one, one, one.double(), one.double())


def test_few_pairs__are_warned_of_for_a_rate_with_a_remedy_that_works(network, caplog):
    with caplog.at_level(logging.WARNING):
        few = ul.unit_ablation(*network, rate=0.02)
    number = int(((few["pairs"] < 16) & (few["loss_increase_sampling_se"] > 0)).sum())
    assert number > 10
    assert f"{number} of 22 units have fewer than 16 drawn pairs" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        ul.unit_ablation(*network, rate=0.2)
        ul.unit_ablation(*network, tolerance=0.05)
    assert "drawn pairs" not in caplog.text


def test_uniforms__are_uniform_and_independent():
    numbers = pair_uniforms(0, "pairs", np.arange(300), np.arange(200))

    assert abs(numbers.mean() - 0.5) < 0.005
    assert abs((numbers < 0.1).mean() - 0.1) < 0.004
    for axis in (0, 1):
        lagged = np.corrcoef(
            np.delete(numbers, 0, axis).ravel(), np.delete(numbers, -1, axis).ravel()
        )
        assert abs(lagged[0, 1]) < 0.02
    other = pair_uniforms(1, "pairs", np.arange(300), np.arange(200))
    assert abs(np.corrcoef(numbers.ravel(), other.ravel())[0, 1]) < 0.02


def test_directions__are_estimated_too(network):
    model, data = network
    rows = {"1": np.random.default_rng(0).normal(size=(6, 12)), "3": np.eye(10)[:4]}
    exact = ul.direction_ablation(model, data, rows, value="mean")
    whole = ul.direction_ablation(model, data, rows, value="mean", rate=1.0)
    runs = [
        ul.direction_ablation(model, data, rows, value="mean", rate=0.2, seed=seed)
        for seed in range(40)
    ]

    for variable in IMPORTANCE:
        np.testing.assert_allclose(whole[variable], exact[variable], atol=1e-9)
    errors = stacked(runs, "loss_increase") - exact["loss_increase"].to_numpy()
    stated = np.sqrt((stacked(runs, "loss_increase_sampling_se") ** 2).mean(0))
    assert np.abs(errors.mean(0) / stated * np.sqrt(40)).max() < 4
    plain = exact["loss_increase_se"].to_numpy() * np.sqrt(1 / 0.2 - 1)
    assert np.median(plain / stated) > 2
    validate(whole, "direction_ablation")


def test_score_without_gradient__draws_at_one_rate_with_a_line(network, caplog):
    model, data = network

    def distance(output, targets):
        return torch.from_numpy(np.abs(output.numpy()).sum(1)) + targets

    with caplog.at_level(logging.WARNING):
        table = ul.unit_ablation(model, data, score=distance, rate=0.3)
    exact = ul.unit_ablation(model, data, score=distance)

    assert "pairs are drawn at one rate a unit" in caplog.text
    assert "gradient" in table.attrs["drawn_without_gradient"]
    assert abs(table.attrs["pair_share"] - 0.3) < 0.02
    distances = (table["loss_increase"] - exact["loss_increase"]) / table[
        "loss_increase_sampling_se"
    ]
    assert np.abs(distances).max() < 5


def test_own_score__is_predicted_by_its_gradient(network):
    model, data = network

    def squared(output, targets):
        return (output - functional.one_hot(targets, 4)).square().sum(1)

    exact = ul.unit_ablation(model, data, score=squared)
    table = ul.unit_ablation(model, data, score=squared, rate=0.3)

    assert "drawn_without_gradient" not in table.attrs
    distances = (table["loss_increase"] - exact["loss_increase"]) / table[
        "loss_increase_sampling_se"
    ]
    assert np.abs(distances).max() < 5
    assert table.attrs["ranking_reliability"] > 0.9


def test_layer_without_influence__has_an_importance_of_zero():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense, self.relu, self.head = nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)

        def forward(self, x):
            hidden = self.relu(self.dense(x))
            return self.head(hidden * 0.0)

    torch.manual_seed(0)
    table = ul.unit_ablation(Network().double(), random_pairs(50, 6), rate=0.2)
    assert (table["loss_increase"] == 0).all()
    assert (table["loss_increase_sampling_se"] == 0).all()


@pytest.mark.parametrize("samples", [36, 38, 43, 44])  # other numbers hide differences of rounding
def test_dead_unit__has_an_importance_of_zero(samples):
    table = ul.unit_ablation(by_hand(), random_pairs(samples, 2, classes=2), rate=0.5)

    dead = table.isel(unit=2)
    names = ("pairs", "loss_increase", "loss_increase_sampling_se", "accuracy_drop")
    assert [dead[name].item() for name in names] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"rate": 0.0}, r"rate is 0\.0, but must be above 0 and at most 1"),
        ({"rate": 1.5}, r"rate is 1\.5, but must be above 0 and at most 1"),
        ({"tolerance": 0.0}, r"tolerance is 0\.0, but must be a number above 0"),
        ({"tolerance": float("nan")}, r"tolerance is nan, but must be a number above 0"),
        ({"rate": 0.1, "tolerance": 0.1}, r"rate is 0\.1 and tolerance 0\.1: give one"),
    ],
)
def test_wrong_numbers__are_refused(arguments, line):
    with pytest.raises(ArgumentError, match=line) as raised:
        ul.unit_ablation(mlp(), random_pairs(9, 6), **arguments)
    assert "\n" not in str(raised.value)


def test_batch_dependent_network__is_refused():
    with (
        pytest.warns(RepeatabilityWarning),
        pytest.raises(ArgumentError, match=r"depends on the other samples .*leave rate"),
    ):
        ul.unit_ablation(batch_dependent(), random_pairs(9, 6), rate=0.5)
