"""Coordinates that name the units of a table."""

from collections.abc import Iterable

import numpy as np
import xarray as xr


def unit_coordinates(layers: Iterable[tuple[str, int, int]]) -> dict[str, xr.DataArray]:
    """Return the coordinates of the `unit` dimension.

    Parameters
    ----------
    layers
        Name, depth and number of units of each layer, in the order of the forward pass.

    Returns
    -------
    ``layer``, ``depth`` and ``channel``, each of shape (units,).
    """
    rows = list(layers)
    counts = [units for _, _, units in rows]
    channels = [np.arange(units) for units in counts]
    values = {
        "layer": np.repeat(np.array([name for name, _, _ in rows], dtype=object), counts),
        "depth": np.repeat(np.array([depth for _, depth, _ in rows], dtype=np.int64), counts),
        "channel": np.concatenate(channels) if channels else np.empty(0, np.int64),
    }
    return {name: xr.DataArray(array, dims="unit") for name, array in values.items()}
