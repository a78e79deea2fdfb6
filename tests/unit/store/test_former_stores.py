"""Stores of unitlens before 0.3 are read as they are, and kept once they have been checked."""

import dask
import numpy as np
import pytest

import unitlens as ul
from small_stores import (
    LAYERS,
    SMALL,
    all_files,
    make_columns,
    make_contents,
    make_former,
    record_store,
    swap,
    write_part,
    write_store,
)
from unitlens.errors import StoreError
from unitlens.store.format.manifest import read_manifest
from unitlens.store.format.parts import Part
from unitlens.store.merge import merge_activations
from unitlens.store.verify import verify_activations
from unitlens.store.writer import StoreWriter

CONTENTS = make_contents(codec="none")
SHARDS = ("relu1/activation/c/1/0", "relu1/activation/c/2/0")


@pytest.fixture
def former(tmp_path):
    record_store(tmp_path / "acts.zarr", CONTENTS)
    make_former(tmp_path / "acts.zarr")
    return tmp_path / "acts.zarr"


@pytest.fixture
def undisturbed(tmp_path):
    (tmp_path / "new").mkdir()
    record_store(tmp_path / "new" / "acts.zarr", CONTENTS)
    return all_files(tmp_path / "new" / "acts.zarr")


def inodes(path):
    return {file: file.stat().st_ino for file in path.rglob("*") if file.is_file()}


def test_former__is_read_with_a_warning(former, caplog):
    tree = ul.open_activations(former)
    columns = make_columns(CONTENTS)
    for name in LAYERS:
        np.testing.assert_array_equal(tree[name].activation, columns[f"{name}/activation"])
    assert "acts.zarr is of unitlens before 0.3: a shard that was put in the place" in caplog.text
    assert verify_activations(former).whole


def test_former__recorded_again_is_kept_and_checked_from_then_on(former, undisturbed, caplog):
    before = inodes(former)
    record_store(former, CONTENTS)
    assert inodes(former) == before
    assert all_files(former) == undisturbed
    caplog.clear()
    swap(*(former / key for key in SHARDS))
    with pytest.raises(StoreError, match="another than was recorded there"):
        ul.open_activations(former)["relu1"].activation.compute()
    assert "before 0.3" not in caplog.text


def test_former__whose_shards_were_exchanged_is_mended(former, undisturbed):
    swap(*(former / key for key in SHARDS))
    assert {fault.place for fault in verify_activations(former).faults} == set(SHARDS)
    record_store(former, CONTENTS)
    assert all_files(former) == undisturbed


def test_former__with_a_missing_shard_is_mended(former, undisturbed):
    (former / SHARDS[0]).unlink()
    record_store(former, CONTENTS)
    assert all_files(former) == undisturbed


def test_former__without_its_manifest_is_finished_from_its_journal(former, undisturbed):
    former.with_suffix(".json").unlink()
    before = {key: (former / key).stat().st_ino for key in SHARDS}
    record_store(former, CONTENTS)
    assert {key: (former / key).stat().st_ino for key in SHARDS} == before
    assert all_files(former) == undisturbed


def test_former__killed_recording_is_resumed(tmp_path, undisturbed):
    path = tmp_path / "acts.zarr"
    columns = make_columns(CONTENTS)
    with pytest.raises(ZeroDivisionError):
        record_half(path, columns)
    make_former(path)
    kept = inodes(path)
    record_store(path, CONTENTS)
    assert all_files(path) == undisturbed
    complete = [file for file in kept if file.suffix != ".partial"]
    assert {file: file.stat().st_ino for file in complete} == {f: kept[f] for f in complete}


def record_half(path, columns):
    half = {name: values[:250] for name, values in columns.items()}
    with StoreWriter(path, CONTENTS, {"batch_size": 50}, layout=SMALL) as writer:
        for start in range(0, 250, 50):
            writer.append(start, {name: v[start : start + 50] for name, v in half.items()})
        writer._background.drain()
        raise ZeroDivisionError


def test_former__parts_are_merged(tmp_path, undisturbed):
    path = tmp_path / "acts.zarr"
    for number in (1, 2):
        write_part(path, Part(number, 2), contents=CONTENTS)
    make_former(path)
    before = inodes(path)
    merge_activations(path)
    assert inodes(path).items() >= before.items()
    assert all_files(path) == undisturbed


def test_former__parts_that_were_exchanged_are_not_merged(tmp_path):
    path = tmp_path / "acts.zarr"
    for number in (1, 2):
        write_part(path, Part(number, 2), contents=CONTENTS)
    make_former(path)
    swap(*(path / key for key in SHARDS))
    with pytest.raises(StoreError, match=r"c/1/0' of .*, and 1 more is missing or not whole"):
        merge_activations(path)


def test_manifest__checksums_take_eight_digits_a_chunk(tmp_path):
    write_store(tmp_path / "acts.zarr")
    for file in read_manifest(tmp_path / "acts.zarr").files:
        array = file.array
        for shard, checksums in enumerate(file.checksums):
            raw = (tmp_path / "acts.zarr" / array.key(shard)).read_bytes()
            assert len(checksums) == 8 * array.chunk_count(shard)
            pieces = [bytes.fromhex(checksums[i : i + 8]) for i in range(0, len(checksums), 8)]
            assert all(piece in raw for piece in pieces)


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield
