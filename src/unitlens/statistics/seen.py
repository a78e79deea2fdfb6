"""What the class statistics have seen of classes and units, and tables of what follows from it."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from unitlens.statistics.moments import Integers

Flags = NDArray[np.bool_]


def seen_classes(stats: xr.Dataset) -> Flags:
    """Return which classes have samples, shape (classes,)."""
    return np.asarray(stats["count"].to_numpy() > 0)


def finite_units(stats: xr.Dataset) -> Flags:
    """Return which units have nothing but finite activations, and some, shape (units,)."""
    seen = seen_classes(stats)
    means = stats["class_mean"].to_numpy()[:, seen]
    return np.asarray(np.isfinite(means).all(axis=1) & seen.any())


def constant_units(stats: xr.Dataset) -> Flags:
    """Return which units have the same activation on every sample, shape (units,)."""
    seen = seen_classes(stats)
    if not seen.any():
        return np.zeros(stats.sizes["unit"], np.bool_)
    low, high = (stats[name].to_numpy()[:, seen] for name in ("class_minimum", "class_maximum"))
    return np.asarray(low.min(axis=1) == high.max(axis=1))


def labels_at(stats: xr.Dataset, places: Integers) -> Integers:
    """Return the labels of the classes at some places of the table, -1 where a place is -1."""
    return np.append(stats["class"].to_numpy(), -1)[places].astype(np.int64)


def on_units(stats: xr.Dataset, variables: dict[str, Any], **attributes: Any) -> xr.Dataset:
    """Return a table of arrays of shape (units,) with the units' coordinates."""
    return xr.Dataset(
        {name: ("unit", values) for name, values in variables.items()},
        coords=stats["class_mean"].drop_vars("class").coords,
        attrs=attributes,
    )
