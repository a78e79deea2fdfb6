"""Directions of one layer that are perturbed, each alone: units, or mixtures of units.

A perturbation along a direction ``d`` subtracts ``c d`` from the activations of a sample at each
position. The coefficient ``c`` is the activation along ``d`` minus the value that it is clamped to.
"""

import copy
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from unitlens.model.graph import Edit
from unitlens.model.layers import UnitLayer
from unitlens.model.observation import select_samples
from unitlens.model.precision import autocast_disabled
from unitlens.perturbation.engine.readers import LayerReader, PerturbedPairs
from unitlens.perturbation.engine.row_batches import product_in_place

Replacement = Callable[[UnitLayer, Tensor], Tensor]


class _ChosenPairs:
    """Directions that are perturbed on all samples, or on chosen samples.

    Attributes
    ----------
    chosen
        Whether a direction is perturbed on a sample, (directions, samples); None for all samples.
    """

    chosen: Tensor | None = None

    def on_pairs(self, chosen: Tensor) -> Self:
        """Return the same directions, to be perturbed on chosen samples of a batch.

        Parameters
        ----------
        chosen
            Whether a direction is perturbed on a sample, (directions, samples).
        """
        other = copy.copy(self)
        other.chosen = chosen
        return other

    def changed(self, coefficients: Tensor) -> Tensor:
        """Tell for each direction and sample whether an activation changes there.

        Parameters
        ----------
        coefficients
            Coefficient of each direction, (directions, samples, positions ...).

        Returns
        -------
        Tensor of shape (directions, samples), False for samples that are not chosen.
        """
        changed = coefficients != 0
        if changed.dim() > 2:
            changed = changed.flatten(2).any(2)
        return changed if self.chosen is None else changed & self.chosen


class Units(_ChosenPairs):
    """Units of one layer, each to be clamped alone.

    Parameters
    ----------
    layer
        The layer.
    channels
        Channels of the units, (directions,).
    replacement
        Function of the layer and its activation (samples, ...) that returns the replacement of the
        activation, of a shape that broadcasts over it.
    table_rows
        Row of each unit in a table.
    """

    def __init__(
        self, layer: UnitLayer, channels: Tensor, replacement: Replacement, table_rows: Tensor
    ) -> None:
        self.layer, self.table_rows = layer, table_rows
        self._channels, self._replacement = channels, replacement
        self._all = torch.equal(channels.cpu(), torch.arange(layer.units))
        self._columns: dict[LayerReader, Tensor] = {}

    def replaced_by(self, replacement: Replacement) -> "Units":
        """Return the same units under another replacement; both share the readers' columns."""
        other = copy.copy(self)
        other._replacement = replacement  # noqa: SLF001  of its own class
        return other

    def __len__(self) -> int:
        return len(self._channels)

    def part(self, some: slice | Tensor) -> "Units":
        """Return some of the units."""
        part = Units(self.layer, self._channels[some], self._replacement, self.table_rows[some])
        return part if self.chosen is None else part.on_pairs(self.chosen[some])

    def coefficients(self, activation: Tensor) -> Tensor:
        """Return the coefficients to subtract, (directions, samples, positions ...)."""
        by_unit = activation.movedim(self.layer.axis, 0)
        replaced = self._replaced(activation).movedim(self.layer.axis, 0)
        if not self._all:
            of_units = by_unit.index_select(0, self._channels)
            return of_units.sub_(replaced.index_select(0, self._channels))
        if by_unit.dim() == 2:
            return by_unit - replaced
        differences = torch.empty(by_unit.shape, dtype=activation.dtype, device=activation.device)
        return torch.sub(by_unit, replaced, out=differences)

    def distances(self, activation: Tensor) -> Tensor:
        """Return how far the units are from their values, for the whole layer: (samples, ...)."""
        return activation - self._replaced(activation)

    def first_order(self, distances: Tensor, gradient: Tensor) -> Tensor:
        """Return the change of a quantity by each unit to first order, (directions, samples).

        Parameters
        ----------
        distances
            Of :meth:`distances`.
        gradient
            Gradient of the quantity at the activation, (samples, ...).
        """
        return -self._over_positions(distances * gradient)

    def mean_distance(self, distances: Tensor) -> Tensor:
        """Return the mean distance over positions of each unit, (directions, samples)."""
        positions = distances[0].numel() // self.layer.units
        return self._over_positions(distances.abs()) / positions

    def _over_positions(self, values: Tensor) -> Tensor:
        """Return sums over positions of values of the layer, (directions, samples)."""
        units = self.layer.axis % values.dim()
        if positions := [axis for axis in range(1, values.dim()) if axis != units]:
            values = values.sum(positions, dtype=_sum_type(values))
        return values.t().index_select(0, self._channels)

    def _replaced(self, activation: Tensor) -> Tensor:
        """Return the replacement with as many axes as the activation and one entry per unit."""
        replaced = self._replacement(self.layer, activation).to(activation.dtype)
        if replaced.dim() == activation.dim() and replaced.shape[self.layer.axis] != 1:
            return replaced
        return replaced.expand_as(activation)

    def perturbed(self, activation: Tensor, pairs: PerturbedPairs) -> Tensor:
        """Return the perturbed activation of each pair of unit and sample, (pairs, ...)."""
        rows = select_samples(activation, 0, pairs.samples)
        replaced = self._replaced(activation).expand_as(activation)
        channels = self._channels[pairs.directions]
        numbers = torch.arange(len(rows), device=rows.device)
        values = replaced.movedim(self.layer.axis, 1)[pairs.samples, channels]
        rows.movedim(self.layer.axis, 1)[numbers, channels] = values
        return rows

    def columns(self, reader: LayerReader) -> Tensor:
        """Return the change of a reader's output per unit of each direction."""
        if reader not in self._columns:
            channels = None if self._all else self._channels
            self._columns[reader] = reader.columns(self.layer, channels)
        return self._columns[reader]

    def edit(self, number: int) -> Edit:
        """Return the edit of a whole pass that clamps one unit."""

        def clamp(activation: Tensor) -> Tensor:
            replaced = self._replaced(activation).expand_as(activation)
            channel, axis = self._channels[number], self.layer.axis
            edited = activation.clone()
            edited.movedim(axis, 0)[channel] = replaced.movedim(axis, 0)[channel]
            return edited

        return clamp


class Mixtures(_ChosenPairs):
    """Linear combinations of the units of one layer, each to be projected out alone.

    Parameters
    ----------
    layer
        The layer.
    directions
        Directions of length 1, (directions, units).
    levels
        Value that the projection on each direction is clamped to, (directions,).
    table_rows
        Row of each direction in a table.
    places
        Place of each direction in the whole of which they are a part; they are the whole if None.
    """

    def __init__(
        self,
        layer: UnitLayer,
        directions: Tensor,
        levels: Tensor,
        table_rows: Tensor,
        places: Tensor | None = None,
    ) -> None:
        self.layer, self.table_rows = layer, table_rows
        whole = torch.arange(len(directions), device=directions.device)
        self._places = whole if places is None else places
        self._directions, self._levels = directions, levels
        self._columns: dict[LayerReader, Tensor] = {}

    def __len__(self) -> int:
        return len(self._directions)

    def part(self, some: slice | Tensor) -> "Mixtures":
        """Return some of the directions."""
        rows = self._directions[some], self._levels[some], self.table_rows[some]
        part = Mixtures(self.layer, *rows, self._places[some])
        return part if self.chosen is None else part.on_pairs(self.chosen[some])

    def coefficients(self, activation: Tensor) -> Tensor:
        """Return the coefficients to subtract, (directions, samples, positions ...)."""
        projected = self._along(activation)
        projected.flatten(1).sub_(self._levels.unsqueeze(1))
        return projected

    def distances(self, activation: Tensor) -> Tensor:
        """Return how far the projections are from their levels, (directions, samples, ...)."""
        return self.coefficients(activation)

    def first_order(self, distances: Tensor, gradient: Tensor) -> Tensor:
        """Return the change of a quantity by each direction to first order, (directions, samples).

        Parameters
        ----------
        distances
            Of :meth:`distances`.
        gradient
            Gradient of the quantity at the activation, (samples, ...).
        """
        products = (distances * self._along(gradient)).reshape(*distances.shape[:2], -1)
        return -products.sum(2, dtype=_sum_type(products))

    def mean_distance(self, distances: Tensor) -> Tensor:
        """Return the mean distance over positions of each direction, (directions, samples)."""
        by_sample = distances.abs().reshape(*distances.shape[:2], -1)
        return by_sample.mean(2, dtype=_sum_type(by_sample))

    def _along(self, values: Tensor) -> Tensor:
        """Return values of the layer (samples, ...) along each direction, (directions, ...)."""
        by_unit = values.movedim(self.layer.axis, 0).to(self._directions.dtype)
        with autocast_disabled(values.device):
            product = product_in_place(self._directions, by_unit.flatten(1), self._places)
        return product.reshape(len(product), *by_unit.shape[1:])

    def perturbed(self, activation: Tensor, pairs: PerturbedPairs) -> Tensor:
        """Return the perturbed activation of each pair of direction and sample, (pairs, ...)."""
        rows = select_samples(activation, 0, pairs.samples)
        by_unit = rows.movedim(self.layer.axis, -1)
        shape = (len(rows), *[1] * (rows.dim() - 2), -1)
        directions = self._directions[pairs.directions].reshape(shape)
        coefficients = pairs.coefficients.unsqueeze(-1)
        by_unit.addcmul_(coefficients.to(rows.dtype), directions.to(rows.dtype), value=-1)
        return rows

    def columns(self, reader: LayerReader) -> Tensor:
        """Return the change of a reader's output per unit of each direction."""
        if reader not in self._columns:
            self._columns[reader] = reader.columns(self.layer, self._directions, self._places)
        return self._columns[reader]

    def edit(self, number: int) -> Edit:
        """Return the edit of a whole pass that projects one direction out."""

        def project(activation: Tensor) -> Tensor:
            samples = torch.arange(len(activation), device=activation.device)
            one = self.part(slice(number, number + 1))
            coefficients = one.coefficients(activation)[0]
            pairs = PerturbedPairs(torch.zeros_like(samples), samples, coefficients, len(samples))
            return one.perturbed(activation, pairs)

        return project


def _sum_type(values: Tensor) -> torch.dtype:
    """Return the data type of sums of values: float32 at least."""
    return torch.promote_types(values.dtype, torch.float32)


Directions = Units | Mixtures
