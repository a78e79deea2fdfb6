"""Statistics on a cluster of processes that the commands of dask started."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import dask
import pytest
import xarray as xr
from distributed import Client

import unitlens as ul
from conftest import ROOT
from local_clusters import cluster_of_processes
from small_stores import make_columns, make_contents, write_store
from unitlens.cli import analysis_commands
from unitlens.cli.scheduler import dask_scheduler
from unitlens.errors import ArgumentError
from unitlens.store.format.layout import DEFAULT_LAYOUT

LARGE = "distributed.admin.large-graph-warning-threshold"
SPLITS = {"train": 2000, "test": 200}
HELD = 40  # results that the worker holds when it is killed


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Return the directory of a network whose store of the training set has many shards."""
    directory = tmp_path_factory.mktemp("network")
    for split, samples in SPLITS.items():
        contents = make_contents(samples)
        columns = make_columns(contents, seed=samples)
        write_store(directory / split / "activations.zarr", contents, columns)
    return directory


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Return the scheduler file of two workers that live as long as the tests."""
    with cluster_of_processes(tmp_path_factory.mktemp("cluster")) as (file, _):
        yield file


def address_in(file):
    return json.loads(file.read_text())["address"]


def tables_of(network, **options):
    """Return all tables that the two subcommands write."""
    analysis_commands.class_statistics(network, **options)
    settings = json.dumps({"split": "train", "components": 5})
    analysis_commands.principal_components(network, settings=settings, **options)
    files = [f"{split}/class_statistics.nc" for split in SPLITS]
    return [xr.load_dataset(network / file, engine="h5netcdf") for file in files] + [
        xr.load_datatree(network / "principal_components.nc", engine="h5netcdf")
    ]


@pytest.fixture(scope="module")
def expected(network):
    return tables_of(network, threads=2)


def assert_same(found, expected):
    *tables, components = found
    *expected_tables, expected_components = expected
    for ours, theirs in zip(tables, expected_tables, strict=True):
        xr.testing.assert_identical(ours, theirs)
    xr.testing.assert_identical(components, expected_components)


@pytest.mark.parametrize("by", ["address", "file"])
def test_tables__are_those_of_threads(network, cluster, expected, by):
    scheduler = address_in(cluster) if by == "address" else str(cluster)
    assert_same(tables_of(network, scheduler=scheduler), expected)


def kill_holder(file, workers, killed):
    """Kill a worker that holds results, by its process, and note how many it held."""
    with Client(scheduler_file=str(file), set_as_default=False) as client:
        victim = workers[0].pid
        pids = client.run(os.getpid)
        address = next(address for address, pid in pids.items() if pid == victim)
        while len(client.has_what([address])[address]) < HELD:
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)
        killed.append(time.monotonic())


def test_tables__are_the_same_after_a_worker_was_killed(network, expected, tmp_path):
    killed = []
    with cluster_of_processes(tmp_path) as (file, workers):
        killer = threading.Thread(target=kill_holder, args=(file, workers, killed))
        killer.start()
        found = tables_of(network, scheduler=str(file))
        finished = time.monotonic()
        killer.join(timeout=10)
        assert workers[0].wait(timeout=10) == -signal.SIGKILL
        assert workers[1].poll() is None
    assert killed
    assert killed[0] < finished
    assert_same(found, expected)


def test_graph__does_not_grow_with_samples_times_layers(cluster, tmp_path):
    contents = make_contents(20_000, {f"relu{i}": 2 for i in range(24)})
    write_store(tmp_path / "a.zarr", contents, make_columns(contents), layout=DEFAULT_LAYOUT)
    acts = ul.open_activations(tmp_path / "a.zarr")
    for statistics in (ul.class_statistics, ul.class_means):
        with Client(address_in(cluster)):
            # a slice of the classes in each task would be 24 times 160 kB
            with dask.config.set({LARGE: "320 kB"}):
                statistics(acts)
            with (
                dask.config.set({LARGE: "1 B"}),
                pytest.warns(UserWarning, match="Sending large graph of size"),
            ):
                statistics(acts)


def test_subcommand__names_an_address_where_nobody_listens(network):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "unitlens", "class-statistics", network, "--scheduler", address],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1
    assert f"no dask scheduler answers at {address} within 10 s" in done.stderr
    assert time.monotonic() - start < 60  # the import included


def refused(scheduler, directory):
    with (
        pytest.raises(ArgumentError) as caught,
        dask_scheduler(str(scheduler), 1, directory),
    ):
        pytest.fail("the work began")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_workers__that_do_not_see_the_network_are_refused(network, cluster):
    descriptor = os.open(network, os.O_RDONLY)
    own = os.dup2(descriptor, 900)  # a path that this process alone has
    os.close(descriptor)
    try:
        said = refused(cluster, Path(f"/proc/self/fd/{own}"))
    finally:
        os.close(own)
    assert "worker tcp://127.0.0.1:" in said
    assert f"does not see /proc/self/fd/{own}, but must read it; use a file system that" in said


def test_workers__with_another_version_are_refused(network, tmp_path):
    source = tmp_path / "src/unitlens"
    shutil.copytree(ROOT / "src/unitlens", source, ignore=shutil.ignore_patterns("__pycache__"))
    module = source / "statistics/block_states.py"
    text = module.read_text()
    assert text.count("_MERGED_AT_ONCE = 4") == 1
    module.write_text(text.replace("_MERGED_AT_ONCE = 4", "_MERGED_AT_ONCE = 2"))
    with cluster_of_processes(tmp_path, paths=(None, source.parent)) as (file, _):
        said = refused(file, network)
    assert "worker tcp://127.0.0.1:" in said
    assert "has no unitlens or another version of it, but must have the one that runs here" in said
