import json
import pickle
import random
import shutil

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from small_stores import LAYERS, flip, make_columns, make_contents, write_store
from unitlens.errors import StoreError
from unitlens.store.format.layout import DEFAULT_LAYOUT
from unitlens.store.reader import open_activations

SAMPLE = ("index", "label", "true_label", "prediction", "loss")


@pytest.fixture(autouse=True)
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "acts.zarr"
    write_store(path)
    return path


@pytest.fixture
def columns():
    return make_columns(make_contents())


def test_open__tree_as_promised(path, columns):
    tree = open_activations(path)
    assert list(tree.children) == list(LAYERS)
    for name in SAMPLE:
        assert tree[name].dims == ("sample",)
        np.testing.assert_array_equal(tree[name], columns[name])
        assert tree[name].attrs["long_name"]
    for depth, (name, units) in enumerate(LAYERS.items()):
        layer = tree[name]
        expected = columns[f"{name}/activation"]
        assert layer.attrs == {"layer": name, "depth": depth}
        assert layer.activation.dims == ("sample", "unit")
        assert layer.activation.dtype == np.float32
        np.testing.assert_array_equal(layer.activation, expected)
        np.testing.assert_array_equal(layer.channel, np.arange(units))
        np.testing.assert_array_equal(layer.minimum, expected.min(axis=0))
        np.testing.assert_array_equal(layer.maximum, expected.max(axis=0))


def test_open__attributes_say_what_was_recorded(path):
    attrs = open_activations(str(path)).attrs
    manifest = json.loads(path.with_suffix(".json").read_text())
    assert attrs["content_hash"] == manifest["content_hash"]
    assert {name: attrs[name] for name in ("weights_hash", "dataset_identity", "reduce")} == {
        "weights_hash": "a0",
        "dataset_identity": "b1",
        "reduce": "mean",
    }
    assert (attrs["dtype"], attrs["classes"]) == ("float32", 10)


def test_manifest__holds_no_time_and_no_place(path):
    manifest = json.loads(path.with_suffix(".json").read_text())
    assert set(manifest) == {
        "also",
        "arrays",
        "classes",
        "codec",
        "conditions",
        "content_hash",
        "dtype",
        "layers",
        "manifest_hash",
        "maps",
        "metadata",
        "nonfinite",
        "provenance",
        "reduce",
        "samples",
        "schema",
        "schema_version",
    }
    assert str(path.parent) not in path.with_suffix(".json").read_text()


def test_open__one_task_and_one_chunk_a_shard(path):
    activation = open_activations(path)["relu1"].activation
    shards = list((path / "relu1" / "activation" / "c").iterdir())
    assert activation.data.npartitions == len(shards) == 10
    assert len(dict(activation.data.dask)) <= len(shards) + 1


def test_open__samples_of_a_layer_can_be_grouped(path, columns):
    activation = open_activations(path)["relu1"].activation
    means = activation.load().groupby("label").mean()
    expected = columns["relu1/activation"][columns["label"] == 3].mean(axis=0)
    np.testing.assert_allclose(means.sel(label=3), expected, rtol=1e-5)


def test_open__a_slice_reads_only_its_shard(path, columns):
    activation = open_activations(path)["relu1"].activation
    for shard in (path / "relu1" / "activation" / "c").iterdir():
        if shard.name != "2":
            shutil.rmtree(shard)
    part = activation.isel(sample=slice(110, 120), unit=[2, 5]).compute()
    np.testing.assert_array_equal(part, columns["relu1/activation"][110:120, [2, 5]])


def test_open__arrays_survive_pickling(path, columns):
    activation = pickle.loads(pickle.dumps(open_activations(path)["relu1"].activation))
    np.testing.assert_array_equal(activation, columns["relu1/activation"])


def test_open__any_chunking_gives_the_same_mean(path, columns):
    data = open_activations(path)["relu1"].activation.data
    assert isinstance(data, da.Array)
    np.testing.assert_allclose(
        data.rechunk((37, 5)).mean(axis=0).compute(),
        columns["relu1/activation"].mean(axis=0),
        rtol=1e-5,
    )


def test_open__xarray_itself_reads_the_store(path, columns):
    with xr.open_datatree(path, engine="zarr", consolidated=False) as tree:
        assert set(SAMPLE) <= set(tree.coords)
        for name in LAYERS:
            np.testing.assert_array_equal(tree[name].activation, columns[f"{name}/activation"])
        np.testing.assert_array_equal(tree["loss"], columns["loss"])


def test_open__one_sample_in_default_shards(tmp_path):
    contents = make_contents(samples=1)
    write_store(tmp_path / "one.zarr", contents, layout=DEFAULT_LAYOUT)
    tree = open_activations(tmp_path / "one.zarr")
    expected = make_columns(contents)["relu1/activation"]
    np.testing.assert_array_equal(tree["relu1"].activation, expected)


def test_open__no_store(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere.zarr does not exist .*no nowhere.json.*record"):
        open_activations(tmp_path / "nowhere.zarr")


@pytest.mark.parametrize("shard", ["relu1/activation/c/3/0", "label/c/1", "relu1/minimum/c/0"])
def test_open__missing_shard_is_named(path, shard):
    (path / shard).unlink()
    with pytest.raises(StoreError, match=f"whole: the shard '{shard}' is missing; record again"):
        open_activations(path)


def test_open__several_faults_are_counted(path):
    for shard in range(3):
        (path / "relu1" / "activation" / "c" / str(shard) / "0").unlink()
    with pytest.raises(StoreError, match=r"c/0/0' is missing, and 2 faults more; record again"):
        open_activations(path)


def test_open__truncated_shard_is_named(path):
    shard = path / "relu1" / "activation" / "c" / "3" / "0"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    expected = rf"c/3/0' has {len(whole) - 1} bytes, but {len(whole)} were written; record again"
    with pytest.raises(StoreError, match=expected):
        open_activations(path)


def test_read__shard_lost_after_opening_is_no_fill_value(path):
    activation = open_activations(path)["relu1"].activation
    (path / "relu1" / "activation" / "c" / "3" / "0").unlink()
    with pytest.raises(StoreError, match=r"'relu1/activation/c/3/0' of .* is missing; record"):
        activation.compute()
    with pytest.raises(StoreError, match=r"c/3/0"):
        activation.isel(sample=160, unit=0).compute()
    assert np.isfinite(activation.isel(sample=slice(0, 100)).compute()).all()


def test_read__metadata_of_a_finished_store_lost_a_shard_of_one_chunk(path):
    activation = open_activations(path)["layer1.0.relu_2"].activation
    (path / "layer1.0.relu_2" / "activation" / "c" / "1" / "0").unlink()
    with pytest.raises(StoreError, match=r"layer1.0.relu_2/activation/c/1/0"):
        activation.sum().compute()


def test_read__a_flipped_bit_anywhere_in_a_shard_raises(path):
    shard = path / "relu1" / "activation" / "c" / "3" / "0"
    part = open_activations(path)["relu1"].activation.isel(sample=slice(150, 200))
    whole, moments = shard.read_bytes(), random.Random(0)
    index = range(len(whole) - 100, len(whole))
    for position in [*moments.sample(range(len(whole)), 60), *index]:
        flip(shard, position, moments.randrange(8))
        with pytest.raises(StoreError, match=r"c/3/0' of .* damaged .*; remove this file and rec"):
            part.compute()
        shard.write_bytes(whole)
    part.compute()


@pytest.mark.parametrize("name", ["label/c/0", "relu1/maximum/c/0"])
def test_open__a_flipped_bit_in_a_small_array_raises(path, name):
    whole = (path / name).read_bytes()
    for position in range(0, len(whole), 7):
        flip(path / name, position, position % 8)
        with pytest.raises(StoreError, match=f"the shard '{name}' .* is damaged"):
            open_activations(path)
        (path / name).write_bytes(whole)


@pytest.mark.parametrize("name", ["relu1/activation/zarr.json", "loss/zarr.json"])
def test_open__changed_metadata_raises(path, name):
    flip(path / name, 30, 1)
    with pytest.raises(StoreError, match=f"'{name}' is missing or changed; record again"):
        open_activations(path)


def test_open__manifest_of_another_store(path, tmp_path):
    other = tmp_path / "other.zarr"
    contents = make_contents(provenance={"weights_hash": "z9", "dataset_identity": "b1"})
    write_store(other, contents)  # the same numbers from other weights
    path.with_suffix(".json").write_bytes(other.with_suffix(".json").read_bytes())
    with pytest.raises(StoreError, match=r"not whole: 'zarr.json' is missing, changed, or of anot"):
        open_activations(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"schema": "units", "schema_version": 1}'])
def test_open__no_manifest(path, text):
    path.with_suffix(".json").write_text(text)
    with pytest.raises(StoreError, match=r"json is not the manifest of an activation store of ver"):
        open_activations(path)


def test_open__changed_manifest(path):
    manifest = path.with_suffix(".json")
    values = json.loads(manifest.read_text())
    values["arrays"][0]["hashes"][0] = "0" * 64
    manifest.write_text(json.dumps(values))
    with pytest.raises(
        StoreError, match=r"acts.json has been changed, for its hash is another; rem"
    ):
        open_activations(path)
