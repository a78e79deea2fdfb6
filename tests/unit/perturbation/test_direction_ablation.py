"""Ablation of directions, alone and along a basis: numbers by hand, accepted forms, errors."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import unitlens as ul
from networks_by_hand import Pairs, by_hand, mlp, naive_logits, random_pairs, relative, seeded
from unitlens.errors import ArgumentError, LayerError
from unitlens.variables.checks import validate
from unitlens.variables.unit_index import unit_coordinates

HAND = Pairs(torch.tensor([[1.0, 3.0], [3.0, 1.0]], dtype=torch.float64), [1, 0])


def rows_of(values, layer="1", **coords):
    values = np.array(values, dtype=float)
    units = unit_coordinates([(layer, 0, values.shape[1])])
    return xr.DataArray(values, coords=units | coords, dims=("direction", "unit"))


def two_units():
    """h = relu(x), logits = h."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[2].weight.copy_(torch.eye(2))
    return model.double()


def cross_entropy(logits, label):
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[label]


def test_direction_ablation__by_hand():
    """Of h = (3, 1), the direction (1, 1) has 4 / sqrt 2, (3, 4) has 13 / 5."""
    pairs = Pairs(torch.tensor([[3.0, 1.0]], dtype=torch.float64), [0])
    directions = rows_of([[1, 1], [3, 4]])

    table = ul.direction_ablation(two_units(), pairs, directions)

    before = cross_entropy((3, 1), 0)
    expected = [
        cross_entropy((1, -1), 0) - before,  # (3, 1) - 2 (1, 1)
        cross_entropy((3 - 39 / 25, 1 - 52 / 25), 0) - before,
    ]
    np.testing.assert_allclose(table.loss_increase, expected, atol=1e-14)
    assert table.accuracy_drop.values.tolist() == [0, 0]
    validate(table, "direction_ablation")


def test_direction_ablation__to_the_mean_by_hand():
    """The mean activation is (3, 2), its projection on (1, -1) 1 / sqrt 2: h0 - h1 becomes 1."""
    pairs = Pairs(torch.tensor([[3.0, 1.0]], dtype=torch.float64), [0])
    reference = Pairs(torch.tensor([[2.0, 0.0], [4.0, 4.0]], dtype=torch.float64), [0, 0])
    directions = {"1": [[1.0, -1.0]]}

    table = ul.direction_ablation(two_units(), pairs, directions, value="mean", reference=reference)

    expected = cross_entropy((2.5, 1.5), 0) - cross_entropy((3, 1), 0)
    np.testing.assert_allclose(table.loss_increase, [expected], atol=1e-14)
    assert table.attrs["value"] == "mean"


def test_direction_ablation__carries_what_the_directions_carry():
    variance = xr.Variable("direction", [2.0, 1.0], {"units": "activation^2"})
    directions = rows_of([[1, 1, 0], [0, 1, 0]], direction=[7, 9], explained_variance=variance)

    table = ul.direction_ablation(by_hand(), HAND, directions)

    assert table.direction.values.tolist() == [7, 9]
    assert table.layer.values.tolist() == ["1", "1"]
    assert table.depth.values.tolist() == [0, 0]
    assert table.explained_variance.values.tolist() == [2, 1]
    assert table.explained_variance.attrs["units"] == "activation^2"
    assert table.loss_increase.dims == ("direction",)
    assert table.class_accuracy_drop.dims == ("direction", "class")


def test_direction_ablation__of_several_layers_comes_in_their_order():
    model, pairs = mlp(), random_pairs(30, 6)
    first, second = rows_of(np.eye(9)[:2], "2"), rows_of(np.eye(7)[:3], "6")

    table = ul.direction_ablation(model, pairs, [second, first])
    alone = ul.direction_ablation(model, pairs, second)

    assert table.layer.values.tolist() == ["2"] * 2 + ["6"] * 3
    assert table.depth.values.tolist() == [0] * 2 + [1] * 3
    assert table.direction.values.tolist() == [0, 1, 0, 1, 2]
    np.testing.assert_allclose(table.loss_increase[2:], alone.loss_increase, rtol=1e-12)
    assert alone.attrs["layers"] == ["6"]


def test_directions__are_matched_by_channel():
    """Units in another order are the same direction."""
    turned = rows_of([[0.0, 0.6, 0.8], [1, 0, 0]])

    one = ul.direction_ablation(by_hand(), HAND, turned)
    other = ul.direction_ablation(by_hand(), HAND, turned.isel(unit=[2, 0, 1]).transpose())
    curves = [
        ul.cumulative_ablation(by_hand(), HAND, basis=basis, orders=0)
        for basis in (turned, turned.isel(unit=[2, 0, 1]))
    ]

    xr.testing.assert_identical(one, other)
    xr.testing.assert_identical(*curves)


def test_directions__of_recorded_activations(tmp_path):
    """Principal components of a store of the model are taken as they are."""
    model, pairs = mlp(), random_pairs(60, 6)
    ul.record_activations(model, pairs, tmp_path / "acts.zarr")
    acts = ul.open_activations(tmp_path / "acts.zarr")
    components = [ul.principal_components(acts, layer)["component"] for layer in ("2", "6")]

    table = ul.direction_ablation(model, pairs, components, value="mean")
    curve = ul.cumulative_ablation(model, pairs, basis=components, orders=1, points=5)
    units = ul.cumulative_ablation(model, pairs, orders=1, points=2)

    assert table.sizes["direction"] == 16
    assert curve.ablated_units.values.tolist() == [0, 4, 8, 12, 16]
    assert curve.order.values.tolist() == ["random-0", "basis-ascending", "basis-descending"]
    np.testing.assert_allclose(curve.loss[:, -1], units.loss[0, -1], rtol=1e-9)


def test_cumulative_ablation__of_a_basis_that_is_not_complete():
    """Activations orthogonal to all directions stay as they are."""
    pairs = Pairs(torch.tensor([[3.0, 1.0]], dtype=torch.float64), [0])
    basis = {"1": np.array([[0.6, 0.8]])}

    curve = ul.cumulative_ablation(two_units(), pairs, basis=basis, orders=2)

    assert curve.ablated_units.values.tolist() == [0, 1]
    assert curve.ablated_fraction.values.tolist() == [0, 1]
    expected = cross_entropy((3 - 39 / 25, 1 - 52 / 25), 0)
    np.testing.assert_allclose(curve.loss[:, 1], expected, atol=1e-14)
    validate(curve, "cumulative_ablation")


def test_cumulative_ablation__of_directions_to_values_of_ones_own():
    """Once all directions are ablated, every unit has its value."""
    model, pairs = mlp(), random_pairs(30, 6)
    values = np.linspace(-1, 1, 16)

    turned = ul.cumulative_ablation(model, pairs, basis="random", value=values, orders=1)
    units = ul.cumulative_ablation(model, pairs, value=values, orders=1)

    np.testing.assert_allclose(turned.loss[0, -1], units.loss[0, -1], rtol=1e-9)
    assert not np.allclose(turned.loss[0, 10], units.loss[0, 10], rtol=1e-3)
    assert [turned.attrs["basis"], units.attrs["basis"]] == ["random", "units"]


def test_cumulative_ablation__of_a_set_does_not_depend_on_the_order_within():
    """Both orders end in the same set of four directions, one by one or backwards."""
    model, pairs = mlp(), random_pairs(30, 6)
    rows = ul.random_directions(rows_of(np.eye(7), "6"), directions=4)

    curve = ul.cumulative_ablation(model, pairs, basis=rows, orders=3, points=5)
    backwards = ul.cumulative_ablation(model, pairs, basis=rows[::-1], orders=3, points=5)

    np.testing.assert_allclose(curve.loss[:, -1], curve.loss[0, -1], rtol=1e-12)
    np.testing.assert_allclose(
        curve.loss.sel(order="basis-ascending"),
        backwards.loss.sel(order="basis-descending"),
        rtol=1e-12,
    )
    np.testing.assert_allclose(curve.loss[0, -1], backwards.loss[0, -1], rtol=1e-12)


def test_cumulative_ablation__random_bases_of_equally_wide_layers_differ():
    """Each layer has a basis of its own, and so has each seed."""
    wide = mlp((8, 8), 8)
    curves = [
        ul.cumulative_ablation(wide, random_pairs(30, 8), basis="random", orders=1, seed=seed)
        for seed in (0, 0, 1)
    ]

    xr.testing.assert_identical(curves[0], curves[1])
    assert not np.allclose(curves[0].loss, curves[2].loss)
    from unitlens.seeds import derived_seed

    assert derived_seed(0, "basis", 0) != derived_seed(0, "basis", 1)


@seeded
def sequence():
    """Units on the last axis of (samples, positions, units), read by a dense layer."""
    return nn.Sequential(
        nn.Linear(3, 6), nn.GELU(), nn.Linear(6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(20, 4)
    )


@seeded
def grouped():
    """A convolution in groups reads the layer; mixtures of units cross the groups."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3, groups=2), nn.Flatten(), nn.Linear(16, 4)
    )


@pytest.mark.parametrize(
    ("model", "shape", "axis"), [(sequence(), (4, 3), -1), (grouped(), (2, 6, 6), 1)]
)
def test_directions__on_either_axis_equal_hooks(model, shape, axis):
    pairs = random_pairs(17, *shape)
    row = np.array([3, -1, 2, 0, 1, 4.0]) / math.sqrt(31)
    along = torch.as_tensor(row)

    def project(output):
        by_unit = output.movedim(axis, -1)
        return (by_unit - (by_unit @ along).unsqueeze(-1) * along).movedim(-1, axis)

    table = ul.direction_ablation(model, pairs, {"1": [row]})
    curve = ul.cumulative_ablation(model, pairs, basis={"1": [row]}, orders=1)

    def loss(edits):
        logits = naive_logits(model, pairs.inputs.clone(), edits)
        return float(nn.functional.cross_entropy(logits, pairs.labels))

    expected = loss({("1", 0): project})
    assert relative(table.loss_increase, [expected - loss({})]) < 1e-9
    assert relative(curve.loss[0, 1], expected) < 1e-9


def test_directions__of_a_float32_network_agree_with_float64():
    model, pairs = mlp(), random_pairs(64, 6)
    rows = ul.random_directions(rows_of(np.eye(9), "2"))
    exact = ul.direction_ablation(model, pairs, rows)
    curve = ul.cumulative_ablation(model, pairs, basis=rows, orders=1)

    single = rows.astype(np.float32)
    measured = ul.direction_ablation(model.float(), pairs, single)
    found_curve = ul.cumulative_ablation(model, pairs, basis=single, orders=1)

    assert relative(measured.loss_increase, exact.loss_increase) < 1e-4
    assert relative(found_curve.loss, curve.loss) < 1e-4


TWO_LAYERS = xr.concat([rows_of([[1, 0, 0]]), rows_of([[1, 0, 0]], "4")], "unit")
BAD = [
    ([], "directions is empty, but must have directions of at least one layer"),
    ({}, "directions is empty, but must have directions of at least one layer"),
    (np.eye(3), r"directions holds a ndarray, but must be DataArrays on \('direction', 'unit'\)"),
    ({"1": np.ones(3)}, r"has an array of shape \(3,\) for layer '1', but must have shape \(dir"),
    ({"1": np.eye(2)}, "has entries for 2 units of layer '1', but must have one for each of its 3"),
    ({"1": np.empty((0, 3))}, "directions has no direction of layer '1'; give at least one"),
    ({"1": [[1, np.nan, 0]]}, "directions holds entries of layer '1' that are no finite numbers"),
    (rows_of(np.eye(3)).isel(unit=[0, 1]), "has entries for 2 units of layer '1', but must have"),
    (rows_of(np.eye(3)).isel(unit=[0, 1, 1]), "directions cannot be matched .* channel = 1 more"),
    (rows_of(np.eye(3)).drop_vars("channel"), r"has the coordinates \['depth', 'layer'\], but"),
    (rows_of(np.eye(3)).rename(unit="u"), r"has the dimensions \('direction', 'u'\) for layer"),
    (TWO_LAYERS, r"has units of layer '4' among those of '1', .* select the layer with sel\("),
    ([rows_of(np.eye(3))] * 2, "directions has two entries for layer '1', but must have one a"),
    (xr.Dataset({"component": rows_of(np.eye(3))}), "is a Dataset, .*: take its 'component'"),
    ({"1": xr.Dataset()}, "directions holds a Dataset for layer '1', .* take the 'component' of"),
]  # fmt: skip


@pytest.mark.parametrize(("directions", "message"), BAD)
def test_directions__that_cannot_be_read_are_refused(directions, message):
    with pytest.raises(ArgumentError, match=message):
        ul.direction_ablation(by_hand(), HAND, directions)
    with pytest.raises(ArgumentError, match=message.replace("directions ", "basis ", 1)):
        ul.cumulative_ablation(by_hand(), HAND, basis=directions)


def test_direction_ablation__refuses_a_direction_without_a_length():
    with pytest.raises(ArgumentError, match="holds row 1 of layer '1' that is zero in every unit"):
        ul.direction_ablation(by_hand(), HAND, {"1": [[1, 0, 0], [0, 0, 0]]})


def test_direction_ablation__takes_directions_of_any_length():
    tiny, huge = (
        ul.direction_ablation(by_hand(), HAND, {"1": np.array([[3.0, 4.0, 0.0]]) * scale})
        for scale in (1e-300, 1e300)
    )

    np.testing.assert_allclose(tiny.loss_increase, huge.loss_increase, rtol=1e-12)


@pytest.mark.parametrize("value", ["median", np.zeros(3)])
def test_direction_ablation__refuses_other_values(value):
    with pytest.raises(ArgumentError, match="but must be 'zero' or 'mean' for directions"):
        ul.direction_ablation(by_hand(), HAND, {"1": np.eye(3)}, value=value)


def test_direction_ablation__refuses_a_layer_that_is_not_there():
    with pytest.raises(LayerError, match="the model has no layer 'relu'"):
        ul.direction_ablation(by_hand(), HAND, {"relu": np.eye(3)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"basis": "fourier"}, "basis is 'fourier', but must be 'units', 'random', or directions"),
        (
            {"basis": "random", "by": {"mean": rows_of(np.eye(3))[0]}},
            r"by holds measures of units \(mean\), but the basis is not 'units'; leave one",
        ),
        ({"basis": "random", "orders": 0}, "or 0 where measures are given in by or directions in"),
        (
            {"basis": {"1": [[1.0, 0, 0], [0.6, 0.8, 0]]}},
            r"rows of layer '1' whose inner products are off by 6.0e-01, .* within 1e-10",
        ),
        (
            {"basis": {"1": np.float32([[1.0001, 0, 0]])}},
            r"rows of layer '1' whose inner products are off by 2.0e-04, .* within 1e-06",
        ),
        (
            {"basis": {"1": np.ones((4, 3)) / math.sqrt(3)}},
            "rows of layer '1' whose inner products are off by",
        ),
        (
            {"basis": {"2": np.eye(3)}, "layers": ["1"]},
            "basis has no directions of layer '1', but must have some of every chosen layer",
        ),
    ],
)
def test_cumulative_ablation__refuses_impossible_bases(options, message):
    with pytest.raises(ArgumentError, match=message):
        ul.cumulative_ablation(by_hand(), HAND, **options)


def test_cumulative_ablation__takes_the_chosen_layers_of_a_basis():
    model, pairs = mlp(), random_pairs(30, 6)
    basis = {"2": np.eye(9), "6": np.eye(7)}

    one = ul.cumulative_ablation(model, pairs, basis=basis, layers=["6"], orders=1)
    other = ul.cumulative_ablation(model, pairs, basis={"6": np.eye(7)}, orders=1)

    xr.testing.assert_identical(one, other)
    assert one.attrs["layers"] == ["6"]
