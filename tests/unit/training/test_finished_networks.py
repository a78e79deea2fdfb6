"""A finished network is not trained again, and never handed out for another one."""

import hashlib
import json
import os
import shutil
import sys

import numpy as np
import pytest
import xarray as xr

from small_trainings import OUTPUTS, StoppingAfter, finishes, run_spec
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.errors import ModelError
from unitlens.hashed_files import read_trailer, write_json
from unitlens.provenance.digests import code_digest
from unitlens.training.checkpoints import CheckpointRecord, load_checkpoint, read_record
from unitlens.training.history import read_history, write_history
from unitlens.training.network_origin import EARLIER_CODE, NetworkOrigin, hash_texts, specification
from unitlens.training.probes import find_changed_output, probe_outputs, probe_samples
from unitlens.training.train import train

OWN = """
from torch import nn

def network(slope=0.01):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.LeakyReLU({slope}), nn.Linear(12, 10))
"""


# What unitlens 0.2 recorded of a network with torch 2.14, and the hashes beside it.
RECORD_OF_0_2 = {
    "train_loss": 0.26848267703198825,
    "train_accuracy": 0.9213639526791928,
    "test_loss": 0.3055959761087757,
    "test_accuracy": 0.8972222222222223,
    "input_shape": [1, 8, 8],
    "classes": 10,
    "epoch": 3,
    "dataset_identity": "b91ebffb2ecda2c2b79898710dc26ef71e2979ef89ad2bf37f18a58028e9df96",
    "weights_hash": "5b210d623fca5d9bf77f6ebfadffeea3a36e55a961357b4fc4d4d85a7e233d63",
    "versions": {"python": "3.11.7", "torch": "2.14.1+cu130", "unitlens": "0.2.0"},
    "origin": "618121c09ed74697192482e882f31f2771027b5e160919f71b8bdfd0dc095dc5",
}
TEST_SET_OF_0_2 = "451acebea99ff440726ebd1473592b82621069095c0e37632e1873e2a9b1468a"
FIRST_WEIGHTS_OF_0_2 = "7f08950dacf33fea2771ed4a596380c48249bb36d2f88d081eea68bdc988c434"


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Return a function that writes the user's module, with a slope for its leaky ReLU."""
    monkeypatch.chdir(tmp_path)

    def write(slope):
        (tmp_path / "my_finished.py").write_text(OWN.replace("{slope}", str(slope)))
        sys.modules.pop("my_finished", None)

    yield write
    sys.modules.pop("my_finished", None)


def as_written_by(version, directory, spec, digits, code, user_code=""):
    """Rewrite the files of a network as unitlens 0.1 or 0.2 wrote them."""
    for record_file in directory.rglob("checkpoint.json"):
        values = json.loads(record_file.read_text())
        for key in ("hash", "origin_parts", "probes", "failed", "origin"):
            values.pop(key)
        if version == "0.2":
            splits = [load_dataset(digits, split).identity for split in ("train", "test")]
            first = read_record(record_file).origin_parts["first_weights"]
            values["origin"] = hash_texts(specification(spec), *splits, first, code + user_code)
        record_file.write_text(json.dumps(values))
    history = directory / "history.nc"
    table = xr.load_dataset(history, engine="h5netcdf")
    history.unlink()
    table.to_netcdf(history, engine="h5netcdf")


def test_train__takes_a_network_that_unitlens_0_8_has_trained(digits, tmp_path, untrainable):
    """The digest of the code that trained it stands in its record."""
    spec = run_spec(checkpoints=[0, 1])
    train(spec, digits, tmp_path, code="b8606ea81666")
    before = (tmp_path / "checkpoint.json").read_bytes()
    untrainable()

    train(spec, digits, tmp_path, code=code_digest("train"))

    assert (tmp_path / "checkpoint.json").read_bytes() == before


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_train__takes_over_a_network_of_an_earlier_version(digits, tmp_path, untrainable, version):
    spec = run_spec(checkpoints=[1])
    train(spec, digits, tmp_path, code="now")
    before = read_record(tmp_path / "checkpoint.json")
    as_written_by(version, tmp_path, spec, digits, EARLIER_CODE[0])
    untrainable()

    train(spec, digits, tmp_path, code="now")

    assert read_record(tmp_path / "checkpoint.json") == before
    assert read_record(tmp_path / "epoch-0001/checkpoint.json").probes


def test_train__takes_over_a_users_network_of_the_version_before(
    digits, tmp_path, untrainable, own_module
):
    own_module(0.01)
    digest = hashlib.sha256((tmp_path / "my_finished.py").read_bytes()).hexdigest()[:12]
    spec = run_spec({"name": "my_finished:network"})
    train(spec, digits, tmp_path / "run", code="now", user_code="u1")
    as_written_by("0.2", tmp_path / "run", spec, digits, EARLIER_CODE[0], digest)
    untrainable()

    train(spec, digits, tmp_path / "run", code="now", user_code="u1")


def test_origin__is_that_which_unitlens_0_2_recorded():
    """The hash was written by unitlens 0.2 for this run of the data set digits."""
    spec = run_spec(epochs=3, checkpoints=[1])
    record = CheckpointRecord.model_validate({**RECORD_OF_0_2, "spec": spec.model_dump()})
    splits = record.dataset_identity, TEST_SET_OF_0_2

    def difference(spec=spec, splits=splits, first_weights=FIRST_WEIGHTS_OF_0_2):
        origin = NetworkOrigin(spec, *splits, first_weights=first_weights, code="of this version")
        return origin.find_difference(record)

    assert difference() is None
    assert difference(run_spec(epochs=3)) is None  # kept epochs change no weights
    changed = "what it was made from"
    assert difference(run_spec(epochs=4)) == changed
    assert difference(splits=splits[::-1]) == changed
    assert difference(first_weights="") == changed


def test_train__trains_again_where_an_earlier_version_had_other_code(digits, tmp_path, caplog):
    spec = run_spec()
    train(spec, digits, tmp_path, code="now")
    as_written_by("0.2", tmp_path, spec, digits, "0123456789ab")

    with caplog.at_level("INFO", "unitlens"):
        train(spec, digits, tmp_path, code="now")

    assert "what it was made from has changed: it is trained again" in caplog.text


def test_train__trains_again_where_a_record_of_an_earlier_version_has_another_loss(
    digits, tmp_path, caplog
):
    """Such a record has no hash: its losses are computed again."""
    spec = run_spec()
    train(spec, digits, tmp_path, code="now")
    before = read_record(tmp_path / "checkpoint.json")
    as_written_by("0.2", tmp_path, spec, digits, EARLIER_CODE[0])
    path = tmp_path / "checkpoint.json"
    path.write_text(path.read_text().replace(f"{before.test_loss}", f"{before.test_loss / 2}"))

    with caplog.at_level("INFO", "unitlens"):
        train(spec, digits, tmp_path, code="now")

    assert f"has a loss of {before.test_loss:.6g} now, but its record says" in caplog.text
    assert read_record(path) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"code": "b2"}, "the code of the training"),
        ({"user_code": "b2"}, "the code of the user's function"),
        ({"spec": {"learning_rate": 0.06}}, "its specification"),
        ({"data": 500}, "the training set"),
    ],
)
def test_train__says_why_it_trains_again(digits, tmp_path, caplog, change, words):
    train(run_spec(), digits, tmp_path / "run", code="a1", user_code="a1")
    data = digits
    if "data" in change:
        data = tmp_path / "data"
        spec = run_spec().dataset.model_copy(update={"train_samples": change["data"]})
        prepare_dataset(spec, data, data=data)
    codes = {key: change.get(key, "a1") for key in ("code", "user_code")}

    with caplog.at_level("INFO", "unitlens"):
        train(run_spec(**change.get("spec", {})), data, tmp_path / "run", **codes)

    assert f"{words} has changed: it is trained again" in caplog.text


@pytest.mark.parametrize("change", ["another epoch", "another training"])
def test_train__trains_again_where_a_kept_epoch_is_not_the_one(digits, tmp_path, change):
    spec, run = run_spec(checkpoints=[0, 1]), tmp_path / "run"
    train(spec, digits, run)
    expected = load_checkpoint(run / "epoch-0001")[1]
    source = run / "epoch-0000"
    if change == "another training":
        train(run_spec(learning_rate=0.01, checkpoints=[1]), digits, tmp_path / "other")
        source = tmp_path / "other/epoch-0001"
    shutil.rmtree(run / "epoch-0001")
    shutil.copytree(source, run / "epoch-0001")

    train(spec, digits, run)

    assert load_checkpoint(run / "epoch-0001")[1] == expected


@pytest.mark.parametrize("folder", [".", "epoch-0001"])
@pytest.mark.parametrize("file", ["checkpoint.json", "checkpoint.safetensors"])
def test_checkpoint__the_remedy_of_a_damaged_network_works(digits, tmp_path, folder, file):
    spec, place = run_spec(checkpoints=[1]), tmp_path / folder
    train(spec, digits, tmp_path)
    expected = load_checkpoint(place)[1]
    raw = bytearray((place / file).read_bytes())
    raw[len(raw) // 2] ^= 1
    (place / file).write_bytes(raw)
    with pytest.raises(ModelError, match=r"remove checkpoint\.json and run snakemake again"):
        load_checkpoint(place)

    (place / "checkpoint.json").unlink()
    train(spec, digits, tmp_path)

    assert load_checkpoint(place)[1] == expected


def test_history__tells_its_network(digits, tmp_path, caplog):
    train(run_spec(), digits, tmp_path)
    record = read_record(tmp_path / "checkpoint.json")
    scores = read_history(tmp_path, record)
    inputs = read_trailer(tmp_path / "history.nc").provenance["inputs"]
    assert inputs == {"weights": record.weights_hash}
    other = record.model_copy(update={"weights_hash": "of another network"})
    write_history(tmp_path, scores, other)

    with caplog.at_level("INFO", "unitlens"):
        train(run_spec(), digits, tmp_path)

    assert "history.nc are those of another network" in caplog.text
    assert read_trailer(tmp_path / "history.nc").provenance["inputs"] == inputs


NAME = "digits-mlp-seed0-0123456789ab"


def leave_former_folder(digits, parent, spec):
    """Train into the folder of the former name; return it, and the directory of the run."""
    former, directory = parent / NAME[:-6], parent / NAME
    train(spec, digits, former, code="now")
    (former / "train").mkdir()
    (former / "train/activations.json").write_text("{}")
    (directory / "train").mkdir(parents=True)  # as Snakemake makes it
    return former, directory


def test_train__adopts_the_folder_of_the_former_name(digits, tmp_path, untrainable, caplog):
    spec = run_spec(checkpoints=[1])
    former, directory = leave_former_folder(digits, tmp_path, spec)
    before = read_record(former / "checkpoint.json")
    untrainable()

    with caplog.at_level("INFO", "unitlens"):
        train(spec, digits, directory, code="now")

    assert f"{directory} is adopted from {former}" in caplog.text
    assert not former.exists()
    assert read_record(directory / "checkpoint.json") == before
    assert (directory / "train/activations.json").is_file()
    assert load_checkpoint(directory / "epoch-0001")[1].epoch == 1


def test_train__copies_what_cannot_have_two_names(digits, tmp_path, untrainable, monkeypatch):
    former, directory = leave_former_folder(digits, tmp_path, run_spec())
    before = read_record(former / "checkpoint.json")
    untrainable()

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    train(run_spec(), digits, directory, code="now")

    assert not former.exists()
    assert load_checkpoint(directory)[1] == before


@pytest.mark.parametrize("removed", [(), OUTPUTS], ids=["killed", "failed"])
def test_train__finishes_an_adoption_that_was_stopped_anywhere(
    digits, tmp_path, untrainable, monkeypatch, removed
):
    """Snakemake removes the outputs of a job that fails, and leaves them where it is killed too."""
    spec = run_spec(checkpoints=[1])
    trained = leave_former_folder(digits, tmp_path / "trained", spec)[0]
    before = read_record(trained / "checkpoint.json")
    untrainable()
    stopped, count = True, 0
    while stopped:
        former, directory = (tmp_path / str(count) / name for name in (NAME[:-6], NAME))
        shutil.copytree(trained, former)
        with StoppingAfter(count, names=("replace", "link", "rmdir")) as operations:
            stopped = not finishes(spec, digits, directory)
        for name in removed if stopped else ():
            (directory / name).unlink(missing_ok=True)
        count += 1
        if removed and not (former / "checkpoint.json").exists():
            continue  # nothing but the end of the process is left to do

        train(spec, digits, directory, code="now")

        assert not former.exists() or not any(former.iterdir())
        assert load_checkpoint(directory)[1] == before
        assert load_checkpoint(directory / "epoch-0001")[1].epoch == 1
        assert (directory / "train/activations.json").is_file()
    assert len(operations) > 8


def test_train__adopts_no_other_network(digits, tmp_path):
    train(run_spec(learning_rate=0.01), digits, tmp_path / NAME[:-6], code="now")

    train(run_spec(), digits, tmp_path / NAME, code="now")
    train(run_spec(), digits, tmp_path / NAME, code="now")

    assert read_record(tmp_path / NAME / "checkpoint.json").spec == run_spec()
    assert load_checkpoint(tmp_path / NAME[:-6])[1].spec == run_spec(learning_rate=0.01)


def test_train__notices_that_the_network_puts_out_other_values(
    digits, tmp_path, own_module, caplog
):
    """Only the code of the user's function changes: the weights of the checkpoint still fit."""
    spec = run_spec({"name": "my_finished:network"})
    own_module(0.01)
    train(spec, digits, tmp_path / "run")
    own_module(0.5)
    model, record = load_checkpoint(tmp_path / "run")
    test_set = load_dataset(digits, "test")
    rows = probe_samples(test_set)
    now, then = probe_outputs(model, test_set), record.probes

    changed = find_changed_output(model, test_set, record.probes)
    with caplog.at_level("INFO", "unitlens"):
        train(spec, digits, tmp_path / "run")

    sample, logit = (
        int(changed.split("sample ")[1].split()[0]),
        int(changed.split("logit ")[1].split()[0]),
    )
    row = rows.index(sample)
    assert f"is {now[row][logit]:.6g}, but was {then[row][logit]:.6g}" in changed
    assert "puts out other values" in caplog.text
    assert read_record(tmp_path / "run/checkpoint.json").probes != then


@pytest.mark.parametrize(
    "file", [*OUTPUTS, "epoch-0001/checkpoint.json", "epoch-0001/checkpoint.safetensors"]
)
def test_checkpoint__damage_is_noticed_everywhere(digits, tmp_path, file):
    train(run_spec(checkpoints=[1]), digits, tmp_path)
    path, generator = tmp_path / file, np.random.default_rng(0)
    whole = path.read_bytes()

    def read():
        record = load_checkpoint(tmp_path)[1]
        return record, load_checkpoint(tmp_path / "epoch-0001")[1], read_history(tmp_path, record)

    before = read()
    for case in range(60):
        raw = bytearray(whole)
        place = int(generator.integers(len(raw)))
        if case % 3 == 0:
            raw[place:] = b""
        else:
            raw[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(raw)
        try:
            found = read()
        except ModelError as error:
            found = str(error)
        assert found == before or "\n" not in found
        assert found == before or str(path) in found or file == "checkpoint.safetensors"


def test_record__written_without_a_hash_is_refused(digits, tmp_path):
    train(run_spec(), digits, tmp_path)
    path = tmp_path / "checkpoint.json"
    values = json.loads(path.read_text())
    del values["hash"]
    path.write_text(json.dumps(values))
    with pytest.raises(ModelError, match="has no hash"):
        load_checkpoint(tmp_path)
    write_json(path, values)
    assert load_checkpoint(tmp_path)[1].epoch == 2
