"""Parts of a recording have disjoint shards, run at the same time, and merge without copying."""

import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unitlens as ul
from recorded_networks import COMPARED, Samples, mlp, record_small
from small_stores import LAYERS, SMALL, all_files, flip, make_contents, write_store
from unitlens.errors import ArgumentError, StoreError
from unitlens.recording import record
from unitlens.recording.forward_passes import Recording
from unitlens.store.backend.lock import only_writer
from unitlens.store.format.decoding import ShardFiles
from unitlens.store.format.layout import manifest_path, plan_arrays
from unitlens.store.format.parts import (
    WHOLE,
    Part,
    find_parts,
    make_part,
)
from unitlens.store.merge import merge_activations
from unitlens.store.verify import verify_activations

TESTS = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def dataset():
    return Samples(600, (12,))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "acts.zarr"


@pytest.fixture
def undisturbed(tmp_path, dataset):
    return all_files(record_small(mlp(), dataset, tmp_path / "whole.zarr", batch_size=7))


def record_part(path, dataset, number, of, **options):
    return record_small(mlp(), dataset, path, batch_size=7, part=(number, of), **options)


@given(st.integers(1, 40), st.integers(1, 12))
def test_parts__each_shard_belongs_to_one_and_none_is_much_larger(samples, of):
    layers = make_contents(layers={"wide": 60, "narrow": 3}).layers
    for array in plan_arrays(layers, samples * 10, "float32", SMALL):
        shards = [Part(number, of).shards(array) for number in range(1, of + 1)]
        assert [s for part in shards for s in part] == list(range(array.shard_count))
        sizes = [len(part) for part in shards]
        assert max(sizes) - min(sizes) <= 1


def test_parts__run_over_nearly_the_same_samples_in_all_arrays():
    layers = make_contents(layers={"wide": 60, "narrow": 3}).layers
    for array in plan_arrays(layers, 4000, "float32", SMALL):
        shards = Part(2, 4).shards(array)
        first, last = array.rows(shards[0]).start, array.rows(shards[-1]).stop
        assert abs(first - 1000) <= array.shards[0] / 2 + 1
        assert abs(last - 2000) <= array.shards[0] / 2 + 1


@pytest.mark.parametrize("part", [(0, 4), (5, 4), (1, 0), (-1, 2)])
def test_parts__there_is_no_such_part(path, dataset, part):
    with pytest.raises(ArgumentError, match=r"part is \(.*\), but must be \(k, K\) with k from 1"):
        ul.record_activations(mlp(), dataset, path, part=part)
    assert not path.exists()


def test_parts__none_is_the_whole():
    assert make_part(None) == make_part((1, 1)) == WHOLE


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_merge__equals_the_store_recorded_in_one_go(path, dataset, undisturbed, order):
    for number in order:
        record_part(path, dataset, number, 3)
    written = {file: file.stat().st_ino for file in path.rglob("c/*") if file.is_file()}
    with pytest.raises(StoreError, match=r"was not recorded to its end"):
        ul.open_activations(path)
    assert ul.merge_activations(str(path)) == path
    assert all_files(path) == undisturbed
    assert {file: file.stat().st_ino for file in written} == written  # nothing is copied
    assert find_parts(path, "journal") == []
    assert verify_activations(path).whole


def test_merge__of_more_parts_than_shards(path, dataset, undisturbed):
    for number in range(1, 31):
        record_part(path, dataset, number, 30)
    merge_activations(path)
    assert all_files(path) == undisturbed


def test_merge__reads_no_shard(path, dataset, undisturbed, monkeypatch):
    for number in (1, 2):
        record_part(path, dataset, number, 2)
    monkeypatch.setattr(ShardFiles, "_read_shard", None)  # a call raises
    merge_activations(path)
    assert all_files(path) == undisturbed


def test_merge__again_where_the_manifest_was_removed(path, dataset, undisturbed):
    """Snakemake removes a declared output before it runs a job again."""
    for number in (1, 2):
        record_part(path, dataset, number, 2)
    merge_activations(path)
    assert merge_activations(path) == path
    path.with_suffix(".json").unlink()
    merge_activations(path)
    assert all_files(path) == undisturbed


def test_part__runs_only_its_batches(path):
    asked = []

    class Asked(Samples):
        identity = "samples"

        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    counts = []
    for number in (1, 2, 3, 4):
        asked.clear()
        record_part(path, Asked(600, (12,)), number, 4)
        counts.append(len(asked) - COMPARED)
    assert max(counts) < 600 / 4 + 2 * 67  # the largest shard has 67 samples
    assert sum(counts) < 600 + 4 * 67


def test_part__finished_store_is_left_as_it_is(path, dataset, monkeypatch):
    record_small(mlp(), dataset, path, batch_size=7)
    before = all_files(path)
    monkeypatch.setattr(record, "StoreWriter", None)
    record_part(path, dataset, 2, 3)
    assert all_files(path) == before


def test_part__takes_over_what_was_recorded_otherwise(path, dataset, undisturbed, monkeypatch):
    """Two of three parts, then four parts, then the rest in one go: no shard is made twice."""
    record_part(path, dataset, 1, 3)
    record_part(path, dataset, 3, 3)
    before = {f: f.stat().st_mtime_ns for f in path.rglob("c/*") if f.is_file()}
    record_part(path, dataset, 2, 4)
    assert [part.of for part in find_parts(path, "journal")] == [4]
    record_small(mlp(), dataset, path, batch_size=7)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert find_parts(path, "journal") == []
    assert all_files(path) == undisturbed


def test_part__of_something_else_starts_over(path, dataset, undisturbed):
    record_part(path, Samples(600, (12,), seed=5), 1, 2)
    record_part(path, Samples(600, (12,), seed=5), 2, 2)
    record_part(path, dataset, 1, 2)
    with pytest.raises(
        StoreError, match=r"the shard '1/activation/c/5/0' of .* more is missing or"
    ):
        merge_activations(path)
    record_part(path, dataset, 2, 2)
    merge_activations(path)
    assert all_files(path) == undisturbed


@pytest.mark.parametrize(
    ("condition", "value"), [("device", "cuda"), ("threads", 7), ("batch_size", 3)]
)
@pytest.mark.parametrize("remedy", ["conditions", "delete"])
def test_part__under_other_conditions_leaves_the_parts_of_other_jobs(
    path, dataset, undisturbed, monkeypatch, condition, value, remedy
):
    record_part(path, dataset, 1, 2)
    before = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    of_here = Recording.conditions
    monkeypatch.setattr(Recording, "conditions", lambda self: {**of_here(self), condition: value})

    with pytest.raises(StoreError, match=f"recorded with {condition} .*, not {value!r}; record"):
        record_part(path, dataset, 2, 2)

    kept = {file: file.read_bytes() for file in before}
    assert kept == before
    if remedy == "delete":
        shutil.rmtree(path)
        record_part(path, dataset, 2, 2)
        record_part(path, dataset, 1, 2)
        return
    monkeypatch.undo()
    record_part(path, dataset, 2, 2)
    ul.merge_activations(path)
    assert all_files(path) == undisturbed


def test_part__of_a_whole_store_is_recorded_under_other_conditions(path, dataset, monkeypatch):
    for number in (1, 2):
        record_part(path, dataset, number, 2)
    merge_activations(path)
    manifest_path(path).unlink()
    of_here = Recording.conditions
    monkeypatch.setattr(Recording, "conditions", lambda self: {**of_here(self), "threads": 7})
    for number in (1, 2):
        record_part(path, dataset, number, 2)
    merge_activations(path)


def test_part__under_other_conditions_replaces_its_own_leftovers(path, dataset, monkeypatch):
    record_part(path, dataset, 1, 2)
    of_here = Recording.conditions
    monkeypatch.setattr(Recording, "conditions", lambda self: {**of_here(self), "threads": 7})

    record_part(path, dataset, 1, 2)
    record_part(path, dataset, 2, 2)
    ul.merge_activations(path)


def test_merge__nothing_recorded(path):
    with pytest.raises(
        StoreError, match=r"nothing of the store .*acts.zarr has been recorded .*rec"
    ):
        merge_activations(path)


def test_merge__damaged_shard_of_the_same_size_is_noticed_when_read(path, dataset, undisturbed):
    for number in (1, 2):
        record_part(path, dataset, number, 2)
    flip(path / "1/activation/c/3/0", 17, 2)
    merge_activations(path)
    with pytest.raises(StoreError, match=r"'1/activation/c/3/0' of .* is damaged"):
        ul.open_activations(path)["1"].activation.compute(scheduler="synchronous")
    ul.repair_activations(mlp(), dataset, path)
    assert all_files(path) == undisturbed


def test_part__damaged_shard_is_recorded_again(path, dataset, undisturbed):
    for number in (1, 2):
        record_part(path, dataset, number, 2)
    flip(path / "1/activation/c/3/0", 17, 2)
    (path / "loss/c/8").unlink()
    with pytest.raises(StoreError, match=r"'loss/c/8' of .*acts.zarr is missing or not whole; rec"):
        merge_activations(path)
    for number in (1, 2):
        record_part(path, dataset, number, 2)
    merge_activations(path)
    assert all_files(path) == undisturbed


# locks


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(record, "only_writer", partial(only_writer, wait=0.05))


def test_lock__two_writers_of_one_part(path, dataset, impatient):
    with only_writer(path, Part(2, 3)) as admit_parts:
        admit_parts()
        with pytest.raises(
            StoreError, match=r"part 2 of 3 of the store .* is being written by pro"
        ):
            record_part(path, dataset, 2, 3)


def test_lock__other_parts_may_write_once_the_hierarchy_stands(path, dataset, impatient):
    record_part(path, dataset, 2, 3)
    with only_writer(path, Part(2, 3)) as admit_parts:
        with pytest.raises(StoreError, match=r"the store .*acts.zarr is being written by process"):
            record_part(path, dataset, 1, 3)
        admit_parts()
        record_part(path, dataset, 1, 3)


@pytest.mark.parametrize("part", [None, (1, 4), (2, 2)])
def test_lock__neither_the_whole_nor_other_divisions(path, dataset, impatient, part):
    with only_writer(path, Part(2, 3)) as admit_parts:
        admit_parts()
        with pytest.raises(
            StoreError, match=r"part 2 of 3 of the store .* is being written by pro"
        ):
            record_small(mlp(), dataset, path, part=part)
    assert not path.exists()


def test_lock__no_part_while_the_whole_is_written(path, dataset, impatient):
    with only_writer(path), pytest.raises(StoreError, match=r"the store .*is being written by"):
        record_part(path, dataset, 1, 3)


def test_lock__a_part_does_not_start_over_what_others_write(path, dataset, impatient):
    other = Samples(600, (12,), seed=5)
    record_part(path, dataset, 1, 3)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with only_writer(path, Part(2, 3)) as admit_parts:
        admit_parts()
        with pytest.raises(
            StoreError, match=r"part 2 of 3 of the store .* is being written by pro"
        ):
            record_part(path, other, 1, 3)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_lock__no_merge_while_a_part_is_written(path, dataset, monkeypatch):
    monkeypatch.setattr("unitlens.store.merge.only_writer", partial(only_writer, wait=0.05))
    for number in (1, 2):
        record_part(path, dataset, number, 2)
    with only_writer(path, Part(2, 2)) as admit_parts:
        admit_parts()
        with pytest.raises(
            StoreError, match=r"part 2 of 2 of the store .* is being written by pro"
        ):
            merge_activations(path)


def start(path, number, of):
    command = [sys.executable, "-m", "small_stores", str(path), str(number), str(of)]
    return subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True)


def test_parts__written_at_the_same_time_and_killed(path, tmp_path):
    """Three processes, two of which are killed at random moments and begin again."""
    write_store(tmp_path / "whole.zarr")
    moments = random.Random(3)
    for number in (1, 2):
        with start(path, number, 3) as killed, start(path, 3, 3) as other:
            assert killed.stdout.readline() == other.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0, 0.3))
            killed.send_signal(signal.SIGKILL)
            assert other.wait() == 0
        with pytest.raises(StoreError, match="is missing or not whole"):
            merge_activations(path)
    with start(path, 1, 3) as one, start(path, 2, 3) as two:
        assert one.wait() == two.wait() == 0
    merge_activations(path)
    assert all_files(path) == all_files(tmp_path / "whole.zarr")
    assert set(LAYERS) == set(ul.open_activations(path).children)
