"""Seeded damage of every kind of file of a store: right numbers, or one line that names a file."""

import os
import random
import shutil
from pathlib import Path

import dask
import numpy as np
import pytest

import unitlens as ul
from small_stores import flip, make_columns, make_contents, record_store, swap, write_part
from unitlens.errors import StoreError
from unitlens.store.format.layout import SAMPLE_ARRAYS, FeatureMaps
from unitlens.store.format.parts import Part
from unitlens.store.merge import merge_activations
from unitlens.store.verify import verify_activations

MAPS = FeatureMaps({"relu1": (3, 3)}, tuple(range(0, 170, 7)))
CONTENTS = make_contents(samples=170, codec="none", maps=MAPS)
COLUMNS = make_columns(CONTENTS)
SHARE = 10 if os.environ.get("UNITLENS_FAULTS") == "all" else 1
KINDS = {
    "manifest": "acts.json",
    "journal": "acts.journal",
    "lock": "acts.lock",
    "group": "acts.zarr/**/zarr.json",
    "activation": "acts.zarr/*/activation/c/*/0",
    "sample array": "acts.zarr/*/c/*",
    "range": "acts.zarr/*/m*imum/c/0",
    "map": "acts.zarr/relu1/map/c/*/0/0/0",
}


@pytest.fixture(autouse=True)
def no_flush(monkeypatch):
    """Spare the disk: no power fails here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "acts.zarr"
    record_store(path, CONTENTS)
    return path


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "acts.zarr"
    for number in (1, 2):
        write_part(path, Part(number, 2), contents=CONTENTS)
    return path


@pytest.fixture(scope="module")
def statistics(whole):
    with dask.config.set(scheduler="synchronous"):
        return ul.class_statistics(ul.open_activations(whole))


def copy(path, directory):
    shutil.copytree(path.parent, directory)
    return directory / path.name


def damage(files, dice):
    """Damage a file, or exchange two; return what was done."""
    file = dice.choice(files)
    size = file.stat().st_size
    others = [other for other in files if other != file]
    kinds = ["remove", "cut", "flip", "zero", "append", "empty"] + ["swap", "copy"] * bool(others)
    kind = dice.choice(kinds)
    if kind == "remove":
        file.unlink()
    elif kind == "cut" and size:
        os.truncate(file, dice.randrange(size))
    elif kind == "flip" and size:
        flip(file, dice.randrange(size), dice.randrange(8))
    elif kind == "zero":
        first = dice.randrange(size + 1)
        file.write_bytes(file.read_bytes()[:first] + bytes(size - first))
    elif kind == "append":
        file.write_bytes(file.read_bytes() + dice.randbytes(dice.randrange(1, 50)))
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "swap":
        swap(file, dice.choice(others))
    elif kind == "copy":
        shutil.copyfile(dice.choice(others), file)
    return f"{kind} {file}"


def attempt(action, *arguments):
    """Return the result of an action and, where the store refuses, the line that says so."""
    try:
        return action(*arguments), ""
    except StoreError as error:
        return None, str(error)


def read(path):
    tree = ul.open_activations(path)
    values = {
        f"{layer.name}/{name}": tree[layer.name][name].to_numpy()
        for layer in CONTENTS.layers
        for name in ("activation", "minimum", "maximum")
    }
    values["relu1/map"] = tree["relu1"]["map"].to_numpy()
    samples = {name: tree[name].to_numpy() for name in SAMPLE_ARRAYS}
    return {**values, **samples}, ul.class_statistics(tree)


def check_read(path, statistics):
    """Return whether reading refuses; compare every number otherwise."""
    held, line = attempt(read, path)
    if line:
        assert "\n" not in line
        assert "record again" in line
        return True
    values, computed = held
    for name, array in values.items():
        layer, _, kind = name.rpartition("/")
        if kind in ("minimum", "maximum"):
            expected = getattr(COLUMNS[f"{layer}/activation"], kind[:3])(axis=0)
        else:
            expected = COLUMNS[name]
        np.testing.assert_array_equal(array, expected)
    assert computed.identical(statistics)
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_damaged__finished_store(kind, whole, statistics, tmp_path):
    """Reading and verifying agree, and recording again restores what only reading refuses."""
    dice = random.Random(kind)
    undisturbed = whole.with_suffix(".json").read_bytes()
    refused = 0
    for number in range(34 * SHARE):
        path = copy(whole, tmp_path / str(number))
        files = sorted(f for f in path.parent.glob(KINDS[kind]) if f.is_file())
        done = damage(files, dice)
        with dask.config.set(scheduler="synchronous"):
            is_refused = check_read(path, statistics)
        refused += is_refused
        report, line = attempt(verify_activations, path)
        assert bool(line) == (not path.with_suffix(".json").exists())
        assert bool(line or not report.whole) == is_refused, done
        restore(path, done)
        assert path.with_suffix(".json").read_bytes() == undisturbed, done
        shutil.rmtree(path.parent)
    assert (refused > 20 * SHARE) == (kind not in ("journal", "lock"))


def restore(path, done):
    """Record again; where this is refused or leaves a bad file, remove the file first."""
    _, line = attempt(record_store, path, CONTENTS)
    if not line and verify_activations(path).whole:
        return
    assert not line or "record again" in line
    bad = Path(done.partition(" ")[2])
    bad.unlink(missing_ok=True)
    for fault in () if bad.suffix == ".json" else verify_activations(path).faults:
        (path / fault.place).unlink(missing_ok=True)
    record_store(path, CONTENTS)
    assert verify_activations(path).whole


def test_damaged__parts_before_they_are_merged(parts, whole, statistics, tmp_path):
    dice = random.Random("parts")
    undisturbed = whole.with_suffix(".json").read_bytes()
    for number in range(40 * SHARE):
        path = copy(parts, tmp_path / str(number))
        done = damage(sorted(f for f in path.parent.rglob("*") if f.is_file()), dice)
        _, line = attempt(merge_activations, path)
        if line:
            assert "\n" not in line
            for part in (1, 2):
                write_part(path, Part(part, 2), contents=CONTENTS)
            merge_activations(path)
        with dask.config.set(scheduler="synchronous"):
            if check_read(path, statistics):
                restore(path, done)
        assert path.with_suffix(".json").read_bytes() == undisturbed, done
        shutil.rmtree(path.parent)
