"""Reading one image file as upright RGB of 8 bits; an image that would lose values is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from unitlens.errors import DatasetError, one_line

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_MOST_PIXELS = 2 * 89_478_485  # from here on Pillow refuses an image as a decompression bomb
# Modes of Pillow with more than 8 bits a channel: conversion to RGB would cut their values off.
_DEEP_MODES = ("I", "F")
_ORIENTATION, _SAMPLE_FORMAT, _UNSIGNED = 0x0112, 339, 1  # tags of EXIF and TIFF
_UPRIGHT = 1
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextmanager
def opened_image(path: Path, size: int) -> Iterator[Image.Image]:
    """Open an image of 8 bits a channel that can be brought to a size.

    Parameters
    ----------
    path
        The file.
    size
        Side in pixels to which the image will be brought.

    Yields
    ------
    The image, not decoded yet.

    Raises
    ------
    DatasetError
        Where the file is missing, no image, or an image that RGB of 8 bits cannot hold.
    """
    try:
        with Image.open(path) as image:
            _check_form(path, image, size)
            yield image
    except (DatasetError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise many kinds
        raise DatasetError(
            f"cannot read the image {path}: {one_line(error)}; restore it or remove it"
        ) from error


def _check_form(path: Path, image: Image.Image, size: int) -> None:
    if image.mode.partition(";")[0] in _DEEP_MODES or ";16" in str(getattr(image, "tile", "")):
        raise DatasetError(
            f"the image {path} has values of more than 8 bits (mode {image.mode}), which would be "
            "cut off; multiply its values by 255 over their range and save them as 8 bits, or "
            "remove it"
        )
    if image.mode == "LAB" or _is_signed(image):
        kind = "the colours of CIELAB" if image.mode == "LAB" else "values below 0"
        raise DatasetError(f"the image {path} has {kind}; convert it to RGB or remove it")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # in which a camera adds a preview to its photo
        raise DatasetError(
            f"the image {path} has {frames} frames, of which one alone would be read; save the "
            "frames as files of their own or remove it"
        )
    width, height = image.size
    if size * size * max(width, height) > _MOST_PIXELS * min(width, height):
        raise DatasetError(
            f"the image {path} has {width} x {height} pixels, too long to bring its shorter side "
            f"to {size} pixels; crop it or remove it"
        )


def _is_signed(image: Image.Image) -> bool:
    """Tell whether a TIFF holds other numbers than those from 0, which Pillow does not tell."""
    formats = getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, _UNSIGNED)
    return any(value != _UNSIGNED for value in np.atleast_1d(formats))


def stored_orientation(image: Image.Image) -> int:
    """Return how an image that is not decoded yet has to be turned to stand upright.

    Returns
    -------
    The number of EXIF, from 1 (upright) to 8. Pillow turns a TIFF by itself: always 1.
    """
    if image.format == "TIFF":
        return _UPRIGHT
    try:
        # The method of the base class does not decode a PNG.
        orientation = Image.Image.getexif(image).get(_ORIENTATION, _UPRIGHT)
    except Exception:  # noqa: BLE001 - damaged notes of a camera leave the image whole
        return _UPRIGHT
    return orientation if orientation in _TURNS else _UPRIGHT


def read_image(path: Path, size: int, interpolation: str) -> npt.NDArray[np.uint8]:
    """Read an image file as upright RGB, resize its shorter side and crop the centre.

    Transparency is left out, as torchvision does it. An image is turned upright as its camera
    noted it (EXIF), as viewers do it.

    Parameters
    ----------
    path
        The file.
    size
        Side of the result in pixels.
    interpolation
        ``bilinear`` or ``bicubic``.

    Returns
    -------
    Pixels of shape (3, size, size), uint8.

    Raises
    ------
    DatasetError
        Where the file is missing, no image, or an image that RGB of 8 bits cannot hold.
    """
    with opened_image(path, size) as opened:
        turn = _TURNS.get(stored_orientation(opened))
        # Pillow warns of the transparency of a palette unless it is asked for.
        is_palette = opened.mode == "P" and "transparency" in opened.info
        image = (opened.convert("RGBA") if is_palette else opened).convert("RGB")
    if turn is not None:
        image = image.transpose(turn)
    width, height = image.size
    short = min(width, height)
    if short != size:
        wide, high = size * width // short, size * height // short
        image = image.resize((wide, high), _RESAMPLING[interpolation])
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    image = image.crop((left, top, left + size, top + size))
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
