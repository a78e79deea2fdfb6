"""Ablation of single units, on a network whose numbers can be computed by hand."""

import logging
from math import exp, log

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import unitlens as ul
from networks_by_hand import (
    NETWORKS,
    Pairs,
    batch_dependent,
    by_hand,
    convnet,
    mlp,
    random_pairs,
    untraceable,
)
from unitlens.config.base import LastLayers
from unitlens.errors import ArgumentError, LayerError, ModelError
from unitlens.variables.checks import validate
from unitlens.variables.unit_index import unit_coordinates

# Hidden (1, 2, 0) and (3, 0, 0); logits (1, 4) and (3, 0); both samples are right.
INPUTS = torch.tensor([[1.0, 3.0], [3.0, 1.0]], dtype=torch.float64)
BY_HAND = Pairs(INPUTS, [1, 0])


def softplus(x):
    return log(1 + exp(x))


def test_unit_ablation__by_hand():
    table = ul.unit_ablation(by_hand(), BY_HAND)

    base = [softplus(-3), softplus(-3)]
    changes = [
        # without unit 0 the logits are (0, 4) and (0, 0); of the tie the first class is taken
        [softplus(-4) - base[0], softplus(0) - base[1]],
        # without unit 1 they are (1, 0) and (3, 0)
        [softplus(1) - base[0], 0.0],
        [0.0, 0.0],
    ]
    np.testing.assert_allclose(table.loss_increase, np.mean(changes, axis=1), rtol=1e-12)
    errors = np.abs(np.diff(changes)).ravel() / 2  # of two numbers: half their distance
    np.testing.assert_allclose(table.loss_increase_se, errors, rtol=1e-7, atol=1e-15)
    np.testing.assert_allclose(table.accuracy_drop, [0.0, 0.5, 0.0])
    np.testing.assert_allclose(table.accuracy_drop_se, [0.0, 0.5, 0.0])
    np.testing.assert_allclose(table.class_accuracy_drop, [[0, 0], [0, 1], [0, 0]])
    assert np.isnan(table.class_accuracy_drop_se).all()  # one sample a class has no spread
    assert table.attrs["baseline_loss"] == pytest.approx(softplus(-3))
    assert table.attrs["baseline_accuracy"] == 1.0


def test_unit_ablation__of_a_dead_unit_is_exactly_zero():
    for build in (by_hand, lambda: by_hand().float()):
        dead = ul.unit_ablation(build(), BY_HAND).isel(unit=2)
        assert float(dead.loss_increase) == 0.0
        assert float(dead.loss_increase_se) == 0.0
        assert float(dead.accuracy_drop) == 0.0


class ViewedMaps(nn.Module):
    """Two convolutions, then a view whose second size must be inferred; the first maps are dead."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 2, 1)
        self.relu, self.head = nn.ReLU(), nn.Linear(8, 2)
        nn.init.zeros_(self.first.weight)
        nn.init.constant_(self.first.bias, -1.0)

    def forward(self, x):
        x = torch.tanh(self.second(self.relu(self.first(x))))
        return self.head(x.view(x.size(0), -1))


def test_unit_ablation__of_dead_maps_alone_changes_nothing():
    """Nothing is left to recompute, and a batch of no samples cannot be viewed."""
    samples = [(torch.randn(1, 4, 4), i % 2) for i in range(4)]

    table = ul.unit_ablation(ViewedMaps(), samples, layers=["relu"])

    assert (table.loss_increase == 0).all()
    assert (table.accuracy_drop == 0).all()


def test_unit_ablation__says_how_it_came_about(tmp_path):
    table = ul.unit_ablation(convnet(), random_pairs(9, 2, 8, 8), samples=7, seed=3)

    validate(table, "unit_ablation")
    assert table.layer.values.tolist() == ["2"] * 6 + ["6"] * 5
    assert table.depth.values.tolist() == [0] * 6 + [1] * 5
    assert table.channel.values.tolist() == [*range(6), *range(5)]
    assert {name: table.attrs[name] for name in ("value", "samples", "seed", "layers")} == {
        "value": "zero", "samples": 7, "seed": 3, "layers": ["2", "6"],
    }  # fmt: skip
    table.to_netcdf(tmp_path / "table.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "table.nc", engine="h5netcdf") as again:
        validate(again, "unit_ablation")
        assert again.layer.values.tolist() == table.layer.values.tolist()


def test_unit_ablation__value_mean_is_over_samples_and_positions_of_the_reference():
    model, pairs, reference = convnet(), random_pairs(9, 2, 8, 8), random_pairs(8, 2, 8, 8, seed=1)
    kept = {}
    for name in ("2", "6"):
        hook = model[int(name)].register_forward_hook(
            lambda _, __, output, name=name: kept.setdefault(name, output.clone())
        )
        with torch.no_grad():
            model.eval()(reference.inputs)
        hook.remove()
    means = torch.cat([kept["2"].mean((0, 2, 3)), kept["6"].mean((0, 2, 3))]).numpy()

    by_mean = ul.unit_ablation(model, pairs, value="mean", reference=reference, batch_size=3)
    by_array = ul.unit_ablation(model, pairs, value=means)

    assert by_mean.attrs["value"] == "mean"
    assert by_array.attrs["value"] == "array"
    np.testing.assert_allclose(by_mean.loss_increase, by_array.loss_increase, rtol=1e-9)


def test_unit_ablation__value_as_a_data_array_is_matched_by_unit():
    model, pairs = mlp(), random_pairs(9, 6)
    values = np.linspace(0, 1, 16)
    array = xr.DataArray(values, coords=unit_coordinates([("2", 0, 9), ("6", 1, 7)]), dims="unit")

    shuffled = ul.unit_ablation(model, pairs, value=array[::-1], layers=["6"])

    expected = ul.unit_ablation(model, pairs, value=values[9:], layers=LastLayers(last=1))
    xr.testing.assert_identical(shuffled, expected)


def test_unit_ablation__of_a_sample_of_the_units():
    model, pairs = mlp(), random_pairs(9, 6)
    everything = ul.unit_ablation(model, pairs)

    some = ul.unit_ablation(model, pairs, units=5, seed=2)
    again = ul.unit_ablation(model, pairs, units=5, seed=2)

    assert some.sizes["unit"] == 5
    xr.testing.assert_identical(some, again)
    for unit in range(5):
        place = (everything.layer == some.layer[unit]) & (everything.channel == some.channel[unit])
        one = everything.isel(unit=np.flatnonzero(place)[0])
        assert float(one.loss_increase) == pytest.approx(float(some.loss_increase[unit]), rel=1e-9)


def test_unit_ablation__of_a_sample_of_each_layer():
    model, pairs = mlp(), random_pairs(9, 6)
    everything = ul.unit_ablation(model, pairs).set_index(unit=["layer", "channel"])

    some = ul.unit_ablation(model, pairs, units_per_layer=2, seed=2)
    again = ul.unit_ablation(model, pairs, units_per_layer=2, seed=2)
    many = ul.unit_ablation(model, pairs, units_per_layer=1000)

    names = list(dict.fromkeys(everything.layer.values.tolist()))
    assert some.layer.values.tolist() == [name for name in names for _ in range(2)]
    xr.testing.assert_identical(some, again)
    same = everything.sel(unit=list(zip(some.layer.values, some.channel.values, strict=True)))
    np.testing.assert_allclose(some.loss_increase, same.loss_increase, rtol=1e-9)
    assert many.sizes["unit"] == everything.sizes["unit"]


def test_unit_ablation__of_one_sample_of_units_only():
    with pytest.raises(ArgumentError, match="units is 5 and units_per_layer 2: give one of them"):
        ul.unit_ablation(mlp(), random_pairs(9, 6), units=5, units_per_layer=2)
    with pytest.raises(ArgumentError, match="units_per_layer is 0, but must be at least 1"):
        ul.unit_ablation(mlp(), random_pairs(9, 6), units_per_layer=0)


def test_unit_ablation__classes_without_samples_are_nan():
    pairs = random_pairs(9, 6)
    table = ul.unit_ablation(mlp(), Pairs(pairs.inputs, pairs.labels % 2))

    assert table.sizes["class"] == 4
    assert np.isnan(table.class_accuracy_drop[:, 2:]).all()
    assert not np.isnan(table.class_accuracy_drop[:, :2]).any()


@pytest.mark.parametrize("name", ["mlp", "plain_mlp", "convnet", "residual"])
def test_unit_ablation__resumes_passes_wherever_it_can(name, caplog):
    caplog.set_level(logging.INFO, "unitlens")
    build, shape, _ = NETWORKS[name]

    ul.unit_ablation(build(), random_pairs(9, *shape))

    assert caplog.text == ""


@pytest.mark.filterwarnings("ignore::unitlens.errors.RepeatabilityWarning")
def test_unit_ablation__says_where_it_runs_whole_passes(caplog):
    caplog.set_level(logging.INFO, "unitlens")

    ul.unit_ablation(batch_dependent(), random_pairs(9, 6))

    assert "'1': no pass can be resumed from here; whole passes are run" in caplog.text


@pytest.mark.parametrize("build", [mlp, untraceable])
def test_unit_ablation__gives_the_model_back(build):
    model = build().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    ul.unit_ablation(model, random_pairs(9, 6))

    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": "median"}, "value is 'median', but must be 'zero', 'mean', 'position_mean'"),
        ({"value": [0.0]}, r"value has shape \(1,\), but must have one number for each of the 16"),
        ({"samples": 0}, "samples is 0, but must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1"),
        ({"seed": -1}, "seed is -1, but must be at least 0"),
        ({"units": 0}, "units is 0, but must be at least 1"),
        ({"memory_gb": 0}, "memory_gb is 0, but must be above 0, or 'auto'"),
        ({"memory_gb": True}, "memory_gb is True, but must be above 0, or 'auto'"),
        ({"memory_gb": "most"}, "memory_gb is 'most', but must be above 0, or 'auto'"),
    ],
)
def test_unit_ablation__refuses_impossible_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        ul.unit_ablation(mlp(), random_pairs(9, 6), **options)


def test_unit_ablation__refuses_values_of_other_heads():
    choice = [ul.layer("1", axis=-1, heads=3)]
    values = xr.DataArray(np.zeros(9), coords=unit_coordinates([("1", 0, 9)]), dims="unit")

    with pytest.raises(
        ArgumentError, match=r"value has 9 units of layer '1', but .* has 3; choose"
    ):
        ul.unit_ablation(mlp(), random_pairs(9, 6), layers=choice, value=values)
    ul.unit_ablation(mlp(), random_pairs(9, 6), layers=choice, value=values[:3])


def test_unit_ablation__refuses_values_that_lack_units():
    some = xr.DataArray(np.zeros(9), coords=unit_coordinates([("2", 0, 9)]), dims="unit")

    with pytest.raises(ArgumentError, match="value has no entry for channel 0 of layer '6'"):
        ul.unit_ablation(mlp(), random_pairs(9, 6), value=some)
    with pytest.raises(ArgumentError, match=r"value has dimensions \('unit',\) and lacks the coor"):
        ul.unit_ablation(mlp(), random_pairs(9, 6), value=some.drop_vars("layer"))


def test_unit_ablation__refuses_values_that_are_ambiguous_or_not_finite():
    layers = ul.unit_layers(mlp(), torch.zeros(1, 6))
    units = unit_coordinates((layer.name, layer.depth, layer.units) for layer in layers)
    zeros = xr.DataArray(np.zeros(len(units["layer"])), units, "unit")

    with pytest.raises(ArgumentError, match=r"value cannot be matched .* channel = 0 more"):
        ul.unit_ablation(mlp(), random_pairs(9, 6), value=xr.concat([zeros, zeros], "unit"))
    with pytest.raises(ArgumentError, match="value holds nan for unit 0, but must be finite"):
        ul.unit_ablation(mlp(), random_pairs(9, 6), value=zeros * np.nan)
    empty = Pairs(torch.zeros(0, 6), [])
    with pytest.raises(ArgumentError, match="reference is empty"):
        ul.unit_ablation(mlp(), random_pairs(9, 6), value="mean", reference=empty)


def test_unit_ablation__refuses_what_is_no_classifier():
    with pytest.raises(ArgumentError, match="has the label 7, but the model puts out 4 logits"):
        ul.unit_ablation(mlp(), Pairs(torch.zeros(2, 6), [0, 7]))
    with pytest.raises(ModelError, match=r"shape \(2, 4, 2, 2\), but must be logits of shape"):
        ul.unit_ablation(
            nn.Sequential(nn.ReLU(), nn.Conv2d(2, 4, 1)),
            random_pairs(9, 2, 2, 2),
        )
    with pytest.raises(ArgumentError, match="the data set is empty"):
        ul.unit_ablation(mlp(), Pairs(torch.zeros(0, 6), []))
    with pytest.raises(LayerError, match="the model has no layer 'relu'"):
        ul.unit_ablation(mlp(), random_pairs(9, 6), layers=["relu"])
