"""Recording to a location that several results folders share."""

import json
import shutil

import pytest

import unitlens as ul
from small_trainings import run_spec
from unitlens.cli.located_stores import (
    merged_at_location,
    network_path,
    part_at_location,
    recorded_at_location,
)
from unitlens.cli.recording_commands import merge_activations, record_activations, record_part
from unitlens.data.prepare import prepare_dataset
from unitlens.errors import StoreError
from unitlens.store.format.manifest import read_manifest
from unitlens.store.located import named_location
from unitlens.training.train import train

NAME = "digits-mlp-seed1-0123456789ab"
SETTINGS = json.dumps({"dtype": "float32"})
JOB = {"settings": SETTINGS, "code": "now", "threads": 1, "gpu": 0, "gres": "", "log": None}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return two results folders, in which networks of one name have other weights."""
    root = tmp_path_factory.mktemp("trained")
    prepare_dataset(run_spec().dataset, root / "one/datasets/digits", data=root)
    shutil.copytree(root / "one/datasets", root / "two/datasets")
    for folder, rate in (("one", 0.05), ("two", 0.01)):
        spec = run_spec(epochs=1, learning_rate=rate)
        train(spec, root / folder / "datasets/digits", root / folder / NAME)
    return root


@pytest.fixture(autouse=True)
def _no_log(monkeypatch):
    monkeypatch.setattr("unitlens.cli.recording_commands.open_log", lambda _: None)


@pytest.fixture
def folders(trained, tmp_path):
    return [shutil.copytree(trained / name, tmp_path / name) for name in ("one", "two")]


def record(folder, location, *, parts=1):
    job = {
        **JOB,
        "dataset": folder / "datasets/digits/dataset.json",
        "network": folder / NAME,
        "site": json.dumps({"location": str(location)}),
    }
    if parts == 1:
        recorded_at_location(record_activations)(**job)
        return
    for part in range(1, parts + 1):
        output = folder / NAME / f"parts/{part}-of-{parts}.json"
        part_at_location(record_part)(**job, output=output, part=part, of=parts)
    merged = {name: job[name] for name in ("dataset", "network", "settings", "code", "log")}
    merged_at_location(merge_activations)(**merged)


def store_of(folder, split="test"):
    return named_location(read_manifest(folder / NAME / split / "activations.zarr"))


def first_layer(folder):
    acts = ul.open_activations(folder / NAME / "test/activations.zarr")
    return acts[next(iter(acts.children))].activation.values


def test_stores__of_two_results_folders_at_one_location_are_never_exchanged(folders, tmp_path):
    for folder in folders:
        record(folder, tmp_path / "acts")

    for folder in folders:
        store = ul.open_activations(folder / NAME / "test/activations.zarr")
        weights = json.loads((folder / NAME / "checkpoint.json").read_text())["weights_hash"]
        assert store.attrs["weights_hash"] == weights
        assert ul.verify_activations(folder / NAME / "train/activations.zarr").whole
    assert store_of(folders[0]) != store_of(folders[1])
    assert not (first_layer(folders[0]) == first_layer(folders[1])).all()


def test_stores__of_one_network_in_two_results_folders_are_recorded_once(folders, tmp_path):
    copy = shutil.copytree(folders[0], tmp_path / "copy")
    record(folders[0], tmp_path / "acts")
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "acts").rglob("*.json")}

    record(copy, tmp_path / "acts", parts=2)

    assert store_of(copy) == store_of(folders[0])
    assert {file: file.stat().st_mtime_ns for file in written} == written


def test_manifest__of_another_network_gives_no_store(folders, tmp_path):
    """A manifest that names the store of another network, copied or edited by hand, is refused."""
    for folder in folders:
        record(folder, tmp_path / "acts")
    manifest = folders[0] / NAME / "test/activations.json"
    text = manifest.read_text()

    manifest.write_text(text.replace(store_of(folders[0]), store_of(folders[1])))

    with pytest.raises(StoreError, match="has been changed, for its hash is another"):
        ul.open_activations(manifest.with_suffix(".zarr"))


def test_stores__recorded_by_parts_equal_those_of_one_job(folders, tmp_path):
    record(folders[0], tmp_path / "first")
    whole = ul.open_activations(folders[0] / NAME / "train/activations.zarr").compute()
    shutil.rmtree(tmp_path / "first")
    for file in (folders[0] / NAME).glob("*/activations.json"):
        file.unlink()

    record(folders[0], tmp_path / "second", parts=2)

    again = ul.open_activations(folders[0] / NAME / "train/activations.zarr")
    assert again.compute().equals(whole)
    assert store_of(folders[0]).startswith(str(tmp_path / "second" / NAME))


def test_location__of_a_kept_epoch_is_below_that_of_its_run(folders):
    assert network_path(folders[0] / NAME / "epoch-0005").as_posix() == f"{NAME}/epoch-0005"
    assert network_path(folders[0] / NAME).as_posix() == NAME
