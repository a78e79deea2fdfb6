"""Random directions of a layer, against which chosen ones are held."""

import numpy as np
import xarray as xr

from unitlens.errors import ArgumentError, TableError
from unitlens.statistics.block_states import Floats
from unitlens.variables.declarations import DIMENSIONS, VARIABLES

_NEEDED, _KEPT = ("layer", "channel"), ("layer", "depth", "channel")


def random_directions(
    units: xr.Dataset | xr.DataArray, *, directions: int | None = None, seed: int = 0
) -> xr.DataArray:
    """Draw random orthonormal directions of one layer.

    Parameters
    ----------
    units
        Anything with the coordinates ``layer`` and ``channel`` (and ``depth``) on ``unit``, of
        the units of one layer of one network: such a part of a unit table, or a table of
        :func:`unitlens.principal_components`.
    directions
        Number of directions, from 1 to the number of units; as many as units if None.
    seed
        Seed, at least 0. The directions depend on it and on the number of units alone, and the
        first ones not on how many are drawn, but for rounding.

    Returns
    -------
    ``component`` (direction, unit), orthonormal rows: those of a matrix with Haar distribution,
    so that no direction is more likely than another.

    Raises
    ------
    ArgumentError
        Where `directions` or `seed` is out of its range.
    TableError
        Where `units` lacks a coordinate, or its units are not those of one layer of one network.

    Notes
    -----
    Source: Mezzadri, "How to generate random matrices from the classical compact groups",
    Notices of the AMS 54, 2007 (arXiv math-ph/0609050): the QR decomposition of a matrix of
    independent standard Gaussians, with signs that make the diagonal of R positive.
    """
    _check_units(units)
    number = units.sizes["unit"]
    wanted = number if directions is None else directions
    if not 1 <= wanted <= number:
        raise ArgumentError(f"directions is {wanted}, but must be from 1 to {number}, the units")
    if seed < 0:
        raise ArgumentError(f"seed is {seed}, but must be at least 0")
    declared = VARIABLES["component"]
    along = xr.Variable("direction", np.arange(wanted), {"description": DIMENSIONS["direction"]})
    return xr.DataArray(
        _haar_rows(wanted, number, seed),
        dims=("direction", "unit"),
        coords={"direction": along} | _coordinates(units),
        name=declared.name,
        attrs={
            "long_name": declared.long_name,
            "units": declared.units,
            "description": declared.description,
            "seed": seed,
        },
    )


def _check_units(units: xr.Dataset | xr.DataArray) -> None:
    for name in _NEEDED:
        if name not in units.coords or units.coords[name].dims != ("unit",):
            raise TableError(
                f"units has no coordinate '{name}' on the dimension 'unit'; take a table of "
                "units, such as the results' or that of the principal components"
            )
    if not units.sizes["unit"]:
        raise TableError("units has no units, but directions need at least one; select a layer")
    layers = list(dict.fromkeys(units.coords["layer"].to_numpy().tolist()))
    if len(layers) > 1:
        raise TableError(
            f"units are of {len(layers)} layers, '{layers[0]}', '{layers[1]}' among them, but a "
            "direction is of one layer; select it with sel(layer=...)"
        )
    channels = units.coords["channel"].to_numpy()
    if len(np.unique(channels)) < len(channels):
        raise TableError(
            f"units hold a channel of layer '{layers[0]}' more than once, but a direction is of "
            "one network; select it with sel(run=..., epoch=...)"
        )


def _coordinates(units: xr.Dataset | xr.DataArray) -> dict[str, xr.Variable]:
    return {name: units.coords[name].variable for name in _KEPT if name in units.coords}


def _haar_rows(rows: int, columns: int, seed: int) -> Floats:
    """Return the first `rows` rows of a random orthogonal matrix of size `columns`."""
    # the rule of networks.seeds, which this floor cannot reach: seed, place, purpose
    random = np.random.default_rng([seed, columns, *b"directions"])
    q, r = np.linalg.qr(random.standard_normal((rows, columns)).T)
    return np.asarray((q * np.where(r.diagonal() < 0, -1.0, 1.0)).T)
