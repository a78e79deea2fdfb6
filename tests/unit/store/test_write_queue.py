"""Threads write shards in order, with bounded memory, and every failure is raised."""

import threading
import time
from functools import partial

import numpy as np
import pytest

from small_stores import SMALL, all_files, fill, make_columns, make_contents, write_store
from unitlens.errors import StoreError
from unitlens.store.format.journal import read_journal
from unitlens.store.write_queue import Background
from unitlens.store.writer import StoreWriter


@pytest.fixture
def background():
    made = Background(pending_bytes=100)
    yield made
    made.close()


def test_background__works_off_a_lane_in_order_in_one_other_thread(background):
    done = []
    for number in range(20):
        note = lambda n=number: done.append((n, threading.get_ident()))  # noqa: E731
        background.submit(note, 1, lane=3)
    background.drain()
    assert [number for number, _ in done] == list(range(20))
    assert len({thread for _, thread in done} - {threading.get_ident()}) == 1


def test_background__who_gives_more_than_may_wait_waits(background):
    go, begun = threading.Event(), []
    for number in range(2):
        background.submit(lambda n=number: (begun.append(n), go.wait(10)), 50, lane=0)
    late = threading.Timer(0.2, go.set)
    late.start()
    start = time.monotonic()
    background.submit(partial(begun.append, 2), 50, lane=0)
    assert time.monotonic() - start > 0.1
    background.submit(
        partial(begun.append, 3), 1000, lane=0
    )  # larger than the limit: it is taken alone
    background.drain()
    assert begun == [0, 1, 2, 3]


def test_background__lanes_do_not_wait_for_each_other(background):
    met = threading.Barrier(2, timeout=10)
    for lane in range(2):
        background.submit(met.wait, 1, lane)
    background.drain()


def test_background__after_a_failure_nothing_is_begun_and_everyone_is_told(background):
    done = []

    def fail():
        raise OSError(28, "No space left on device")

    background.submit(partial(done.append, 1), 1, lane=0)
    background.submit(fail, 1, lane=0)
    background.submit(partial(done.append, 2), 1, lane=0)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            background.drain()
    with pytest.raises(OSError, match="No space left"):
        background.submit(partial(done.append, 3), 1, lane=1)
    assert done == [1]


def test_writer__error_of_a_shard_reaches_who_leaves_the_writer(tmp_path):
    contents = make_contents()
    columns = make_columns(contents)

    def half_of_it():
        with StoreWriter(tmp_path / "a.zarr", contents, {}, layout=SMALL) as writer:
            (tmp_path / "a.zarr/relu1/activation/c").write_text("no directory")
            writer.append(0, {name: values[:250] for name, values in columns.items()})

    with pytest.raises(StoreError, match=r"'relu1/activation/c/0/0' of .* cannot be written"):
        half_of_it()


def test_writer__what_waits_is_written_when_something_else_fails(tmp_path):
    path, contents = tmp_path / "a.zarr", make_contents()
    columns = make_columns(contents)

    def stopped():
        with StoreWriter(path, contents, {"batch_size": 50}, layout=SMALL) as writer:
            writer.append(0, {name: values[:250] for name, values in columns.items()})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    _, shards = read_journal(path.with_suffix(".journal"))
    assert sum(shard.path == "relu1/activation" for shard in shards) == 5  # of 50 samples each
    with StoreWriter(path, contents, {"batch_size": 50}, layout=SMALL) as writer:
        fill(writer, columns)
    write_store(tmp_path / "b.zarr")
    assert all_files(path) == all_files(tmp_path / "b.zarr")


def test_writer__rows_may_change_once_they_are_appended(tmp_path):
    """Waiting shards are copies: the caller may reuse the memory of its batch."""
    path, contents = tmp_path / "a.zarr", make_contents()
    columns = make_columns(contents)
    with StoreWriter(path, contents, {}, layout=SMALL) as writer:
        for start in range(0, 500, 50):
            batch = {name: values[start : start + 50].copy() for name, values in columns.items()}
            writer.append(start, batch)
            for values in batch.values():
                values.fill(7)
        manifest = writer.finish()
    expected = write_store(tmp_path / "b.zarr", contents, columns)
    assert manifest.content_hash == expected.content_hash
    assert np.unique([len(file.hashes) for file in manifest.files]).max() == 10
