"""Ablation of groups of units: numbers by hand, accepted forms, random controls, errors."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

import unitlens as ul
from networks_by_hand import Pairs, by_hand, convnet, mlp, random_pairs
from unitlens.errors import ArgumentError, LayerError
from unitlens.variables.checks import validate
from unitlens.variables.unit_index import unit_coordinates

HAND = Pairs(torch.tensor([[1.0, 3.0], [3.0, 1.0]], dtype=torch.float64), [1, 0])
UNITS = xr.Dataset(coords=unit_coordinates([("a", 0, 4), ("b", 1, 6)]))


def test_group_ablation__by_hand():
    """Logits are (1, 4) and (3, 0) of labels 1 and 0; without any unit they are (0, 0)."""
    groups = {"both": [("1", 0), 1], "first": [("1", 0)], "dead": [2], "none": []}

    table = ul.group_ablation(by_hand(), HAND, groups)

    before = (math.log1p(math.exp(-3)) + math.log1p(math.exp(-3))) / 2
    first = (math.log1p(math.exp(-4)) + math.log(2)) / 2
    expected = [math.log(2) - before, first - before, 0, 0]
    np.testing.assert_allclose(table.loss_increase, expected, atol=1e-15)
    assert table.loss_increase[2:].values.tolist() == [0, 0]
    assert table.accuracy_drop.values.tolist() == [0.5, 0, 0, 0]
    assert table.group.values.tolist() == list(groups)
    assert table.group_size.values.tolist() == [2, 1, 1, 0]
    assert table.most_damaged_class.dims == ("group",)
    assert table.attrs["value"] == "zero"
    assert table.attrs["baseline_loss"] == pytest.approx(before, rel=1e-12)
    validate(table, "group_ablation")


def test_group_ablation__lists_are_numbered_and_may_share_units():
    table = ul.group_ablation(by_hand(), HAND, [[0, 1], np.array([1, 0]), [("1", np.int64(1))]])

    assert table.group.values.tolist() == [0, 1, 2]
    assert float(table.loss_increase[0]) == float(table.loss_increase[1])


def test_group_ablation__numbers_are_those_of_the_chosen_layers():
    model, pairs = mlp(), random_pairs(30, 6)

    named = ul.group_ablation(model, pairs, [[("6", 2), ("6", 0)]])
    numbered = ul.group_ablation(model, pairs, [[2, 0]], layers=["6"])
    joint = ul.group_ablation(model, pairs, [[9, 11]])

    xr.testing.assert_identical(named, joint)
    np.testing.assert_allclose(named.loss_increase, numbered.loss_increase, rtol=1e-12)


def test_group_ablation__of_values_of_ones_own_and_samples():
    model, pairs = mlp(), random_pairs(30, 6)
    options = {"value": np.arange(16) / 8, "samples": 11, "seed": 3}

    groups = ul.group_ablation(model, pairs, [[4], [12]], **options)
    units = ul.unit_ablation(model, pairs, **options)

    np.testing.assert_allclose(groups.loss_increase, units.loss_increase[[4, 12]], rtol=1e-9)
    assert groups.attrs["samples"] == 11
    assert groups.attrs["value"] == "array"


def test_group_ablation__of_all_units_ends_the_cumulative_curve():
    model, pairs = convnet(), random_pairs(20, 2, 8, 8)

    table = ul.group_ablation(model, pairs, [range(11)], value="mean")
    curve = ul.cumulative_ablation(model, pairs, orders=1, points=2, value="mean")

    expected = curve.loss[0, 1] - curve.loss[0, 0]
    np.testing.assert_allclose(table.loss_increase[0], expected, rtol=1e-9)


def test_group_ablation__of_a_unit_that_is_infinite():
    model = by_hand()
    with torch.no_grad():
        model[0].bias[2] = torch.inf
        model[2].weight[:, 2] = 1.0

    table = ul.group_ablation(
        model, HAND, [[2], [0]], score=lambda out, y: (out[:, 1].isfinite().double(), y == 1)
    )

    assert table.loss_increase.values.tolist() == [1, 0]  # without it, all outputs are finite


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], "groups is empty, but must hold at least one group of units"),
        ({}, "groups is empty, but must hold at least one group of units"),
        ({7: [0]}, "groups has the name 7, but a name must be text"),
        ([[3]], "group 0 holds the unit 3, but must hold units of the chosen layers: pairs .* 2"),
        ([[-1]], "group 0 holds the unit -1, but must hold"),
        ([[True]], "group 0 holds the unit True, but must hold"),
        ([[0.0]], "group 0 holds the unit 0.0, but must hold"),
        ([[0], ["1"]], "group 1 holds the unit '1', but must hold"),
        ({"x": [("1", 3)]}, r"group 'x' holds the unit \('1', 3\), but must hold .* from 0 to 2$"),
        ({"x": [("relu", 0)]}, r"group 'x' holds the unit \('relu', 0\), but .* to 2; .*1"),
        ([[0, 1, ("1", 0)]], "group 0 holds channel 0 of layer '1' twice, but must hold each"),
    ],
)
def test_group_ablation__refuses_impossible_groups(groups, message):
    with pytest.raises(ArgumentError, match=message):
        ul.group_ablation(by_hand(), HAND, groups)


def test_group_ablation__refuses_what_other_ablations_refuse():
    with pytest.raises(LayerError, match="the model has no layer 'x'"):
        ul.group_ablation(by_hand(), HAND, [[0]], layers=["x"])
    with pytest.raises(ArgumentError, match="samples is 0, but must be at least 1"):
        ul.group_ablation(by_hand(), HAND, [[0]], samples=0)


def test_random_groups__have_as_many_units_of_each_layer():
    like = {"x": [("a", 0), ("b", 5), ("b", 0)], "y": [], "z": [9]}

    groups = ul.random_groups(UNITS, like, repeats=20, seed=1)

    names = [f"{name}-random-{repeat}" for name in like for repeat in range(20)]
    assert list(groups) == names
    for name, group in groups.items():
        expected = {"x": {"a": 1, "b": 2}, "y": {}, "z": {"b": 1}}[name[0]]
        assert Counter(layer for layer, _ in group) == expected
        assert len(set(group)) == len(group)
    assert len(set(map(tuple, groups.values()))) > 20


def test_random_groups__over_all_layers_have_as_many_in_all():
    groups = ul.random_groups(UNITS, [[0, 1, 2]], repeats=50, within_layers=False)

    assert {len(group) for group in groups.values()} == {3}
    assert {layer for group in groups.values() for layer, _ in group} == {"a", "b"}


def test_random_groups__draw_every_unit_as_often():
    groups = ul.random_groups(UNITS, [[4, 5]], repeats=3000)

    counts = Counter(channel for group in groups.values() for _, channel in group)
    assert stats.chisquare([counts[channel] for channel in range(6)]).pvalue > 1e-3


def test_random_groups__depend_on_the_seed_and_not_on_how_many():
    like = [[0, 1], [4, 5, 6]]
    two, three = (ul.random_groups(UNITS, like, repeats=n, seed=4) for n in (2, 3))

    assert all(three[name] == group for name, group in two.items())
    assert two != ul.random_groups(UNITS, like, repeats=2, seed=5)


def test_random_groups__feed_group_ablation():
    model, pairs = mlp(), random_pairs(30, 6)
    groups = {"mine": [("2", 0), ("2", 1), ("6", 0)]}
    layers = ul.unit_layers(model, pairs.inputs)
    controls = ul.random_groups(layers, groups, repeats=3)

    table = ul.group_ablation(model, pairs, groups | controls)

    assert table.group.values.tolist() == ["mine", *(f"mine-random-{n}" for n in range(3))]
    assert table.group_size.values.tolist() == [3] * 4
    assert controls == ul.random_groups(ul.unit_ablation(model, pairs), groups, repeats=3)


@pytest.mark.parametrize(
    ("units", "options", "message"),
    [
        (UNITS, {"repeats": 0}, "repeats is 0, but must be at least 1"),
        (UNITS, {"seed": -1}, "seed is -1, but must be at least 0"),
        (UNITS.drop_vars("layer"), {}, "units has no coordinate 'layer' on the dimension 'unit'"),
        (xr.concat([UNITS, UNITS], "unit"), {}, "units cannot be matched .* more than once"),
        (UNITS.isel(unit=slice(2)), {}, "group 0 holds the unit 3, but must hold units"),
    ],
)
def test_random_groups__refuse_impossible_arguments(units, options, message):
    with pytest.raises(ArgumentError, match=message):
        ul.random_groups(units, [[3]], **options)
