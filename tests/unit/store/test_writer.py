import shutil

import numpy as np
import pytest

from small_stores import SMALL, all_files, fill, make_columns, make_contents, write_store
from unitlens.errors import StoreError
from unitlens.store.backend.files import GrowingFile
from unitlens.store.format import hierarchy
from unitlens.store.format.journal import Journal, read_journal
from unitlens.store.reader import open_activations
from unitlens.store.writer import StoreWriter, is_recorded


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "acts.zarr"
    write_store(path)
    return all_files(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "acts.zarr"


class CrashError(Exception):
    """A kill at a known moment."""


def crash_at(monkeypatch, owner, name, call):
    """Let the call of a function with number `call` crash before it does anything."""
    real, calls = getattr(owner, name), []

    def crashing(*args, **options):
        calls.append(name)
        if len(calls) == call:
            raise CrashError
        return real(*args, **options)

    monkeypatch.setattr(owner, name, crashing)


def test_store__has_many_shards(undisturbed):
    assert sum(name.startswith("relu1/activation/c/") for name in undisturbed) >= 10


@pytest.mark.parametrize("call", [1, 2, 7, 20, 43])
def test_resume__after_a_crash_between_a_shard_and_its_line(monkeypatch, path, undisturbed, call):
    with monkeypatch.context() as patch:
        crash_at(patch, Journal, "append", call)
        with pytest.raises(CrashError):
            write_store(path)
    assert not path.with_suffix(".json").exists()
    write_store(path)
    assert all_files(path) == undisturbed


@pytest.mark.parametrize("call", [1, 3])
def test_resume__after_a_crash_while_finishing(monkeypatch, path, undisturbed, call):
    with monkeypatch.context() as patch:
        crash_at(patch, StoreWriter, "_write_range", call)
        with pytest.raises(CrashError):
            write_store(path)
    with StoreWriter(path, make_contents(), {"batch_size": 50}, layout=SMALL) as writer:
        assert writer.first == 500  # no sample is missing
        writer.finish()
    assert all_files(path) == undisturbed


def test_resume__after_a_crash_while_the_hierarchy_is_made(monkeypatch, path, undisturbed):
    with monkeypatch.context() as patch:
        crash_at(patch, hierarchy, "_create_array", 3)
        with pytest.raises(CrashError):
            write_store(path)
    write_store(path)
    assert all_files(path) == undisturbed


def test_resume__sweeps_partial_files_and_a_torn_line(monkeypatch, path, undisturbed):
    with monkeypatch.context() as patch:
        crash_at(patch, Journal, "append", 9)
        with pytest.raises(CrashError):
            write_store(path)
    (path / "relu1" / "activation" / "c" / "0" / "0.abc.partial").write_bytes(b"half")
    with path.with_suffix(".journal").open("ab") as journal:
        journal.write(b'{"path": "relu1/acti')
    write_store(path)
    assert all_files(path) == undisturbed


def test_resume__truncated_shard_is_written_again(monkeypatch, path, undisturbed):
    with monkeypatch.context() as patch:
        crash_at(patch, Journal, "append", 20)
        with pytest.raises(CrashError):
            write_store(path)
    _, complete = read_journal(path.with_suffix(".journal"))
    known = next(one for one in complete if one.path.endswith("activation"))
    shard = path / known.path / "c" / str(known.shard) / "0"
    shard.write_bytes(shard.read_bytes()[:-7])
    write_store(path)
    assert all_files(path) == undisturbed


def test_resume__does_not_run_again_what_every_layer_has(monkeypatch, path):
    with monkeypatch.context() as patch:
        # Two of 63 entries are missing: whichever these are, every array has some of its shards.
        crash_at(patch, Journal, "append", 62)
        with pytest.raises(CrashError):
            write_store(path)
    _, shards = read_journal(path.with_suffix(".journal"))
    with StoreWriter(path, make_contents(), {"batch_size": 50}, layout=SMALL) as writer:
        rows = {array.path: array.shards[0] for array in writer._filled}
        ends = dict.fromkeys(rows, 0)
        for shard in shards:
            ends[shard.path] = (shard.shard + 1) * rows[shard.path]
        assert 0 < writer.first == min(ends.values()) < 500


@pytest.mark.parametrize(
    "change",
    [
        {"contents": {"provenance": {"weights_hash": "other", "dataset_identity": "b1"}}},
        {"contents": {"reduce": "max"}},
        {"conditions": {"batch_size": 60}},
    ],
)
def test_resume__starts_over_for_another_recording(monkeypatch, path, change):
    with monkeypatch.context() as patch:
        crash_at(patch, Journal, "append", 20)
        with pytest.raises(CrashError):
            write_store(path)
    contents = make_contents(**change.get("contents", {}))
    conditions = change.get("conditions", {"batch_size": 50})
    with StoreWriter(path, contents, conditions, layout=SMALL) as writer:
        assert writer.first == 0
        fill(writer, make_columns(contents, seed=1))
    tree = open_activations(path)
    expected = make_columns(contents, seed=1)["relu1/activation"]
    np.testing.assert_array_equal(tree["relu1"].activation, expected)


def test_finished__is_known_without_a_manifest_too(path, undisturbed):
    """Snakemake removes a declared output before it runs a job again."""
    write_store(path)
    path.with_suffix(".json").unlink()
    before = {file: file.stat().st_mtime_ns for file in path.rglob("c/*") if file.is_file()}
    assert not is_recorded(path, make_contents())
    with StoreWriter(path, make_contents(), {"batch_size": 50}, layout=SMALL) as writer:
        assert writer.first == 500
        writer.finish()
    after = {file: file.stat().st_mtime_ns for file in path.rglob("c/*") if file.is_file()}
    ranges = {file for file in before if {"minimum", "maximum"} & set(file.parts)}
    assert {f: t for f, t in after.items() if f not in ranges} == {
        f: t for f, t in before.items() if f not in ranges
    }
    assert all_files(path) == undisturbed


def test_finished__same_contents(path):
    write_store(path)
    assert is_recorded(path, make_contents())


def test_finished__other_contents_are_refused(path):
    write_store(path)
    other = make_contents(provenance={"weights_hash": "z9", "dataset_identity": "b1"})
    with pytest.raises(
        StoreError, match=r'holds another recording, whose provenance is .*"a0".*"z9".*remove it or'
    ):
        is_recorded(path, other)


def test_finished__lost_shard_is_written_again(path, undisturbed):
    write_store(path)
    (path / "relu1" / "activation" / "c" / "4" / "0").unlink()
    assert not is_recorded(path, make_contents())
    write_store(path)
    assert all_files(path) == undisturbed


def test_finish__refuses_where_samples_are_missing(path):
    contents = make_contents()
    with StoreWriter(path, contents, {}, layout=SMALL) as writer:
        with pytest.raises(StoreError, match=r"has 0 of 500 samples; record again: it resumes"):
            writer.finish()
        with pytest.raises(StoreError, match=r"samples 0 to 100 of .* are left out"):
            writer.append(100, make_columns(contents))


def test_write__something_else_at_the_path_is_not_overwritten(path):
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"exists and is no activation store, so it is not overwr"):
        write_store(path)
    assert (path / "thesis.tex").exists()


def test_write__something_else_where_the_manifest_goes_is_not_overwritten(path):
    path.with_suffix(".json").write_text('{"mine": 1}')
    with pytest.raises(StoreError, match=r"acts.json is not the manifest of an activation store"):
        is_recorded(path, make_contents())


def test_write__shard_that_cannot_be_written_is_named(monkeypatch, path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GrowingFile, "append", full)
    with pytest.raises(StoreError, match=r"'[\w.]+/activation/c/0/0' of .* \(.*No space .*resumes"):
        write_store(path)


@pytest.mark.parametrize("samples", [1, 2, 49, 50, 51, 499])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_write__any_number_of_samples(path, samples, batch):
    contents = make_contents(samples=samples)
    columns = make_columns(contents)
    write_store(path, contents, columns, batch=batch)
    tree = open_activations(path)
    for layer in contents.layers:
        np.testing.assert_array_equal(
            tree[layer.name].activation, columns[f"{layer.name}/activation"]
        )
    np.testing.assert_array_equal(tree["label"], columns["label"])


def test_manifest__same_hash_from_other_batches_and_other_provenance(path, tmp_path):
    one = write_store(path, batch=50)
    elsewhere = make_contents(provenance={"weights_hash": "c", "dataset_identity": "d"})
    two = write_store(tmp_path / "two.zarr", elsewhere, batch=17)
    assert one.content_hash == two.content_hash


def test_manifest__another_value_is_another_hash(path, tmp_path):
    contents = make_contents()
    columns = make_columns(contents)
    one = write_store(path, contents, columns)
    columns["relu1/activation"][123, 4] += 1e-6
    two = write_store(tmp_path / "two.zarr", contents, columns)
    assert one.content_hash != two.content_hash


def test_write__nan_and_infinity_are_kept_and_counted(path):
    contents = make_contents()
    columns = make_columns(contents)
    activation = columns["relu1/activation"]
    activation[:300, 3] = np.nan  # whole shards of NaN, the fill value
    activation[:, :] = np.where(np.arange(500)[:, None] < 100, np.nan, activation)
    activation[400, 5] = np.inf
    manifest = write_store(path, contents, columns)
    assert manifest.nonfinite == {"relu1": 100 * 24 + 200 + 1, "layer1.0.relu_2": 0}
    tree = open_activations(path)
    np.testing.assert_array_equal(tree["relu1"].activation, activation)
    assert np.isnan(tree["relu1"].maximum).all()


def test_write__no_manifest_while_unfinished(path):
    contents = make_contents()
    columns = make_columns(contents)
    with StoreWriter(path, contents, {}, layout=SMALL) as writer:
        writer.append(0, {name: values[:400] for name, values in columns.items()})
    with pytest.raises(StoreError, match=r"was not recorded to its end .* record again: it"):
        open_activations(path)


def test_clear__killed_removal_can_go_on(path, undisturbed):
    write_store(path)
    shutil.rmtree(path / "relu1")
    path.with_suffix(".json").unlink()
    path.with_suffix(".journal").unlink()
    write_store(path)
    assert all_files(path) == undisturbed
