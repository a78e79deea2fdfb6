"""Passes that ablate groups of units: one pass a first layer, resumed behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unitlens.model.layers import UnitLayer
from unitlens.perturbation.engine.chosen_rows import ChosenRows
from unitlens.perturbation.engine.perturbed_directions import Replacement
from unitlens.perturbation.group_members import Ints
from unitlens.perturbation.importance import Sums, add_outputs
from unitlens.perturbation.session import Batch, Session


def passes_of_groups(session: Session, groups: Sequence[Ints], own: Ints) -> list["GroupsOfPass"]:
    """Sort groups by their first layer: one pass per layer is resumed behind it.

    Parameters
    ----------
    session
        The session.
    groups
        Numbers of the units of every group, also of those of other parts, so that the passes of a
        part edit the layers that those of the whole do.
    own
        Numbers of the groups that are ablated, ascending.
    """
    layer_of = np.repeat(np.arange(len(session.layers)), [one.units for one in session.layers])
    channel_of = np.concatenate([np.arange(layer.units) for layer in session.layers])
    first_layers = [layer_of[group].min() if len(group) else -1 for group in groups]
    parts = []
    for first_layer in range(len(session.layers)):
        begin_here = [row for row, layer in enumerate(first_layers) if layer == first_layer]
        rows = [row for row in begin_here if row in own]
        if not rows:
            continue
        layers = np.unique(layer_of[np.concatenate([groups[row] for row in begin_here])])
        sizes = [len(groups[row]) for row in rows]
        units = np.concatenate([groups[row] for row in rows])
        variant_of = np.repeat(np.arange(len(rows)), sizes)
        members = {}
        for number in layers:
            in_layer = layer_of[units] == number
            pair = variant_of[in_layer], channel_of[units[in_layer]]
            variants, channels = (torch.as_tensor(a, device=session.device) for a in pair)
            members[session.layers[number]] = MembersOfLayer(variants, channels)
        table_rows = torch.as_tensor(np.searchsorted(own, rows), device=session.device)
        parts.append(GroupsOfPass(table_rows, members))
    return parts


@dataclass(frozen=True)
class MembersOfLayer:
    """The units of one layer in the groups of a pass.

    Attributes
    ----------
    variants, channels
        For each unit, the variant of the network in which it is clamped, ascending, and its
        channel.
    """

    variants: Tensor
    channels: Tensor

    def of_rows(self, variants: Tensor) -> tuple[Tensor, Tensor]:
        """Return the clamped units of rows: the place of the row and the channel of each.

        Parameters
        ----------
        variants
            The variant of each row, (rows,).

        Examples
        --------
        >>> members = MembersOfLayer(torch.tensor([0, 0, 2]), torch.tensor([5, 7, 1]))
        >>> [numbers.tolist() for numbers in members.of_rows(torch.tensor([2, 0, 1]))]
        [[0, 1, 1], [1, 5, 7]]
        """
        first = torch.searchsorted(self.variants, variants)
        counts = torch.searchsorted(self.variants, variants, right=True) - first
        rows = torch.repeat_interleave(counts)
        place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        return rows, self.channels[first[rows] + place]


class GroupsOfPass:
    """Groups with the same first layer, ablated as the variants of one resumed pass.

    Parameters
    ----------
    table_rows
        Row of each group in the table.
    members
        Units of the groups by layer.

    Attributes
    ----------
    table_rows, members
        As given.
    """

    def __init__(self, table_rows: Tensor, members: Mapping[UnitLayer, MembersOfLayer]) -> None:
        self.table_rows, self.members = table_rows, members
        self._changed = torch.zeros_like(table_rows, dtype=torch.bool)

    def add_changes(
        self,
        session: Session,
        batch: Batch,
        replacement: Replacement,
        scores: tuple[Tensor, Tensor],
        sums: Sums,
    ) -> None:
        """Ablate each group on a batch, and add the changes.

        Parameters
        ----------
        session, batch, replacement
            The session, one of its batches, and the replacement of its activations.
        scores
            Loss and hit of each sample under the unperturbed network.
        sums
            Sums that are added to.
        """
        self._changed.zero_()

        def edit(layer: UnitLayer, activations: Tensor, which: slice) -> Tensor:
            return self._clamped(layer, activations, replacement(layer, activations[0]), which)

        count, layers = len(self.table_rows), tuple(self.members)
        runs = session.engine.together(batch.inputs, count, edit, layers, batch.is_due)
        for variants, outputs in runs:
            changed = self._changed[variants]  # the others differ by rounding alone
            rows, samples = self.table_rows[variants][changed], len(batch.classes)
            numbers = torch.arange(samples, device=rows.device).repeat(len(rows))
            pairs = rows.repeat_interleave(samples), numbers
            add_outputs(session, batch, scores, sums, pairs, outputs[changed].flatten(0, 1))

    def _clamped(
        self, layer: UnitLayer, activations: Tensor, replaced: Tensor, which: slice
    ) -> Tensor:
        """Return activations with the units of some variants clamped; note which ones change."""
        members, axis = self.members[layer], layer.axis
        inside = (members.variants >= which.start) & (members.variants < which.stop)
        variants, channels = members.variants[inside], members.channels[inside]
        places = variants - which.start, channels
        edited = activations.expand(which.stop - which.start, *activations.shape[1:]).clone()
        by_unit = edited.movedim(2 if axis == 1 else -1, 1)
        values = replaced.to(edited.dtype).expand_as(activations[0]).movedim(axis, 0)[channels]
        self._changed[variants[_clamp(by_unit, places, values)]] = True
        return edited

    def on_pairs(self, drawn: Tensor, replacement: Replacement) -> ChosenRows:
        """Return the rows that ablate groups on drawn samples alone.

        Parameters
        ----------
        drawn
            Whether a row of the table is ablated on a sample, (rows, samples).
        replacement
            Replacement of the activations of the batch.
        """
        variants, samples = drawn[self.table_rows].nonzero(as_tuple=True)
        changed = torch.zeros_like(variants, dtype=torch.bool)

        def edit(layer: UnitLayer, activations: Tensor, pairs: slice) -> Tensor:
            rows, channels = self.members[layer].of_rows(variants[pairs])
            replaced = replacement(layer, activations).to(activations.dtype)
            replaced = replaced.expand(len(replaced), *activations.shape[1:])
            of_sample = samples[pairs][rows] if len(replaced) > 1 else torch.zeros_like(rows)
            values = replaced.movedim(layer.axis, 1)[of_sample, channels]
            edited = activations.clone()
            by_unit = edited.movedim(layer.axis, 1)
            changed[pairs][rows[_clamp(by_unit, (rows, channels), values)]] = True
            return edited

        rows = self.table_rows[variants]
        return ChosenRows(tuple(self.members), rows, samples, edit, changed)


def _clamp(by_unit: Tensor, places: tuple[Tensor, Tensor], values: Tensor) -> Tensor:
    """Clamp units in place, and tell of each whether it changes at any position, (places,).

    Parameters
    ----------
    by_unit
        Activations, (rows, units, ...).
    places
        Row and channel of each unit.
    values
        The values, (places, ...).
    """
    changes = (by_unit[places] != values).unsqueeze(-1).flatten(1).any(1)
    by_unit[places] = values
    return changes
