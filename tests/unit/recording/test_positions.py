"""Recordings in which tokens or pixels are the samples, against indexing by a mask."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.errors import ArgumentError, DatasetError, LayerError

ITEMS, CLASSES = 11, 4


class Segmenter(nn.Module):
    """A class for each pixel, a layer of all pixels and one of a quarter of them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu = nn.Conv2d(1, 5, 3, padding=1), nn.ReLU()
        self.coarse, self.tanh = nn.Conv2d(5, 3, 2, stride=2), nn.Tanh()
        self.head = nn.Conv2d(5, CLASSES, 1)
        self.up = nn.Conv2d(3, CLASSES, 1)

    def forward(self, image):
        fine = self.relu(self.conv(image))
        coarse = self.tanh(self.coarse(fine))
        wide = self.up(coarse).repeat_interleave(2, -1).repeat_interleave(2, -2)
        return {"out": self.head(fine) + wide, "aux": coarse}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "acts.zarr"


def pixels(ignored=-100):
    random = torch.Generator().manual_seed(5)
    images = torch.randn(ITEMS, 1, 6, 4, generator=random)
    targets = torch.randint(CLASSES, (ITEMS, 6, 4), generator=random)
    targets[torch.rand(targets.shape, generator=random) < 0.4] = ignored
    targets[3] = ignored  # an image without a valid pixel
    return images, targets


def expected(model, images, targets, ignored=-100):
    """Return activations, logits and targets of all valid pixels."""
    valid = targets != ignored
    with torch.no_grad():
        activation = model.relu(model.conv(images)).movedim(1, -1)[valid]
        logits = model(images)["out"].movedim(1, -1)[valid]
    return activation, logits, targets[valid]


@pytest.mark.parametrize("ignored", [-100, 255])
def test_pixels__are_the_samples(path, ignored, caplog):
    model, (images, targets) = Segmenter().eval(), pixels(ignored)
    dataset = TensorDataset(images, targets)
    options = {"positions": "samples", "ignore_index": None if ignored == -100 else ignored}
    for _ in range(2):  # the second time the finished store is compared
        ul.record_activations(model, dataset, path, batch_size=4, **options)
    activations = ul.open_activations(path)

    activation, logits, labels = expected(model, images, targets, ignored)
    assert "left out: 'tanh'" in caplog.text
    assert list(activations.children) == ["relu"]
    assert activations["label"].values.tolist() == labels.tolist()
    assert activations["prediction"].values.tolist() == logits.argmax(1).tolist()
    losses = cross_entropy(logits, labels, reduction="none")
    np.testing.assert_allclose(activations["loss"], losses, atol=1e-5)
    np.testing.assert_allclose(activations["relu"].activation, activation, atol=1e-5)
    valid = (targets != ignored).numpy()
    places = np.ravel_multi_index(valid.nonzero()[1:], (6, 4))
    assert activations["item"].values.tolist() == valid.nonzero()[0].tolist()
    assert activations["relu"]["position"].values.tolist() == places.tolist()
    assert activations.attrs["position_shape"] == "[6, 4]"
    assert activations.attrs["positions"] == "samples"
    assert activations.attrs["ignore_index"] == ignored
    assert ul.verify_activations(path).whole


def test_pixels__statistics_are_by_the_class_of_the_pixel():
    model, (images, targets) = Segmenter().eval(), pixels()
    table = ul.network_statistics(
        model, TensorDataset(images, targets), positions="samples", batch_size=3
    )
    activation, _, labels = expected(model, images, targets)

    for label in range(CLASSES):
        means = activation[labels == label].mean(0)
        np.testing.assert_allclose(table["class_mean"].sel({"class": label}), means, atol=1e-5)
    assert table["count"].values.tolist() == torch.bincount(labels).tolist()
    of_items = ul.network_statistics(
        model, TensorDataset(images, targets), positions="samples", by="item"
    )
    assert of_items["class"].values.tolist() == [item for item in range(ITEMS) if item != 3]
    of_third = expected(model, images[2:3], targets[2:3])[0]
    means = of_items["class_mean"].sel({"class": 2})
    np.testing.assert_allclose(means, of_third.mean(0), atol=1e-5)


def test_pixels__of_a_damaged_store_are_recorded_again(path):
    model, (images, targets) = Segmenter().eval(), pixels()
    dataset = TensorDataset(images, targets)
    ul.record_activations(model, dataset, path, positions="samples", batch_size=4)
    before = (path / "relu/activation/c/0/0").read_bytes()
    (path / "relu/activation/c/0/0").unlink()
    ul.repair_activations(model, dataset, path, positions="samples")

    assert (path / "relu/activation/c/0/0").read_bytes() == before
    assert ul.verify_activations(path).whole


class AtLeastTwo(Segmenter):
    def forward(self, image):
        if image.shape[0] == 1:
            raise ValueError("one image")
        return super().forward(image)


def test_last_item__joins_the_batch_before_where_the_network_needs_two(path):
    model, (images, targets) = AtLeastTwo().eval(), pixels()  # 10 images have valid pixels
    dataset = TensorDataset(images, targets)
    options = {"positions": "samples", "batch_size": 3}
    for _ in range(2):  # the second time the finished store is compared
        ul.record_activations(model, dataset, path, **options)
    activation, *_ = expected(model, images, targets)
    np.testing.assert_allclose(ul.open_activations(path)["relu"].activation, activation, atol=1e-5)

    before = (path / "relu/activation/c/0/0").read_bytes()
    (path / "relu/activation/c/0/0").unlink()
    ul.repair_activations(model, dataset, path, positions="samples")
    assert (path / "relu/activation/c/0/0").read_bytes() == before
    with pytest.raises(ArgumentError, match=r"batch_size is 1, .* of at least 2"):
        ul.record_activations(model, dataset, path, positions="samples", batch_size=1)


def test_misfits__are_one_line(path):
    model, (images, targets) = Segmenter().eval(), pixels()

    def record(targets, **options):
        data = TensorDataset(images, targets)
        ul.record_activations(model, data, path, positions="samples", **options)

    with pytest.raises(LayerError, match=r"'tanh' has positions of shape \(3, 2\), .* \(6, 4\)"):
        record(targets, layers=["tanh"])
    with pytest.raises(ArgumentError, match="maps are asked for, but with positions='samples'"):
        record(targets, maps={"samples": 1})
    with pytest.raises(DatasetError, match="all targets are -100, so no position is a sample"):
        record(torch.full_like(targets, -100))
    with pytest.raises(DatasetError, match=r"needs one integer a position"):
        record(targets.float())
    with pytest.raises(DatasetError, match=r"has the label 255, .* labels must lie in 0..3"):
        record(torch.where(targets < 0, 255, targets))
