"""Verifying names every bad file of a store, and no other file."""

import json
import random
import re
from dataclasses import replace

import numpy as np
import pytest
import zarr

import unitlens as ul
from small_stores import SMALL, all_files, flip, make_columns, make_contents, write_store
from unitlens.errors import StoreError
from unitlens.store.format.decoding import ShardFiles
from unitlens.store.format.journal import hash_values
from unitlens.store.format.manifest import read_manifest, write_manifest
from unitlens.store.verify import verify_activations


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "acts.zarr"
    write_store(path)
    return path


def places(path):
    return [fault.place for fault in verify_activations(path).faults]


def test_verify__whole_store(path):
    report = ul.verify_activations(str(path))
    shards = [file for file in path.rglob("*") if file.is_file() and "c" in file.parts]
    assert report.whole
    assert report.faults == ()
    assert report.shards == len(shards)
    assert report.bytes == sum(file.stat().st_size for file in shards)
    assert str(report) == f"{path} is whole: read {len(shards)} shards of {report.bytes:,} bytes"


def test_verify__a_flipped_bit_in_any_file_of_the_store_is_named(path):
    """Data, shard indices, the metadata of arrays and of groups: each file once."""
    write_store(path := path.with_name("small.zarr"), make_contents(samples=150))
    moments = random.Random(0)
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    for file in files:
        whole = file.read_bytes()
        flip(file, moments.randrange(len(whole)), moments.randrange(8))
        assert places(path) == [str(file.relative_to(path))]
        file.write_bytes(whole)
    assert len(files) > 30
    assert verify_activations(path).whole


def test_verify__a_flipped_bit_anywhere_in_a_shard_is_named(path):
    shard = path / "relu1" / "activation" / "c" / "3" / "0"
    whole, moments = shard.read_bytes(), random.Random(1)
    index = range(len(whole) - 40, len(whole))  # the index of the chunks, and its checksum
    for position in [*moments.sample(range(len(whole) - 40), 8), *index[::3]]:
        flip(shard, position, moments.randrange(8))
        (fault,) = verify_activations(path).faults
        assert str(fault).startswith("the shard 'relu1/activation/c/3/0' is damaged (")
        shard.write_bytes(whole)


def test_verify__a_flipped_bit_anywhere_in_the_manifest_is_noticed(path):
    manifest = path.with_suffix(".json")
    whole, moments = manifest.read_bytes(), random.Random(2)
    values = json.loads(whole)
    for position in moments.sample(range(len(whole)), 300):
        flip(manifest, position, moments.randrange(8))
        (fault,) = verify_activations(path).faults
        assert fault.place == "acts.json"
        assert "record again: it resumes" in fault.what
        with pytest.raises(StoreError, match=r"acts.json (has been changed|is not the manifest)"):
            ul.open_activations(path)
        manifest.write_bytes(whole)
    assert json.loads(manifest.read_bytes()) == values


def test_verify__names_each_bad_shard(path):
    activation = path / "relu1" / "activation" / "c"
    (activation / "2" / "0").unlink()
    (path / "label" / "c" / "4").unlink()
    shard = activation / "7" / "0"
    shard.write_bytes(shard.read_bytes()[:-3])
    flip(path / "loss" / "c" / "1", 5, 3)
    assert sorted(places(path)) == [
        "label/c/4",
        "loss/c/1",
        "relu1/activation/c/2/0",
        "relu1/activation/c/7/0",
    ]
    assert str(verify_activations(path)).count(f"{path}: the shard '") == 4


def rewrite(path, name, shard, values):
    """Write other values into a shard; the manifest takes its new size for the right one."""
    manifest = read_manifest(path)
    (file,) = [file for file in manifest.files if file.array.path == name]
    opened = zarr.open_array(path / name, mode="r+")
    opened[file.array.rows(shard)] = values
    sizes = list(file.sizes)
    sizes[shard] = (path / file.array.key(shard)).stat().st_size
    files = tuple(replace(f, sizes=tuple(sizes)) if f is file else f for f in manifest.files)
    write_manifest(path, replace(manifest, files=files))
    return files.index(replace(file, sizes=tuple(sizes)))


def test_verify__other_values_of_sound_checksums(path):
    rows = read_manifest(path).files[2].array.rows(3)
    rewrite(path, "index", 3, np.arange(rows.start, rows.stop)[::-1])
    (fault,) = verify_activations(path).faults
    assert str(fault) == (
        "the shard 'index/c/3' is damaged (a chunk is another than was recorded there)"
    )


def test_verify__manifest_of_another_store(path, tmp_path):
    contents = make_contents(provenance={"weights_hash": "z9", "dataset_identity": "b1"})
    write_store(tmp_path / "other.zarr", contents, make_columns(contents, seed=1))
    path.with_suffix(".json").write_bytes((tmp_path / "other.json").read_bytes())
    bad = places(path)
    assert bad[0] == "zarr.json"
    assert "relu1/activation/c/0/0" in bad


@pytest.mark.parametrize(
    ("column", "sample", "value", "expected"),
    [
        ("label", 123, 10, r"label/c/\d+' says 10 of sample 123, but classes are 0\.\.9"),
        ("true_label", 0, -1, r"true_label/c/0' says -1 of sample 0, but classes are"),
        ("prediction", 499, 77, r"prediction/c/\d+' says 77 of sample 499, but"),
        ("index", 60, 61, r"index/c/\d+' does not number the samples in their order"),
    ],
)
def test_verify__labels_and_numbers_of_samples(tmp_path, column, sample, value, expected):
    columns = make_columns(make_contents())
    columns[column][sample] = value
    write_store(tmp_path / "acts.zarr", columns=columns)
    (fault,) = verify_activations(tmp_path / "acts.zarr").faults
    assert re.search(expected, str(fault))


def test_verify__counts_and_ranges_against_the_data(tmp_path):
    columns = make_columns(make_contents())
    columns["relu1/activation"][7, 3] = np.nan
    columns["relu1/activation"][8, 4] = np.inf
    write_store(tmp_path / "acts.zarr", columns=columns)
    assert verify_activations(tmp_path / "acts.zarr").whole
    manifest = read_manifest(tmp_path / "acts.zarr")
    counts = {"relu1": 1, "layer1.0.relu_2": 0}
    write_manifest(tmp_path / "acts.zarr", replace(manifest, nonfinite=counts))
    (fault,) = verify_activations(tmp_path / "acts.zarr").faults
    assert str(fault) == (
        "'acts.json' counts 1 activations of 'relu1' that are not finite, but there are 2"
    )


def test_verify__range_that_is_not_the_datas(path):
    larger = make_columns(make_contents())["relu1/activation"].max(axis=0) + 1
    number = rewrite(path, "relu1/maximum", 0, larger)
    manifest = read_manifest(path)
    files = list(manifest.files)
    checksum = (path / "relu1" / "maximum" / "c" / "0").read_bytes()[-4:].hex()
    files[number] = replace(files[number], hashes=(hash_values(larger),), checksums=(checksum,))
    write_manifest(path, replace(manifest, files=tuple(files)))
    (fault,) = verify_activations(path).faults
    assert str(fault) == (
        "the shard 'relu1/maximum/c/0' is not the maximum of each unit's activations"
    )


def test_verify__holds_one_shard_at_a_time(path, monkeypatch):
    read, real = [], ShardFiles.read_shard

    def note(files, shard):
        values, checksums = real(files, shard)
        read.append(values.nbytes)
        return values, checksums

    monkeypatch.setattr(ShardFiles, "read_shard", note)
    assert verify_activations(path).whole
    assert sum(read) > 10 * SMALL.shard_bytes
    assert max(read) <= 1.2 * SMALL.shard_bytes


def test_verify__changes_nothing(path):
    before = all_files(path)
    flip(path / "loss" / "c" / "1", 5, 3)
    verify_activations(path)
    flip(path / "loss" / "c" / "1", 5, 3)
    assert all_files(path) == before


def test_verify_store__is_the_former_name_and_warns(path):
    with pytest.warns(FutureWarning, match="^verify_store is called verify_activations now"):
        report = ul.verify_store(path)
    assert report == verify_activations(path)
    assert "verify_store" not in ul.__all__


def test_verify__no_store(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere.zarr does not exist .*no nowhere.json.*record"):
        verify_activations(tmp_path / "nowhere.zarr")


def test_verify__unfinished_store(path):
    path.with_suffix(".json").unlink()
    with pytest.raises(StoreError, match=r"acts.zarr was not recorded to its end .*it resumes"):
        verify_activations(path)
