"""Perturbations of one layer, each along one direction of it."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from unitlens.model.graph import Edit
from unitlens.model.layers import UnitLayer
from unitlens.model.observation import take
from unitlens.model.precision import uncast
from unitlens.perturbation.engine.readers import ChangedRows, LayerReader

Replacement = Callable[[UnitLayer, Tensor], Tensor]


class Units:
    """Units of one layer, each to be clamped alone.

    Parameters
    ----------
    layer
        The layer.
    channels
        The units, shape (directions,).
    replacement
        Function of the layer and its activation (samples, ...) that returns what stands in for
        it, of a shape that broadcasts over it.
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
        """Return the same units, clamped to something else; what is known of readers is shared."""
        other = copy.copy(self)
        other._replacement = replacement  # noqa: SLF001  of its own class
        return other

    def __len__(self) -> int:
        return len(self._channels)

    def part(self, some: slice) -> "Units":
        """Return some of the units."""
        return Units(self.layer, self._channels[some], self._replacement, self.table_rows[some])

    def changes(self, activation: Tensor) -> Tensor:
        """Return what is taken away along each direction, (directions, samples, positions ...)."""
        by_unit = activation.movedim(self.layer.axis, 0)
        replaced = self._replaced(activation).movedim(self.layer.axis, 0)
        if not self._all:
            chosen = by_unit.index_select(0, self._channels)
            return chosen.sub_(replaced.index_select(0, self._channels))
        if by_unit.dim() == 2:
            return by_unit - replaced
        changed = torch.empty(by_unit.shape, dtype=activation.dtype, device=activation.device)
        return torch.sub(by_unit, replaced, out=changed)

    def _replaced(self, activation: Tensor) -> Tensor:
        """Return what stands in for the activation, of as many axes, with one entry a unit."""
        replaced = self._replacement(self.layer, activation).to(activation.dtype)
        if replaced.dim() == activation.dim() and replaced.shape[self.layer.axis] != 1:
            return replaced
        return replaced.expand_as(activation)

    def taken_away(self, activation: Tensor, changes: ChangedRows) -> Tensor:
        """Return the activation of the rows of `changes`, perturbed."""
        rows = take(activation, 0, changes.samples)
        replaced = self._replaced(activation).expand_as(activation)
        channels = self._channels[changes.directions]
        everyone = torch.arange(len(rows), device=rows.device)
        values = replaced.movedim(self.layer.axis, 1)[changes.samples, channels]
        rows.movedim(self.layer.axis, 1)[everyone, channels] = values
        return rows

    def columns(self, reader: LayerReader) -> Tensor:
        """Return what one unit of each direction does to what a reader puts out."""
        if reader not in self._columns:
            channels = None if self._all else self._channels
            self._columns[reader] = reader.columns(self.layer, channels)
        return self._columns[reader]

    def edit(self, number: int) -> Edit:
        """Return the edit of a whole pass that perturbs along one direction."""

        def clamp(activation: Tensor) -> Tensor:
            replaced = self._replaced(activation).expand_as(activation)
            channel, axis = self._channels[number], self.layer.axis
            edited = activation.clone()
            edited.movedim(axis, 0)[channel] = replaced.movedim(axis, 0)[channel]
            return edited

        return clamp


class Mixtures:
    """Linear combinations of the units of one layer, each to be projected out alone.

    Parameters
    ----------
    layer
        The layer.
    directions
        Shape (directions, units), each of length 1.
    levels
        What the projection on each direction is clamped to, shape (directions,).
    table_rows
        Row of each direction in a table.
    """

    def __init__(
        self, layer: UnitLayer, directions: Tensor, levels: Tensor, table_rows: Tensor
    ) -> None:
        self.layer, self.table_rows = layer, table_rows
        self._directions, self._levels = directions, levels
        self._columns: dict[LayerReader, Tensor] = {}

    def __len__(self) -> int:
        return len(self._directions)

    def part(self, some: slice) -> "Mixtures":
        """Return some of the directions."""
        return Mixtures(
            self.layer, self._directions[some], self._levels[some], self.table_rows[some]
        )

    def changes(self, activation: Tensor) -> Tensor:
        """Return what is taken away along each direction, (directions, samples, positions ...)."""
        by_unit = activation.movedim(self.layer.axis, -1).to(self._directions.dtype)
        with uncast(activation.device):
            projected = by_unit @ self._directions.t()
        return projected.sub_(self._levels).movedim(-1, 0).contiguous()

    def taken_away(self, activation: Tensor, changes: ChangedRows) -> Tensor:
        """Return the activation of the rows of `changes`, perturbed."""
        rows = take(activation, 0, changes.samples)
        by_unit = rows.movedim(self.layer.axis, -1)
        shape = (len(rows), *[1] * (rows.dim() - 2), -1)
        along = self._directions[changes.directions].reshape(shape)
        coefficients = changes.coefficients.unsqueeze(-1)
        by_unit.addcmul_(coefficients.to(rows.dtype), along.to(rows.dtype), value=-1)
        return rows

    def columns(self, reader: LayerReader) -> Tensor:
        """Return what one unit of each direction does to what a reader puts out."""
        if reader not in self._columns:
            self._columns[reader] = reader.columns(self.layer, self._directions)
        return self._columns[reader]

    def edit(self, number: int) -> Edit:
        """Return the edit of a whole pass that perturbs along one direction."""

        def project(activation: Tensor) -> Tensor:
            samples = torch.arange(len(activation), device=activation.device)
            one = self.part(slice(number, number + 1))
            changes = ChangedRows(torch.zeros_like(samples), samples, one.changes(activation)[0])
            return one.taken_away(activation, changes)

        return project


Directions = Units | Mixtures
