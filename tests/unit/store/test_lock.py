import os
import signal
import socket
import subprocess
import sys

import pytest

from unitlens.errors import StoreError
from unitlens.store.backend.lock import only_writer

HOLD = """
import sys, time
from pathlib import Path
from unitlens.store.backend.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Yield a process that holds the lock of a store."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "acts.zarr")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_lock__second_process_fails_and_names_the_first(tmp_path, holder):
    expected = (
        rf"acts.zarr is being written by process {holder.pid} on {socket.gethostname()}; wait for"
    )
    for _ in range(2):
        with (
            pytest.raises(StoreError, match=expected),
            only_writer(tmp_path / "acts.zarr", wait=0.05),
        ):
            pass


def test_lock__killed_holder_lets_go(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with only_writer(tmp_path / "acts.zarr", wait=1):
        assert str(os.getpid()) in (tmp_path / "acts.holder").read_text()


def test_lock__another_store_is_free(tmp_path, holder):
    with only_writer(tmp_path / "other.zarr", wait=0.05):
        assert str(os.getpid()) in (tmp_path / "other.holder").read_text()


def test_lock__is_free_after_an_error(tmp_path):
    path = tmp_path / "deep" / "acts.zarr"
    with pytest.raises(KeyError), only_writer(path):
        raise KeyError
    with only_writer(path, wait=0.05):
        pass
    assert [file.name for file in path.parent.iterdir()] == ["acts.lock"]


def test_lock__same_process_cannot_write_twice(tmp_path):
    path = tmp_path / "acts.zarr"
    with (
        only_writer(path),
        pytest.raises(StoreError, match=f"process {os.getpid()} on"),
        only_writer(path, wait=0.05),
    ):
        pass
