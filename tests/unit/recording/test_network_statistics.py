"""Class statistics without a store equal those of a store."""

import numpy as np
import pytest
import torch
import xarray as xr

import unitlens as ul
from networks_by_hand import Pairs, convnet, mlp, random_pairs, untraceable
from unitlens.errors import ArgumentError, DatasetError, TableError

EXACT = (
    *("count", "class_minimum", "class_maximum", "class_nonzero", "histogram", "bin_edges"),
    *("top_activation", "top_sample", "top_class"),
)
NETWORKS = {
    "mlp": (mlp, (6,)), "convnet": (convnet, (2, 8, 8)), "untraceable": (untraceable, (6,)),
}  # fmt: skip


def stored(model, pairs, path, by="label", **options):
    store = ul.record_activations(model, pairs, path / "a.zarr", **options)
    return ul.class_statistics(ul.open_activations(store), by=by)


def assert_same(statistics, expected):
    assert set(statistics.variables) == set(expected.variables)
    assert statistics.attrs == expected.attrs
    for name in expected.variables:
        if name in EXACT or expected[name].dtype.kind != "f":
            np.testing.assert_array_equal(statistics[name], expected[name], err_msg=name)
        else:
            np.testing.assert_allclose(statistics[name], expected[name], 1e-9, 1e-12, err_msg=name)
        assert statistics[name].attrs == expected[name].attrs


@pytest.mark.parametrize("batch_size", [7, None])
@pytest.mark.parametrize("network", NETWORKS)
def test_network_statistics__equal_those_of_a_store(network, batch_size, tmp_path, monkeypatch):
    build, shape = NETWORKS[network]
    model, pairs = build(), random_pairs(150, *shape)
    monkeypatch.setattr(
        "unitlens.recording.network_statistics._BLOCK_BYTES", 4000
    )  # several batches a block

    statistics = ul.network_statistics(model, pairs, batch_size=batch_size)

    assert_same(statistics, stored(model, pairs, tmp_path, batch_size=batch_size))


def test_network_statistics__adapt_bins_as_those_of_a_store(tmp_path, monkeypatch):
    """One input 100 times as large as the others, and 80 sampled samples of 150."""
    monkeypatch.setattr("unitlens.statistics.adapted_bins.RUN_ROWS", 20)
    pairs = random_pairs(150, 6)
    pairs.inputs[70] *= 100

    statistics = ul.network_statistics(mlp(), pairs, batch_size=7)

    assert_same(statistics, stored(mlp(), pairs, tmp_path, batch_size=7))
    steps = np.diff(statistics["bin_edges"].to_numpy())
    widths = [row[row > 0] for row in steps]
    assert any(row.size and np.ptp(row) > 1e-3 * row.max() for row in widths)


@pytest.mark.parametrize("reduce", ["max", "active"])
def test_network_statistics__of_another_reduction(reduce, tmp_path):
    pairs = random_pairs(60, 2, 8, 8)

    statistics = ul.network_statistics(convnet(), pairs, reduce=reduce, layers=["6"])

    assert_same(statistics, stored(convnet(), pairs, tmp_path, reduce=reduce, layers=["6"]))


def test_network_statistics__by_other_attributes(tmp_path):
    pairs = random_pairs(80, 6)
    pairs.true_labels = (pairs.labels.numpy() + 1) % 3
    parity = np.arange(80) % 2
    for by in ("true_label", "prediction", parity):
        statistics = ul.network_statistics(mlp(), pairs, by=by)
        store = ul.record_activations(mlp(), pairs, tmp_path / "a.zarr")
        assert_same(statistics, ul.class_statistics(ul.open_activations(store), by=by))


def test_network_statistics__of_activations_that_are_not_finite():
    pairs = random_pairs(40, 6)
    pairs.inputs[3] = torch.nan
    stats = ul.network_statistics(mlp(), pairs)
    assert stats["class_mean"].isnull().all()
    assert (stats["histogram"] == 0).all()


def test_network_statistics__leaves_the_model_as_it_was():
    model, pairs = convnet().train(), random_pairs(20, 2, 8, 8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ul.network_statistics(model, pairs)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_network_statistics__refuses_before_it_runs():
    def run(*_):
        raise AssertionError

    model = mlp()
    model.register_forward_hook(run)
    with pytest.raises(ArgumentError, match="fine_bins is 1, but must be at least 2"):
        ul.network_statistics(model, random_pairs(5, 6), fine_bins=1)
    with pytest.raises(ArgumentError, match="reduce is 'median', but must be one of mean, max, a"):
        ul.network_statistics(model, random_pairs(5, 6), reduce="median")
    with pytest.raises(ArgumentError, match="batch_size is 0, but must be at least 1"):
        ul.network_statistics(model, random_pairs(5, 6), batch_size=0)


def test_network_statistics__refuses_other_labels_and_attributes():
    pairs = random_pairs(5, 6)
    with pytest.raises(TableError, match="have no coordinate 'colour'"):
        ul.network_statistics(mlp(), pairs, by="colour")
    wrong = Pairs(pairs.inputs, pairs.labels + 100)
    with pytest.raises(DatasetError, match="so labels must lie in"):
        ul.network_statistics(mlp(), wrong)


def test_network_statistics__feed_the_measures():
    stats = ul.network_statistics(mlp(), random_pairs(80, 6))
    assert isinstance(ul.class_selectivity(stats), xr.Dataset)
    assert ul.mutual_information(stats)["mutual_information"].notnull().all()
