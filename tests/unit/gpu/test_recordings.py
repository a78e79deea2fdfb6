"""Recordings on a GPU: the stores of the CPU."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.utils.data import TensorDataset

import unitlens as ul
from calls_on_networks import NETWORKS, pairs_of
from simulated_gpu import simulated_gpu
from unitlens.memory_errors import lacks_memory

OPTIONS = {
    "averages": {},
    "float16": {"dtype": "float16"},
    "maps": {"maps": {"samples": [0, 3, 7]}},
    "maxima": {"reduce": "max"},
}


def arrays(path):
    """Return the arrays of each node of a store."""
    return {
        f"{node.path}/{name}": array.values
        for node in ul.open_activations(path).leaves
        for name, array in node.to_dataset().variables.items()
    }


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        (kind, network)
        for kind in sorted(OPTIONS)
        for network in sorted(NETWORKS)
        if kind != "maps" or network in ("convnet", "residual")
    ],
)
def test_record_activations__writes_what_the_cpu_writes(kind, network, tmp_path):
    make, pairs = NETWORKS[network][0], pairs_of(network)
    model = make().float()
    pairs.inputs = pairs.inputs.float()
    ul.record_activations(model, pairs, tmp_path / "cpu", **OPTIONS[kind])
    with simulated_gpu():
        ul.record_activations(model, pairs, tmp_path / "gpu", device="cuda", **OPTIONS[kind])

    assert_close(arrays(tmp_path / "gpu"), arrays(tmp_path / "cpu"))


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        if array.dtype.kind == "f":
            close = 1e-3 if array.dtype == np.float16 else 1e-6
            np.testing.assert_allclose(found[name], array, rtol=close, atol=close, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.fixture
def segmentation():
    """Return a network with an output a position, and targets a position."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 1))
    inputs, targets = torch.randn(12, 2, 5, 5), torch.randint(0, 4, (12, 5, 5))
    targets[:, 0] = -100  # not counted
    return model, TensorDataset(inputs, targets)


def test_record_activations__of_positions_writes_what_the_cpu_writes(segmentation, tmp_path):
    ul.record_activations(*segmentation, tmp_path / "cpu", positions="samples")
    with simulated_gpu():
        ul.record_activations(*segmentation, tmp_path / "gpu", positions="samples", device="cuda")
    assert_close(arrays(tmp_path / "gpu"), arrays(tmp_path / "cpu"))


def test_unit_ablation__by_positions_has_the_numbers_of_the_cpu(segmentation):
    expected = ul.unit_ablation(*segmentation, positions="samples")
    with simulated_gpu():
        found = ul.unit_ablation(*segmentation, positions="samples", device="cuda")
    xr.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_record_activations__without_memory_leaves_no_store_that_opens(tmp_path):
    pairs = pairs_of("convnet")
    with simulated_gpu() as counting:
        ul.record_activations(NETWORKS["convnet"][0](), pairs, tmp_path / "whole", device="cuda")
    expected = arrays(tmp_path / "whole")
    for fails_at in np.linspace(1, counting.allocations, 8).astype(int).tolist():
        path = tmp_path / str(fails_at)
        with simulated_gpu() as gpu:
            gpu.fails_at = fails_at
            with pytest.raises(Exception) as error:  # noqa: PT011 - any error that names memory
                ul.record_activations(NETWORKS["convnet"][0](), pairs, path, device="cuda")
        assert lacks_memory(error.value)
        with simulated_gpu():  # the same call again
            ul.record_activations(NETWORKS["convnet"][0](), pairs, path, device="cuda")
        for name, array in arrays(path).items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)
