"""Every remedy that an error of a store names is carried out, and the store ends undisturbed."""

import json
import shutil

import pytest

import unitlens as ul
from small_stores import (
    LAYERS,
    SMALL,
    all_files,
    append,
    flip,
    make_columns,
    make_contents,
    record_store,
    write_part,
)
from unitlens.errors import ArgumentError, StoreError
from unitlens.store.backend.lock import only_writer
from unitlens.store.damage import find_damage
from unitlens.store.description import describe_store
from unitlens.store.format.layout import check_path
from unitlens.store.format.parts import Part
from unitlens.store.merge import merge_activations
from unitlens.store.writer import StoreWriter

CONTENTS = make_contents(samples=170)
SHARD = "relu1/activation/c/1/0"
CONDITIONS = {"batch_size": 50}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "acts.zarr"
    record_store(path, CONTENTS)
    return all_files(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "acts.zarr"


def manifest(path):
    return path.with_suffix(".json")


def read(path):
    tree = ul.open_activations(path)
    for name in LAYERS:
        tree[name].activation.compute(scheduler="synchronous")


def record(path):
    record_store(path, CONTENTS)


def record_parts(path):
    for number in (1, 2):
        write_part(path, Part(number, 2), contents=CONTENTS)


def merge(path):
    merge_activations(path)


def repair(path):
    """Do what a repair does, with a network that puts out other numbers."""
    with only_writer(path):
        state, _ = find_damage(path, describe_store(path))
        with StoreWriter(path, CONTENTS, CONDITIONS, state=state) as writer:
            append(writer, make_columns(CONTENTS, seed=1))
            writer.finish()


def break_off(path):
    with StoreWriter(path, CONTENTS, CONDITIONS, layout=SMALL) as writer:
        columns = make_columns(CONTENTS)
        writer.append(0, {name: values[:50] for name, values in columns.items()})
        writer.finish()


def edit_manifest(path):
    values = json.loads(manifest(path).read_bytes())
    values["conditions"]["batch_size"] = 51
    manifest(path).write_text(json.dumps(values))


def put_manifest_of_another(path):
    other = path.with_name("other.zarr")
    record_store(other, make_contents(samples=170, reduce="max"))
    shutil.copy(manifest(other), manifest(path))


def replace_by_directory(place):
    place.unlink(missing_ok=True)
    place.mkdir()
    (place / "mine.txt").write_text("mine")


def move_away(place):
    place.rename(place.with_name("moved"))


def put_stray_file(path):
    (path / "notes.txt").write_text("mine")
    (path / "label" / "zarr.json").unlink()


# Damage of a finished store, what is refused, the error, and the remedy in its words.
FINISHED = {
    "no manifest": (
        lambda path: manifest(path).unlink(),
        read,
        r"was not recorded to its end .*; record again: it resumes$",
        record,
    ),
    "no store": (
        lambda path: (shutil.rmtree(path), manifest(path).unlink()),
        read,
        r"does not exist .*; record again: it resumes$",
        record,
    ),
    "a store that was removed, but not its manifest": (
        shutil.rmtree,
        read,
        r"acts.zarr is gone, though its manifest .*acts.json is there; remove the manifest and",
        lambda path: manifest(path).unlink(),
    ),
    "something else as manifest": (
        lambda path: manifest(path).write_text('{"mine": 1}'),
        record,
        r"is not the manifest .*; move it away and record again: it resumes",
        lambda path: move_away(manifest(path)),
    ),
    "a directory as manifest": (
        lambda path: replace_by_directory(manifest(path)),
        record,
        r"acts.json cannot be read .*; move it away and record again: it resumes$",
        lambda path: move_away(manifest(path)),
    ),
    "an edited manifest": (
        edit_manifest,
        record,
        r"has been changed, .*; remove it and record again: it resumes$",
        lambda path: manifest(path).unlink(),
    ),
    "a missing shard": (
        lambda path: (path / SHARD).unlink(),
        read,
        rf"'{SHARD}' is missing; record again: it resumes$",
        record,
    ),
    "a shard that was cut": (
        lambda path: (path / SHARD).write_bytes(b"1"),
        read,
        rf"'{SHARD}' has 1 bytes, .*; record again: it resumes$",
        record,
    ),
    "a flipped bit": (
        lambda path: flip(path / SHARD, 20, 3),
        read,
        rf"'{SHARD}' of .* is damaged \(.*\); remove this file and record again: it resumes$",
        lambda path: (path / SHARD).unlink(),
    ),
    "a directory as shard": (
        lambda path: replace_by_directory(path / SHARD),
        record,
        rf"{SHARD} cannot be written .*; mend this and record again: it resumes$",
        lambda path: shutil.rmtree(path / SHARD),
    ),
    "a damaged metadata file": (
        lambda path: flip(path / "label" / "zarr.json", 20, 3),
        read,
        r"'label/zarr.json' is missing or changed; record again: it resumes$",
        record,
    ),
    "another recording": (
        lambda path: (shutil.rmtree(path), record_store(path, make_contents(samples=90))),
        record,
        r"holds another recording, whose samples is 90, not 170; remove it or record to another",
        shutil.rmtree,
    ),
    "the manifest of another store": (
        put_manifest_of_another,
        describe_store,
        r"is the manifest of another store than .*; put its own back, or remove it and record aga",
        lambda path: manifest(path).unlink(),
    ),
    "the manifest of another store, and its own": (
        lambda path: (
            shutil.copy(manifest(path), path.parent / "own"),
            put_manifest_of_another(path),
        ),
        describe_store,
        r"is the manifest of another store than .*; put its own back",
        lambda path: shutil.copy(path.parent / "own", manifest(path)),
    ),
    "metadata that cannot be made again": (
        put_stray_file,
        repair,
        r"metadata files of .* cannot be made again .*; remove the store and record it anew$",
        shutil.rmtree,
    ),
    "a network that puts out other numbers": (
        lambda path: (path / SHARD).unlink(),
        repair,
        r"made again, holds other values .*, or remove the store and record it anew$",
        shutil.rmtree,
    ),
}


@pytest.mark.parametrize("case", FINISHED)
def test_remedy__of_a_finished_store(case, path, undisturbed):
    damage, action, message, remedy = FINISHED[case]
    record(path)
    damage(path)
    with pytest.raises(StoreError, match=message) as error:
        action(path)
    assert "\n" not in str(error.value)
    remedy(path)
    record(path)
    assert all_files(path) == undisturbed
    read(path)


def test_remedy__something_else_at_the_path(path, undisturbed):
    replace_by_directory(path)
    with pytest.raises(StoreError, match=r"no activation store, .*; move it away or record to ano"):
        record(path)
    record(path.with_name("another.zarr"))
    assert all_files(path.with_name("another.zarr")) == undisturbed
    move_away(path)
    record(path)
    assert all_files(path) == undisturbed


def test_remedy__a_recording_that_ended_too_early(path, undisturbed):
    with pytest.raises(StoreError, match=r"has 50 of 170 samples; record again: it resumes$"):
        break_off(path)
    record(path)
    assert all_files(path) == undisturbed


def test_remedy__a_store_that_is_being_written(path, undisturbed):
    with (
        only_writer(path),
        pytest.raises(StoreError, match=r"by process \d+ on .*; wait for it to end, then record a"),
        only_writer(path, wait=0.1),
    ):
        pass
    record(path)
    assert all_files(path) == undisturbed


# Damage of a store whose parts are not merged, and the error of merging.
PARTS = {
    "nothing": (shutil.rmtree, r"nothing of .* has been recorded .*; record its parts, then merge"),
    "a missing shard": (
        lambda path: (path / SHARD).unlink(),
        r"is missing or not whole; record the parts again: they resume, then merge them$",
    ),
    "a stray file": (
        put_stray_file,
        r"metadata files of .* are missing or changed; record its parts again, then merge them$",
    ),
    "no journal": (
        lambda path: path.with_suffix(".journal").unlink(),
        r"no sound acts.journal\); record its parts, then merge them$",
    ),
}


@pytest.mark.parametrize("case", PARTS)
def test_remedy__of_parts(case, path, undisturbed):
    damage, message = PARTS[case]
    if case == "nothing":
        path.mkdir()
    else:
        record_parts(path)
    damage(path)
    with pytest.raises(StoreError, match=message):
        merge(path)
    record_parts(path)
    merge(path)
    assert all_files(path) == undisturbed


def test_merge__removes_what_a_killed_merge_left(path, undisturbed):
    record_parts(path)
    (path / "relu1" / "minimum" / "c").mkdir()
    for left in ("relu1/minimum/c/0.host-1.partial", "label/zarr.json.0f3a.partial"):
        (path / left).write_bytes(b"half")
    merge(path)
    assert all_files(path) == undisturbed


def test_merge__of_a_finished_store_needs_no_journal(path, undisturbed):
    record(path)
    path.with_suffix(".journal").unlink()
    assert merge_activations(path) == path
    assert all_files(path) == undisturbed


def test_remedy__of_names(path):
    with pytest.raises(ArgumentError, match=r"acts.json ends in .json, .*; let it end in .zarr$"):
        check_path(path.with_suffix(".json"))
    check_path(path)

    layers = {"label": 3, **LAYERS}
    with pytest.raises(StoreError, match=r"'label' cannot be stored, .*; rename .* or leave the l"):
        record_store(path, make_contents(layers=layers))
    record(path)
    read(path)
