"""Files that are sound, but were recorded elsewhere: every read notices them.

Without compression all shards of an array have one size, and each has right checksums.
"""

import dask
import numpy as np
import pytest
from google_crc32c import value as crc32c

import unitlens as ul
from small_stores import (
    make_columns,
    make_contents,
    record_store,
    swap,
    write_part,
    write_store,
)
from unitlens.errors import StoreError
from unitlens.store.format.layout import FeatureMaps
from unitlens.store.format.manifest import read_manifest
from unitlens.store.format.parts import Part
from unitlens.store.merge import merge_activations
from unitlens.store.verify import verify_activations

LAYERS = {"relu1": 24, "relu2": 24}
ANOTHER = r"is damaged \(a chunk is another than was recorded there\); remove this file and record"


def contents(**changes):
    return make_contents(layers=LAYERS, codec="none", **changes)


@pytest.fixture
def path(tmp_path):
    write_store(tmp_path / "acts.zarr", contents())
    return tmp_path / "acts.zarr"


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def read_all(path):
    tree = ul.open_activations(path)
    for layer in tree.children.values():
        layer.to_dataset().compute()


def exchanged(path, one, other):
    assert (path / one).stat().st_size == (path / other).stat().st_size
    assert (path / one).read_bytes() != (path / other).read_bytes()
    swap(path / one, path / other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("relu1/activation/c/1/0", "relu1/activation/c/2/0"),
        ("relu1/activation/c/1/0", "relu2/activation/c/1/0"),
        ("label/c/1", "label/c/2"),
        ("label/c/1", "true_label/c/1"),
        ("index/c/0", "prediction/c/0"),
        ("relu1/minimum/c/0", "relu1/maximum/c/0"),
        ("relu1/maximum/c/0", "relu2/maximum/c/0"),
    ],
)
def test_exchanged__two_shards_of_a_store(path, one, other):
    exchanged(path, one, other)
    with pytest.raises(StoreError, match=ANOTHER) as error:
        read_all(path)
    assert one in str(error.value) or other in str(error.value)
    assert {one, other} == {fault.place for fault in verify_activations(path).faults}


def test_exchanged__with_a_shard_of_another_store(path, tmp_path):
    write_store(tmp_path / "b.zarr", contents(), make_columns(contents(), seed=1))
    key = "relu2/activation/c/3/0"
    (path / key).write_bytes((tmp_path / "b.zarr" / key).read_bytes())
    with pytest.raises(StoreError, match=f"{key}.*{ANOTHER}"):
        read_all(path)


def test_exchanged__the_statistics_stop(path):
    exchanged(path, "relu1/activation/c/1/0", "relu1/activation/c/2/0")
    with pytest.raises(StoreError, match=ANOTHER):
        ul.class_statistics(ul.open_activations(path))


@pytest.mark.parametrize(
    "selection",
    [
        {"unit": 3},
        {"sample": slice(None, None, 7)},
        {"sample": [400, 60, 100]},
        {"sample": 100, "unit": slice(2, 5)},
    ],
)
def test_exchanged__a_few_numbers_are_asked_for(path, selection):
    right = make_columns(contents())["relu1/activation"]
    index = tuple(selection.get(axis, slice(None)) for axis in ("sample", "unit"))
    activation = ul.open_activations(path)["relu1"].activation
    np.testing.assert_array_equal(activation.isel(selection), right[index])

    array = next(f.array for f in read_manifest(path).files if f.array.path == "relu1/activation")
    shard = 100 // array.shards[0]
    exchanged(path, array.key(shard), array.key(shard + 1))
    with pytest.raises(StoreError, match=ANOTHER):
        activation.isel(selection).compute()


def test_exchanged__two_chunks_within_a_shard(path):
    """Bodies with their checksums, and, as whoever repairs an index would do, places alone."""
    array = next(f.array for f in read_manifest(path).files if f.array.path == "relu1/activation")
    file = path / array.key(0)
    whole = file.read_bytes()
    chunks = array.chunk_count(0)
    assert chunks > 1
    index = np.frombuffer(whole[-4 - 16 * chunks : -4], "<u8").reshape(chunks, 2)
    (first, size), (second, other_size) = index[:2].tolist()
    assert size == other_size
    bodies = bytearray(whole)
    bodies[first : first + size] = whole[second : second + size]
    bodies[second : second + size] = whole[first : first + size]
    places = index[[1, 0, *range(2, chunks)]].tobytes()
    moved = whole[: -4 - 16 * chunks] + places + crc32c(places).to_bytes(4, "little")

    for changed in (bytes(bodies), moved):
        assert len(changed) == len(whole)
        assert changed != whole
        file.write_bytes(changed)
        with pytest.raises(StoreError, match=ANOTHER):
            read_all(path)
    file.write_bytes(whole)
    read_all(path)


def test_exchanged__maps(tmp_path):
    maps = FeatureMaps({"relu1": (3, 3)}, tuple(range(0, 200, 7)))
    held = contents(maps=maps)
    write_store(tmp_path / "acts.zarr", held)
    kept = ul.open_activations(tmp_path / "acts.zarr")["relu1"]["map"]
    right = make_columns(held)["relu1/map"]
    np.testing.assert_array_equal(kept.isel(unit=[5, 1], x=2), right[..., 2][:, [5, 1]])
    np.testing.assert_array_equal(kept.isel(map_sample=[20, 3]), right[[20, 3]])

    keys = ("relu1/map/c/0/0/0/0", "relu1/map/c/1/0/0/0")
    exchanged(tmp_path / "acts.zarr", *keys)
    with pytest.raises(StoreError, match=ANOTHER):
        kept.isel(unit=[5, 1], x=2).compute()


def test_exchanged__between_parts_before_they_are_merged(tmp_path):
    path = tmp_path / "acts.zarr"
    for number in (1, 2):
        write_part(path, Part(number, 2), contents=contents())
    exchanged(path, "relu1/activation/c/0/0", "relu1/activation/c/9/0")
    merge_activations(path)
    with pytest.raises(StoreError, match=ANOTHER):
        read_all(path)


def test_exchanged__metadata_files(path):
    swap(path / "relu1" / "zarr.json", path / "relu2" / "zarr.json")
    with pytest.raises(StoreError, match=r"relu1/zarr.json' is missing, changed, or of another"):
        ul.open_activations(path)
    swap(path / "relu1" / "zarr.json", path / "relu2" / "zarr.json")
    swap(path / "loss" / "zarr.json", path / "label" / "zarr.json")
    with pytest.raises(StoreError, match=r"(loss|label)/zarr.json' is missing or changed"):
        ul.open_activations(path)


def test_exchanged__a_killed_recording_is_resumed_right(tmp_path):
    """What is in its place no more is recorded again, before the manifest vouches for it."""
    path = tmp_path / "acts.zarr"
    record_store(path, contents())
    whole = (path.with_suffix(".json")).read_bytes()
    path.with_suffix(".json").unlink()
    exchanged(path, "relu1/activation/c/1/0", "relu1/activation/c/2/0")
    record_store(path, contents())
    assert path.with_suffix(".json").read_bytes() == whole
    read_all(path)
