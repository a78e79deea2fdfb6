"""Repairing records the bad shards of a store again, no others, and restores every byte."""

import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import unitlens as ul
from recorded_networks import COMPARED, Samples, convnet, mlp, record_small
from small_stores import all_files, flip
from unitlens.errors import StoreError
from unitlens.recording import forward_passes, repair
from unitlens.recording.repair import repair_activations
from unitlens.store.backend.lock import only_writer
from unitlens.store.format.manifest import read_manifest, write_manifest
from unitlens.store.verify import verify_activations


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Asked(Samples):
    """A data set that notes the samples asked for."""

    def __init__(self, *args):
        super().__init__(*args)
        self.identity, self.asked = "samples", []

    def __getitem__(self, index):
        self.asked.append(index)
        return super().__getitem__(index)


@pytest.fixture(scope="module")
def dataset():
    return Asked(600, (12,))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, dataset):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("recorded") / "acts.zarr"
    record_small(mlp(), dataset, path, batch_size=7)
    torch.set_num_threads(threads)
    return path


@pytest.fixture
def path(tmp_path, recorded):
    for suffix in (".json", ".journal"):
        shutil.copy2(recorded.with_suffix(suffix), tmp_path)
    return shutil.copytree(recorded, tmp_path / recorded.name)


def rows_of(path, name, shard):
    (array,) = [f.array for f in read_manifest(path).files if f.array.path == name]
    return array.rows(shard)


def test_repair__records_just_the_bad_shards_again(path, dataset):
    before = all_files(path)
    spans = [rows_of(path, "1/activation", 3), rows_of(path, "4/activation", 6)]
    spans.append(rows_of(path, "label", 5))
    (path / "1/activation/c/3/0").unlink()
    flip(path / "4/activation/c/6/0", 11, 3)
    shard = path / "label/c/5"
    shard.write_bytes(shard.read_bytes()[:-1])
    kept = {file: file.stat().st_mtime_ns for file in path.rglob("activation/c/*/0")}
    dataset.asked.clear()

    report = ul.repair_activations(mlp(), dataset, path)

    assert sorted(fault.place for fault in report.faults) == [
        "1/activation/c/3/0",
        "4/activation/c/6/0",
        "label/c/5",
    ]
    assert all_files(path) == before
    batches = {sample // 7 for span in spans for sample in range(span.start, span.stop)}
    run = [i for i in range(600) if i // 7 in batches]
    assert dataset.asked[-len(run) :] == run
    assert len(dataset.asked) <= len(run) + COMPARED
    touched = {f for f, when in kept.items() if f.stat().st_mtime_ns != when}
    assert touched == {path / "4/activation/c/6/0"}


@pytest.mark.parametrize(
    "name",
    ["zarr.json", "1/zarr.json", "4/activation/zarr.json", "loss/zarr.json", "1/minimum/c/0"],
)
@pytest.mark.parametrize("fault", ["flipped", "missing"])
def test_repair__metadata_and_ranges_run_few_samples(path, dataset, name, fault):
    before = all_files(path)
    flip(path / name, 20, 1) if fault == "flipped" else (path / name).unlink()
    dataset.asked.clear()
    report = repair_activations(mlp(), dataset, path)
    assert [f.place for f in report.faults] == [name]
    assert len(dataset.asked) <= COMPARED
    assert all_files(path) == before


def test_repair__damaged_manifest_is_made_from_the_journal(path, dataset):
    before = all_files(path)
    flip(path.with_suffix(".json"), 400, 2)
    (path / "1/activation/c/3/0").unlink()
    report = repair_activations(mlp(), dataset, path)
    assert [f.place for f in report.faults] == ["acts.json", "1/activation/c/3/0"]
    assert all_files(path) == before


def test_repair__without_a_journal(path, dataset):
    before = all_files(path)
    path.with_suffix(".journal").unlink()
    (path / "1/activation/c/3/0").unlink()
    repair_activations(mlp(), dataset, path)
    assert all_files(path) == before


def test_repair__whole_store_is_not_touched(path, dataset, monkeypatch):
    monkeypatch.setattr(forward_passes.Recording, "fill", None)
    before = all_files(path)
    assert repair_activations(mlp(), dataset, path).whole
    assert all_files(path) == before


def test_repair__computes_with_the_threads_of_the_recording(path, dataset):
    before = all_files(path)
    (path / "1/activation/c/3/0").unlink()
    torch.set_num_threads(2)
    repair_activations(mlp(), dataset, path)
    assert torch.get_num_threads() == 2
    assert all_files(path) == before


def test_repair__of_chosen_layers_and_another_reduction(tmp_path):
    data, path = Samples(120, (3, 8, 8)), tmp_path / "acts.zarr"
    record_small(convnet(), data, path, batch_size=16, layers=["5"], reduce="max", dtype="float16")
    before = all_files(path)
    (path / "5/activation/c/0/0").unlink()
    assert not repair_activations(convnet(), data, path).whole
    assert all_files(path) == before


def test_repair__killed_repair_is_repaired(path, dataset, monkeypatch):
    before = all_files(path)
    (path / "1/activation/c/3/0").unlink()
    (path / "1/activation/c/9/0").unlink()

    class PoweredOffError(Exception):
        pass

    def dying(batches, *_, **__):
        for number, batch in enumerate(batches):
            if number == 12:
                raise PoweredOffError
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(forward_passes, "track", dying)
        with pytest.raises(PoweredOffError):
            repair_activations(mlp(), dataset, path)
    with pytest.raises(StoreError, match="is missing; record again"):
        ul.open_activations(path)
    report = repair_activations(mlp(), dataset, path)
    assert [fault.place for fault in report.faults] == ["1/activation/c/9/0"]
    assert all_files(path) == before


def test_repair__refuses_another_model(path, dataset):
    (path / "1/activation/c/3/0").unlink()
    before = all_files(path)
    model = mlp()
    nn.init.zeros_(model[0].bias)
    with pytest.raises(
        StoreError, match=r"acts.zarr was recorded from other weights, whose .*; repair it with th"
    ):
        repair_activations(model, dataset, path)
    assert all_files(path) == before


def test_repair__refuses_other_data(path):
    (path / "1/activation/c/3/0").unlink()
    before = all_files(path)
    with pytest.raises(
        StoreError, match=r"from other data, whose dataset_identity is 'samples', not"
    ):
        repair_activations(mlp(), Samples(600, (12,)), path)
    assert all_files(path) == before


def test_repair__refuses_fewer_samples_of_the_same_name(path):
    (path / "1/activation/c/3/0").unlink()
    before = all_files(path)
    with pytest.raises(StoreError, match=r"something else, whose samples is 600, not 599; repair"):
        repair_activations(mlp(), Asked(599, (12,)), path)
    assert {**all_files(path)} == before


def test_repair__refuses_values_that_come_out_differently(path):
    """The data set has the same identity, but another value at a sample that is not compared."""
    span = rows_of(path, "1/activation", 3)
    (path / "1/activation/c/3/0").unlink()
    other = Asked(600, (12,))
    other.inputs[span.start + 1] += 1
    with pytest.raises(
        StoreError,
        match=r"the shard '1/activation/c/3/0' of .*acts.zarr, made again, holds other v",
    ):
        repair_activations(mlp(), other, path)
    assert [str(f) for f in verify_activations(path).faults] == [
        "the shard '1/activation/c/3/0' is missing"
    ]


def test_repair__refuses_the_manifest_of_another_store(path, dataset, tmp_path):
    other = record_small(mlp(), dataset, tmp_path / "b.zarr", batch_size=7, reduce="max")
    path.with_suffix(".json").write_bytes(other.with_suffix(".json").read_bytes())
    before = all_files(path)
    expected = r"acts.json is the manifest of another store than .*acts.zarr; put its own back, or"
    for _ in range(2):
        with pytest.raises(StoreError, match=expected):
            repair_activations(mlp(), dataset, path)
        # Without a journal, the metadata of the store tells the same.
        path.with_suffix(".journal").unlink(missing_ok=True)
    assert all_files(path) == before


def test_repair__refuses_metadata_that_it_cannot_make_again(path, dataset):
    manifest = read_manifest(path)
    (path / "loss/zarr.json").write_text("{}")
    files = tuple(
        replace(f, metadata_hash="0" * 64) if f.array.path == "loss" else f for f in manifest.files
    )
    write_manifest(path, replace(manifest, files=files))
    with pytest.raises(StoreError, match=r"cannot be made again as they were, .*record it anew"):
        repair_activations(mlp(), dataset, path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_repair__of_a_recording_on_a_gpu_that_is_not_here(path, dataset):
    before = all_files(path)
    manifest = read_manifest(path)
    write_manifest(path, replace(manifest, conditions={**manifest.conditions, "device": "cuda"}))
    (path / "1/activation/c/3/0").unlink()
    with pytest.raises(StoreError, match=r"recorded on cuda, but there is no GPU here .*; repair"):
        repair_activations(mlp(), dataset, path)
    repair_activations(mlp(), dataset, path, device="cpu")
    after = all_files(path)
    assert {**after, "manifest": None} == {**before, "manifest": None}


def test_repair__something_else_at_the_manifests_place_is_not_overwritten(path, dataset):
    path.with_suffix(".json").write_text('{"mine": 1}')
    with pytest.raises(StoreError, match=r"acts.json is not the manifest of an activation store"):
        repair_activations(mlp(), dataset, path)
    assert json.loads(path.with_suffix(".json").read_text()) == {"mine": 1}


def test_repair__unfinished_store(path, dataset):
    path.with_suffix(".json").unlink()
    with pytest.raises(StoreError, match=r"was not recorded to its end .*record again: it resumes"):
        repair_activations(mlp(), dataset, path)


def test_repair__store_that_is_being_written(path, dataset, monkeypatch):
    monkeypatch.setattr(repair, "only_writer", partial(only_writer, wait=0.05))
    with only_writer(path), pytest.raises(StoreError, match=r"is being written by process \d+ on"):
        repair_activations(mlp(), dataset, path)


def test_repair__numbers_are_those_of_the_network(path, dataset):
    (path / "4/activation/c/0/0").unlink()
    repair_activations(mlp(), dataset, path)
    expected = mlp().eval()[:5](dataset.inputs).detach()
    np.testing.assert_allclose(
        ul.open_activations(path)["4"].activation, expected, rtol=1e-5, atol=1e-6
    )
