"""A prepared data set is read only where its files are what was written."""

import json
import random
import resource
import shutil

import numpy as np
import pytest

from unitlens.config.networks import DatasetSpec
from unitlens.data import embedded_sets
from unitlens.data.dataset_record import read_record
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.data.prepared_state import find_stale_dataset
from unitlens.errors import DatasetError
from unitlens.hashed_files import HASH, read_json, write_json

# Content hashes that unitlens 0.2 wrote: networks that were trained on these sets stay as they are.
OF_VERSION_02 = {
    "digits": "b614851dd555a59a6cb29f2622cd7ee709a0af92d9d55af6ac424fd56ac508a8",
    "mnist5k": "28c8cae5bdbd2f719047edfab6b70cea2a4eac85114c0d05a02c882d867429ca",
}
SPEC = DatasetSpec(name="digits", train_samples=200, test_samples=60)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("digits")
    prepare_dataset(SPEC, directory, data=directory, code="c0de", user_code="1")
    return directory


@pytest.fixture
def copied(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "digits")


def content(directory):
    """Return all that a reader gets of a data set."""
    parts = []
    for split in ("train", "test"):
        dataset = load_dataset(directory, split)
        inputs, labels = dataset.batch(np.arange(len(dataset)))
        parts += [inputs.numpy().tobytes(), labels.numpy().tobytes(), repr(dataset.classes)]
        parts += [dataset.identity, dataset.content_hash]
    return parts


def follow_remedy(directory, spec=SPEC):
    """Do what messages about a prepared data set say."""
    shutil.rmtree(directory)
    prepare_dataset(spec, directory, data=directory)


@pytest.mark.parametrize("name", OF_VERSION_02)
def test_content_hash__is_that_of_the_version_before(name, tmp_path):
    prepare_dataset(DatasetSpec(name=name), tmp_path, data=tmp_path)

    assert read_record(tmp_path).content_hash == OF_VERSION_02[name]
    assert load_dataset(tmp_path, "test").content_hash == OF_VERSION_02[name]


def test_load_dataset__refuses_reversed_labels(copied):
    from safetensors.numpy import load_file, save_file

    path = copied / "train.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "labels": tensors["labels"][::-1].copy()}, path)

    with pytest.raises(DatasetError, match=r"train\.safetensors is damaged: its content differs"):
        load_dataset(copied, "train")
    assert len(load_dataset(copied, "test")) == 60


def damage(path, kind, random):
    raw = bytearray(path.read_bytes())
    place = random.randrange(len(raw))
    if kind == "flip":
        raw[place] ^= 1 << random.randrange(8)
    elif kind == "cut":
        raw = raw[:place]
    elif kind == "zeros":
        raw[place : place + 64] = bytes(len(raw[place : place + 64]))
    elif kind == "longer":
        raw += random.randbytes(9)
    path.write_bytes(raw)


@pytest.mark.parametrize("seed", range(110))
def test_load_dataset__notices_damage(prepared, copied, seed):
    seeded = random.Random(seed)
    path = copied / seeded.choice(["dataset.json", "train.safetensors", "test.safetensors"])
    kind = seeded.choice(["flip", "flip", "cut", "zeros", "longer"])
    damage(path, kind, seeded)

    try:
        read, message = content(copied), None
    except DatasetError as error:
        read, message = None, str(error)

    if message is None:
        assert read == content(prepared)
    else:
        assert "\n" not in message
        assert str(copied) in message


@pytest.mark.parametrize("name", ["train.safetensors", "test.safetensors", "dataset.json"])
@pytest.mark.parametrize("kind", ["flip", "cut", "gone"])
def test_remedy__of_damaged_files_works(copied, prepared, name, kind):
    path = copied / name
    path.unlink() if kind == "gone" else damage(path, kind, random.Random(0))
    with pytest.raises(DatasetError, match=r"delete the folder|prepare it first"):
        content(copied)

    follow_remedy(copied)

    assert content(copied) == content(prepared)


@pytest.mark.parametrize("name", ["train.safetensors", "test.safetensors", "dataset.json"])
def test_prepare_dataset__prepares_damaged_files_again(copied, prepared, name):
    damage(copied / name, "flip", random.Random(3))

    prepare_dataset(SPEC, copied, data=copied)

    assert content(copied) == content(prepared)


def test_load_dataset__swapped_splits_are_refused(copied):
    (copied / "train.safetensors").rename(copied / "t")
    (copied / "test.safetensors").rename(copied / "train.safetensors")
    (copied / "t").rename(copied / "test.safetensors")

    with pytest.raises(DatasetError, match=r"train\.safetensors is damaged"):
        load_dataset(copied, "train")


def test_load_dataset__checks_again_what_changed_after_the_first_time(copied):
    load_dataset(copied, "train")
    damage(copied / "train.safetensors", "flip", random.Random(1))

    with pytest.raises(DatasetError, match="is damaged"):
        load_dataset(copied, "train")


def test_read_record__refuses_format_1_with_a_way_on(copied, prepared):
    path = copied / "dataset.json"
    values = json.loads(path.read_text())
    for key in (HASH, "files", "raw", "code", "user_code"):
        del values[key]
    path.write_text(json.dumps({**values, "format": 1}))

    with pytest.raises(
        DatasetError, match=r"has format 1, but .* format 2; delete .* run snakemake .* are kept"
    ):
        load_dataset(copied, "train")
    assert "has format 1" in find_stale_dataset(copied, SPEC, copied)
    follow_remedy(copied)
    assert content(copied) == content(prepared)


def test_read_record__refuses_unknown_keys(copied):
    path = copied / "dataset.json"
    values = read_json(path, error=DatasetError, remedy="")
    write_json(path, {**values, "sort": "memory"})

    with pytest.raises(DatasetError, match=r"is not what this version of unitlens writes.*sort"):
        load_dataset(copied, "train")


# what must be prepared again


def test_record__states_code_and_files(prepared):
    record = read_record(prepared)

    assert (record.format, record.code, record.user_code) == (2, "c0de", "1")
    assert set(record.files) == {"train.safetensors", "test.safetensors"}
    assert record.raw == ()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, None),
        ({"code": "c0de", "user_code": "1"}, None),
        ({"code": "new"}, "the code of the preparation has changed"),
        ({"user_code": "2"}, "the user code of the data set has changed"),
    ],
)
def test_find_stale_dataset__compares_code_where_it_is_given(prepared, values, reason):
    assert find_stale_dataset(prepared, SPEC, prepared, **values) == reason


def test_find_stale_dataset__compares_specifications_without_corruption(prepared):
    corrupted = SPEC.model_copy(update={"corruption": 0.5})
    smaller = SPEC.model_copy(update={"train_samples": 100})

    assert find_stale_dataset(prepared, corrupted, prepared) is None
    assert find_stale_dataset(prepared, smaller, prepared) == "its specification has changed"


def test_find_stale_dataset__names_a_missing_file(copied):
    (copied / "test.safetensors").unlink()
    assert "test.safetensors is missing" in find_stale_dataset(copied, SPEC, copied)
    (copied / "dataset.json").unlink()
    assert "dataset.json is missing" in find_stale_dataset(copied, SPEC, copied)


def test_find_stale_dataset__needs_no_torch():
    import subprocess
    import sys

    code = "import sys, unitlens.data.prepared_state; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_prepare_dataset__another_code_prepares_again(copied):
    before = (copied / "train.safetensors").stat().st_ino
    prepare_dataset(SPEC, copied, data=copied, code="new")

    assert read_record(copied).code == "new"
    assert (copied / "train.safetensors").stat().st_ino != before


# the machine


def test_prepare_dataset__a_full_disk_is_one_line_and_room_helps(tmp_path):
    spec = DatasetSpec(name="mnist5k")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        with pytest.raises(DatasetError, match=r"mnist5k cannot be prepared in .*make room") as e:
            prepare_dataset(spec, tmp_path / "set", data=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert "\n" not in str(e.value)
    assert list((tmp_path / "set").iterdir()) == []
    prepare_dataset(spec, tmp_path / "set", data=tmp_path)
    assert len(load_dataset(tmp_path / "set", "test")) == 1000


def test_prepare_dataset__a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(
        DatasetError, match=r"digits cannot be prepared in .*/file/set: .*Not a dir"
    ):
        prepare_dataset(SPEC, tmp_path / "file" / "set", data=tmp_path)


def test_prepare_dataset__too_little_memory_is_one_line_and_fewer_samples_help(
    tmp_path, monkeypatch
):
    read = embedded_sets.read_digits
    monkeypatch.setattr(embedded_sets, "read_digits", lambda: np.empty(2**55))
    with pytest.raises(DatasetError, match=r"digits: memory does not suffice .*\(train_samples, "):
        prepare_dataset(DatasetSpec(name="digits"), tmp_path, data=tmp_path)
    monkeypatch.setattr(embedded_sets, "read_digits", read)

    prepare_dataset(SPEC, tmp_path, data=tmp_path)
    assert len(load_dataset(tmp_path, "train")) == 200


def test_prepare_dataset__failing_leaves_the_data_set_that_is_there(copied, prepared, monkeypatch):
    monkeypatch.setattr(embedded_sets, "read_digits", lambda: np.empty(2**55))
    with pytest.raises(DatasetError, match="memory"):
        prepare_dataset(SPEC.model_copy(update={"train_samples": 9}), copied, data=copied)

    assert content(copied) == content(prepared)
