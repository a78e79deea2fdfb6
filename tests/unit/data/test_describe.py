"""The dimensions of a data set before and after it is prepared are the same."""

import pytest
import torch
from PIL import Image

from unitlens.config.networks import DatasetSpec
from unitlens.data.describe import describe_dataset
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.errors import DatasetError


def pictures():
    """Return a user's sets, whose images lack a channel axis."""
    items = [(torch.zeros(5, 6), number % 3) for number in range(12)]
    return {"train": items[:9], "test": items[9:]}


def prepared(spec, tmp_path, data):
    prepare_dataset(spec, tmp_path / "set", data=data)
    splits = {split: load_dataset(tmp_path / "set", split) for split in ("train", "test")}
    shape = splits["train"].input_shape
    return shape, {split: len(dataset) for split, dataset in splits.items()}


@pytest.mark.parametrize(
    "values",
    [
        {"name": "mnist5k"},
        {"name": "digits"},
        {"name": "digits", "train_samples": 100, "test_samples": 50},
        {"name": f"{__name__.rpartition('.')[2]}:pictures"},
    ],
    ids=lambda values: values["name"].rpartition(":")[2],
)
def test_describe_dataset__agrees_with_the_prepared_set(values, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    spec = DatasetSpec.model_validate(values)
    facts = describe_dataset(spec, data=tmp_path)

    assert (facts.input_shape, facts.samples) == prepared(spec, tmp_path, tmp_path)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_describe_dataset__knows_the_real_sets(name, tmp_path, real_data):
    spec = DatasetSpec(name=name)
    facts = describe_dataset(spec, data=real_data)

    assert (facts.input_shape, facts.samples) == prepared(spec, tmp_path, real_data)


def test_describe_dataset__refuses_more_samples_than_there_are(tmp_path):
    spec = DatasetSpec(name="digits", test_samples=400)

    with pytest.raises(DatasetError, match=r"dataset.test_samples = 400: must be at most the 360"):
        describe_dataset(spec, data=tmp_path)


def test_describe_dataset__counts_the_images_of_folders_and_nothing_else(tmp_path):
    for place in ("train/a/deep/0.png", "train/b/1.PNG", "val/a/2.png", "val/b/3.png"):
        path = tmp_path / place
        path.parent.mkdir(parents=True)
        Image.new("RGB", (5, 6)).save(path)
    (tmp_path / "train" / "a" / "notes.txt").write_text("no image")
    (tmp_path / "train" / "b" / "notes.txt").write_text("no image")
    folders = {"train": "train", "test": "val"}
    spec = DatasetSpec(name="image_folder", folders=folders, image_size=4)

    facts = describe_dataset(spec, data=tmp_path)

    assert facts.samples == {"train": 2, "test": 2}
    assert (facts.input_shape, facts.samples) == prepared(spec, tmp_path, tmp_path)


def test_describe_dataset__says_where_images_are_expected(tmp_path):
    spec = DatasetSpec(name="image_folder", folders={"train": "train", "test": "val"})

    with pytest.raises(DatasetError, match=r"expected the train images as .*/train/CLASS/IMAGE"):
        describe_dataset(spec, data=tmp_path)
