"""Tables are written whole or not at all, and read only as they were written."""

import json
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthetic_results import (
    network,
    provenance_of,
    weights_hash,
    write_networks,
    write_results,
)
from unitlens.config.runs import dataset_name
from unitlens.errors import StoreError, TableError
from unitlens.hashed_files import hash_file, read_json, read_trailer, write_json
from unitlens.store.backend.lock import hold_lock
from unitlens.store.backend.netcdf import read_netcdf, write_netcdf
from unitlens.tables import table_set
from unitlens.tables.results import open_results
from unitlens.tables.storage import TABLES
from unitlens.tables.tabulate import tabulate

MADE = network(("a",), kept=(1,))
DAMAGES = 110


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("pristine") / "results", [MADE])


@pytest.fixture
def results(pristine, tmp_path):
    return Path(shutil.copytree(pristine, tmp_path / "results"))


def networks_of(directory):
    return {path.parent.relative_to(directory).as_posix(): ("a",) for path in records(directory)}


def records(directory):
    return sorted(directory.rglob("checkpoint.json"))


def values_of(directory):
    """Every number of every table, and of the Parquet files."""
    opened = open_results(directory)
    opened.verify()
    tables = {}
    for of in (opened, opened.checkpoints):
        for name in TABLES:
            if of.has_table(name):
                tables[f"{of.directory.name}/{name}"] = getattr(of, name).load()
    return tables


def rewrite(directory, schema, *, name=MADE.name, **provenance):
    """Write a file of a network again with another provenance."""
    path = directory / name / f"{schema}.nc"
    table = read_netcdf(path).drop_encoding()
    stated = provenance_of(name, schema)
    values = {"step": stated.step, "settings": stated.settings, "code": stated.code}
    values |= {"inputs": dict(stated.inputs), **provenance}
    write_netcdf(table, path, provenance=type(stated)(**values))


def damage(path, rng):
    content = bytearray(path.read_bytes())
    kind = rng.integers(5)
    if kind == 0:
        path.unlink()
    elif kind == 1:
        path.write_bytes(bytes(content[: rng.integers(len(content))]))
    elif kind == 2:
        path.write_bytes(b"")
    else:
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(content))


def test_damage__is_never_silent(pristine, tmp_path):
    rng = np.random.default_rng(0)
    record = open_results(pristine).record
    expected = values_of(pristine)
    files = ["tables.json", *record.files]
    work = Path(shutil.copytree(pristine, tmp_path / "results"))

    harmless = 0
    for place in rng.integers(len(files), size=DAMAGES):
        path = work / files[place]
        damage(path, rng)
        message = ""
        try:
            read = values_of(work)
        except TableError as error:
            message = str(error)
        if message:
            assert "\n" not in message
            assert str(work) in message
            assert "snakemake" in message
        else:  # white space of tables.json
            assert path.name == "tables.json"
            harmless += 1
            assert all(read[name].identical(table) for name, table in expected.items())
        shutil.copy(pristine / files[place], path)
    assert harmless <= DAMAGES // 20
    assert values_of(work).keys() == expected.keys()


def test_missing_arrays_and_further_files__change_no_table(results):
    before = open_results(results).units.load()
    shutil.copytree(results / "units.zarr/selectivity", results / "units.zarr/another")
    assert open_results(results).units.identical(before)

    shutil.rmtree(results / "units.zarr/selectivity")
    with pytest.raises(TableError, match=r"selectivity/zarr.json is missing.*remove tables.json"):
        _ = open_results(results).units


def test_swapped_chunks__are_noticed_when_they_are_read(results):
    one, two = (results / f"units.zarr/{name}/c/0" for name in ("selectivity", "sparsity"))
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)

    units = open_results(results).units  # opens: numbers are read when they are used
    with pytest.raises(TableError, match=r"units.zarr/selectivity/c/0 is damaged"):
        units["selectivity"].load()
    assert np.isfinite(units["variance"].values).all()


def test_remedy__a_record_that_is_removed_is_made_again(results):
    before = open_results(results).units.load()
    chunk = results / "units.zarr/selectivity/c/0"
    chunk.write_bytes(chunk.read_bytes()[:-1])

    (results / "tables.json").unlink()  # as the message says; then snakemake makes it
    with pytest.raises(TableError, match=r"lack their record tables.json.*run: snakemake"):
        open_results(results)
    tabulate(results, networks_of(results))

    assert open_results(results).units.identical(before)


def test_results_of_before_0_3__are_refused_and_can_be_joined_again(results):
    before = open_results(results).runs.load()
    old = read_json(results / "tables.json", error=TableError, remedy="")["tables"]
    (results / "tables.json").write_text(json.dumps(old))

    with pytest.raises(TableError, match=r"unitlens before 0.3 .* trained networks are kept"):
        open_results(results)
    tabulate(results, networks_of(results))

    assert open_results(results).runs.identical(before)


def test_parquet__has_the_hash_that_the_record_states(results):
    opened = open_results(results)
    opened.verify()
    assert opened.record.files["units.parquet"] == hash_file(results / "units.parquet")

    pd.DataFrame({"a": [1]}).to_parquet(results / "units.parquet")
    with pytest.raises(TableError, match=r"units.parquet is damaged.*remove tables.json"):
        opened.verify()


@pytest.mark.parametrize("place", range(0, 40, 5))
def test_failure__within_the_renames_leaves_the_earlier_tables(results, monkeypatch, place):
    before = values_of(results)
    moved = []

    def move(source, target, done):
        if len(moved) == place:
            moved.append(source)
            raise OSError(28, "No space left on device", str(target))
        moved.append(source)
        original(source, target, done)

    original = table_set._move
    monkeypatch.setattr(table_set, "_move", move)
    with pytest.raises(TableError, match=r"cannot be written \(.*No space left.*mend this"):
        tabulate(results, networks_of(results))
    after = values_of(results)
    assert all(after[name].identical(table) for name, table in before.items())
    assert not (results / table_set.PARTIAL).exists()
    monkeypatch.undo()

    tabulate(results, {MADE.name: ("a",)})
    assert open_results(results).runs["run"].values.tolist() == [MADE.name]
    assert not (results / "checkpoints").exists()


def test_failure__before_the_new_set_is_whole_leaves_the_earlier_one(results, monkeypatch):
    before = values_of(results)
    monkeypatch.setattr(table_set, "flush_to_disk", lambda _: os.close(-1))

    with pytest.raises(TableError, match="the earlier tables are as they were; mend this"):
        tabulate(results, networks_of(results))

    after = values_of(results)
    assert all(after[name].identical(table) for name, table in before.items())


@pytest.mark.parametrize("place", [1, 5, 14, 25, 37])
def test_kill__within_the_renames_is_refused_and_mended(results, monkeypatch, place):
    expected = values_of(results)
    original, count = table_set._move, [0]

    def move(source, target, done):
        count[0] += 1
        if count[0] > place:
            os._exit(137)
        original(source, target, done)

    monkeypatch.setattr(table_set, "_move", move)
    process = os.fork()
    if process == 0:
        tabulate(results, networks_of(results))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 137
    monkeypatch.undo()
    monkeypatch.setattr("unitlens.tables.results.WAIT_SECONDS", 0.1)

    assert not (results / "tables.json").exists()  # so that snakemake makes it
    with pytest.raises(TableError, match=r"(there are no results|lack their record).*: snakemake"):
        open_results(results)
    tabulate(results, networks_of(results))

    after = values_of(results)
    assert all(after[name].identical(table) for name, table in expected.items())


def test_reader__waits_for_a_set_that_is_being_renamed(results):
    hidden = results / "hidden.json"
    (results / "tables.json").rename(hidden)
    (results / table_set.PARTIAL).mkdir()

    def finish():
        time.sleep(0.3)
        hidden.rename(results / "tables.json")

    thread = threading.Thread(target=finish)
    thread.start()
    assert open_results(results).runs.sizes["run"] == 1
    thread.join()


def test_reader__never_mixes_two_sets(results):
    opened = open_results(results)
    _ = opened.runs
    rewritten = read_netcdf(results / MADE.name / "unit_measures.nc").drop_encoding()
    rewritten["selectivity"] = rewritten["selectivity"] / 2
    write_netcdf(rewritten, results / MADE.name / "unit_measures.nc")
    tabulate(results, networks_of(results))

    with pytest.raises(TableError, match="joined anew since they were opened: open them again"):
        opened.units["selectivity"].load()
    new = open_results(results).units.sel(run=MADE.name)["selectivity"]
    np.testing.assert_array_equal(new, rewritten["selectivity"])


def test_two_writers__one_fails_naming_the_other(results):
    ready, done = os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        with hold_lock(results / ".tables.lock", "the tables"):
            os.write(ready[1], b"x")
            os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        with pytest.raises(StoreError, match=rf"tables in .* being written by process {process}"):
            tabulate(results, networks_of(results))
    finally:
        os.write(done[1], b"x")
        os.waitpid(process, 0)

    tabulate(results, networks_of(results))


@pytest.mark.parametrize(
    ("schema", "changed", "reason"),
    [
        ("unit_measures", {"settings": {"split": "test"}}, "split was 'test', is 'train'"),
        ("unit_measures", {"code": "0ld"}, "the code of the step has changed"),
        ("noise_robustness", {"step": "unit_ablation"}, "it is of the step unit_ablation"),
        ("unit_ablation", {"inputs": {"weights": "0"}}, "it was computed from another network"),
        (
            "unit_ablation",
            {"inputs": {"weights": weights_hash(MADE.name), "unit_measures.nc": "0"}},
            "it was computed from another unit_measures.nc",
        ),
        (
            "unit_ablation",
            {"inputs": {"weights": weights_hash(MADE.name), "dataset": "0"}},
            "it was computed from another data set",
        ),
    ],
)
def test_misfit__is_refused_until_the_file_is_made_again(results, schema, changed, reason):
    prepared = results / "datasets" / dataset_name(MADE.spec.dataset) / "dataset.json"
    prepared.parent.mkdir(parents=True)
    write_json(prepared, {"content_hash": "d1"})
    path = results / MADE.name / f"{schema}.nc"
    good = path.read_bytes()
    names = ("unit_measures", "unit_ablation", "cumulative_ablation", "noise_robustness")
    stated = {f"{name}.nc": provenance_of(MADE.name, name).to_values() for name in names}
    expected = {MADE.name: {name: {**of, "inputs": {}} for name, of in stated.items()}}
    rewrite(results, schema, **changed)

    with pytest.raises(TableError, match=rf"{schema}.nc does not fit: {reason}.*remove .*{schema}"):
        tabulate(results, {MADE.name: ("a",)}, expected=expected)

    path.unlink()  # as the message says; snakemake then makes the file
    with pytest.raises(TableError, match=rf"{schema}.nc is missing; run snakemake again"):
        tabulate(results, {MADE.name: ("a",)}, expected=expected)
    path.write_bytes(good)
    assert tabulate(results, {MADE.name: ("a",)}, expected=expected)["final"]["runs"]["run"] == 1


def test_missing_history__is_refused_where_a_plan_asks_for_the_network(results):
    expected = {MADE.name: {}}
    (results / MADE.name / "history.nc").unlink()

    with pytest.raises(TableError, match=r"history.nc is missing; put it back, or run snakemake"):
        tabulate(results, {MADE.name: ("a",)}, expected=expected)

    assert "history" not in tabulate(results, {MADE.name: ("a",)})["final"]


def test_inputs_that_fit__are_accepted(results):
    measures = read_trailer(results / MADE.name / "unit_measures.nc")
    inputs = {"weights": weights_hash(MADE.name), "unit_measures.nc": measures.hash}
    rewrite(results, "unit_ablation", inputs=inputs | {"train/activations.json": "removed since"})

    assert "units" in tabulate(results, {MADE.name: ("a",)})["final"]


def test_files_of_before_0_3__are_refused(results):
    path = results / MADE.name / "unit_measures.nc"
    table = read_netcdf(path).drop_encoding()
    path.unlink()
    table.to_netcdf(path, engine="h5netcdf")

    with pytest.raises(TableError, match=r"carries no hash .*before 0.3; remove .*keeps the netw"):
        tabulate(results, {MADE.name: ("a",)})


def test_failed_networks__are_left_out_with_a_word(tmp_path, caplog):
    failed = network(("a", "b"), seed=7, kept=(1,))
    final, kept = write_networks(tmp_path, [MADE, failed])
    path = tmp_path / failed.name / "checkpoint.json"
    record = read_json(path, error=TableError, remedy="")
    reason = "the loss is nan in epoch 2"
    write_json(path, record | {"failed": reason, "train_loss": None, "test_loss": None})

    with caplog.at_level("WARNING", "unitlens"):
        tabulate(tmp_path, final | kept)

    assert f"{failed.name} is left out of the tables: {reason}" in caplog.text
    results = open_results(tmp_path)
    assert results.failed == {failed.name: reason}
    assert f"left out: {failed.name} ({reason})" in repr(results)
    for of in (results, results.checkpoints):
        assert set(of.runs["run"].values) == {MADE.name}
    assert set(results.units["run"].values) == {MADE.name}

    with pytest.raises(TableError, match=rf"no network to tabulate: .* 1 failed, .*{reason}"):
        tabulate(tmp_path, {failed.name: ("a",)})
