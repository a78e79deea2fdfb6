"""A finished network is not trained again, and never handed out for another one."""

import json
import multiprocessing
import re
import shutil
import sys
import warnings

import pytest
import xarray as xr

from unitlens.config.networks import RunSpec
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.errors import ModelError, StoreError
from unitlens.hashed_files import write_json
from unitlens.store.backend.lock import hold_lock
from unitlens.training import train as train_module
from unitlens.training.checkpoints import load_checkpoint, read_record
from unitlens.training.network_origin import EARLIER_CODE, hash_texts, specification
from unitlens.training.probes import find_changed_output, probe_outputs, probe_samples
from unitlens.training.resume_state import ResumeFolder
from unitlens.training.train import train

OWN = """
from torch import nn

def network(slope=0.01):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.LeakyReLU({slope}), nn.Linear(12, 10))
"""


def run_spec(model=None, **training):
    return RunSpec.model_validate(
        {
            "dataset": {"name": "digits"},
            "model": model or {"name": "mlp", "widths": [16]},
            "training": {"epochs": 2, "learning_rate": 0.05, **training},
        }
    )


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    directory = tmp_path_factory.mktemp("digits-of-finished")
    prepare_dataset(run_spec().dataset, directory, data=directory)
    return directory


@pytest.fixture
def untrainable(monkeypatch):
    """Return a function after whose call training fails, so that a success has trained nothing."""

    def refuse(*_, **__):
        pytest.fail("trained again")

    return lambda: monkeypatch.setattr(train_module, "run_epoch", refuse)


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
    import hashlib

    own_module(0.01)
    digest = hashlib.sha256((tmp_path / "my_finished.py").read_bytes()).hexdigest()[:12]
    spec = run_spec({"name": "my_finished:network"})
    train(spec, digits, tmp_path / "run", code="now", user_code="u1")
    as_written_by("0.2", tmp_path / "run", spec, digits, EARLIER_CODE[0], digest)
    untrainable()

    train(spec, digits, tmp_path / "run", code="now", user_code="u1")


def test_train__trains_again_where_an_earlier_version_had_other_code(digits, tmp_path, caplog):
    spec = run_spec()
    train(spec, digits, tmp_path, code="now")
    as_written_by("0.2", tmp_path, spec, digits, "0123456789ab")

    with caplog.at_level("INFO", "unitlens"):
        train(spec, digits, tmp_path, code="now")

    assert "what it was made from has changed: it is trained again" in caplog.text


@pytest.mark.parametrize("killed_after", [None, 1, 3])
def test_train__adopts_the_folder_of_the_former_name(
    digits, tmp_path, untrainable, monkeypatch, killed_after
):
    spec, name = run_spec(checkpoints=[1]), "digits-mlp-seed0-0123456789ab"
    former, directory = tmp_path / name[:-6], tmp_path / name
    train(spec, digits, former, code="now")
    (former / "train").mkdir()
    (former / "train/activations.json").write_text("{}")
    before = read_record(former / "checkpoint.json")
    (directory / "train").mkdir(parents=True)  # as Snakemake makes it
    untrainable()
    if killed_after is not None:
        _stop_renaming_after(monkeypatch, killed_after)
        with pytest.raises(InterruptedError):
            train(spec, digits, directory, code="now")
        monkeypatch.undo()
        untrainable()

    train(spec, digits, directory, code="now")

    assert not former.exists()
    assert read_record(directory / "checkpoint.json") == before
    assert (directory / "train/activations.json").is_file()
    assert load_checkpoint(directory / "epoch-0001")[1].epoch == 1


def _stop_renaming_after(monkeypatch, count):
    from pathlib import Path

    replace, left = Path.replace, [count]

    def limited(path, target):
        if path.suffix != ".partial":
            left[0] -= 1
            if left[0] < 0:
                raise InterruptedError("killed")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", limited)


def test_train__adopts_no_other_network(digits, tmp_path):
    name = "digits-mlp-seed0-0123456789ab"
    train(run_spec(learning_rate=0.01), digits, tmp_path / name[:-6], code="now")

    train(run_spec(), digits, tmp_path / name, code="now")

    assert read_record(tmp_path / name / "checkpoint.json").spec == run_spec()
    assert (tmp_path / name[:-6] / "checkpoint.json").is_file()


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


def test_probe_outputs__are_the_logits_of_the_model_and_leave_it_as_it_was(digits, tmp_path):
    train(run_spec(), digits, tmp_path)
    model, record = load_checkpoint(tmp_path)
    test_set = load_dataset(digits, "test")
    inputs, _ = test_set.batch(probe_samples(test_set))
    model.train()

    assert probe_outputs(model, test_set) == record.probes
    assert model.training
    assert record.probes == pytest.approx(model.eval()(inputs).detach().numpy(), abs=1e-6)
    assert find_changed_output(model, test_set, record.probes) is None


# the state to resume from


def test_train__starts_over_from_a_damaged_state_with_a_warning(digits, tmp_path, caplog):
    _leave_state(digits, tmp_path)
    state = tmp_path / "resume/state.pt"
    raw = bytearray(state.read_bytes())
    raw[len(raw) // 3] ^= 4
    state.write_bytes(raw)

    train(run_spec(checkpoints=[0]), digits, tmp_path)

    assert "is damaged: its content differs from what was written; the training starts" in (
        caplog.text
    )
    assert load_checkpoint(tmp_path)[1].epoch == 2


@pytest.mark.parametrize("lost", ["epoch-0000/checkpoint.json", "epoch-0000"])
def test_train__starts_over_where_a_kept_epoch_is_lost(digits, tmp_path, caplog, lost):
    _leave_state(digits, tmp_path)
    path = tmp_path / "resume" / lost
    path.unlink() if path.is_file() else shutil.rmtree(path)

    train(run_spec(checkpoints=[0]), digits, tmp_path)

    assert "lacks the network of epoch-0000" in caplog.text
    assert load_checkpoint(tmp_path / "epoch-0000")[1].epoch == 0


def _leave_state(digits, directory):
    """Train one epoch of two, as if the training was killed then."""
    from unitlens.training import resume_state

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume_state, "SECONDS_BETWEEN_SAVES", 0.0)
        patch.setattr(train_module, "write_history", _kill)
        with pytest.raises(InterruptedError):
            train(run_spec(checkpoints=[0]), digits, directory)
    assert (directory / "resume/state.pt").is_file()


def _kill(*_):
    raise InterruptedError("killed")


@pytest.mark.parametrize("removals", range(4))
def test_train__finishes_after_a_kill_while_the_state_is_removed(
    digits, tmp_path, monkeypatch, removals
):
    import os

    unlink, left = os.unlink, [removals]

    def limited(path, *arguments, **options):
        if "state.pt" in str(path) or "dir_fd" in options:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        return unlink(path, *arguments, **options)

    spec = run_spec(checkpoints=[0, 1])
    monkeypatch.setattr(os, "unlink", limited)
    with pytest.raises(KeyboardInterrupt):
        _train_and_remove(spec, digits, tmp_path)
    monkeypatch.undo()
    (tmp_path / "checkpoint.json").unlink(missing_ok=True)  # as Snakemake does after a kill

    train(spec, digits, tmp_path)

    assert load_checkpoint(tmp_path / "epoch-0001")[1].epoch == 1


def _train_and_remove(spec, digits, directory):
    train(spec, digits, directory)
    ResumeFolder(directory, "").remove()
    raise KeyboardInterrupt


# failures


def test_train__leaves_a_diverged_network_out_where_it_is_told_to(digits, tmp_path, caplog):
    spec = run_spec(learning_rate=1e30)

    train(spec, digits, tmp_path, failed="skip")
    train(spec, digits, tmp_path, failed="skip")

    record = read_record(tmp_path / "checkpoint.json")
    assert record.failed.startswith("the loss after epoch 1 is ")
    assert caplog.text.count("is left out, for its training failed") == 1
    with pytest.raises(ModelError, match="has no weights, for its training failed"):
        load_checkpoint(tmp_path)
    with pytest.raises(ModelError, match="or set failed_runs to skip"):
        train(spec, digits, tmp_path, failed="stop")


@pytest.mark.parametrize("file", ["checkpoint.json", "checkpoint.safetensors", "history.nc"])
def test_train__tells_a_full_disk_in_one_line(digits, tmp_path, monkeypatch, file):
    from unitlens import local_files

    flush = local_files.flush_to_disk

    def full(path):
        if path.name.startswith(f"{file}."):
            raise OSError(28, "No space left on device")
        flush(path)

    monkeypatch.setattr(local_files, "flush_to_disk", full)
    with pytest.raises(ModelError, match=r"cannot be written \(.*No space left.*run again"):
        train(run_spec(), digits, tmp_path)
    monkeypatch.undo()

    train(run_spec(), digits, tmp_path)
    assert load_checkpoint(tmp_path)[1].epoch == 2


def _hold(place, held, release):
    with hold_lock(place, "it"):
        held.set()
        release.wait(60)


def test_train__fails_naming_the_process_that_trains_the_same(digits, tmp_path, monkeypatch):
    from unitlens.store.backend import lock

    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / ".train.lock", held, release))
    other.start()
    try:
        assert held.wait(60)
        monkeypatch.setattr(lock.hold_lock.__wrapped__, "__kwdefaults__", {"wait": 0.1})
        with pytest.raises(StoreError, match=f"is being written by process {other.pid} on"):
            train(run_spec(), digits, tmp_path)
    finally:
        release.set()
        other.join(60)

    train(run_spec(), digits, tmp_path)


@pytest.mark.parametrize("file", ["checkpoint.json", "checkpoint.safetensors", "history.nc"])
def test_checkpoint__a_flipped_bit_is_noticed_everywhere(digits, tmp_path, file):
    import numpy as np

    train(run_spec(), digits, tmp_path)
    path, generator = tmp_path / file, np.random.default_rng(0)
    whole = path.read_bytes()
    from unitlens.training.history import read_history

    before = (read_history(tmp_path), load_checkpoint(tmp_path)[1])
    noticed = 0
    for _ in range(40):
        raw = bytearray(whole)
        raw[generator.integers(len(raw))] ^= 1 << int(generator.integers(8))
        path.write_bytes(raw)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                found = (read_history(tmp_path), load_checkpoint(tmp_path)[1])
            except ModelError:
                noticed += 1
            else:
                assert found == before
    assert noticed > 30


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
