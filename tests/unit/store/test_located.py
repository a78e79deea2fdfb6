"""Stores that lie elsewhere than beside their manifest."""

import shutil

import pytest
import torch

import unitlens as ul
from recorded_networks import Samples, mlp, record_small
from unitlens.errors import StoreError
from unitlens.store.backend.places import locate
from unitlens.store.format.manifest import read_manifest
from unitlens.store.located import locate_store, named_location, placing_stores, write_location


@pytest.fixture(scope="module")
def dataset():
    return Samples(200, (12,))


@pytest.fixture(params=["folder", "s3"])
def far(request, tmp_path):
    """Return a place under which stores lie."""
    return locate(request.getfixturevalue("s3") if request.param == "s3" else tmp_path / "far")


def other_mlp():
    """Return a network of the same layers with other weights."""
    network = mlp()
    with torch.no_grad():
        network[0].bias += 1
    return network


def record_elsewhere(path, store, dataset, model=None):
    """Record a store at another place, and write its manifest to `path`."""
    with placing_stores({path: store}):
        record_small(model or mlp(), dataset, path, batch_size=16)
    write_location(path, store)


def test_store__elsewhere_is_read_where_its_manifest_says(far, tmp_path, dataset):
    path, beside = tmp_path / "net/acts.zarr", tmp_path / "beside.zarr"
    record_small(mlp(), dataset, beside, batch_size=16)

    record_elsewhere(path, far / "net/acts-1.zarr", dataset)

    assert sorted(file.name for file in path.parent.iterdir()) == ["acts.json"]
    assert named_location(read_manifest(path)) == str(far / "net/acts-1.zarr")
    assert ul.open_activations(path).identical(ul.open_activations(beside))
    assert ul.verify_activations(path).whole


def test_store__elsewhere_is_repaired_there(tmp_path, dataset):
    path, store = tmp_path / "net/acts.zarr", tmp_path / "far/acts.zarr"
    record_elsewhere(path, store, dataset)
    expected = ul.open_activations(path).compute()
    shard = store / "1/activation/c/0/0"
    shard.unlink()

    with pytest.raises(
        StoreError, match=rf"{store} is not whole: the shard '1/activation/c/0/0' is missing"
    ):
        ul.open_activations(path)
    ul.repair_activations(mlp(), dataset, path)

    assert shard.exists()
    assert ul.open_activations(path).identical(expected)


def test_store__that_was_replaced_is_not_handed_out(far, tmp_path, dataset):
    path, other = tmp_path / "net/acts.zarr", tmp_path / "other/acts.zarr"
    store = far / "acts.zarr"
    record_elsewhere(path, store, dataset)
    first = ul.open_activations(path)["1"].activation.values
    with placing_stores({other: store}):
        record_small(other_mlp(), dataset, other, batch_size=16, overwrite=True)
    write_location(other, store)

    message = rf"{store} is another one than {path.with_suffix('.json')} was written for"
    for read in (ul.open_activations, ul.verify_activations, locate_store):
        with pytest.raises(StoreError, match=message):
            read(path)

    path.with_suffix(".json").unlink()  # as the error says
    record_elsewhere(path, far / "again.zarr", dataset)
    assert (ul.open_activations(path)["1"].activation.values == first).all()
    assert (ul.open_activations(other)["1"].activation.values != first).any()


def test_store__that_is_gone_is_told_with_both_places(tmp_path, dataset):
    path, store = tmp_path / "net/acts.zarr", tmp_path / "far/acts.zarr"
    record_elsewhere(path, store, dataset)
    shutil.rmtree(store.parent)

    named = path.with_suffix(".json")
    with pytest.raises(StoreError, match=rf"{store}, which {named} names, is gone; remove {named}"):
        ul.open_activations(path)


def test_store__beside_the_manifest_is_replaced_by_the_one_elsewhere(tmp_path, dataset):
    path, store = tmp_path / "net/acts.zarr", tmp_path / "far/acts.zarr"
    record_small(mlp(), dataset, path, batch_size=16)
    path.with_suffix(".json").unlink()  # as Snakemake does before the job
    record_elsewhere(path, store, dataset, other_mlp())

    assert not path.exists()
    assert ul.open_activations(path).identical(ul.open_activations(store))
