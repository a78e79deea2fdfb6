"""Bases: orthonormal directions of each layer, any set of which is projected out at once.

What :func:`unitlens.cumulative_ablation` takes as `basis`:

``"units"``
    The units themselves.
``"random"``
    A random orthonormal basis of each layer: :func:`unitlens.random_directions` with the seed
    ``derived_seed(seed, "basis", depth)`` of :mod:`unitlens.seeds`, so that layers of
    equally many units have different ones.
directions
    A basis of your own, in the forms that :func:`unitlens.direction_ablation` takes: directions
    of each chosen layer (of those it has, if `layers` is None), with orthonormal rows, not
    necessarily as many as units.

With the directions of a set as the rows of ``D``, ``a - D^T D (a - v)`` stands in for the
activations ``a`` of a layer at each position, ``v`` being what its units would be clamped to. An
order is then one of all directions of the chosen layers jointly, and ``ablated_units`` and
``ablated_fraction`` count directions; `by` is for units only. Along a basis of your own, directions
are also ablated in the order of their number in their layer: ``basis-ascending``, the first of
every layer, then the second, and so on, and ``basis-descending``.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from unitlens.errors import ArgumentError
from unitlens.model.layers import UnitLayer
from unitlens.model.precision import uncast
from unitlens.perturbation.given_directions import Directions, by_layer, matched
from unitlens.perturbation.session import LayerChoice, Session
from unitlens.seeds import derived_seed
from unitlens.variables.unit_index import unit_coordinates

if TYPE_CHECKING:
    from unitlens.perturbation.scores import Floats

BasisChoice = Literal["units", "random"] | Directions
ReadBasis = str | dict[str, xr.DataArray]


class Basis:
    """Orthonormal directions of each layer.

    Parameters
    ----------
    rows
        For each layer's name, in the order of the layers, its directions (directions, units).

    Attributes
    ----------
    size
        Number of directions of all layers.
    numbers
        Number of each direction in its layer, shape (size,).
    """

    def __init__(self, rows: Mapping[str, Tensor]) -> None:
        self._rows = dict(rows)
        self.size = sum(map(len, self._rows.values()))
        self.numbers: Floats = np.concatenate(
            [np.arange(len(r), dtype=float) for r in rows.values()]
        )

    def split(self, by_direction: Tensor) -> dict[str, Tensor]:
        """Split an array whose last axis is the directions of all layers by layer."""
        parts = torch.split(by_direction, [len(rows) for rows in self._rows.values()], dim=-1)
        return dict(zip(self._rows, parts, strict=True))

    def projected(
        self, layer: UnitLayer, activations: Tensor, values: Tensor, ablated: Tensor
    ) -> Tensor:
        """Bring activations to the values along the ablated directions, and nowhere else.

        Parameters
        ----------
        layer
            The layer.
        activations
            Shape (variants or 1, samples, ...).
        values
            What every unit would be clamped to, of a shape that broadcasts over activations.
        ablated
            Which directions are ablated in each variant, (variants, directions).
        """
        with uncast(activations.device):
            rows = self._rows[layer.name]
            return self._projected(layer, activations.to(rows.dtype), values, ablated)

    def _projected(
        self, layer: UnitLayer, activations: Tensor, values: Tensor, ablated: Tensor
    ) -> Tensor:
        rows, axis = self._rows[layer.name], 2 if layer.axis == 1 else -1
        away, chosen = activations - values, ablated.to(activations.dtype)
        if layer.units < away[0].numel() // layer.units:  # the fewer multiply-adds, then
            return _kept(rows, chosen, away, axis).add_(values)
        along = away.movedim(axis, -1) @ rows.t()
        taken = along * chosen.reshape(len(chosen), *[1] * (along.dim() - 2), -1)
        return (activations - (taken @ rows).movedim(-1, axis)).contiguous()


def _kept(rows: Tensor, chosen: Tensor, away: Tensor, axis: int) -> Tensor:
    """Return what is left by each variant's projection, made as a matrix (units, units) first."""
    identity = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    kept = identity - (rows.t() * chosen.unsqueeze(1)) @ rows
    if axis == 2 and away.dim() > 3:
        left = kept.unsqueeze(1) @ away.flatten(3)
    else:
        left = away.flatten(1, -2) @ kept
    return left.reshape(len(chosen), *away.shape[1:])


def read_basis(
    basis: BasisChoice, by: Mapping[str, xr.DataArray] | None, layers: LayerChoice
) -> tuple[ReadBasis, LayerChoice]:
    """Return a basis's name, or the given rows by layer; and the layers that are asked for.

    Raises
    ------
    ArgumentError
        Where there is no such basis, or measures of units are given beside another one.
    """
    if isinstance(basis, str) and basis not in ("units", "random"):
        raise ArgumentError(
            f"basis is '{basis}', but must be 'units', 'random', or directions of each layer"
        )
    if by and not (isinstance(basis, str) and basis == "units"):
        raise ArgumentError(
            f"by holds measures of units ({', '.join(by)}), but the basis is not 'units'; leave "
            "one of the two out"
        )
    if isinstance(basis, str):
        return basis, layers
    rows = by_layer(basis, "basis")
    return rows, tuple(rows) if layers is None else layers


def basis_name(read: ReadBasis) -> str:
    """Return how a basis is called in the attributes of a result."""
    return read if isinstance(read, str) else "array"


def open_basis(session: Session, read: ReadBasis, seed: int) -> Basis | None:
    """Return the basis of the session's layers, None for the units themselves.

    Raises
    ------
    ArgumentError
        Where a layer has no rows, or they are not orthonormal.
    """
    if isinstance(read, dict):
        return Basis({layer.name: _given(session, read, layer) for layer in session.layers})
    if read == "units":
        return None
    return Basis({layer.name: _random(session, layer, seed) for layer in session.layers})


def _random(session: Session, layer: UnitLayer, seed: int) -> Tensor:
    from unitlens.statistics.subspaces.random_directions import random_directions

    units = xr.Dataset(coords=unit_coordinates([(layer.name, layer.depth, layer.units)]))
    drawn = random_directions(units, seed=derived_seed(seed, "basis", layer.depth))
    return session.tensor(drawn.values)


def _given(session: Session, read: Mapping[str, xr.DataArray], layer: UnitLayer) -> Tensor:
    if layer.name not in read:
        raise ArgumentError(
            f"basis has no directions of layer '{layer.name}', but must have some of every chosen "
            "layer; name those it has in layers"
        )
    rows = matched(read[layer.name], layer, "basis")
    _check_orthonormal(rows, layer.name)
    return session.tensor(rows.astype(np.float64))


def _check_orthonormal(rows: npt.NDArray[Any], name: str) -> None:
    tolerance = 1e-6 if rows.dtype in (np.float32, np.float16) else 1e-10
    exact = rows.astype(np.float64)
    error = np.abs(exact @ exact.T - np.eye(len(rows))).max()
    if error > tolerance:
        raise ArgumentError(
            f"basis has rows of layer '{name}' whose inner products are off by {error:.1e}, but "
            f"they must be orthonormal within {tolerance:.0e}; numpy.linalg.qr(rows.T)[0].T makes "
            "them so"
        )
