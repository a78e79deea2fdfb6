"""What vouches for files is written after they are on the disk, and leftovers are removed."""

import os
import pathlib

import pytest

from small_stores import (
    LAYERS,
    all_files,
    make_contents,
    record_store,
    write_part,
)
from unitlens.store.format.parts import Part
from unitlens.store.merge import merge_activations

CONTENTS = make_contents(samples=170)


@pytest.fixture
def flushed(monkeypatch):
    """Return the list of what was flushed and renamed, in order."""
    events, fsync, replace = [], os.fsync, pathlib.Path.replace

    def note_flush(handle):
        events.append(("flush", str(pathlib.Path(f"/proc/self/fd/{handle}").readlink())))
        fsync(handle)

    def note_rename(self, target):
        events.append(("rename", str(target)))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(pathlib.Path, "replace", note_rename)
    return events


def needed(path):
    """Return the files of a store and all directories above them."""
    files = [file for file in path.rglob("*") if file.is_file()]
    return {*files, path, *(d for d in path.rglob("*") if d.is_dir())}


def test_manifest__is_written_after_all_files_and_directories_are_flushed(flushed, tmp_path):
    path = (tmp_path / "acts.zarr").resolve()
    record_store(path, CONTENTS)
    last = flushed.index(("rename", str(path.with_suffix(".json"))))
    before = {pathlib.Path(name) for kind, name in flushed[:last] if kind == "flush"}
    assert needed(path) <= before
    assert len(needed(path)) > 40


def test_part__its_journal_ends_after_its_files_are_flushed(flushed, tmp_path):
    path = (tmp_path / "acts.zarr").resolve()
    for number in (1, 2):
        flushed.clear()
        write_part(path, Part(number, 2), contents=CONTENTS)
        journal = str(Part(number, 2).journal(path))
        *before, last = [pathlib.Path(name) for kind, name in flushed if kind == "flush"]
        assert str(last) == journal
        renamed = {pathlib.Path(name) for kind, name in flushed if kind == "rename"}
        shards = {file for file in renamed if file.is_relative_to(path)}
        assert len(shards) > 10
        assert shards | {d for file in shards for d in file.parents if d.is_relative_to(path)} <= {
            *before
        }


LEFT = "otherhost-4711.partial"  # of a writer on another machine


def leftovers(path):
    return sorted(str(file.relative_to(path.parent)) for file in path.parent.rglob("*.partial"))


def test_leftovers__of_killed_writers_anywhere_are_removed(tmp_path):
    path = tmp_path / "acts.zarr"
    record_store(path, CONTENTS)
    whole = all_files(path)
    path.with_suffix(".json").unlink()
    layer = next(iter(LAYERS))
    names = [
        f"acts.json.{LEFT}",
        f"acts.journal.{LEFT}",
        f"acts.zarr/zarr.json.{LEFT}",
        f"acts.zarr/{layer}/activation/c/0/0.{LEFT}",
        f"acts.zarr/{layer}/minimum/c/0.{LEFT}",
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"half")
    other = tmp_path / f"acts.json2.{LEFT}"  # of something else
    other.write_bytes(b"half")
    record_store(path, CONTENTS)
    assert leftovers(path) == [other.name]
    assert all_files(path) == whole


def test_leftovers__of_a_killed_writer_of_a_part_are_removed_by_the_next(tmp_path):
    path = tmp_path / "acts.zarr"
    write_part(path, Part(1, 2), contents=CONTENTS)
    layer = next(iter(LAYERS))
    shard = next((path / layer / "activation" / "c").iterdir()).name
    mine = [f"acts.part-1-of-2.journal.{LEFT}", f"acts.zarr/{layer}/activation/c/{shard}/0.{LEFT}"]
    others = f"acts.part-2-of-2.journal.{LEFT}"
    (path / layer / "activation" / "c" / shard / "0").unlink()
    for name in (*mine, others):
        (tmp_path / name).write_bytes(b"half")
    write_part(path, Part(1, 2), contents=CONTENTS)
    assert leftovers(path) == [others]
    write_part(path, Part(2, 2), contents=CONTENTS)
    assert leftovers(path) == []
    merge_activations(path)
    record_store(tmp_path / "whole.zarr", CONTENTS)
    assert all_files(path) == all_files(tmp_path / "whole.zarr")


def test_root__is_flushed_before_any_other_file_exists(monkeypatch, tmp_path):
    """So that what a power failure leaves is known to be a store, and is recorded again."""
    path = tmp_path / "acts.zarr"
    beside = []
    flush = os.fsync

    def note_flush(handle):
        if pathlib.Path(f"/proc/self/fd/{handle}").readlink().parent == path:
            beside.append({file.name for file in path.rglob("*")})
        flush(handle)

    monkeypatch.setattr(os, "fsync", note_flush)
    record_store(path, make_contents(samples=20))

    assert len(beside[0]) == 1
    assert beside[0].pop().startswith("zarr.json.")
