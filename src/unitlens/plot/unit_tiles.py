"""The images that one unit responds to most, side by side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from unitlens.errors import ArgumentError, TableError
from unitlens.plot.canvas import drawing_on
from unitlens.plot.needed_tables import need_variables, one_unit, unit_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STATISTICS = (
    "a unit of what unitlens.network_statistics or unitlens.class_statistics returns, for example "
    "its .isel(unit=0)"
)
_GAP, _TEXT = 0.08, 0.42  # of the side of an image: between images, and for the text below
_COLUMNS = 8
_COLOURS = (1, 3)  # channels of an image


def unit_images(
    unit: xr.Dataset, dataset: Any, *, count: int = 8, ax: "Axes | None" = None
) -> "Axes":
    """Draw the images of largest activation of one unit, the largest first.

    Below each image stand its activation and its class. All images are drawn with one scale, from
    the least to the largest value of the images shown: a data set may be normalised.

    Parameters
    ----------
    unit
        One unit of what :func:`unitlens.class_statistics` or :func:`unitlens.network_statistics`
        returns, for example ``stats.isel(unit=0)``, with ``top_sample`` and ``top_activation`` on
        ``rank``, and ``top_class`` where there are classes.
    dataset
        The data set that the statistics were computed over, in the same order: ``dataset[i]`` is
        an image, or a tuple whose first entry is one. An image has shape (height, width),
        (channels, height, width) or (height, width, channels), with 1 or 3 channels.
    count
        Number of images.
    ax
        Axes to draw into; a new figure with one axes if None. The axes have no ticks afterwards.

    Returns
    -------
    The axes.

    Raises
    ------
    TableError
        Where the table lacks ``top_sample``, has several units, or names a sample that `dataset`
        does not have.
    ArgumentError
        Where an item of `dataset` is no image, or `count` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> images = np.random.default_rng(0).random((5, 1, 8, 8))
    >>> unit = xr.Dataset({"top_sample": ("rank", [3, 0]), "top_activation": ("rank", [2.5, 1.5])})
    >>> ax = ul.plot.unit_images(unit, images)
    >>> [text.get_text() for text in ax.texts]
    ['2.5', '1.5']
    """
    need_variables(unit, ("top_sample", "top_activation"), _STATISTICS)
    own = one_unit(unit, "unit_images")
    if count < 1:
        raise ArgumentError(f"count is {count}, but must be at least 1")
    samples = own["top_sample"].values[:count]
    samples = samples[samples >= 0]  # -1 where there are fewer samples
    if not samples.size:
        raise TableError(f"the unit has no sample in 'top_sample'; pass {_STATISTICS}")
    images = [_image(dataset, int(sample)) for sample in samples]
    columns = min(_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    with drawing_on(ax, height=0.4 + rows * 1.25, width=0.3 + columns * 0.9) as axes:
        low, high = min(map(np.min, images)), max(map(np.max, images))
        for place, image in enumerate(images):
            left, top = (place % columns) * (1 + _GAP), (place // columns) * (1 + _TEXT)
            _draw_tile(axes, image, (left, top), (float(low), float(high)))
            text = _tile_text(own, place)
            axes.text(left + 0.5, top + 1.03, text, ha="center", va="top", fontsize=7.5)
        axes.set_xlim(0, columns * (1 + _GAP) - _GAP)
        axes.set_ylim(rows * (1 + _TEXT), 0)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(" ".join(filter(None, ("largest activations", _of(own)))))
    return axes


def _of(unit: xr.Dataset) -> str:
    name = unit_name(unit)
    return f"of {name}" if name else ""


def _tile_text(unit: xr.Dataset, place: int) -> str:
    text = f"{unit['top_activation'].values[place]:.3g}"
    if "top_class" not in unit.variables or unit["top_class"].values[place] < 0:
        return text
    return f"{text}\nclass {unit['top_class'].values[place]}"


def _image(dataset: Any, sample: int) -> np.ndarray:
    """Return a sample as an image of shape (height, width, channels)."""
    try:
        item = dataset[sample]
    except (IndexError, KeyError):
        raise TableError(
            f"the unit responds to sample {sample}, which the dataset does not have; pass the "
            "dataset that the statistics were computed over"
        ) from None
    if isinstance(item, tuple | list):
        item = item[0]
    image = None if isinstance(item, Mapping | str) else np.asarray(item)
    if image is not None and image.dtype.kind in "fiub" and image.size:
        if image.ndim == 2:
            return image[..., None]
        if image.ndim == 3 and image.shape[0] in _COLOURS:
            return np.moveaxis(image, 0, -1)
        if image.ndim == 3 and image.shape[-1] in _COLOURS:
            return image
    found = type(item).__name__ if image is None else f"of shape {image.shape}"
    raise ArgumentError(
        f"sample {sample} of the dataset is {found}, but must be an image of shape "
        "(height, width), (channels, height, width) or (height, width, channels) with 1 or 3 "
        "channels; pass a dataset of images"
    )


def _draw_tile(
    axes: "Axes", image: np.ndarray, corner: tuple[float, float], limits: tuple[float, float]
) -> None:
    """Draw an image into a square of side 1, without changing its shape."""
    (left, top), (low, high) = corner, limits
    scaled = (image.astype(float) - low) / ((high - low) or 1.0)
    height, width = (size / max(image.shape[:2]) for size in image.shape[:2])
    across, down = left + (1 - width) / 2, top + (1 - height) / 2
    axes.imshow(
        scaled.repeat(3, axis=-1) if image.shape[-1] == 1 else scaled,
        extent=(across, across + width, down + height, down),
        interpolation="nearest",
    )
