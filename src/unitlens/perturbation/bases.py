"""Orthonormal bases of layers, along which sets of directions are projected out together.

With the ablated directions of a layer as the rows of ``D``, the activations ``a`` at each position
are replaced by ``a - D^T D (a - v)``, where ``v`` are the values of the layer's units.
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
from unitlens.model.precision import autocast_disabled
from unitlens.perturbation.engine.row_batches import product_by_row
from unitlens.perturbation.given_directions import (
    DirectionRows,
    directions_by_layer,
    match_units_of_layer,
)
from unitlens.perturbation.session import LayerChoice, Session
from unitlens.perturbation.values.unit_values import units_of
from unitlens.seeds import derived_seed

if TYPE_CHECKING:
    from unitlens.perturbation.scores import Floats

BasisChoice = Literal["units", "random"] | DirectionRows
ParsedBasis = str | dict[str, xr.DataArray]


class Basis:
    """Orthonormal directions of each layer.

    Parameters
    ----------
    rows
        Directions (directions, units) by the name of the layer, in the order of the layers.

    Attributes
    ----------
    size
        Number of directions of all layers.
    numbers
        Number of each direction within its layer, (size,).
    """

    def __init__(self, rows: Mapping[str, Tensor]) -> None:
        self._rows = dict(rows)
        self.size = sum(map(len, self._rows.values()))
        self.numbers: Floats = np.concatenate(
            [np.arange(len(of_layer), dtype=float) for of_layer in rows.values()]
        )

    def split(self, by_direction: Tensor) -> dict[str, Tensor]:
        """Split an array whose last axis is the directions of all layers by the layer's name."""
        parts = torch.split(by_direction, [len(rows) for rows in self._rows.values()], dim=-1)
        return dict(zip(self._rows, parts, strict=True))

    def projected(
        self, layer: UnitLayer, activations: Tensor, values: Tensor, ablated: Tensor
    ) -> Tensor:
        """Return activations that are projected to the values along the ablated directions.

        Parameters
        ----------
        layer
            The layer.
        activations
            Activations of the layer, (variants or 1, samples, ...).
        values
            Value of every unit, of a shape that broadcasts over the activations.
        ablated
            Whether each direction is ablated in each variant, (variants, directions).
        """
        with autocast_disabled(activations.device):
            rows = self._rows[layer.name]
            return self._projected(layer, activations.to(rows.dtype), values, ablated)

    def _projected(
        self, layer: UnitLayer, activations: Tensor, values: Tensor, ablated: Tensor
    ) -> Tensor:
        rows, axis = self._rows[layer.name], 2 if layer.axis == 1 else -1
        deviations, mask = activations - values, ablated.to(activations.dtype)
        # A projection matrix per variant takes fewer multiply-adds where positions are many.
        if layer.units < deviations[0].numel() // layer.units:
            return _orthogonal_part(rows, mask, deviations, axis).add_(values)
        coefficients = product_by_row(deviations.movedim(axis, -1), rows.t())
        ablated_part = coefficients * mask.reshape(len(mask), *[1] * (coefficients.dim() - 2), -1)
        removed = product_by_row(ablated_part, rows)
        return (activations - removed.movedim(-1, axis)).contiguous()


def _orthogonal_part(rows: Tensor, mask: Tensor, deviations: Tensor, axis: int) -> Tensor:
    """Return the part of deviations that is orthogonal to each variant's ablated directions.

    The projection of each variant is computed as one matrix (units, units).
    """
    identity = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    projections = identity - product_by_row(rows.t() * mask.unsqueeze(1), rows)
    if axis == 2 and deviations.dim() > 3:
        projected = projections.unsqueeze(1) @ deviations.flatten(3)
    else:
        projected = deviations.flatten(1, -2) @ projections
    return projected.reshape(len(mask), *deviations.shape[1:])


def parse_basis(
    basis: BasisChoice, by: Mapping[str, xr.DataArray] | None, layers: LayerChoice
) -> tuple[ParsedBasis, LayerChoice]:
    """Return the name of a basis, or the given directions by layer; and the layers.

    Parameters
    ----------
    basis, by, layers
        Arguments of :func:`unitlens.cumulative_ablation`. Where `layers` is None, the layers of
        given directions are returned.

    Raises
    ------
    ArgumentError
        Where the basis is unknown, or measures of units are given beside another basis.
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
    rows = directions_by_layer(basis, "basis")
    return rows, tuple(rows) if layers is None else layers


def basis_name(parsed: ParsedBasis) -> str:
    """Return the name of a basis in the attributes of a result."""
    return parsed if isinstance(parsed, str) else "array"


def open_basis(session: Session, parsed: ParsedBasis, seed: int) -> Basis | None:
    """Return the basis of the session's layers, None for the units.

    Parameters
    ----------
    session
        The session.
    parsed
        Basis from :func:`parse_basis`.
    seed
        Seed of random bases.

    Raises
    ------
    ArgumentError
        Where a layer has no directions, or directions are not orthonormal.
    """
    if isinstance(parsed, dict):
        return Basis({layer.name: _given(session, parsed, layer) for layer in session.layers})
    if parsed == "units":
        return None
    return Basis({layer.name: _random(session, layer, seed) for layer in session.layers})


def _random(session: Session, layer: UnitLayer, seed: int) -> Tensor:
    from unitlens.statistics.subspaces.random_directions import random_directions

    rows = random_directions(units_of([layer]), seed=derived_seed(seed, "basis", layer.depth))
    return session.tensor(rows.values)


def _given(session: Session, given: Mapping[str, xr.DataArray], layer: UnitLayer) -> Tensor:
    if layer.name not in given:
        raise ArgumentError(
            f"basis has no directions of layer '{layer.name}', but must have some of every chosen "
            f"layer; choose among the layers of the basis by layers={sorted(given)}"
        )
    rows = match_units_of_layer(given[layer.name], layer, "basis")
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
