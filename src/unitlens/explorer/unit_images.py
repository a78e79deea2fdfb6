"""Samples of a data set as something to look at: images, texts or plain rows of numbers."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from unitlens.errors import DatasetError, cut, first_line

MOST_PIXELS = 144  # of the longer side of an image on a page
_ROW = 16  # numbers of a row that are shown
_AROUND = 6  # numbers that are shown to either side of a position
_GREY, _COLOUR = 1, 3
STRETCHED = (
    "Pixel values lie outside of 0 to 1, so each image is stretched from its smallest to its "
    "largest value."
)

Pixels = npt.NDArray[np.uint8]
_FEW_SHADES = 16  # of images such as scikit-learn's digits, which would be black of 255 shades


@dataclass(frozen=True)
class SampleView:
    """One sample as it is shown.

    Attributes
    ----------
    image
        Pixels, uint8 of shape (height, width) or (height, width, 3); None for another kind.
    text
        The text, or the numbers of a row; empty beside an image.
    note
        What must be said about the picture; empty where there is nothing.
    label
        The label that the data set states for the sample; None where it states no integer.
    """

    image: Pixels | None = None
    text: str = ""
    note: str = ""
    label: int | None = None


def read_samples(
    dataset: Any,
    places: Sequence[int],
    positions: Sequence[int | None] | None = None,
    position_count: int = 0,
) -> list[SampleView]:
    """Read some samples of a data set, and no others.

    Parameters
    ----------
    dataset
        A prepared split (its stored values are shown, before normalisation), or a user's data set
        of items: pairs of input and target, dictionaries, or inputs alone.
    places
        Indices in the data set.
    positions
        For each sample the position in its item that the activation is of; None for whole items.
        A row is marked there if it is one number a position.
    position_count
        Number of positions of an item.

    Returns
    -------
    A view of each sample: an image for values of shape (height, width), or with 1 or 3 channels
    first or last; text for strings; a row of numbers for anything else.

    Raises
    ------
    DatasetError
        Where a sample cannot be read.
    """
    marks = [None] * len(places) if positions is None else list(positions)
    try:
        values = _read_values(dataset, places)
    except DatasetError:
        raise
    except Exception as error:  # the data set is the user's code
        raise DatasetError(
            f"samples {cut(str(list(places)))} of the data set cannot be read "
            f"({first_line(error)}); give the data set that the activations were recorded over"
        ) from error
    views = [
        view_of(value, mark if np.size(_as_array(value)) == position_count else None)
        for (value, _), mark in zip(values, marks, strict=True)
    ]
    return [replace(view, label=label) for view, (_, label) in zip(views, values, strict=True)]


def _read_values(dataset: Any, places: Sequence[int]) -> list[tuple[Any, int | None]]:
    from unitlens.data.map_style import WholeBatches

    if isinstance(dataset, WholeBatches) and places:
        stored, labels = dataset.stored_batch(np.asarray(places, np.int64))
        return list(zip(stored.numpy(), labels.tolist(), strict=True))
    return [_split_item(dataset[place]) for place in places]


def _split_item(item: Any) -> tuple[Any, int | None]:
    """Return what is shown of an item, and its label where that is an integer."""
    if isinstance(item, Mapping):
        return _most_visible(list(item.values())), _as_label(item.get("label"))
    if isinstance(item, tuple | list) and item:
        return item[0], _as_label(item[1]) if len(item) > 1 else None
    return item, None


def _as_label(target: Any) -> int | None:
    array = np.asarray(None) if isinstance(target, str) else _as_array(target)
    return int(array.reshape(-1)[0]) if array.dtype.kind in "iu" and array.size == 1 else None


def _most_visible(values: list[Any]) -> Any:
    """Return the image of a dictionary; without one its text; without one its first value."""
    if not values:
        return ""
    for wanted in (_is_picture, lambda value: isinstance(value, str)):
        found = [value for value in values if wanted(value)]
        if found:
            return found[0]
    return values[0]


def _is_picture(value: Any) -> bool:
    return hasattr(value, "convert") or _as_image(_as_array(value)) is not None


def _as_array(value: Any) -> npt.NDArray[Any]:
    if hasattr(value, "convert"):  # an image of Pillow
        return np.asarray(value.convert("RGB"))
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        return np.asarray(value)
    except (ValueError, TypeError):
        return np.asarray(str(value))


def view_of(value: Any, position: int | None = None) -> SampleView:
    """Return one input as it is shown.

    Parameters
    ----------
    value
        The input: a tensor, an array, an image of Pillow, a text.
    position
        Position in the input that is marked in a row; None for none.

    Examples
    --------
    >>> view_of([0.5, 2.0, 1.25]).text
    '0.5, 2, 1.25'
    >>> view_of("a text").text
    'a text'
    """
    if isinstance(value, str):
        return SampleView(text=value)
    array = _as_array(value)
    image = _as_image(array)
    if image is None:
        return SampleView(text=_row_text(array, position))
    pixels, note = _as_pixels(image)
    return SampleView(pixels, note=note)


def _as_image(array: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return an array as (height, width) or (height, width, 3); None where it is no image."""
    if array.dtype.kind not in "fiub" or min(array.shape, default=0) == 0:
        return None
    if array.ndim == 3 and array.shape[0] in {_GREY, _COLOUR}:
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3 and array.shape[-1] == _GREY:
        array = array[..., 0]
    colour = array.ndim == 3 and array.shape[-1] == _COLOUR
    return array if (array.ndim == 2 or colour) and min(array.shape[:2]) > 2 else None


def _as_pixels(image: npt.NDArray[Any]) -> tuple[Pixels, str]:
    if image.dtype == np.uint8 and image.max() > _FEW_SHADES:
        return image, ""
    values = image.astype(np.float64)
    low, high = np.nanmin(values), np.nanmax(values)
    if low >= 0 and high <= 1:
        return np.rint(255 * np.nan_to_num(values)).astype(np.uint8), ""
    if image.dtype.kind in "iu" and low >= 0 and _FEW_SHADES < high <= 255:
        return image.astype(np.uint8), ""
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.rint(255 * np.nan_to_num(scaled)).astype(np.uint8), STRETCHED


def _row_text(array: npt.NDArray[Any], position: int | None) -> str:
    if array.dtype.kind not in "fiub":
        return str(array) if array.ndim else str(array.item())
    numbers = array.reshape(-1)
    start = 0 if position is None else max(0, position - _AROUND)
    stop = start + _ROW if position is None else position + _AROUND + 1
    words = [f"{number:.4g}" for number in numbers[start:stop].tolist()]
    if position is not None and position - start < len(words):
        words[position - start] = f"[{words[position - start]}]"
    shown = ", ".join(words)
    before, after = "… " if start else "", " …" if stop < numbers.size else ""
    count = f" ({numbers.size} numbers)" if before or after else ""
    return f"{before}{shown}{after}{count}"


def overlay_map(image: Pixels, feature_map: npt.NDArray[Any]) -> Pixels:
    """Lay a feature map over an image: where the unit is active, the image is orange.

    Parameters
    ----------
    image
        Pixels, uint8 of shape (height, width) or (height, width, 3).
    feature_map
        Activations of the unit on the image, of shape (y, x). Each value covers its part of the
        image.

    Returns
    -------
    Pixels, uint8 of shape (height, width, 3). The share of orange rises from 0 at the smallest
    value of the map to 0.8 at its largest; a constant map leaves the image as it is.
    """
    grey = image if image.ndim == 2 else image.mean(-1)
    base = np.repeat(np.asarray(grey, np.float64)[..., None], 3, -1)
    rows = np.arange(base.shape[0]) * feature_map.shape[0] // base.shape[0]
    columns = np.arange(base.shape[1]) * feature_map.shape[1] // base.shape[1]
    values = np.asarray(feature_map, np.float64)[np.ix_(rows, columns)]
    low, high = np.nanmin(values), np.nanmax(values)
    share = 0.8 * (values - low) / (high - low) if high > low else np.zeros_like(values)
    share = np.nan_to_num(share)[..., None]
    orange = np.array([230.0, 159.0, 0.0])  # of the palette of Okabe and Ito
    return np.rint(base * (1 - share) + orange * share).astype(np.uint8)


def png_address(image: Pixels) -> str:
    """Return an image as a ``data:`` address that a page shows without a file.

    Parameters
    ----------
    image
        Pixels, uint8 of shape (height, width) or (height, width, 3). An image whose longer side is
        above 144 pixels is made smaller.
    """
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((MOST_PIXELS, MOST_PIXELS))
    content = io.BytesIO()
    picture.save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
