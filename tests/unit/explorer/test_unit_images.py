"""Samples as they are shown: pixels of the data set, texts, rows, feature maps over images."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from unitlens.data.map_style import WholeBatches
from unitlens.errors import DatasetError
from unitlens.explorer.unit_images import (
    STRETCHED,
    overlay_map,
    png_address,
    read_samples,
    view_of,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 9), np.uint8)


class Prepared(WholeBatches):
    """Bytes as a prepared split holds them, whose inputs are normalised."""

    def __init__(self):
        self.read = []

    def __len__(self):
        return len(PIXELS)

    def stored_batch(self, indices):
        self.read += indices.tolist()
        return torch.from_numpy(PIXELS[indices]), torch.from_numpy(indices % 3)

    def batch(self, indices):
        stored, labels = self.stored_batch(indices)
        return (stored / 255 - 0.5) / 0.2, labels


class Items:
    """A user's items, which note what is read of them."""

    def __init__(self, items):
        self.items, self.read = items, []

    def __getitem__(self, index):
        self.read.append(index)
        return self.items[index]


def test_prepared_split__shows_its_stored_bytes_of_the_wanted_samples_alone():
    dataset = Prepared()

    views = read_samples(dataset, [4, 1])

    assert dataset.read == [4, 1]
    assert [view.label for view in views] == [1, 1]
    for view, place in zip(views, (4, 1), strict=True):
        np.testing.assert_array_equal(view.image, np.moveaxis(PIXELS[place], 0, -1))


def test_user_items__are_read_where_they_are_shown_alone():
    floats = torch.from_numpy(PIXELS / 255).float()
    dataset = Items([(image, torch.tensor(place)) for place, image in enumerate(floats)])

    views = read_samples(dataset, [2, 5])

    assert dataset.read == [2, 5]
    assert [view.label for view in views] == [2, 5]
    np.testing.assert_array_equal(views[0].image, np.moveaxis(PIXELS[2], 0, -1))
    assert views[0].note == ""


def test_bytes_of_sixteen_shades__are_stretched_and_say_so():
    """scikit-learn's digits hold 0 to 16, which is black of 255."""
    shades = np.arange(16, dtype=np.uint8).reshape(1, 4, 4) + 1

    shown = view_of(shades)

    np.testing.assert_array_equal(shown.image, np.rint(17.0 * np.arange(16)).reshape(4, 4))
    assert "stretched" in shown.note
    assert view_of(shades * 15).note == ""


def test_normalised_floats__are_stretched_and_say_so():
    image = np.linspace(-2.0, 3.0, 64).reshape(1, 8, 8)

    view = view_of(torch.from_numpy(image))

    np.testing.assert_array_equal(view.image, np.rint(255 * (image[0] + 2) / 5))
    assert view.note == STRETCHED


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a <b>text</b>", "a <b>text</b>"),
        (np.array([1.5, 2, 0.25]), "1.5, 2, 0.25"),
        (torch.arange(20), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 … (20 numbers)"),
    ],
)
def test_texts_and_rows__are_words(value, text):
    view = view_of(value)

    assert view.image is None
    assert view.text == text


def test_row__marks_the_position_that_the_activation_is_of():
    text = view_of(torch.arange(100), position=50).text

    assert "49, [50], 51" in text
    assert text.endswith("(100 numbers)")


def test_dictionary__shows_its_image_else_its_text():
    picture = Image.fromarray(np.moveaxis(PIXELS[0], 0, -1))
    dataset = Items([{"text": "words", "label": 3}, {"caption": "a", "image": picture, "label": 1}])

    words, image = read_samples(dataset, [0, 1])

    assert (words.text, words.label) == ("words", 3)
    np.testing.assert_array_equal(image.image, np.moveaxis(PIXELS[0], 0, -1))


def test_sample_that_cannot_be_read__is_told_in_one_line():
    with pytest.raises(DatasetError, match=r"samples \[9\] of the data set cannot be read"):
        read_samples(Items([]), [9])


def test_overlay__is_orange_where_the_unit_is_active_and_the_image_elsewhere():
    grey = np.full((8, 8), 100, np.uint8)
    feature_map = np.zeros((2, 2))
    feature_map[0, 1] = 5.0

    laid = overlay_map(grey, feature_map)

    assert (laid[4:] == 100).all()
    assert (laid[:4, :4] == 100).all()
    orange = np.rint(0.2 * 100 + 0.8 * np.array([230, 159, 0]))
    assert (laid[:4, 4:] == orange).all()
    assert (overlay_map(grey, np.ones((2, 2))) == 100).all()


def test_png__holds_the_pixels_of_a_small_image():
    image = np.moveaxis(PIXELS[0], 0, -1)

    head, content = png_address(image).split(",")

    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(Image.open(io.BytesIO(base64.b64decode(content))), image)
