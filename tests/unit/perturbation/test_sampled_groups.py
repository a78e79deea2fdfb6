"""Ablation of groups on drawn pairs of a group and a sample: unbiased, with errors that hold."""

import logging
from unittest import mock

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
from unitlens.errors import ArgumentError, RepeatabilityWarning
from unitlens.perturbation.values import clamping
from unitlens.variables.checks import validate

IMPORTANCE = ("loss_increase", "accuracy_drop", "class_loss_increase", "class_accuracy_drop")
SEEDS = 120


def groups_of(units, *, count=10, seed=0):
    """Return random groups by name, of one unit to half of all units, and a group without units."""
    random = np.random.default_rng(seed)
    sizes = np.linspace(1, units // 2, count).astype(int)
    groups = {f"{size}-{n}": random.permutation(units)[:size] for n, size in enumerate(sizes)}
    return {name: group.tolist() for name, group in groups.items()} | {"none": []}


GROUPS = groups_of(22)


@pytest.fixture(scope="module")
def network():
    return trained_on_noise()


@pytest.fixture(scope="module")
def repeated(network):
    """The exact table, and estimates from a fifth of the pairs."""
    model, data = network
    tables = [ul.group_ablation(model, data, GROUPS, rate=0.2, seed=seed) for seed in range(SEEDS)]
    return ul.group_ablation(model, data, GROUPS), tables


def stacked(tables, name):
    return np.stack([table[name].to_numpy() for table in tables])


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"batch_dependent"}))
@pytest.mark.parametrize("value", ["zero", "class_mean", "resample"])
def test_all_pairs__give_the_exact_table(name, value):
    build, shape, _ = NETWORKS[name]
    model, data = build().eval(), random_pairs(30, *shape)
    units = sum(layer.units for layer in ul.unit_layers(model, data))
    groups = groups_of(units, count=4)
    exact = ul.group_ablation(model, data, groups, value=value)
    table = ul.group_ablation(model, data, groups, value=value, rate=1.0, batch_size=7)

    for variable in IMPORTANCE:
        np.testing.assert_allclose(table[variable], exact[variable], atol=1e-9)
        np.testing.assert_allclose(table[f"{variable}_se"], exact[f"{variable}_se"], atol=1e-9)
    np.testing.assert_array_equal(table["group_size"], exact["group_size"])
    assert (table["loss_increase_sampling_se"] == 0).all()
    validate(table, "group_ablation")


@pytest.mark.parametrize("name", IMPORTANCE)
def test_estimates__are_unbiased(repeated, name):
    exact, tables = repeated
    estimates = stacked(tables, name)
    errors = estimates.std(0, ddof=1) / np.sqrt(len(tables))
    distances = (estimates.mean(0) - exact[name].to_numpy())[errors > 0] / errors[errors > 0]

    assert np.abs(distances).max() < 4.5
    assert np.sqrt(np.mean(distances**2)) < 1.4


def test_sampling_errors_and_intervals__are_those_of_the_estimates(repeated):
    exact, tables = repeated
    expected = exact["loss_increase"].to_numpy()[:-1]
    errors = (stacked(tables, "loss_increase")[:, :-1] - expected) ** 2
    stated = stacked(tables, "loss_increase_sampling_se")[:, :-1] ** 2
    low, high = (stacked(tables, f"loss_increase_{end}")[:, :-1] for end in ("low", "high"))
    coverage = ((low <= expected) & (expected <= high)).mean(0)

    assert 0.85 < np.median(np.sqrt(stated.mean(0) / errors.mean(0))) < 1.18
    assert 0.91 <= np.median(coverage) <= 0.99
    assert coverage.min() >= 0.85


def test_small_groups__are_better_drawn_than_plain_samples(repeated):
    exact, tables = repeated
    small = exact["group_size"].to_numpy() <= 5
    small &= exact["loss_increase_se"].to_numpy() > 0
    expected = exact["loss_increase"].to_numpy()
    variance = ((stacked(tables, "loss_increase") - expected) ** 2).mean(0)
    share = stacked(tables, "pairs").mean(0) / 400
    plain = exact["loss_increase_se"].to_numpy()[small] ** 2 * (1 / share[small] - 1)

    assert small.sum() >= 3
    assert np.median(plain / variance[small]) > 5


def test_groups_of_both_layers__are_drawn_no_worse_than_plain_samples(network):
    """First-order changes of both layers count the same change twice."""
    model, data = network
    random = np.random.default_rng(1)
    groups = [[*random.permutation(12)[:4], *(12 + random.permutation(10)[:4])] for _ in range(8)]
    exact = ul.group_ablation(model, data, groups)
    tables = [ul.group_ablation(model, data, groups, rate=0.2, seed=seed) for seed in range(40)]

    variance = ((stacked(tables, "loss_increase") - exact["loss_increase"].values) ** 2).mean(0)
    plain = exact["loss_increase_se"].values ** 2 * (1 / 0.2 - 1)
    assert np.median(plain / variance) > 2


def test_group_of_one_unit__is_the_unit(network):
    model, data = network
    units = ul.unit_ablation(model, data, rate=1.0)
    groups = ul.group_ablation(model, data, [[unit] for unit in range(22)], rate=1.0)

    np.testing.assert_allclose(groups["loss_increase"], units["loss_increase"], atol=1e-12)
    np.testing.assert_array_equal(groups["pairs"], units["pairs"])


def test_groups_that_never_change__have_no_pairs():
    data = random_pairs(40, 2, classes=2)
    groups = {"dead": [2], "none": [], "alive": [0, 1, 2]}
    table = ul.group_ablation(by_hand(), data, groups, rate=0.9)

    assert table["pairs"].values[:2].tolist() == [0, 0]
    assert table["loss_increase"].values[:2].tolist() == [0, 0]
    assert table["loss_increase_sampling_se"].values[:2].tolist() == [0, 0]
    assert table["pairs"].values[2] > 10
    empty = ul.group_ablation(by_hand(), data, {"none": []}, tolerance=0.1)
    assert (empty["pairs"].item(), empty["loss_increase"].item()) == (0, 0)


@pytest.mark.parametrize("arguments", [{"rate": 0.2}, {"tolerance": 0.004}])
def test_draws__depend_on_no_batch_and_on_no_later_group(network, arguments):
    model, data = network
    whole = ul.group_ablation(model, data, GROUPS, **arguments)
    batches = ul.group_ablation(model, data, GROUPS, batch_size=37, **arguments)
    first = dict([*GROUPS.items()][:4])
    some = ul.group_ablation(model, data, first, **arguments)

    np.testing.assert_array_equal(whole["pairs"], batches["pairs"])
    np.testing.assert_allclose(whole["loss_increase"], batches["loss_increase"], atol=1e-12)
    np.testing.assert_array_equal(whole["pairs"][:4], some["pairs"])
    np.testing.assert_allclose(whole["loss_increase"][:4], some["loss_increase"], atol=1e-12)


@pytest.mark.parametrize("arguments", [{"rate": 0.2}, {"tolerance": 0.004}])
def test_parts__join_to_the_whole(network, arguments):
    model, data = network
    whole = ul.group_ablation(model, data, GROUPS, **arguments)
    parts = [ul.group_ablation(model, data, GROUPS, part=(k, 3), **arguments) for k in range(3)]
    joined = ul.merge_tables(parts)

    assert joined.attrs["pairs"] == whole.attrs["pairs"]
    for name in ("pair_share", "ranking_reliability"):
        np.testing.assert_allclose(joined.attrs[name], whole.attrs[name], rtol=1e-9)
    for name, values in whole.items():
        np.testing.assert_allclose(joined[name], values, atol=1e-12)
    assert joined["group"].values.tolist() == [*GROUPS]


def test_tolerance__is_the_error_of_most_groups(network):
    model, data = network
    loose, strict = (
        ul.group_ablation(model, data, GROUPS, tolerance=wanted) for wanted in (0.02, 0.005)
    )

    errors = strict["loss_increase_sampling_se"].to_numpy()[:-1]
    assert 0.5 * 0.005 < np.median(errors) < 1.5 * 0.005
    assert strict.attrs["units_above_tolerance"] == (errors > 0.005).sum()
    assert strict.attrs["pairs"] > loose.attrs["pairs"]
    assert strict.attrs["pair_share"] == strict.attrs["pairs"] / (11 * 400)


def test_unit_that_is_infinite__is_clamped_too():
    model, data = by_hand(), random_pairs(20, 2, classes=2)
    with torch.no_grad():
        model[0].bias[2] = torch.inf
        model[2].weight[:, 2] = 1.0

    def score(output, targets):
        return output[:, 1].isfinite().double(), targets == 1

    table = ul.group_ablation(model, data, [[2], [0], [1, 2]], score=score, rate=1.0)
    assert table["loss_increase"].values.tolist() == [1, 0, 1]  # without it, all are finite


def test_only_drawn_pairs__are_run(network):
    model, data = network
    rows = []

    def counted(output, targets):
        rows.append(len(output))
        return functional.cross_entropy(output, targets, reduction="none")

    table = ul.group_ablation(model, data, GROUPS, score=counted, rate=0.05)

    beside = 3 * 400 + 100  # the network itself, its gradients, the pilot, and the first trials
    assert table.attrs["pairs"] <= sum(rows) <= table.attrs["pairs"] + beside


def test_score_without_gradient__draws_at_one_rate_with_a_line(network, caplog):
    model, data = network

    def distance(output, targets):
        return torch.from_numpy(np.abs(output.numpy()).sum(1)) + targets

    with caplog.at_level(logging.WARNING):
        table = ul.group_ablation(model, data, GROUPS, score=distance, rate=0.3)
    exact = ul.group_ablation(model, data, GROUPS, score=distance)

    assert "drawn at one rate a group, for no gradient" in caplog.text
    assert "gradient" in table.attrs["drawn_without_gradient"]
    assert table["loss_increase"].values[-1] == 0
    error = table["loss_increase_sampling_se"].values[:-1]
    assert (error > 0).all()
    assert np.abs((table["loss_increase"] - exact["loss_increase"])[:-1] / error).max() < 5


def test_tokens__are_estimated_as_items():
    torch.manual_seed(0)
    tokens = torch.randint(9, (60, 5))
    model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 9))
    data = [(row, (row + 1) % 9) for row in tokens]
    arguments = {"layers": ["2"], "positions": "samples"}
    exact = ul.group_ablation(model.double(), data, [[0, 1, 2], [3]], **arguments)
    table = ul.group_ablation(model, data, [[0, 1, 2], [3]], rate=1.0, **arguments)

    np.testing.assert_allclose(table["loss_increase"], exact["loss_increase"], atol=1e-9)
    np.testing.assert_allclose(table["accuracy_drop"], exact["accuracy_drop"], atol=1e-9)


def test_partners_of_the_pilot__are_run_once(network):
    model, data = network
    with mock.patch.object(
        clamping, "partner_activations", wraps=clamping.partner_activations
    ) as runs:
        ul.group_ablation(model, data, GROUPS, value="resample", tolerance=0.01)

    assert runs.call_count == 2  # of the pilot, and of all samples


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"rate": 0.0}, r"rate is 0\.0, but must be above 0 and at most 1"),
        ({"rate": 1.5}, r"rate is 1\.5, .* the share of the pairs of a group and a sample"),
        ({"tolerance": 0.0}, r"tolerance is 0\.0, but must be a number above 0"),
        ({"rate": 0.1, "tolerance": 0.1}, r"rate is 0\.1 and tolerance 0\.1: give one"),
    ],
)
def test_wrong_numbers__are_refused(arguments, line):
    with pytest.raises(ArgumentError, match=line) as raised:
        ul.group_ablation(mlp(), random_pairs(9, 6), [[0, 1]], **arguments)
    assert "\n" not in str(raised.value)


def test_batch_dependent_network__is_refused():
    with (
        pytest.warns(RepeatabilityWarning),
        pytest.raises(ArgumentError, match=r"depends on the other samples .*leave rate"),
    ):
        ul.group_ablation(batch_dependent(), random_pairs(9, 6), [[0, 1]], rate=0.5)
