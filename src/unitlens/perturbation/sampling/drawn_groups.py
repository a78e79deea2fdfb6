"""Groups of units that are ablated on drawn samples of a batch.

The first-order change of a margin by a group is the sum of those by its units. Of a later layer,
only a share is counted: what earlier layers of the group have taken away cannot be taken away
again. With f_k the group's share of the distances from the values over all units of layer k,

    change = sum_l (1 - f_1) ... (1 - f_{l-1}) sum_{u of the group in l} change_u

For a group of one layer, this is the plain sum. A group of all units has the change of its first
layer.

The size of a pair adds up the sizes of the units. The slope of the loss is the larger one of those
at the margin before the ablation and at the predicted one: a large group moves samples that are
classified with certainty to where the loss is steep.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from unitlens.model.layers import UnitLayer
from unitlens.perturbation.engine.effects import Effect
from unitlens.perturbation.engine.perturbed_directions import Replacement, Units
from unitlens.perturbation.engine.steps import IsDue
from unitlens.perturbation.group_passes import GroupsOfPass
from unitlens.perturbation.sampling.predicted_changes import (
    Predictions,
    finite_predictions,
    first_order_by_layer,
    loss_changes,
)
from unitlens.perturbation.session import Batch, Session


class DrawnGroups:
    """The ablation of groups on one batch.

    Parameters
    ----------
    session, batch
        The session and one of its batches.
    replacement
        Replacement of the activations of the batch.
    passes
        The groups, by their first layer.
    rows
        Number of rows of the table: of the groups, those without units included.
    """

    def __init__(
        self,
        session: Session,
        batch: Batch,
        replacement: Replacement,
        passes: Sequence[GroupsOfPass],
        rows: int,
    ) -> None:
        self._session, self._batch, self._replacement = session, batch, replacement
        self._passes, self._rows = passes, rows

    def predictions(self) -> Predictions:
        """Return the predictions of all groups."""
        edited = {layer for of_pass in self._passes for layer in of_pass.members}
        units = [self._units(layer) for layer in self._session.layers if layer in edited]
        found, margins = (
            first_order_by_layer(self._session, self._batch, units) if units else ([], None)
        )
        shape = (4, self._rows, len(self._batch.targets))
        changes, sizes, distances, left = torch.zeros(
            shape, dtype=torch.float64, device=self._session.device
        )
        left += 1  # share of the activations that earlier layers of the group have left
        for whole_layer, of_layer in zip(units, found, strict=True):
            whole = of_layer.distances.sum(0).clamp(min=torch.finfo(torch.float64).tiny)
            for row, channels in self._members(whole_layer.layer):
                taken = of_layer.distances[channels].sum(0)
                changes[row] += left[row] * of_layer.changes[channels].sum(0)
                sizes[row] += taken * of_layer.slope
                distances[row] += taken
                left[row] *= (1 - taken / whole).clamp(min=0)
        if margins is not None:
            lowest = torch.minimum(margins, margins + changes)
            sizes *= torch.sigmoid(-lowest)  # change of the loss per change of the margin
            changes = loss_changes(margins, changes)
        return finite_predictions(changes, sizes, distances != 0)

    def outputs(self, drawn: Tensor, is_due: IsDue) -> tuple[Tensor, Iterator[Effect]]:
        """Return the outputs of the unperturbed network, and the effects of drawn pairs."""
        engine, inputs = self._session.engine, self._batch.inputs
        rows = [of_pass.on_pairs(drawn, self._replacement) for of_pass in self._passes]
        effects = engine.chosen(inputs, [one for one in rows if len(one)], is_due)
        return engine.logits(inputs), effects

    def _members(self, layer: UnitLayer) -> Iterator[tuple[int, Tensor]]:
        """Yield the row of each group that has units in a layer, and the channels of these."""
        for of_pass in self._passes:
            if layer in of_pass.members:
                members = of_pass.members[layer]
                counts = torch.bincount(members.variants, minlength=len(of_pass.table_rows))
                by_group = torch.split(members.channels, counts.tolist())
                for row, channels in zip(of_pass.table_rows.tolist(), by_group, strict=True):
                    if len(channels):
                        yield row, channels

    def _units(self, layer: UnitLayer) -> Units:
        """Return all units of a layer."""
        channels = torch.arange(layer.units, device=self._session.device)
        return Units(layer, channels, self._replacement, channels)
