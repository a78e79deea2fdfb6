"""Jobs take GPUs of their own, whatever list of GPUs the machine shows."""

import collections
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from unitlens.cli import gpu_lease
from unitlens.cli.gpu_lease import lease_gpu, visible_gpus
from unitlens.errors import ArgumentError

JOB = """
import json, os, sys, time
from pathlib import Path
from unitlens.cli.gpu_lease import lease_gpu
gpu = lease_gpu(Path(sys.argv[1]))
begin = time.time()
print(json.dumps(gpu), flush=True)
assert "torch" not in sys.modules, "torch has started before the GPU was chosen"
assert os.environ["CUDA_VISIBLE_DEVICES"] == gpu
time.sleep(float(sys.argv[2]))
print(json.dumps([gpu, begin, time.time()]))
"""
LISTED = """GPU 0: NVIDIA H100 (UUID: GPU-aaaa)
  MIG 1g.10gb     Device  0: (UUID: MIG-1111)
  MIG 2g.20gb     Device  1: (UUID: MIG-GPU-2222/7/0)
GPU 1: NVIDIA H100 (UUID: GPU-bbbb)
"""


def start(folder, gpus, seconds=0.5, **environment):
    given = {**os.environ, "CUDA_VISIBLE_DEVICES": gpus, **environment}
    given.pop("SLURM_JOB_ID", None)
    given |= environment
    command = [sys.executable, "-c", JOB, str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=given)


def end(jobs):
    outputs = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * len(jobs)
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def most_at_once(jobs, gpu):
    own = [(begin, end) for name, begin, end in jobs if name == gpu]
    return max(sum(begin <= time < end for begin, end in own) for time, _ in own)


@pytest.mark.parametrize(("gpus", "places"), [("0,1,2", 1), ("MIG-1/0,GPU-b", 2), ("5", 3)])
def test_eight_jobs_at_once__never_share_a_place(tmp_path, gpus, places):
    jobs = [start(tmp_path, gpus, UNITLENS_JOBS_PER_GPU=str(places)) for _ in range(8)]
    done = end(jobs)

    used = {name for name, _, _ in done}
    assert used <= set(gpus.split(","))
    for name in used:
        assert most_at_once(done, name) <= places


@pytest.mark.parametrize(("gpus", "places"), [("0,1,2", 1), ("MIG-1/0,GPU-b", 2), ("5", 3)])
def test_jobs__spread_over_the_gpus_before_they_share_one(tmp_path, gpus, places):
    names, holders, taken = gpus.split(","), [], []
    for _ in range(len(names) * places):  # each begins when those before it hold their GPUs
        holders.append(start(tmp_path, gpus, 600, UNITLENS_JOBS_PER_GPU=str(places)))
        taken.append(json.loads(holders[-1].stdout.readline()))
    for holder in holders:
        with holder:
            holder.kill()

    assert set(taken[: len(names)]) == set(names)
    assert collections.Counter(taken) == dict.fromkeys(names, places)


def test_lease__ends_with_a_killed_job(tmp_path):
    with start(tmp_path, "0", seconds=600) as holder:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        holder.send_signal(signal.SIGKILL)
    ((gpu, _, _),) = end([start(tmp_path, "0", seconds=0)])
    assert gpu == "0"


def test_lease__is_of_a_folder_that_all_users_share(tmp_path):
    end([start(tmp_path / "gpus", "0", seconds=0)])
    (file,) = (tmp_path / "gpus").iterdir()
    assert [path.stat().st_mode & 0o1777 for path in (file.parent, file)] == [0o1777, 0o666]


def test_lease__of_two_allocations_of_slurm_are_of_other_gpus(tmp_path):
    """Each allocation numbers its own GPUs from 0."""
    jobs = [start(tmp_path, "0", seconds=2, SLURM_JOB_ID=number) for number in ("17", "18")]
    (_, begin, stop), (_, other_begin, other_stop) = end(jobs)
    assert max(begin, other_begin) < min(stop, other_stop)


def test_lease__files_of_other_users_are_opened_without_making_them(tmp_path, monkeypatch):
    """Linux may forbid to open a file of another user with O_CREAT in such a folder."""
    lease = gpu_lease._lock(tmp_path / "gpu")
    os.close(lease)
    opened = os.open

    def guarded(path, flags, *mode):
        if flags & os.O_CREAT and path.exists():
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", guarded)
    lease = gpu_lease._lock(tmp_path / "gpu")
    assert lease is not None
    assert gpu_lease._lock(tmp_path / "gpu") is None
    os.close(lease)


def test_lease__is_kept_for_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_lease, "_leases", [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    assert [lease_gpu(tmp_path), lease_gpu(tmp_path)] == ["3", "3"]
    for descriptor in gpu_lease._leases:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("stated", "expected"), [("0, 2", ["0", "2"]), ("1,-1,2", ["1"]), ("GPU-a", ["GPU-a"])]
)
def test_visible_gpus__are_those_that_cuda_shows(monkeypatch, stated, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", stated)
    assert visible_gpus() == expected


def test_visible_gpus__of_a_machine_are_instances_where_a_gpu_is_divided(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTED}END\n")
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert visible_gpus() == ["MIG-1111", "MIG-GPU-2222/7/0", "GPU-bbbb"]


@pytest.mark.parametrize("stated", ["", "-1", None])
def test_visible_gpus__none_is_told_in_one_line(monkeypatch, tmp_path, stated):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if stated is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", stated)
    with pytest.raises(ArgumentError, match=r"^the job was given a GPU, but .*; leave gpu out"):
        visible_gpus()
