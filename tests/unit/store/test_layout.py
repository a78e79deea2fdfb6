import os
from types import SimpleNamespace

import numpy as np
import pytest

from small_stores import LAYERS, SMALL, make_contents, write_store
from unitlens.errors import ArgumentError, StoreError
from unitlens.store.format.layout import check_layer_names, check_path, plan_arrays
from unitlens.store.format.store_estimate import estimate_store


def layer(name, units, depth=0):
    return SimpleNamespace(name=name, depth=depth, units=units, positions=1)


def test_plan__small_layer_is_one_shard():
    array = plan_arrays([layer("relu1", 512)], 4000, "float32")[0]
    assert array.shape == (4000, 512)
    assert array.shard_count == 1
    # 4,000 x 512 x 4 bytes in 8 chunks of 2,000 x 128: near 1 MB each, and nothing is padding
    assert array.chunks == (2000, 128)
    assert array.shards == (4000, 512)


@pytest.mark.parametrize("units", [64, 256, 2048, 100_000])
@pytest.mark.parametrize("samples", [50_000, 1_281_167])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_plan__shards_of_64_to_256_mb(units, samples, dtype):
    array = plan_arrays([layer("relu", units)], samples, dtype)[0]
    chunk = np.prod(array.chunks) * np.dtype(dtype).itemsize
    assert 0.4e6 < chunk < 1.1e6
    if array.shard_count > 1:
        rows = array.rows(0).stop
        assert 64e6 < array.nbytes * rows / array.shape[0] < 256e6
    else:
        assert array.nbytes < 256e6
    assert all(shard % chunk == 0 for shard, chunk in zip(array.shards, array.chunks, strict=True))


def test_plan__one_column_is_a_small_share_of_a_wide_layer():
    array = plan_arrays([layer("relu", 2816)], 60_000, "float32")[0]
    assert array.chunks[1] / 2816 <= 0.05


def test_plan__sample_arrays_do_not_hold_a_resumed_recording_back():
    *activations, _, _, _, _, loss = plan_arrays(
        [layer("narrow", 8), layer("wide", 4096)], 200_000, "float32"
    )
    assert loss.path == "loss"
    assert loss.shards[0] == min(array.shards[0] for array in activations)


def test_plan__refuses_a_dtype_that_is_not_stored():
    with pytest.raises(ArgumentError, match="dtype is 'float64', but must be one of float32, fl"):
        plan_arrays([layer("relu1", 5)], 10, "float64")


@pytest.mark.parametrize(("layers", "samples"), [([], 10), ([layer("relu1", 5)], 0)])
def test_plan__refuses_nothing(layers, samples):
    with pytest.raises(ArgumentError, match="at least one of each is needed"):
        plan_arrays(layers, samples, "float32")


@pytest.mark.parametrize("name", ["index", "label", "true_label", "prediction", "loss"])
def test_names__a_layer_named_like_a_sample_array_is_refused(name):
    with pytest.raises(
        StoreError, match=f"layer '{name}' cannot be stored, .* sample array .*rename"
    ):
        check_layer_names([layer("relu1", 5), layer(name, 5)])


@pytest.mark.parametrize("name", ["", "..", "a/b", "__relu", "zarr.json"])
def test_names__no_name_of_a_group_is_refused(name):
    with pytest.raises(StoreError, match="is no valid name of a Zarr group; rename the module"):
        check_layer_names([layer(name, 5)])


@pytest.mark.parametrize("suffix", [".json", ".journal", ".lock"])
def test_path__refuses_the_suffix_of_a_file_beside_the_store(tmp_path, suffix):
    with pytest.raises(ArgumentError, match=f"ends in {suffix}.* let it end in .zarr"):
        check_path(tmp_path / f"acts{suffix}")


def test_estimate__files_and_bytes_are_those_of_the_store(tmp_path):
    path = tmp_path / "acts.zarr"
    contents = make_contents(samples=333)
    write_store(path, contents)
    path.with_suffix(".lock").touch()  # the lock makes this file, but the test takes no lock
    estimate = estimate_store(contents.layers, 333, layout=SMALL)
    assert estimate.files == sum(len(files) for _, _, files in os.walk(tmp_path))
    ranges = 2 * sum(LAYERS.values()) * 4
    assert estimate.bytes == 333 * (sum(LAYERS.values()) * 4 + 5 * 8) + ranges


def test_estimate__reads_well():
    layers = [layer("relu1", 512), layer("relu2", 512)]
    text = str(estimate_store(layers, 60_000))
    assert text == "248.2 MB before compression in 28 files, 88.3 MB of memory for buffers"


def test_estimate__float16_halves_the_activations():
    layers = [layer("relu1", 512)]
    full, half = (estimate_store(layers, 10_000, dtype=d).bytes for d in ("float32", "float16"))
    assert full - half == 10_000 * 512 * 2 + 2 * 512 * 2
