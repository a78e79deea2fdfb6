"""Every function that runs a network takes its items from workers, with the same numbers."""

import os

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import unitlens as ul
from recorded_networks import COMPARED

INPUTS = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))


class Watched:
    """A data set that counts the items that are read in the process of the test."""

    def __init__(self):
        self.here, self.process = 0, os.getpid()

    def __len__(self):
        return len(INPUTS)

    def __getitem__(self, index):
        self.here += os.getpid() == self.process
        return INPUTS[index], index % 3


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def record(model, dataset, place, **arguments):
    path = ul.record_activations(model, dataset, place / "a.zarr", **arguments)
    return ul.open_activations(path)["1"].to_dataset().load()


def repair(model, dataset, place, workers=0):
    path = ul.record_activations(model, Watched(), place / "a.zarr")
    (path / "1/activation/c/0/0").unlink()
    ul.repair_activations(model, dataset, path, workers=workers)
    return ul.open_activations(path)["1"].to_dataset().load()


def plain(function, *given, **fixed):
    return lambda model, dataset, _, **arguments: function(
        model, dataset, *given, **fixed, **arguments
    )


DIRECTIONS = {"1": xr.DataArray(np.eye(8)[:2], dims=("direction", "unit"))}
FUNCTIONS = {
    "record_activations": record,
    "repair_activations": repair,
    "network_statistics": plain(ul.network_statistics),
    "unit_ablation": plain(ul.unit_ablation, value="resample", first_order=True),
    "cumulative_ablation": plain(ul.cumulative_ablation, orders=2, points=3),
    "group_ablation": plain(ul.group_ablation, {"two": [("1", 0), ("1", 5)]}),
    "direction_ablation": plain(ul.direction_ablation, DIRECTIONS),
    "noise_robustness": plain(
        ul.noise_robustness, [1.0], variance=np.ones(8), draws=2, batch_size=16
    ),
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_function__gives_the_same_numbers_with_workers(model, tmp_path, name):
    results = {}
    for workers in (0, 2):
        dataset = Watched()
        place = tmp_path / str(workers)
        place.mkdir()
        results[workers] = FUNCTIONS[name](model, dataset, place, workers=workers)
        read_here = dataset.here
    xr.testing.assert_identical(results[0].drop_attrs(), results[2].drop_attrs())
    assert read_here <= COMPARED


def test_reference__is_read_by_workers_too(model):
    scored, reference = Watched(), Watched()
    table = ul.unit_ablation(model, scored, value="mean", reference=reference, workers=2)

    expected = ul.unit_ablation(model, Watched(), value="mean", reference=Watched())
    xr.testing.assert_identical(table, expected)
    assert reference.here == 0
