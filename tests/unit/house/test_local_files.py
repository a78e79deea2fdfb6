"""A local file is written whole or not at all, under a temporary name, and flushed first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

from unitlens import local_files
from unitlens.local_files import partial_path, replacing, write_whole
from unitlens.store.backend.netcdf import write_netcdf


class FullDiskError(OSError):
    pass


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.json"


@pytest.fixture
def order(monkeypatch):
    """Return the system calls, in their order: flushing a file and giving it its name."""
    calls, fsync, replace = [], os.fsync, Path.replace

    def flush(descriptor):
        calls.append(f"flush {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def rename(partial, path):
        calls.append(f"rename {partial.name} {path.name}")
        return replace(partial, path)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", rename)
    return calls


def _in_order(path):
    partial = partial_path(path).name
    return [f"flush {partial}", f"rename {partial} {path.name}", f"flush {path.parent.name}"]


def test_write_whole__replaces_a_file_and_leaves_nothing_else(path):
    for content in (b"one", b"2", b""):
        write_whole(path, content)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


def test_write_whole__overwrites_what_a_killed_writer_has_left(path):
    killed = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        check=True,
        capture_output=True,
        text=True,
    )
    partial = partial_path(path)
    partial.with_name(partial.name.replace(str(os.getpid()), killed.stdout.strip())).write_bytes(
        b"a"
    )
    partial.write_bytes(b"a longer text that was never finished")
    write_whole(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_write_whole__flushes_before_the_file_gets_its_name(path, order):
    write_whole(path, b"new")

    assert order == _in_order(path)


def test_write_netcdf__flushes_before_the_file_gets_its_name(path, order):
    write_netcdf(xr.Dataset({"a": ("x", [1.0, 2])}), path)

    assert order == _in_order(path)
    assert xr.load_dataset(path, engine="h5netcdf")["a"].values.tolist() == [1, 2]


def test_write_netcdf__replaces_a_table_and_takes_an_encoding(tmp_path):
    path = tmp_path / "a.nc"
    table = xr.Dataset({"a": ("x", [0.0] * 10_000)})
    write_netcdf(table, path)
    size = path.stat().st_size
    write_netcdf(table, path, {"a": {"zlib": True, "complevel": 1}})

    assert path.stat().st_size < size / 2
    assert xr.load_dataset(path, engine="h5netcdf").equals(table)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [FullDiskError, KeyboardInterrupt])
def test_replacing__leaves_the_earlier_file_where_the_writer_fails(path, error):
    def fail():
        with replacing(path) as partial:
            partial.write_bytes(b"ne")
            raise error

    path.write_bytes(b"old")
    with pytest.raises(error):
        fail()

    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_replacing__leaves_the_earlier_file_where_flushing_fails(path, monkeypatch):
    def full(_):
        raise FullDiskError

    path.write_bytes(b"old")
    monkeypatch.setattr(local_files.os, "fsync", full)
    with pytest.raises(FullDiskError):
        write_whole(path, b"new")

    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_source__writes_files_in_no_other_way():
    """Every module names a temporary file and writes netCDF by these functions."""
    package = Path(local_files.__file__).parent
    texts = {file: file.read_text() for file in package.rglob("*.py")}
    others = [
        str(file.relative_to(package))
        for file, text in texts.items()
        if '.partial"' in text.replace(".tables.partial", "") or ".to_netcdf(" in text
    ]
    # One file of several groups, and a file at a URL, which is made in memory.
    assert sorted(others) == ["local_files.py", "store/backend/netcdf.py"]
