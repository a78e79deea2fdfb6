"""Stores at URLs: their contents, resuming, locks, and messages of damage."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import fsspec
import numpy as np
import pytest
from upath import UPath

import unitlens as ul
from recorded_networks import Samples, mlp, record_small
from small_stores import (
    SMALL,
    all_files,
    append,
    make_columns,
    make_contents,
    record_store,
    write_part,
)
from synthetic_results import default_networks, write_results
from unitlens.errors import ArgumentError, StoreError, TableError
from unitlens.recording.forward_passes import Recording
from unitlens.store.backend import lease, objects
from unitlens.store.backend.lock import only_writer
from unitlens.store.backend.places import locate
from unitlens.store.format.journal import JournalObjects, read_journal
from unitlens.store.format.layout import Layout
from unitlens.store.format.parts import Part, find_parts
from unitlens.store.writer import StoreWriter

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[2]
CONTENTS = make_contents(samples=170)
FAR = {"pid": 1, "host": "elsewhere", "machine": "another", "token": "t"}


class KilledError(Exception):
    pass


@pytest.fixture(params=["s3", "memory"])
def root(request):
    """Yield a URL with no object under it."""
    if request.param == "s3":
        yield request.getfixturevalue("s3")
    else:
        yield "memory://room"
        fsspec.filesystem("memory").store.clear()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    path = tmp_path_factory.mktemp("local") / "acts.zarr"
    record_store(path, CONTENTS)
    return path


@pytest.fixture(scope="module")
def dataset():
    return Samples(200, (12,))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, dataset):
    return record_small(mlp(), dataset, tmp_path_factory.mktemp("local") / "r.zarr", batch_size=16)


@pytest.fixture
def finished(s3):
    place = locate(f"{s3}/acts.zarr")
    record_store(place, CONTENTS)
    return place


def content_of(place):
    """Return the name and the bytes of every object of a store and of its manifest."""
    names = sorted(objects.sizes_under(place))
    contents = dict(zip(names, objects.get_all(place, names), strict=True))
    return {**contents, "manifest": place.with_suffix(".json").read_bytes()}


def die_at_shard(monkeypatch, number):
    """Let a recording die when it appends a certain shard to the journal."""
    noted, real = [], JournalObjects.append

    def note(self, shard):
        noted.append(shard)
        if len(noted) == number:
            raise KilledError
        real(self, shard)

    monkeypatch.setattr(JournalObjects, "append", note)


def equal(tree, expected):
    return tree.compute().identical(expected.compute())


def test_store__equals_the_local_one_byte_for_byte(root, local):
    place = locate(f"{root}/deep/acts.zarr")

    record_store(place, CONTENTS)

    assert content_of(place) == all_files(local)
    assert objects.names_in(place.parent) == ["acts.journal", "acts.json", "acts.zarr"]


def test_record__and_statistics_equal_local_ones(s3, recorded, dataset):
    url = f"{s3}/r.zarr"

    place = record_small(mlp(), dataset, url, batch_size=16)

    assert str(place) == url
    assert content_of(place) == all_files(recorded)
    remote, here = ul.open_activations(url), ul.open_activations(recorded)
    assert remote.attrs == here.attrs
    with dask.config.set(scheduler="threads", num_workers=2):
        assert equal(ul.class_statistics(remote), ul.class_statistics(here))
    with dask.config.set(scheduler="processes", num_workers=2):
        assert equal(ul.class_statistics(remote), ul.class_statistics(here))


def test_record__a_finished_store_runs_nothing_again(s3, dataset, monkeypatch):
    record_small(mlp(), dataset, f"{s3}/r.zarr", batch_size=16)

    monkeypatch.setattr(Recording, "fill", None)
    record_small(mlp(), dataset, f"{s3}/r.zarr", batch_size=16)


@pytest.mark.parametrize("moment", random.Random(0).sample(range(1, 20), 3))
def test_record__resumes_where_it_was_killed(s3, recorded, dataset, monkeypatch, moment):
    url, runs, real = f"{s3}/r.zarr", [], Recording.columns

    def columns(self, indices, what, **options):
        runs.append(len(indices))
        return real(self, indices, what, **options)

    monkeypatch.setattr(Recording, "columns", columns)
    with monkeypatch.context() as patch:
        die_at_shard(patch, moment)
        with pytest.raises(KilledError):
            record_small(mlp(), dataset, url, batch_size=16)
    _, shards = read_journal(locate(f"{s3}/r.journal"))
    with pytest.raises(StoreError, match=r"r\.zarr was not recorded to its end .* record again"):
        ul.open_activations(url)

    record_small(mlp(), dataset, url, batch_size=16)

    assert len(shards) >= moment - 1
    assert runs[0] == len(dataset)
    assert runs[1] <= len(dataset)
    if moment > 10:
        assert runs[1] < len(dataset)
    assert content_of(locate(url)) == all_files(recorded)


@pytest.mark.parametrize("seconds", [1.5, 3.0])
def test_sigkill__the_next_writer_goes_on_at_once(s3, local, seconds):
    place = locate(f"{s3}/acts.zarr")
    command = [sys.executable, str(TESTS / "small_stores.py"), str(place), "170"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        wait_for(lambda: objects.names_in(place.with_suffix(".lock")))
        time.sleep(seconds / 10)
        with (
            pytest.raises(StoreError, match=rf"written by process {process.pid} on "),
            only_writer(place, wait=0),
        ):
            pass
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not place.with_suffix(".json").exists()

    record_store(place, CONTENTS)

    assert content_of(place) == all_files(local)
    assert objects.names_in(place.with_suffix(".lock")) == []


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_lock__second_writer_fails_and_names_the_first(root):
    place = locate(f"{root}/acts.zarr")
    expected = (
        rf"acts.zarr is being written by process {os.getpid()} on {socket.gethostname()}, which "
        r"renewed \S+/acts.lock/000001 \d+ s ago; if that process is gone, remove this object or "
        r"wait 180 s; wait for it to end, then record again"
    )
    with only_writer(place):
        for _ in range(2):
            with pytest.raises(StoreError, match=expected), only_writer(place, wait=0.05):
                pass
    with only_writer(place, wait=0):
        pass


def leave_lease(place, number=1, **about):
    """Leave the lease of a writer that was killed on another machine."""
    text = json.dumps({**FAR, "time": time.time(), **about}).encode()
    objects.put(place.with_suffix(".lock") / f"{number:06d}", text)


def test_lock__of_another_machine_holds_until_it_runs_out(root):
    place = locate(f"{root}/acts.zarr")
    leave_lease(place)
    with pytest.raises(StoreError, match="process 1 on elsewhere"), only_writer(place, wait=0):
        pass

    leave_lease(place, time=time.time() - lease.LEASE_SECONDS - 1)
    with only_writer(place, wait=0):
        number, about = lease.read_latest(place.with_suffix(".lock"))
        assert (number, about["pid"]) == (2, os.getpid())
    assert objects.names_in(place.with_suffix(".lock")) == []


def test_lock__needs_a_driver_that_refuses_what_is_there(s3, monkeypatch):
    place = locate(f"{s3}/acts.zarr")
    real = place.fs.pipe_file
    monkeypatch.setattr(place.fs, "pipe_file", lambda path, data, **_: real(path, data))
    with pytest.raises(StoreError, match=r"acts.lock cannot be a lock"), only_writer(place):
        pass
    assert objects.names_in(place.with_suffix(".lock")) == []


@pytest.mark.parametrize("left", [False, True])
def test_lock__of_many_at_once_one_holds_it(root, left):
    place = locate(f"{root}/acts.zarr")
    if left:  # all try to take over the same lease
        leave_lease(place, time=time.time() - lease.LEASE_SECONDS - 1)
    inside, seen = [], []

    def work(number):
        with only_writer(place, wait=60):
            inside.append(number)
            time.sleep(0.05)
            seen.append(list(inside))
            inside.remove(number)

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(work, range(5)))

    assert sorted(seen) == [[number] for number in range(5)]


def test_lock__damaged_lease_does_not_hold(s3):
    place = locate(f"{s3}/acts.zarr")
    objects.put(place.with_suffix(".lock") / "000001", b"{")
    with only_writer(place, wait=0):
        pass


def test_lock__is_renewed_while_it_is_held(root, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.02)
    place = locate(f"{root}/acts.zarr")
    with only_writer(place):
        first = lease.read_latest(place.with_suffix(".lock"))[1]["time"]
        wait_for(lambda: lease.read_latest(place.with_suffix(".lock"))[1]["time"] > first)


def test_lock__writer_that_has_lost_it_writes_no_more(root, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.02)
    place = locate(f"{root}/acts.zarr")

    def record():
        with only_writer(place), StoreWriter(place, CONTENTS, {}, layout=SMALL) as writer:
            leave_lease(place, number=2)
            wait_for(lambda: lease._held[place.with_suffix(".lock")]._lost)
            append(writer, make_columns(CONTENTS))

    with pytest.raises(StoreError, match=r"acts.lock was not renewed in time, so another process"):
        record()
    assert not any("/c/" in name for name in objects.sizes_under(place))
    assert lease.read_latest(place.with_suffix(".lock"))[1]["host"] == "elsewhere"


def test_parts__are_merged_into_the_store_of_one_recording(s3, tmp_path):
    place = locate(f"{s3}/acts.zarr")
    record_store(tmp_path / "acts.zarr", make_contents())

    write_part(place, Part(2, 2))
    assert find_parts(place, "journal") == [Part(2, 2)]
    with pytest.raises(StoreError, match=r"/c/0/0' of s3://.*acts.zarr, and \d+ more is missing"):
        ul.merge_activations(place)
    write_part(place, Part(1, 2))
    ul.merge_activations(str(place))

    assert content_of(place) == all_files(tmp_path / "acts.zarr")
    assert find_parts(place, "journal") == []


def test_parts__hold_the_whole_back(s3):
    place = locate(f"{s3}/acts.zarr")
    with only_writer(place, Part(1, 2)) as share:
        share()
        with only_writer(place, Part(2, 2), wait=0.05) as share_again:
            share_again()
        with (
            pytest.raises(StoreError, match=r"part 1 of 2 of the store .* is being written by"),
            only_writer(place, wait=0.05),
        ):
            pass


def read(place):
    tree, columns = ul.open_activations(place), make_columns(CONTENTS)
    for layer in CONTENTS.layers:
        activation = tree[layer.name].activation.compute(scheduler="synchronous")
        np.testing.assert_array_equal(activation, columns[f"{layer.name}/activation"])


FAULTS = {
    "missing": lambda _: None,
    "truncated": lambda body: body[: len(body) // 2],
    "longer": lambda body: body + b"0",
    "flipped": lambda body: bytes([body[0] ^ 4]) + body[1:],
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("key", ["relu1/activation/c/2/0", "label/c/1"])
def test_damage__is_named_by_all_and_recorded_again(finished, local, fault, key):
    good = (finished / key).read_bytes()
    damage(finished / key, FAULTS[fault](good))

    with pytest.raises(StoreError, match=rf"'{key}' .*record again") as caught:
        read(finished)

    assert str(finished) in str(caught.value)
    report = ul.verify_activations(finished)
    assert [fault.place for fault in report.faults] == [key]
    objects.remove(finished / key)
    record_store(finished, CONTENTS)
    assert content_of(finished) == all_files(local)


def damage(place, content):
    objects.remove(place)
    if content is not None:
        objects.put(place, content)


@pytest.mark.parametrize("fault", FAULTS)
def test_damage__that_comes_after_opening(finished, fault):
    key = "relu1/activation/c/2/0"
    tree = ul.open_activations(finished)
    damage(finished / key, FAULTS[fault]((finished / key).read_bytes()))

    with pytest.raises(StoreError, match=rf"the shard '{key}' of {finished} is "):
        tree["relu1"].activation.compute(scheduler="synchronous")


def test_damage__of_metadata(finished):
    objects.put(finished / "relu1" / "zarr.json", b"{}")

    with pytest.raises(StoreError, match=r"'relu1/zarr.json' is missing, changed"):
        ul.open_activations(finished)


def test_repair__mends_a_store(s3, recorded, dataset):
    place = record_small(mlp(), dataset, f"{s3}/r.zarr", batch_size=16)
    keys = ["1/activation/c/1/0", "loss/c/0"]
    damage(place / keys[0], None)
    damage(place / keys[1], FAULTS["flipped"]((place / keys[1]).read_bytes()))

    report = ul.repair_activations(mlp(), dataset, str(place))

    assert sorted(fault.place for fault in report.faults) == keys
    assert content_of(place) == all_files(recorded)


def test_store__is_copied_to_a_url_and_back(s3, tmp_path, recorded, dataset):
    fsspec.filesystem("s3").put(str(recorded.parent), f"{s3}/up", recursive=True)
    place = locate(f"{s3}/up/r.zarr")
    objects.remove(place.with_suffix(".json"))

    report = record_and_damage(place, dataset)
    assert report.faults[0].place == "r.json"
    fsspec.filesystem("s3").get(f"{s3}/up", str(tmp_path / "down"), recursive=True)
    report = record_and_damage(tmp_path / "down" / "r.zarr", dataset)
    assert report.faults[0].place == "r.json"

    assert objects.names_in(place.parent) == ["r.journal", "r.json", "r.lock", "r.zarr"]
    assert content_of(place) == all_files(tmp_path / "down" / "r.zarr") == all_files(recorded)
    assert (tmp_path / "down" / "r.journal").is_file()


def record_and_damage(path, dataset):
    """Finish a store, damage its manifest, and repair it from its journal."""
    record_small(mlp(), dataset, path, batch_size=16)
    path.with_suffix(".json").write_bytes(b"{")
    return ul.repair_activations(mlp(), dataset, path)


def test_store__of_something_else_is_started_over_but_no_foreign_place(s3):
    place = locate(f"{s3}/acts.zarr")
    other = make_contents(samples=90)
    with only_writer(place), StoreWriter(place, other, {}, layout=SMALL) as writer:
        append_some(writer, make_columns(other), 60)

    record_store(place, CONTENTS)
    read(place)

    objects.put(locate(f"{s3}/mine.zarr/notes.txt"), b"mine")
    with pytest.raises(StoreError, match=r"mine.zarr exists and is no activation store"):
        record_store(locate(f"{s3}/mine.zarr"), CONTENTS)


def append_some(writer, columns, samples):
    writer.append(0, {name: values[:samples] for name, values in columns.items()})


def test_connection__lost_while_resuming_removes_nothing(s3, monkeypatch):
    place = locate(f"{s3}/acts.zarr")
    with only_writer(place), StoreWriter(place, CONTENTS, {}, layout=SMALL) as writer:
        append_some(writer, make_columns(CONTENTS), 150)
    before = objects.sizes_under(place)

    class GoneError(Exception):
        """Drivers have errors of their own, such as botocore's."""

    async def gone(self, path, **limits):
        raise GoneError("no route to host")

    monkeypatch.setattr(type(place.fs), "_cat_file", gone)
    with only_writer(place), pytest.raises(StoreError, match=r"cannot be reached .*no route to ho"):
        StoreWriter(place, CONTENTS, {}, layout=SMALL)

    assert any("/c/" in name for name in before)
    assert objects.sizes_under(place) == before


def test_selection__of_a_column_reads_a_small_share(s3, monkeypatch):
    contents = make_contents(samples=4000, layers={"relu1": 640})
    layout = Layout(chunk_bytes=2**14, shard_bytes=2**21)
    columns, place = make_columns(contents), locate(f"{s3}/wide.zarr")
    with only_writer(place), StoreWriter(place, contents, {}, layout=layout) as writer:
        append(writer, columns, batch=500)
        writer.finish()
    activation = ul.open_activations(place)["relu1"].activation
    received, real = [], type(place.fs)._cat_file

    async def counted(self, path, **limits):
        body = await real(self, path, **limits)
        received.append(len(body))
        return body

    monkeypatch.setattr(type(place.fs), "_cat_file", counted)
    column = activation[:, 300].compute(scheduler="threads", num_workers=2)
    chunks = received.copy()
    received.clear()
    whole = activation.compute(scheduler="threads", num_workers=2)

    np.testing.assert_array_equal(whole, columns["relu1/activation"])
    np.testing.assert_array_equal(column, whole[:, 300])
    shards = [size for name, size in objects.sizes_under(place).items() if "activation/c" in name]
    assert sum(chunks) <= 0.25 * sum(shards)  # one of five chunks of each band, and the indices
    assert sum(received) <= 1.1 * sum(shards)  # an index is read by each block of its shard
    assert max(received) > 1.5 * max(chunks)  # neighbouring chunks come in one request


def test_opening__asks_for_sizes_in_one_listing(finished, monkeypatch):
    asked, real = [], type(finished.fs)._call_s3

    async def noted(self, method, *given, **options):
        asked.append((method, options.get("Key", "")))
        return await real(self, method, *given, **options)

    monkeypatch.setattr(type(finished.fs), "_call_s3", noted)
    ul.open_activations(finished)

    assert not any("/activation/c/" in key for _, key in asked)
    assert [key for method, key in asked if method == "head_object"] == [
        "acts.zarr",
        "acts.json",
        "acts.json",
    ]
    metadata = [key for _, key in asked if key.endswith("relu1/activation/zarr.json")]
    assert len(metadata) == 1


def test_upload__of_several_pieces(s3):
    place = locate(f"{s3}/large")
    pieces = [np.random.default_rng(n).bytes(3 * 2**20) for n in range(5)]

    growing = objects.GrowingObject(place)
    for piece in pieces:
        growing.append([piece])
    assert not place.exists()
    growing.finish()

    assert place.read_bytes() == b"".join(pieces)
    assert growing.size == len(b"".join(pieces))


def test_upload__given_up_leaves_nothing(s3):
    place = locate(f"{s3}/large")
    growing = objects.GrowingObject(place)
    growing.append([bytes(7 * 2**20)])

    growing.discard()
    del growing

    assert not place.exists()
    bucket = s3.removeprefix("s3://")
    assert place.fs.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads", []) == []


def test_journal__begun_anew_counts_alone(root):
    place = locate(f"{root}/acts.journal")
    header = {"a": 1}
    journal = JournalObjects(place, header, ())
    older = objects.get_all(place, objects.names_in(place))

    JournalObjects(place, {"a": 2}, ()).close()
    journal.close()
    objects.put(place / "000001-00000000", older[0])  # its removal was broken off

    assert read_journal(place) == ({"a": 2}, [])
    objects.put(place / "000002-00000000", b"damaged")
    assert read_journal(place) is None


def test_url__without_a_bucket(s3, dataset):
    with pytest.raises(StoreError, match=r"^the bucket nowhere of s3://nowhere/acts.zarr cannot"):
        ul.record_activations(mlp(), dataset, "s3://nowhere/acts.zarr")
    assert not UPath("s3://nowhere").exists()


@pytest.mark.parametrize("action", [ul.open_activations, ul.verify_activations, ul.open_results])
def test_url__of_an_unknown_scheme(action):
    with pytest.raises(ArgumentError, match=r"^nope://b/acts.zarr cannot be .*know its scheme"):
        action("nope://b/acts.zarr")


def test_url__that_pathlib_has_shortened(dataset):
    with pytest.raises(ArgumentError, match=r"the path s3:/b/acts.zarr was a URL .* as text"):
        ul.record_activations(mlp(), dataset, Path("s3://b/acts.zarr"))


def test_url__of_a_server_that_is_not_there(dataset, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    place = UPath(
        "s3://bucket/acts.zarr",
        endpoint_url="http://127.0.0.1:9",
        config_kwargs={"retries": {"max_attempts": 0}},
    )
    with pytest.raises(
        StoreError, match=r"cannot be reached .*127.0.0.1:9.* check the address"
    ) as e:
        ul.record_activations(mlp(), dataset, place)
    assert "\n" not in str(e.value)


def test_url__without_the_libraries(monkeypatch):
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(ArgumentError, match=r"library is missing: pip install 'unitlens\[remote\]"):
        ul.open_activations("s3://bucket/acts.zarr")


def test_url__without_the_driver(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ArgumentError, match=r"a library for gs://b/acts.zarr is missing .*gcsfs"):
        ul.open_activations("gs://b/acts.zarr")


def test_url__of_a_local_file_is_a_path(local):
    assert locate(f"file://{local}") == local
    assert isinstance(locate(f"file://{local}"), Path)
    assert locate("results") == Path("results")


def test_url__that_does_not_exist(s3):
    with pytest.raises(StoreError, match=r"s3://.*/acts.zarr does not exist .*record again"):
        ul.open_activations(f"{s3}/acts.zarr")


def test_results__copied_to_a_url(s3, tmp_path, local):
    made = default_networks()[0]
    directory = write_results(tmp_path / "results", [made])
    stored = directory / made.name / "test" / "activations.zarr"
    shutil.copytree(local, stored)
    shutil.copy(local.with_suffix(".json"), stored.with_suffix(".json"))
    fsspec.filesystem("s3").put(str(directory), f"{s3}/results", recursive=True)

    results, here = ul.open_results(f"{s3}/results"), ul.open_results(directory)

    for name in ("runs", "units", "curves", "noise", "history"):
        assert getattr(results, name).identical(getattr(here, name)), name
    assert repr(results).partition("\n")[2] == repr(here).partition("\n")[2]
    remote, expected = (of.activations(made.name, "test") for of in (results, here))
    assert remote["relu1"].to_dataset().identical(expected["relu1"].to_dataset())
    with pytest.raises(TableError, match=r"over split = 'train' were not recorded .s3://"):
        results.activations(made.name, "train")
    with pytest.raises(TableError, match=r"there are no results in s3://\S+/nowhere .no tables"):
        ul.open_results(f"{s3}/nowhere")
