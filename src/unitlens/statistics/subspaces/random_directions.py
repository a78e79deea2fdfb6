"""Random directions of a layer, as a control for directions that mean something."""

import numpy as np
import xarray as xr

from unitlens.errors import ArgumentError, TableError
from unitlens.seeds import seeded
from unitlens.statistics.block_states import Floats
from unitlens.variables.checks import describe
from unitlens.variables.unit_index import index_units

_NEEDED, _KEPT = ("layer", "channel"), ("layer", "depth", "channel")


def random_directions(
    units: xr.Dataset | xr.DataArray, *, directions: int | None = None, seed: int = 0
) -> xr.DataArray:
    """Draw random orthonormal directions of one layer.

    Parameters
    ----------
    units
        Any table or array with the coordinates ``layer`` and ``channel`` (and ``depth``) on
        ``unit``, of the units of one layer of one network: a selection of a table of units, or a
        table of :func:`unitlens.principal_components`.
    directions
        Number of directions, from 1 to the number of units; as many as units if None.
    seed
        Seed, at least 0. The directions depend only on the seed and the number of units. The first
        directions do not depend on how many are drawn, except for rounding.

    Returns
    -------
    ``component`` (direction, unit): orthonormal rows, the first rows of a matrix with Haar
    distribution, for which every direction is equally likely. The coordinates are those of the
    units, with their index.

    Raises
    ------
    ArgumentError
        Where `directions` or `seed` is out of its range.
    TableError
        Where `units` lacks a coordinate, or the units are not those of one layer of one network.

    Notes
    -----
    Source: Mezzadri, "How to generate random matrices from the classical compact groups",
    Notices of the AMS 54, 2007 (arXiv math-ph/0609050): the QR decomposition of a matrix of
    independent standard Gaussians, with signs that make the diagonal of R positive.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> coordinates = {"layer": ("unit", ["relu"] * 4), "channel": ("unit", range(4))}
    >>> rows = ul.random_directions(xr.Dataset(coords=coordinates), directions=2, seed=0)
    >>> abs(rows.values @ rows.values.T).round(6)
    array([[1., 0.],
           [0., 1.]])
    """
    _check_units(units)
    size = units.sizes["unit"]
    number = size if directions is None else directions
    if not 1 <= number <= size:
        raise ArgumentError(f"directions is {number}, but must be from 1 to {size}, the units")
    if seed < 0:
        raise ArgumentError(f"seed is {seed}, but must be at least 0")
    rows = xr.Dataset(
        {"component": (("direction", "unit"), _haar_rows(number, size, seed), {"seed": seed})},
        coords={"direction": np.arange(number)} | _coordinates(units),
    )
    return index_units(describe(rows))["component"]


def _check_units(units: xr.Dataset | xr.DataArray) -> None:
    for name in _NEEDED:
        if name not in units.coords or units.coords[name].dims != ("unit",):
            raise TableError(
                f"units has no coordinate '{name}' on the dimension 'unit'; take a table of "
                "units, such as the results' or that of the principal components"
            )
    if not units.sizes["unit"]:
        raise TableError("units has no units, but directions need at least one unit")
    layers = list(dict.fromkeys(units.coords["layer"].to_numpy().tolist()))
    if len(layers) > 1:
        raise TableError(
            f"units are of {len(layers)} layers, '{layers[0]}', '{layers[1]}' among them, but a "
            "direction is of one layer; select a layer with sel(layer=...)"
        )
    channels = units.coords["channel"].to_numpy()
    if len(np.unique(channels)) < len(channels):
        raise TableError(
            f"units hold a channel of layer '{layers[0]}' more than once, but a direction is of "
            "one network; select a network with sel(run=..., epoch=...)"
        )


def _coordinates(units: xr.Dataset | xr.DataArray) -> dict[str, xr.Variable]:
    return {name: units.coords[name].variable for name in _KEPT if name in units.coords}


def _haar_rows(rows: int, columns: int, seed: int) -> Floats:
    """Return the first `rows` rows of a random orthogonal matrix of size `columns`."""
    gaussians = seeded(seed, "directions", columns).standard_normal((rows, columns))
    q, r = np.linalg.qr(gaussians.T)
    return np.asarray((q * np.where(r.diagonal() < 0, -1.0, 1.0)).T)
