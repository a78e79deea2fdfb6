"""The files that a data set is read from are checked, and a data set follows their content."""

import gzip
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from unitlens.catalogue.datasets import DATASETS, DatasetDeclaration, TorchvisionSource
from unitlens.config.networks import DatasetSpec, RunSpec
from unitlens.config.runs import dataset_name, run_name
from unitlens.data.dataset_record import read_record
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.data.prepared_state import find_stale_dataset
from unitlens.data.raw_files import raw_files
from unitlens.errors import DatasetError

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
TRAIN_IMAGES, TRAIN_LABELS = f"train-{IMAGES}", f"train-{LABELS}"


def kmnist():
    return DatasetSpec(name="kmnist")


def write_idx(path, values):
    header = [0, 0, 8, values.ndim, *np.array(values.shape, ">i4").tobytes()]
    path.write_bytes(bytes(header) + values.astype(np.uint8).tobytes())


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Return a data directory with a small set in the format of MNIST, of unknown hashes."""
    files = dict.fromkeys(
        [f"{s}-{kind}" for s in ("train", "t10k") for kind in (IMAGES, LABELS)], ""
    )
    source = TorchvisionSource("KMNIST", "KMNIST/raw", files)
    declared = DatasetDeclaration(
        "kmnist", source, (1, 28, 28), 10, {"train": 30, "test": 20}, "a set of this test"
    )
    monkeypatch.setitem(DATASETS, "kmnist", declared)
    raw = tmp_path / "data" / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for split, samples in (("train", 30), ("t10k", 20)):
        write_idx(raw / f"{split}-{IMAGES}", random.integers(0, 256, (samples, 28, 28)))
        write_idx(raw / f"{split}-{LABELS}", np.arange(samples) % 10)
    return tmp_path / "data"


def touch(path, seconds=100):
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + seconds * 10**9))


def flip(path, place):
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


def test_record__states_the_files_that_were_read(small, tmp_path):
    prepare_dataset(kmnist(), tmp_path / "set", data=small)
    raw = {file.path: file for file in read_record(tmp_path / "set").raw}

    assert list(raw) == [path.relative_to(small).as_posix() for path in raw_files(kmnist(), small)]
    state = (small / "KMNIST" / "raw" / TRAIN_IMAGES).stat()
    stated = raw[f"KMNIST/raw/{TRAIN_IMAGES}"]
    assert (stated.size, stated.mtime_ns) == (state.st_size, state.st_mtime_ns)


def test_touched_file__prepares_nothing_again(small, tmp_path):
    prepare_dataset(kmnist(), tmp_path / "set", data=small)
    before = (tmp_path / "set" / "dataset.json").stat().st_mtime_ns
    touch(small / "KMNIST" / "raw" / TRAIN_IMAGES)

    assert find_stale_dataset(tmp_path / "set", kmnist(), small) is None
    prepare_dataset(kmnist(), tmp_path / "set", data=small)
    assert (tmp_path / "set" / "dataset.json").stat().st_mtime_ns == before


def test_moved_data_directory__prepares_nothing_again(small, tmp_path):
    prepare_dataset(kmnist(), tmp_path / "set", data=small)
    moved = small.rename(tmp_path / "elsewhere")

    assert find_stale_dataset(tmp_path / "set", kmnist(), moved) is None


def test_edited_file__is_prepared_again_and_put_right_as_before(small, tmp_path):
    path = small / "KMNIST" / "raw" / TRAIN_IMAGES
    right = path.read_bytes()
    prepare_dataset(kmnist(), tmp_path / "set", data=small)
    first = read_record(tmp_path / "set").content_hash

    flip(path, 500)
    touch(path)
    assert f"{TRAIN_IMAGES} has changed" in find_stale_dataset(tmp_path / "set", kmnist(), small)
    prepare_dataset(kmnist(), tmp_path / "set", data=small)
    assert read_record(tmp_path / "set").content_hash != first

    path.write_bytes(right)
    touch(path, 200)
    prepare_dataset(kmnist(), tmp_path / "set", data=small)
    assert read_record(tmp_path / "set").content_hash == first


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda raw: shutil.copy(raw / f"t10k-{LABELS}", raw / TRAIN_LABELS),
            rf"{TRAIN_LABELS} is not the file of kmnist: it holds .* \(20,\), not \(30,\)",
        ),
        (
            lambda raw: write_idx(raw / TRAIN_LABELS, np.full(30, 11)),
            rf"{TRAIN_LABELS} is not .* holds the label 11, not only 0\.\.9",
        ),
        (
            lambda raw: os.truncate(raw / f"t10k-{IMAGES}", 9000),
            rf"t10k-{IMAGES} is not .* has 9000 bytes, not 15696",
        ),
        (lambda raw: os.truncate(raw / f"t10k-{IMAGES}", 5), "does not begin like an idx file"),
        (lambda raw: os.truncate(raw / f"t10k-{LABELS}", 0), "does not begin like an idx file"),
        (lambda raw: flip(raw / TRAIN_IMAGES, 2), rf"{TRAIN_IMAGES} .* not begin like an idx file"),
        (lambda raw: flip(raw / TRAIN_IMAGES, 3), rf"{TRAIN_IMAGES} is not the file of kmnist"),
        (lambda raw: (raw / TRAIN_IMAGES).unlink(), f"but: {TRAIN_IMAGES} is missing; set "),
    ],
)
def test_idx_files__of_another_form_are_refused_by_name(small, tmp_path, edit, message):
    copy = shutil.copytree(small, tmp_path / "copy")
    edit(small / "KMNIST" / "raw")
    with pytest.raises(DatasetError, match=message) as raised:
        prepare_dataset(kmnist(), tmp_path / "set", data=small)

    assert "\n" not in str(raised.value)
    shutil.copytree(copy, small, dirs_exist_ok=True)  # "put the right file there"
    prepare_dataset(kmnist(), tmp_path / "set", data=small)
    assert len(load_dataset(tmp_path / "set", "train")) == 30


def test_idx_files__are_compared_with_the_packed_file_that_has_the_known_md5(
    small, tmp_path, monkeypatch
):
    import hashlib

    from torchvision.datasets import KMNIST

    path = small / "KMNIST" / "raw" / TRAIN_IMAGES
    packed = gzip.compress(path.read_bytes())
    path.with_name(f"{path.name}.gz").write_bytes(packed)
    md5 = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(KMNIST, "resources", [(f"{TRAIN_IMAGES}.gz", md5)])
    prepare_dataset(kmnist(), tmp_path / "set", data=small)

    flip(path, 500)
    touch(path)
    with pytest.raises(DatasetError, match=rf"{TRAIN_IMAGES} .* differs from what .*\.gz holds"):
        prepare_dataset(kmnist(), tmp_path / "set", data=small)


def test_files_of_an_old_torchvision__are_not_read_in_place_of_the_checked_ones(small, tmp_path):
    (small / "KMNIST" / "processed").mkdir()
    with pytest.raises(DatasetError, match=r"delete the folder .*/KMNIST/processed"):
        prepare_dataset(kmnist(), tmp_path / "set", data=small)

    shutil.rmtree(small / "KMNIST" / "processed")
    prepare_dataset(kmnist(), tmp_path / "set", data=small)


# the real files


def test_raw_files__that_are_all_gone_are_not_needed_by_a_stored_set(small, tmp_path):
    """Another `data` directory, or raw files that were deleted to save space, prepare nothing."""
    prepare_dataset(kmnist(), tmp_path / "set", data=small)
    raw = small / "KMNIST/raw"

    assert find_stale_dataset(tmp_path / "set", kmnist(), tmp_path / "elsewhere") is None
    (raw / TRAIN_IMAGES).unlink()
    assert TRAIN_IMAGES in find_stale_dataset(tmp_path / "set", kmnist(), small)
    shutil.rmtree(raw)
    assert find_stale_dataset(tmp_path / "set", kmnist(), small) is None


@pytest.mark.realdata
def test_mnist__a_wrong_file_is_named_and_downloading_it_again_helps(real_data, tmp_path, request):
    raw = shutil.copytree(real_data / "MNIST", tmp_path / "data" / "MNIST") / "raw"
    spec = DatasetSpec(name="mnist")
    right = (raw / TRAIN_IMAGES).read_bytes()
    for name, place in ((TRAIN_IMAGES, 40_000), (f"t10k-{LABELS}", 9_000)):
        flip(raw / name, place)
        with pytest.raises(DatasetError, match=rf"{name} is not the file of mnist: its md5 is not"):
            prepare_dataset(spec, tmp_path / "set", data=tmp_path / "data")
        (raw / name).unlink()
        # What a download would fetch is here already: torchvision unpacks it.
        packed = request.config.rootpath.parent / "shared" / "data" / "MNIST" / "raw"
        for file in packed.glob("*.gz"):
            shutil.copy(file, raw)
        prepare_dataset(spec, tmp_path / "set", data=tmp_path / "data", download=True)

    assert (raw / TRAIN_IMAGES).read_bytes() == right
    assert len(load_dataset(tmp_path / "set", "train")) == 60_000


@pytest.mark.realdata
def test_mnist__test_labels_as_training_labels_are_refused(real_data, tmp_path):
    raw = shutil.copytree(real_data / "MNIST", tmp_path / "data" / "MNIST") / "raw"
    shutil.copy(raw / f"t10k-{LABELS}", raw / TRAIN_LABELS)

    with pytest.raises(DatasetError, match=rf"{TRAIN_LABELS} is not the file of mnist"):
        prepare_dataset(DatasetSpec(name="mnist"), tmp_path / "set", data=tmp_path / "data")


@pytest.mark.realdata
def test_cifar10__a_wrong_batch_is_named(real_data, tmp_path):
    folder = shutil.copytree(
        real_data / "cifar-10-batches-py", tmp_path / "data" / "cifar-10-batches-py"
    )
    flip(folder / "data_batch_3", 10_000)

    with pytest.raises(DatasetError, match=r"data_batch_3 is not the file of cifar10: its md5"):
        prepare_dataset(DatasetSpec(name="cifar10"), tmp_path / "set", data=tmp_path / "data")


def test_known_md5s__are_those_of_torchvision():
    from torchvision import datasets

    ours = {name: declared.source for name, declared in DATASETS.items()}
    for name in ("cifar10", "cifar100"):
        theirs = getattr(datasets, ours[name].class_name)
        listed = dict(map(tuple, [*theirs.train_list, *theirs.test_list]))
        listed[theirs.meta["filename"]] = theirs.meta["md5"]
        assert dict(ours[name].files) == listed
    svhn = {name: md5 for _, name, md5 in datasets.SVHN.split_list.values() if "extra" not in name}
    assert dict(ours["svhn"].files) == svhn


# files of the user's own function

OWN = """
import numpy as np
from pathlib import Path

def numbers():
    values = np.loadtxt("numbers.txt", dtype=np.float32)
    items = [(values[i : i + 2], i % 2) for i in range(6)]
    return {"train": items[:4], "test": items[4:]}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_numbers", raising=False)
    (tmp_path / "my_numbers.py").write_text(OWN)
    np.savetxt("numbers.txt", np.arange(8))
    yield DatasetSpec(name="my_numbers:numbers", files=["numbers.txt"])
    sys.modules.pop("my_numbers", None)


def test_files_of_a_function__are_followed(own, tmp_path):
    prepare_dataset(own, tmp_path / "set", data=tmp_path / "data")
    first = read_record(tmp_path / "set").content_hash
    np.savetxt("numbers.txt", np.arange(1, 9))

    assert "numbers.txt has changed" in find_stale_dataset(tmp_path / "set", own, tmp_path / "data")
    prepare_dataset(own, tmp_path / "set", data=tmp_path / "data")

    assert read_record(tmp_path / "set").content_hash != first
    assert load_dataset(tmp_path / "set", "train")[0][0].tolist() == [1, 2]


def test_files_of_a_function__without_other_samples_keep_the_content_hash(own, tmp_path):
    prepare_dataset(own, tmp_path / "set", data=tmp_path)
    first = read_record(tmp_path / "set").content_hash
    with Path("numbers.txt").open("a") as file:
        file.write("# a remark\n")

    prepare_dataset(own, tmp_path / "set", data=tmp_path)

    assert read_record(tmp_path / "set").content_hash == first
    assert find_stale_dataset(tmp_path / "set", own, tmp_path) is None


def test_files_of_a_function__missing_is_one_line(own, tmp_path):
    spec = own.model_copy(update={"files": ("nubmers.txt",)})

    with pytest.raises(DatasetError, match=r"nubmers\.txt .* cannot be read .* put it there") as e:
        prepare_dataset(spec, tmp_path / "set", data=tmp_path)
    assert "\n" not in str(e.value)


def test_files_of_a_function__a_folder_is_refused(own, tmp_path):
    (tmp_path / "folder").mkdir()
    spec = own.model_copy(update={"files": ("folder",)})

    with pytest.raises(DatasetError, match=r"dataset\.files names the folder folder; name the"):
        prepare_dataset(spec, tmp_path / "set", data=tmp_path)


def test_files_of_a_function__are_no_part_of_names(own):
    other = own.model_copy(update={"files": ("elsewhere/numbers.txt",)})
    runs = [
        RunSpec.model_validate(
            {"dataset": spec.model_dump(), "model": {"name": "mlp"}, "training": {"epochs": 1}}
        )
        for spec in (own, other)
    ]

    assert dataset_name(own) == dataset_name(other)
    assert run_name(runs[0]) == run_name(runs[1])


def test_files__are_for_functions_only():
    with pytest.raises(ValidationError, match="files is for a module:function only, not for mnist"):
        DatasetSpec(name="mnist", files=["a.txt"])


def test_file_that_changes_while_it_is_read__is_refused(own, tmp_path):
    edited = OWN.replace("    items", '    Path("numbers.txt").write_text("1")\n    items')
    (tmp_path / "my_numbers.py").write_text(edited)

    with pytest.raises(DatasetError, match=r"numbers\.txt has changed while it was read"):
        prepare_dataset(own, tmp_path / "set", data=tmp_path)
    assert not (tmp_path / "set" / "dataset.json").exists()
