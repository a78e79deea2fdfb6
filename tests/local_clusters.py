"""Dask clusters of worker processes on this machine, for tests."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from distributed import Client, LocalCluster


@contextmanager
def local_cluster():
    """Start two workers, in another directory than that of the tests."""
    here = Path.cwd()
    os.chdir("/")
    try:
        cluster = LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            # without a dashboard there is a page of its health, on all interfaces if not told so
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        )
    finally:
        os.chdir(here)
    with cluster:
        yield cluster


@contextmanager
def cluster_of_processes(folder, *, paths=(None, None)):
    """Start a scheduler and workers by dask's commands, each in a process of its own.

    `paths` has one entry a worker: the directory that its packages are taken from first, or None.
    Yields the scheduler file and the workers' processes, whose addresses are not known.
    """
    file = folder / "scheduler.json"
    local = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
    started = [_start("scheduler", *local, "--port", "0", "--scheduler-file", file, cwd=folder)]
    try:
        while not file.exists():
            assert started[0].poll() is None
            time.sleep(0.05)
        of_worker = [*local, "--nthreads", "1", "--no-nanny", "--memory-limit", "0"]
        of_worker += ["--scheduler-file", file, "--local-directory", folder]
        started += [_start("worker", *of_worker, cwd=folder, path=path) for path in paths]
        with Client(scheduler_file=str(file), set_as_default=False) as client:
            client.wait_for_workers(len(paths), timeout=60)
        yield file, started[1:]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def _start(*command, cwd, path=None):
    """Start a command of dask, which says nothing."""
    environment = os.environ if path is None else {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, command)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
