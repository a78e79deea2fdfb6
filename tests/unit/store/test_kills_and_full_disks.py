"""Damage gives no wrong number, but an error with a remedy that restores the store.

Each test damages a store, checks that reading gives the right numbers or an error with a remedy,
applies the remedy, and compares the store with that of an undisturbed recording.
"""

import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import unitlens as ul
from small_stores import all_files, flip, make_columns, make_contents, record_store, write_store
from unitlens.errors import StoreError
from unitlens.store.format.journal import Journal, read_journal
from unitlens.store.writer import is_recorded

TESTS = Path(__file__).parents[2]
CONTENTS = make_contents(samples=170)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "acts.zarr"
    record_store(path, CONTENTS)
    return path


@pytest.fixture
def finished(whole, tmp_path):
    return copy_store(whole, tmp_path)


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """Return a store whose recording died in the middle."""
    path, lines, real = tmp_path / "killed.zarr", [], Journal.append

    class KilledError(Exception):
        pass

    def append(self, shard):
        lines.append(shard)
        if len(lines) == 12:
            raise KilledError
        real(self, shard)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", append)
        with pytest.raises(KilledError):
            record_store(path, CONTENTS)
    return path


def copy_store(path, directory):
    for file in path.parent.glob(f"{path.stem}.*"):
        if file.is_file() and file.suffix != ".lock":
            shutil.copy2(file, directory)
    return Path(shutil.copytree(path, directory / path.name))


def files_of(path):
    beside = [path.with_suffix(suffix) for suffix in (".json", ".journal")]
    return [f for f in [*sorted(path.rglob("*")), *beside] if f.is_file()]


def read(path):
    """Read all arrays, and compare them with the recorded numbers."""
    tree, columns = ul.open_activations(path), make_columns(CONTENTS)
    for layer in CONTENTS.layers:
        expected = columns[f"{layer.name}/activation"]
        activation = tree[layer.name].activation.compute(scheduler="synchronous")
        np.testing.assert_array_equal(activation, expected)
        np.testing.assert_array_equal(tree[layer.name].minimum, expected.min(axis=0))
    for name in ("index", "label", "true_label", "prediction", "loss"):
        np.testing.assert_array_equal(tree[name], columns[name])


def complaint(action, *arguments):
    """Return the message of the error that an action raises, None where it raises none."""
    try:
        action(*arguments)
    except StoreError as error:
        return str(error)
    return ""


def heed(path, file, error):
    """Apply the remedy that the error names."""
    assert "\n" not in error
    assert "record again" in error
    if "remove" in error or "move it away" in error:
        file.unlink()
    record_store(path, CONTENTS)


def test_flipped_bit__in_every_file_of_a_finished_store(finished, whole):
    moments, errors = random.Random(0), 0
    for file in files_of(finished):
        content = file.read_bytes()
        flip(file, moments.randrange(len(content)), moments.randrange(8))
        error = complaint(read, finished)
        if error:
            errors += 1
            assert file.name in error
            heed(finished, file, error)
        else:
            assert file.suffix == ".journal"  # which nobody reads where the store is finished
            file.write_bytes(content)
        assert all_files(finished) == all_files(whole)
    assert errors > 35


def test_flipped_bit__in_every_file_of_an_unfinished_store(killed, whole, tmp_path):
    moments = random.Random(1)
    for number, file in enumerate(files_of(killed)):
        room = tmp_path / str(number)
        room.mkdir()
        path = copy_store(killed, room)
        damaged = room / file.relative_to(tmp_path)
        flip(damaged, moments.randrange(damaged.stat().st_size), moments.randrange(8))
        with pytest.raises(StoreError, match=r"not recorded to its end .*record again: it resumes"):
            read(path)
        record_store(path, CONTENTS)
        assert all_files(path) == all_files(whole)


def test_flipped_bit__anywhere_in_a_journal(killed, whole, tmp_path):
    """A changed line is ignored, whether its size, its range or its hash has changed."""
    moments, content = random.Random(2), killed.with_suffix(".journal").read_bytes()
    header, shards = read_journal(killed.with_suffix(".journal"))
    first = content.index(b"\n") + 1
    for position in moments.sample(range(first, len(content)), 100):
        journal = tmp_path / "flipped.journal"
        journal.write_bytes(content)
        flip(journal, position, moments.randrange(8))
        entries = read_journal(journal)
        assert entries[0] == header
        assert len(shards) - 2 <= len(entries[1]) < len(shards)
        assert all(shard in shards for shard in entries[1])
    for position in moments.sample(range(first), 50):
        journal.write_bytes(content)
        flip(journal, position, moments.randrange(8))
        assert read_journal(journal) is None


@pytest.mark.parametrize("name", ["relu1/activation/c/1/0", "label/c/0", "relu1/minimum/c/0"])
def test_truncated_shard(finished, whole, name):
    content = (finished / name).read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        (finished / name).write_bytes(content[:length])
        with pytest.raises(StoreError, match=f"'{name}' has {length} bytes, but {len(content)}"):
            read(finished)
        record_store(finished, CONTENTS)
        assert all_files(finished) == all_files(whole)


def test_missing__each_file_of_a_finished_store(finished, whole):
    for file in files_of(finished):
        file.unlink()
        if file.suffix != ".journal":
            with pytest.raises(StoreError, match=r"record again") as error:
                read(finished)
            assert file.name in str(error.value)
            record_store(finished, CONTENTS)
        assert all_files(finished) == all_files(whole)


def test_manifest_of_another_store(finished, whole, tmp_path):
    other = make_contents(samples=170, reduce="max")
    record_store(tmp_path / "other.zarr", other)
    finished.with_suffix(".json").write_bytes((tmp_path / "other.json").read_bytes())
    with pytest.raises(StoreError, match=r"'zarr.json' is missing, changed, or of another record"):
        read(finished)
    with pytest.raises(
        StoreError, match=r"another recording, whose reduce is \"max\", not \"mean\""
    ):
        record_store(finished, CONTENTS)
    finished.with_suffix(".json").unlink()
    record_store(finished, CONTENTS)
    assert all_files(finished) == all_files(whole)


# a disk that is full


@contextmanager
def largest_file(size):
    """Let the system refuse to write files beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full__the_system_refuses_at_every_stage(tmp_path, whole):
    """The holder of the lock, metadata, shards of all sizes and the journal cannot be written."""
    path, refused = tmp_path / "acts.zarr", set()
    sizes = sorted({file.stat().st_size for file in files_of(whole)})
    for size in [10, *sizes[:-1]]:
        with largest_file(size), pytest.raises(StoreError) as error:
            record_store(path, CONTENTS)
        assert "cannot be written ([Errno 27] File too large" in str(error.value)
        assert str(error.value).endswith("; mend this and record again: it resumes")
        refused.add(str(error.value).partition(" cannot")[0].rpartition(".")[2])
        with pytest.raises(StoreError, match=r"record again"):
            read(path)
    record_store(path, CONTENTS)
    assert all_files(path) == all_files(whole)
    assert {"holder", "zarr", "journal"} <= refused


def mount(size, place, *options):
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", *options, "tmpfs", str(place)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture
def small_disk(tmp_path):
    """Yield a small file system, and a function that sets its size."""
    place = tmp_path / "disk"
    place.mkdir()
    if shutil.which("mount") is None or mount("64k", place).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place, lambda size: mount(f"{size},remount", place)
    subprocess.run(["umount", str(place)], check=True)


def test_full__disk_that_fills_up_and_grows(small_disk, whole):
    place, resize = small_disk
    path, failures = place / "acts.zarr", 0
    for size in range(16, 400, 24):
        resize(f"{size}k")
        error = complaint(record_store, path, CONTENTS)
        if not error:
            break
        failures += 1
        assert "No space left on device" in error
        assert error.endswith("; mend this and record again: it resumes")
        with pytest.raises(StoreError, match=r"record again"):
            read(path)
    assert failures >= 4
    assert all_files(path) == all_files(whole)


# killed


def test_sigkill__twenty_times_at_random_moments(tmp_path):
    contents = make_contents(samples=2000)
    write_store(tmp_path / "undisturbed.zarr", contents)
    undisturbed = all_files(tmp_path / "undisturbed.zarr")
    path, moments, unfinished = tmp_path / "acts.zarr", random.Random(0), 0
    command = [sys.executable, "-m", "small_stores", str(path), "2000"]
    for _ in range(20):
        with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0, 0.3))
            child.send_signal(signal.SIGKILL)
        if path.with_suffix(".json").exists():
            assert is_recorded(path, contents)
            assert all_files(path) == undisturbed
            path.with_suffix(".json").unlink()
            shutil.rmtree(path)
        else:
            unfinished += 1
            with pytest.raises(StoreError, match=r"acts.zarr .*record again: it resumes"):
                ul.open_activations(path)
    assert unfinished >= 10
    record_store(path, contents)
    assert all_files(path) == undisturbed
