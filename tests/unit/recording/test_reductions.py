"""Several reductions at once: each equals its definition, and each is one array."""

import dask
import numpy as np
import pytest
import torch

import unitlens as ul
from recorded_networks import NETWORKS, Samples, convnet, mlp, record_small
from small_stores import all_files
from unitlens.config.measurements import ActivationSpec
from unitlens.errors import ArgumentError, StoreError
from unitlens.model.layers import UnitLayer, reduce_positions
from unitlens.store.format.layout import layer_arrays
from unitlens.store.format.store_estimate import estimate_store

ALL = ("mean", "max", "active")


@pytest.fixture(autouse=True)
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


def by_hand(activation, reduction):
    """Reduce (samples, units, y, x) by loops over samples and units."""
    samples, units = activation.shape[:2]
    reduced = np.empty((samples, units), np.float64)
    for sample in range(samples):
        for unit in range(units):
            values = activation[sample, unit].astype(np.float64).ravel()
            reduced[sample, unit] = {
                "mean": values.mean(),
                "max": max(values),
                "active": sum(value != 0 for value in values) / len(values),
            }[reduction]
    return reduced


def test_active__share_of_positions_that_are_not_zero():
    layer = UnitLayer("relu", 0, 2, (2, 2, 2), 1)
    rows = [[0, 1, 2, 0], [0, 0, 0, 0], [1, 1, -1, 3], [torch.nan, 0, 0, 0]]
    maps = torch.tensor(rows).reshape(2, 2, 2, 2)
    active = reduce_positions(maps, layer, "active")
    assert active.tolist() == [[0.5, 0.0], [1.0, 0.25]]
    assert active.dtype == maps.dtype


def test_active__of_a_dense_layer_is_zero_or_one():
    layer = UnitLayer("relu", 0, 3, (3,), 1)
    values = torch.tensor([[0.0, 2.5, -1.0]])
    assert reduce_positions(values, layer, "active").tolist() == [[0.0, 1.0, 1.0]]


@pytest.mark.parametrize("units_last", [False, True])
def test_active__on_any_axis_of_units(units_last):
    maps = torch.relu(torch.randn(4, 5, 6))
    layer = UnitLayer("relu", 0, 6 if units_last else 5, (5, 6), -1 if units_last else 1)
    expected = (maps != 0).double().mean(1 if units_last else 2)
    shares = reduce_positions(maps, layer, "active").double()
    torch.testing.assert_close(shares, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("reduce", [ALL, ("active", "max"), ("max",)])
def test_record__each_reduction_is_that_of_the_maps(tmp_path, reduce):
    data = Samples(60, (3, 8, 8))
    record_small(convnet(), data, tmp_path / "a.zarr", reduce=reduce)
    tree = ul.open_activations(tmp_path / "a.zarr")
    model = convnet().eval()
    for name, stop in (("2", 3), ("5", 6)):
        with torch.inference_mode():
            maps = model[:stop](data.inputs).numpy()
        names = ["activation", *(f"activation_{reduction}" for reduction in reduce[1:])]
        arrays = {str(n) for n in tree[name].data_vars} - {"minimum", "maximum"}
        assert arrays == set(names)
        for array, reduction in zip(names, reduce, strict=True):
            expected = by_hand(maps, reduction)
            rounding = 1e-6 * expected.max()
            np.testing.assert_allclose(tree[name][array], expected, rtol=1e-6, atol=rounding)
            assert tree[name][array].attrs["long_name"]
        first = tree[name]["activation"]
        np.testing.assert_array_equal(tree[name].maximum, first.max("sample"))
    assert tree.attrs["reduce"] == reduce[0]
    assert tree.attrs["also"] == ", ".join(reduce[1:])


def test_record__dense_layers_have_one_array_for_mean_and_maximum(tmp_path):
    data = Samples(60, (12,))
    one = record_small(mlp(), data, tmp_path / "a.zarr", reduce=("mean", "max", "active"))
    two = record_small(mlp(), data, tmp_path / "b.zarr")
    tree, alone = ul.open_activations(one), ul.open_activations(two)
    for name in ("1", "4"):
        stored = tree[name]
        assert set(stored.data_vars) == {"activation", "activation_active", "minimum", "maximum"}
        np.testing.assert_array_equal(stored.activation, alone[name].activation)
        np.testing.assert_array_equal(stored.activation_active, stored.activation != 0)


def test_layer_arrays__of_one_position():
    dense = UnitLayer("relu", 0, 5, (5,), 1)
    assert layer_arrays(dense, ("max", "active", "mean")) == {
        "activation": "max",
        "activation_active": "active",
    }
    assert layer_arrays(dense, ("active", "mean", "max")) == {
        "activation": "active",
        "activation_mean": "mean",
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_record__others_beside_it_change_no_number_of_the_first(tmp_path, name):
    build, shape = NETWORKS[name]
    data = Samples(50, shape)
    alone = ul.open_activations(record_small(build(), data, tmp_path / "a.zarr"))
    among = ul.open_activations(record_small(build(), data, tmp_path / "b.zarr", reduce=ALL))
    for layer in alone.children:
        np.testing.assert_array_equal(alone[layer].activation, among[layer].activation)
    stats = ul.class_statistics(among)
    np.testing.assert_array_equal(stats.class_mean, ul.class_statistics(alone).class_mean)


def test_record__in_place_modules_that_cannot_be_traced_do_not_change_what_is_kept(tmp_path):
    class Untraceable(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.head = torch.nn.ReLU(), torch.nn.Linear(12, 10)

        def forward(self, x):
            values = self.relu(x)
            if x.sum() > -1e9:  # depends on the data: no graph
                values = values.mul_(0)
            return self.head(values)

    data = Samples(20, (12,))
    path = record_small(Untraceable(), data, tmp_path / "a.zarr", reduce=("max", "active"))
    layer = ul.open_activations(path)["relu"]
    np.testing.assert_array_equal(layer.activation, data.inputs.clamp(min=0))
    np.testing.assert_array_equal(layer.activation_active, data.inputs > 0)


def test_resume__equals_undisturbed_with_several_reductions(tmp_path, monkeypatch):
    data = Samples(300, (3, 8, 8))
    options = {"reduce": ALL, "batch_size": 16}
    record_small(convnet(), data, tmp_path / "a.zarr", **options)
    (tmp_path / "a.zarr/5/activation_active/c/1/0").unlink()
    with pytest.raises(StoreError, match=r"'5/activation_active/c/1/0' is missing; record again"):
        ul.open_activations(tmp_path / "a.zarr")
    record_small(convnet(), data, tmp_path / "a.zarr", **options)
    record_small(convnet(), data, tmp_path / "b.zarr", **options)
    assert all_files(tmp_path / "a.zarr") == all_files(tmp_path / "b.zarr")


def test_finished__other_reductions_are_refused(tmp_path):
    data = Samples(20, (3, 8, 8))
    ul.record_activations(convnet(), data, tmp_path / "a.zarr")
    with pytest.raises(StoreError, match=r'whose also is \[\], not \["active"\]; remove it or'):
        ul.record_activations(convnet(), data, tmp_path / "a.zarr", reduce=("mean", "active"))


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        (("mean", "sum"), r"reduce is 'sum', but must be one of mean, max, active"),
        ((), r"reduce is \[\], but must name at least one reduction, and each once"),
        (("max", "max"), r"reduce is \['max', 'max'\], but must name at least one reduction, and"),
    ],
)
def test_record__wrong_reductions(tmp_path, reduce, expected):
    with pytest.raises(ArgumentError, match=expected):
        ul.record_activations(mlp(), Samples(5, (12,)), tmp_path / "a.zarr", reduce=reduce)


def test_estimate__counts_every_reduction():
    layers = ul.unit_layers(convnet(), torch.zeros(1, 3, 8, 8))
    one = estimate_store(layers, 100).bytes
    assert estimate_store(layers, 100, reductions=ALL).bytes - one == 2 * 100 * (8 + 16) * 4


def test_config__one_or_several():
    assert ActivationSpec().reductions == ("mean",)
    assert ActivationSpec(reduce=["max", "active"]).reductions == ("max", "active")
