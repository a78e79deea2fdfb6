"""Each remedy that an error of a recording names is carried out, and then the store is there."""

import shutil

import pytest
import torch
from torch import nn
from torch.utils.data import Subset

import unitlens as ul
from recorded_networks import Samples, convnet, mlp, record_small
from small_stores import all_files, flip
from unitlens.errors import ArgumentError, DatasetError, StoreError
from unitlens.recording import repair


@pytest.fixture
def path(tmp_path):
    return tmp_path / "acts.zarr"


def opens_as_recorded(path, model, dataset, **options):
    """Tell whether a store equals one that is recorded elsewhere."""
    other = ul.record_activations(model, dataset, path.with_name("undisturbed.zarr"), **options)
    return all_files(path) == all_files(other)


LIMIT = 1.5e-5  # float32 means of all layers and eight maps take 16.6 kB, each remedy less
SMALLER = {
    "choose fewer layers": {"layers": 1},
    "record as float16": {"dtype": "float16"},
    "keep fewer maps": {"maps": {"layers": ["5"], "samples": [1]}},
    "raise the limit": {"limit_gb": 1e-3},
}


@pytest.mark.parametrize("remedy", SMALLER)
def test_limit(path, remedy):
    dataset = Samples(60, (3, 8, 8))
    options = {"maps": {"layers": ["5"], "samples": [1, 2, 3, 4, 5, 6, 7, 8]}, "limit_gb": LIMIT}
    with pytest.raises(StoreError, match=rf"limit_gb is {LIMIT:g}; choose.*{remedy[7:]}"):
        ul.record_activations(convnet(), dataset, path, **options)
    changed = {**options, **SMALLER[remedy]}
    ul.record_activations(convnet(), dataset, path, **changed)
    assert opens_as_recorded(path, convnet(), dataset, **changed)


def scaled(factor, dtype=torch.float32):
    model = mlp().to(dtype)
    with torch.no_grad():
        model[0].weight *= factor
    return model


def test_range__recorded_as_float32(path):
    dataset = Samples(60, (12,))
    with pytest.raises(StoreError, match="float16 holds no more than 65504; record as float32"):
        ul.record_activations(scaled(1e6), dataset, path, dtype="float16")
    ul.record_activations(scaled(1e6), dataset, path, dtype="float32")
    assert opens_as_recorded(path, scaled(1e6), dataset)


def test_range__scaled_down(path):
    dataset = Samples(60, (12,))
    with pytest.raises(StoreError, match=r"float32 holds no more than .*; scale it down"):
        ul.record_activations(scaled(1e60, torch.float64), dataset, path)
    ul.record_activations(scaled(1, torch.float64), dataset, path)
    assert opens_as_recorded(path, scaled(1, torch.float64), dataset)


@pytest.mark.parametrize("fitted", ["labels", "classes"])
def test_labels__fit_to_the_classes_or_the_classes_to_them(path, fitted):
    dataset, model = Samples(60, (12,), classes=12), mlp()
    with pytest.raises(DatasetError, match=r"must lie in 0..9; fit one to the other"):
        ul.record_activations(model, dataset, path)
    if fitted == "labels":
        dataset = Subset(dataset, [int(i) for i in (dataset.labels < 10).nonzero()[0]])
    else:
        model = nn.Sequential(*mlp()[:-1], nn.Linear(15, 12))
    ul.record_activations(model, dataset, path)
    assert opens_as_recorded(path, model, dataset)


@pytest.mark.parametrize("remedy", ["remove it", "another path"])
@pytest.mark.parametrize("change", ["weights", "slope", "labels"])
def test_finished__of_another_recording(path, change, remedy):
    dataset, model = Samples(60, (12,)), mlp()
    model[4] = nn.LeakyReLU(0.1)
    ul.record_activations(model, dataset, path)
    if change == "weights":
        nn.init.ones_(model[3].bias)
    elif change == "slope":
        model[4].negative_slope = 0.3
    else:
        dataset.identity, dataset.labels[7] = "samples", (dataset.labels[7] + 1) % 10
    with pytest.raises(StoreError, match=r"; remove it or record to another path"):
        ul.record_activations(model, dataset, path)
    if remedy == "remove it":
        shutil.rmtree(path)
    else:
        path = path.with_name("another.zarr")
    ul.record_activations(model, dataset, path)
    assert opens_as_recorded(path, model, dataset)


@pytest.mark.parametrize("remedy", ["with those", "another path"])
@pytest.mark.parametrize("change", ["weights", "modules", "data", "slope", "layers"])
def test_repair__with_another_network_or_other_data(path, change, remedy):
    dataset, model = Samples(300, (12,)), mlp()
    model[4] = nn.LeakyReLU(0.1)
    record_small(model, dataset, path)
    flip(path / "1/activation/c/1/0", 30, 2)
    other, other_data = mlp(), Samples(300, (12,), seed=1 if change == "data" else 0)
    other[4] = nn.LeakyReLU(0.3 if change == "slope" else 0.1)
    if change == "weights":
        nn.init.ones_(other[3].bias)
    elif change == "modules":
        other[4] = nn.Tanh()
    elif change == "layers":
        other = nn.Sequential(*mlp()[:4], nn.LeakyReLU(0.1), mlp()[5], nn.Identity())
        other[4].register_forward_hook(lambda *a: a[2] * 2)
    with pytest.raises(StoreError, match=r"(repair it with those|with that), or record to another"):
        ul.repair_activations(other, other_data, path)
    if remedy == "with those":
        ul.repair_activations(model, dataset, path)
        assert ul.verify_activations(path).whole
    else:
        ul.record_activations(other, other_data, path.with_name("another.zarr"))
        assert ul.verify_activations(path.with_name("another.zarr")).whole


def test_repair__on_a_failing_disk_is_recorded_elsewhere(path, monkeypatch):
    dataset = Samples(60, (12,))
    ul.record_activations(mlp(), dataset, path)
    (path / "loss/c/0").unlink()
    report = ul.verify_activations(path)
    monkeypatch.setattr(repair, "verify_activations", lambda _: report)
    with pytest.raises(StoreError, match=r"still not whole after its repair.*; record to another"):
        ul.repair_activations(mlp(), dataset, path)
    other = path.with_name("another.zarr")
    ul.record_activations(mlp(), dataset, other)
    assert opens_as_recorded(other, mlp(), dataset)


@pytest.mark.parametrize("change", ["weights", "labels", "samples", "dtype"])
def test_finished__of_another_recording_is_overwritten(path, change):
    dataset, model, options = Samples(60, (12,)), mlp(), {}
    ul.record_activations(model, dataset, path)
    if change == "weights":
        nn.init.ones_(model[3].bias)
    elif change == "labels":
        dataset.labels[7] = (dataset.labels[7] + 1) % 10
    elif change == "samples":
        dataset = Samples(30, (12,))
    else:
        options = {"dtype": "float16"}
    with pytest.raises(StoreError, match=r"holds another recording.*or give overwrite=True"):
        ul.record_activations(model, dataset, path, **options)
    ul.record_activations(model, dataset, path, **options, overwrite=True)
    assert opens_as_recorded(path, model, dataset, **options)


def test_overwrite__begun_store(path):
    dataset = Samples(60, (12,))
    dataset.labels[50] = 99
    with pytest.raises(DatasetError, match="label 99"):
        ul.record_activations(mlp(), dataset, path, batch_size=10)
    dataset.labels[50] = 1
    ul.record_activations(mlp(), dataset, path, overwrite=True)
    assert opens_as_recorded(path, mlp(), dataset)


def test_overwrite__foreign_directory_stays(path):
    path.mkdir()
    (path / "thesis.txt").write_text("years")
    with pytest.raises(StoreError, match="is no activation store, so it is not overwritten"):
        ul.record_activations(mlp(), Samples(60, (12,)), path, overwrite=True)
    assert (path / "thesis.txt").read_text() == "years"


def test_overwrite__of_a_part(path):
    with pytest.raises(ArgumentError, match=r"overwrite is True, and part is \(1, 2\)"):
        ul.record_activations(mlp(), Samples(60, (12,)), path, part=(1, 2), overwrite=True)
