"""A data set is one declaration, and a function that reads it where it is embedded in a package."""

import numpy as np
import pytest
from pydantic import ValidationError

from unitlens.catalogue.datasets import (
    DATASETS,
    DatasetDeclaration,
    EmbeddedSource,
    ImageFileSource,
    TorchvisionSource,
)
from unitlens.config.networks import DatasetSpec
from unitlens.data import embedded_sets
from unitlens.data.describe import describe_dataset
from unitlens.data.memory_sets import Arrays
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.errors import DatasetError
from unitlens.provenance.digests import reached_symbols


def of_kind(kind):
    return [name for name, declared in DATASETS.items() if isinstance(declared.source, kind)]


def declare(monkeypatch, name, source, shape, classes, train, test):
    samples = {"train": train, "test": test}
    declared = DatasetDeclaration(name, source, shape, classes, samples, "a set of this test")
    monkeypatch.setitem(DATASETS, name, declared)


def stripes():
    images = np.zeros((20, 1, 4, 4), np.uint8)
    labels = np.arange(20) % 2
    images[labels == 1, :, :, 2:] = 8
    return Arrays(images, labels)


def test_recipe__an_embedded_set_is_its_declaration_and_its_reader(tmp_path, monkeypatch):
    with pytest.raises(ValidationError, match="must be a known data set"):
        DatasetSpec(name="stripes")
    declare(monkeypatch, "stripes", EmbeddedSource(scale=8.0), (1, 4, 4), 2, 14, 6)
    monkeypatch.setattr(embedded_sets, "read_stripes", stripes, raising=False)

    spec = DatasetSpec(name="stripes", mean=[0.0], std=[1.0], test_samples=4)
    prepare_dataset(spec, tmp_path, data=tmp_path)
    train, test = (load_dataset(tmp_path, split) for split in ("train", "test"))

    dimensions = describe_dataset(spec, data=tmp_path)
    assert (dimensions.input_shape, dimensions.classes) == ((1, 4, 4), 2)
    assert (
        dimensions.samples == {"train": len(train), "test": len(test)} == {"train": 14, "test": 4}
    )
    assert train.classes == ("0", "1")
    assert train[1][0][0, 0].tolist() == [0, 0, 1, 1]
    assert np.bincount(test.labels).tolist() == [2, 2]


def test_embedded_set__must_be_what_is_declared(tmp_path, monkeypatch):
    declare(monkeypatch, "stripes", EmbeddedSource(), (1, 4, 4), 2, 15, 6)
    monkeypatch.setattr(embedded_sets, "read_stripes", stripes, raising=False)

    with pytest.raises(DatasetError, match=r"read 20 inputs .*, but 21 of shape \(1, 4, 4\) are"):
        prepare_dataset(DatasetSpec(name="stripes"), tmp_path, data=tmp_path)


def write_idx(path, values):
    header = [0, 0, 8, values.ndim, *np.array(values.shape, ">i4").tobytes()]
    path.write_bytes(bytes(header) + values.astype(np.uint8).tobytes())


def test_recipe__a_set_of_torchvision_is_its_declaration(tmp_path, monkeypatch):
    files = [
        f"{split}-{kind}-ubyte"
        for split in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    source = TorchvisionSource("KMNIST", "KMNIST/raw", dict.fromkeys(files, ""))
    declare(monkeypatch, "kmnist", source, (1, 28, 28), 10, 30, 20)
    spec = DatasetSpec(name="kmnist")
    with pytest.raises(
        DatasetError, match=r"data set kmnist: expected train-images-idx3-ubyte, .* in "
    ):
        prepare_dataset(spec, tmp_path / "prepared", data=tmp_path)

    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    for split, samples in (("train", 30), ("t10k", 20)):
        write_idx(raw / f"{split}-images-idx3-ubyte", np.full((samples, 28, 28), samples))
        write_idx(raw / f"{split}-labels-idx1-ubyte", np.arange(samples) % 10)
    prepare_dataset(spec, tmp_path / "prepared", data=tmp_path)
    test = load_dataset(tmp_path / "prepared", "test")

    assert describe_dataset(spec, data=tmp_path).samples["test"] == len(test) == 20
    assert test.input_shape == (1, 28, 28)
    assert test.classes[1] == "ki"


def test_declarations__have_what_their_sources_need():
    from torchvision import datasets

    readers = {name for name in vars(embedded_sets) if name.startswith("read_")}
    assert {f"read_{name}" for name in of_kind(EmbeddedSource)} == readers
    for name in of_kind(TorchvisionSource):
        assert hasattr(datasets, DATASETS[name].source.class_name)
    for name in of_kind(EmbeddedSource | TorchvisionSource):
        assert set(DATASETS[name].samples) == {"train", "test"}


@pytest.mark.parametrize("name", of_kind(ImageFileSource))
def test_image_size__is_the_declared_one_unless_given(name):
    declared = DATASETS[name]

    assert declared.shape_at(None) == declared.input_shape
    assert declared.shape_at(32) == (3, 32, 32)


def test_digest__of_the_preparation_covers_the_readers():
    names = {symbol.name for symbol in reached_symbols("prepare_dataset")}

    # The declaration itself is a parameter of the rule, so that another data set reruns nothing.
    assert {"read_mnist5k", "read_digits", "read_torchvision"} <= names
    assert "DATASETS" not in names
