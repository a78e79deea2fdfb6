"""What the class statistics have seen: classes with samples, units with numbers, constant units."""

import numpy as np
import xarray as xr
from numpy.typing import NDArray

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
