"""Trainings that diverge, meet a full disk, or another process in their directory."""

import logging
import multiprocessing
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from small_trainings import OUTPUTS, run_spec
from unitlens import local_files
from unitlens.errors import ModelError, StoreError, TableError
from unitlens.hashed_files import read_hashed
from unitlens.store.backend.lock import hold_lock
from unitlens.store.backend.netcdf import read_netcdf
from unitlens.training import resume_state
from unitlens.training import train as train_module
from unitlens.training.checkpoints import load_checkpoint, read_record
from unitlens.training.train import train


def test_train__leaves_a_diverged_network_out_where_it_is_told_to(digits, tmp_path, caplog):
    spec = run_spec(learning_rate=1e30, checkpoints=[0])

    for _ in range(2):
        train(spec, digits, tmp_path, failed="skip")

    record = read_record(tmp_path / "checkpoint.json")
    assert record.failed.startswith("the loss after epoch 1 is ")
    assert "failed_runs" not in record.failed
    assert np.isnan([record.train_loss, record.test_accuracy]).all()
    assert caplog.text.count("is left out, for its training failed") == 1
    assert not (tmp_path / "epoch-0000/checkpoint.json").exists()
    assert not (tmp_path / "resume").exists()
    # The rule of Snakemake has three outputs.
    for name in ("checkpoint.safetensors", "history.nc"):
        content = read_hashed(tmp_path / name, error=ModelError, remedy="")
        assert content.decode() == f"left out: {record.failed}\n"
    with pytest.raises(TableError, match=r"history\.nc is no table"):
        read_netcdf(tmp_path / "history.nc")
    with pytest.raises(ModelError, match="has no weights, for its training failed: the loss"):
        load_checkpoint(tmp_path)
    with pytest.raises(ModelError, match=r"lower training\.learning_rate, or set failed_runs to"):
        train(spec, digits, tmp_path, failed="stop")


def test_train__a_failed_training_takes_the_place_of_nothing_older(digits, tmp_path):
    train(run_spec(checkpoints=[1]), digits, tmp_path)

    train(run_spec(learning_rate=1e30, checkpoints=[1]), digits, tmp_path, failed="skip")

    for folder in (tmp_path, tmp_path / "epoch-0001"):
        with pytest.raises(ModelError):
            load_checkpoint(folder)
    train(run_spec(checkpoints=[1]), digits, tmp_path, failed="skip")
    assert load_checkpoint(tmp_path / "epoch-0001")[1].epoch == 1


def _refuse_to_write(monkeypatch, folder, file):
    flush = local_files.flush_to_disk

    def full(path):
        if path.name.startswith(f"{file}.") and path.parent.name == folder:
            raise OSError(28, "No space left on device")
        flush(path)

    monkeypatch.setattr(local_files, "flush_to_disk", full)


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        *(("run", name) for name in OUTPUTS),
        ("resume", "state.pt"),
        *(("epoch-0001", name) for name in OUTPUTS[:2]),
    ],
)
@pytest.mark.parametrize("times", ["first", "again"])
def test_train__tells_a_full_disk_in_one_line(digits, tmp_path, monkeypatch, folder, file, times):
    monkeypatch.setattr(resume_state, "SECONDS_BETWEEN_SAVES", 0.0)
    spec, run = run_spec(checkpoints=[1]), tmp_path / "run"
    train(spec, digits, tmp_path / "expected")
    if times == "again":
        train(run_spec(checkpoints=[1], learning_rate=0.01), digits, run)

    with monkeypatch.context() as patch:
        _refuse_to_write(patch, folder, file)
        with pytest.raises(
            ModelError, match=r"cannot be written \(.*No space left.*run again"
        ) as told:
            train(spec, digits, run)
    assert "\n" not in str(told.value)

    train(spec, digits, run)
    for place in (".", "epoch-0001"):
        ours, expected = (load_checkpoint(root / place)[1] for root in (run, tmp_path / "expected"))
        assert ours == expected


SMALL_FILES = """
import resource, sys
from pathlib import Path
from unitlens.config.networks import RunSpec
from unitlens.errors import UnitlensError
from unitlens.training import resume_state
from unitlens.training.train import train

resume_state.SECONDS_BETWEEN_SAVES = 0.0
spec = RunSpec.model_validate_json(sys.argv[1])
for size in map(int, sys.argv[4:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        train(spec, Path(sys.argv[2]), Path(sys.argv[3]) / str(size))
    except UnitlensError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="sizes of files are limited by Linux")
def test_train__tells_in_one_line_that_the_system_takes_no_more_bytes(digits, tmp_path):
    """The writers of PyTorch, safetensors and HDF5 meet the limit within their own code."""
    spec = run_spec({"name": "mlp", "widths": [16]}, checkpoints=[1])
    sizes = [str(size) for size in (8, 64, 1000, 2000, 4000, 6000, 8000, 11000)]
    process = subprocess.run(
        [sys.executable, "-c", SMALL_FILES, spec.model_dump_json(), digits, tmp_path, *sizes],
        capture_output=True,
        text=True,
        check=False,
    )

    lines = process.stdout.splitlines()
    assert "Traceback" not in process.stderr
    assert len(lines) == len(sizes)
    assert all("cannot be written" in line and "mend this" in line for line in lines)
    for size in sizes:
        train(spec, digits, tmp_path / size)
        assert load_checkpoint(tmp_path / size)[1].epoch == 2


def _hold(place, held, release):
    with hold_lock(place, "it"):
        held.set()
        release.wait(60)


@pytest.fixture
def importable(monkeypatch):
    """Let other processes import this module."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3])


def test_train__fails_naming_the_process_that_trains_the_same(
    digits, tmp_path, monkeypatch, importable
):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / ".train.lock", held, release))
    other.start()
    try:
        assert held.wait(60)
        monkeypatch.setattr(train_module, "hold_lock", partial(hold_lock, wait=0.1))
        with pytest.raises(StoreError, match=f"is being written by process {other.pid} on"):
            train(run_spec(), digits, tmp_path)
    finally:
        release.set()
        other.join(60)

    train(run_spec(), digits, tmp_path)


def _train_and_tell(spec, digits, directory, barrier, told):
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("unitlens").addHandler(handler)
    logging.getLogger("unitlens").setLevel("INFO")
    train_module.hold_lock = partial(hold_lock, wait=60)  # in a process of its own
    barrier.wait(60)
    train(spec, digits, directory)
    told.put(any("not trained again" in message for message in messages))


def test_train__one_of_two_processes_waits_for_the_other(digits, tmp_path, importable):
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(2), context.Queue()
    arguments = (run_spec(checkpoints=[1]), digits, tmp_path, barrier, told)
    processes = [context.Process(target=_train_and_tell, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    found = sorted(told.get(timeout=90) for _ in processes)
    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0, 0]
    assert found == [False, True]
    assert load_checkpoint(tmp_path)[1].epoch == 2
