"""The same numbers from a store on threads, on processes and on a cluster of dask."""

import json
import socket
import sys
import threading
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from distributed import Client

import unitlens as ul
from local_clusters import local_cluster
from small_stores import make_columns, make_contents, write_store
from unitlens.cli import analysis_commands
from unitlens.cli.scheduler import dask_scheduler
from unitlens.errors import ArgumentError, StoreError
from unitlens.store.backend.netcdf import read_components
from unitlens.variables.checks import validate

FUNCTIONS = {
    "class_statistics": ul.class_statistics,
    "class_means": ul.class_means,
    "layer_dimensionality": ul.layer_dimensionality,
    "principal_components": lambda acts: ul.principal_components(acts, "relu1"),
}


@pytest.fixture(scope="module")
def cluster():
    with local_cluster() as started:
        yield started


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return a store of several shards, with a unit that is NaN for a sample."""
    path = tmp_path_factory.mktemp("store") / "activations.zarr"
    contents = make_contents()
    columns = make_columns(contents)
    columns["layer1.0.relu_2/activation"][77, 3] = np.nan
    write_store(path, contents, columns)
    return path


def on(kind, cluster):
    """Return a context in which dask computes on threads, processes, or the cluster."""
    if kind == "distributed":
        return Client(cluster.scheduler_address)
    return dask.config.set(scheduler=kind, num_workers=2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, kind) for name in FUNCTIONS for kind in ("threads", "distributed")),
        ("class_statistics", "processes"),  # each needs seconds to start its processes
        ("principal_components", "processes"),
    ],
)
def test_statistics__are_the_same_on_any_scheduler(store, cluster, name, kind):
    acts = ul.open_activations(store)
    assert acts["relu1"].activation.data.numblocks[0] > 4
    with dask.config.set(scheduler="synchronous"):
        expected = FUNCTIONS[name](acts)
    before = cluster.scheduler.transition_counter

    with on(kind, cluster):
        found = FUNCTIONS[name](acts)

    xr.testing.assert_identical(found, expected)
    assert (cluster.scheduler.transition_counter > before) == (kind == "distributed")


def test_class_statistics__on_a_cluster_equal_a_plain_loop(store, cluster):
    acts = ul.open_activations(store)
    with on("distributed", cluster):
        stats = ul.class_statistics(acts).sel(unit=acts["relu1"].unit.size - 1)
    columns = make_columns(make_contents())
    values, labels = columns["relu1/activation"][:, -1].astype(float), columns["label"]
    for label in np.unique(labels):
        one = stats.sel({"class": label})
        assert one.class_mean.item() == pytest.approx(values[labels == label].mean(), rel=1e-9)
        assert one.class_variance.item() == pytest.approx(values[labels == label].var(), rel=1e-9)


def test_activations__by_a_relative_path_are_read_by_workers_elsewhere(store, cluster, monkeypatch):
    monkeypatch.chdir(store.parent)
    acts = ul.open_activations(store.name)
    with on("distributed", cluster):
        mean = acts["relu1"].activation.mean().compute()
    assert mean.item() == pytest.approx(make_columns(make_contents())["relu1/activation"].mean())


def test_a_missing_shard__is_named_by_a_worker(tmp_path, cluster):
    write_store(tmp_path / "a.zarr")
    acts = ul.open_activations(tmp_path / "a.zarr")
    (tmp_path / "a.zarr/relu1/activation/c/2/0").unlink()
    with (
        on("distributed", cluster),
        pytest.raises(StoreError, match=r"'relu1/activation/c/2/0' of .* is missing"),
    ):
        ul.class_statistics(acts)


@pytest.fixture(scope="module")
def network(store, tmp_path_factory):
    """Return the directory of a network with a store of each split."""
    directory = tmp_path_factory.mktemp("network")
    for seed, split in enumerate(("train", "test")):
        contents = make_contents()
        path = directory / split / "activations.zarr"
        write_store(path, contents, make_columns(contents, seed))
    return directory


def tables_of(network, **options):
    analysis_commands.class_statistics(network, **options)
    return [
        xr.load_dataset(network / split / "class_statistics.nc", engine="h5netcdf")
        for split in ("train", "test")
    ]


@pytest.mark.parametrize("by", ["address", "file"])
def test_subcommand__computes_on_the_cluster_that_is_named(network, cluster, tmp_path, by):
    expected = tables_of(network, threads=2)
    scheduler = cluster.scheduler_address
    if by == "file":
        (tmp_path / "scheduler.json").write_text(json.dumps({"address": scheduler}))
        scheduler = str(tmp_path / "scheduler.json")
    before = cluster.scheduler.transition_counter

    found = tables_of(network, scheduler=scheduler)

    assert cluster.scheduler.transition_counter > before
    for ours, theirs in zip(found, expected, strict=True):
        xr.testing.assert_identical(ours, theirs)


def test_principal_components__are_stored_by_layer(network, cluster):
    settings = json.dumps({"split": "test", "components": 9})
    acts = ul.open_activations(network / "test/activations.zarr")
    path = network / "principal_components.nc"
    path.write_text("of an earlier run")

    for where in ({"threads": 2}, {"scheduler": cluster.scheduler_address}):
        analysis_commands.principal_components(network, settings=settings, **where)
        stored = read_components(path)
        assert list(stored) == ["relu1", "layer1.0.relu_2"]
        for layer, most in (("relu1", 9), ("layer1.0.relu_2", 7)):
            validate(stored[layer], "principal_components")
            expected = ul.principal_components(acts, layer, components=most)
            xr.testing.assert_equal(stored[layer], expected)


def refused(scheduler, directory=Path()):
    with pytest.raises(ArgumentError) as caught, dask_scheduler(scheduler, 1, directory):
        pytest.fail("the work began")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_scheduler__that_does_not_answer_is_refused(monkeypatch):
    monkeypatch.setattr("unitlens.cli.scheduler.ANSWER", 0.5)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        silent = f"tcp://127.0.0.1:{mute.getsockname()[1]}"  # nobody listens
        assert f"no dask scheduler answers at {silent} within 0.5 s" in refused(silent)
        mute.listen()  # taken, and never answered
        assert f"no dask scheduler answers at {silent} within 0.5 s" in refused(silent)


def test_scheduler__that_is_another_service_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet():
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.0\r\n")
                connection.recv(100)

        thread = threading.Thread(target=greet)
        thread.start()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        assert f"no dask scheduler answers at {address}" in refused(address)
        thread.join()


def test_scheduler__that_is_no_address_or_file_is_refused(tmp_path):
    assert "such as tcp://host:8786, but is not: missing port" in refused("tcp://127.0.0.1")
    assert "such as tcp://host:8786, but is not: unknown address" in refused("foo://127.0.0.1:1")
    assert "there is no such file" in refused(str(tmp_path / "none.json"))
    for text in ("{", "[]", '{"workers": 2}'):
        (tmp_path / "bad.json").write_text(text)
        assert "JSON with an 'address', but is not" in refused(str(tmp_path / "bad.json"))


def test_scheduler__needs_distributed(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    said = refused("tcp://127.0.0.1:8786")
    assert "needs the package distributed, which is not installed; pip install" in said


def test_scheduler__whose_workers_see_other_files_or_code_is_refused(
    cluster, tmp_path, monkeypatch
):
    address = cluster.scheduler_address
    said = refused(address, tmp_path / "elsewhere")
    assert f"does not see {tmp_path / 'elsewhere'}, but must read it" in said
    monkeypatch.setattr("unitlens.cli.scheduler.code_digest", lambda *_: "other")
    assert "has no unitlens or another version of it" in refused(address, tmp_path)
    monkeypatch.undo()
    with dask_scheduler(address, 1, tmp_path):  # the cluster itself is well
        pass
