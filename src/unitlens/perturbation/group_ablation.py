"""Ablation of groups of units: clamp each group at once and score the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from unitlens.data.batches import MapStyle
from unitlens.model.layers import UnitLayer
from unitlens.model.precision import Precision
from unitlens.perturbation.engine.perturbed_directions import Replacement
from unitlens.perturbation.group_members import (
    Groups,
    Ints,
    names_of,
    numbers_of,
    pairs_of,
)
from unitlens.perturbation.importance import PairedSums, importance_table
from unitlens.perturbation.scores import ScoreChoice
from unitlens.perturbation.session import (
    Baseline,
    Batch,
    LayerChoice,
    Session,
    Settings,
    open_session,
)
from unitlens.perturbation.values.clamping import (
    Clamping,
    Value,
    clamp_to,
    value_name,
)


def group_ablation(
    model: nn.Module,
    dataset: MapStyle,
    groups: Groups,
    *,
    layers: LayerChoice = None,
    value: Value = "zero",
    samples: int | None = None,
    seed: int = 0,
    reference: MapStyle | None = None,
    batch_size: int = 4096,
    device: torch.device | str = "cpu",
    memory_gb: float = 2.0,
    score: ScoreChoice = "top1",
    precision: Precision = None,
) -> xr.Dataset:
    """Ablate groups of units, all units of a group at once: what they do together.

    Parameters
    ----------
    model, dataset, layers, samples, seed, batch_size, device, memory_gb, score, precision
        As :mod:`unitlens.perturbation` says.
    groups
        Lists of units, or such lists by name. A unit is a pair of its layer's name and its
        channel, or its number among the units of the chosen layers. A group may hold units of
        several layers, and groups may share units.
    value, reference
        What units are clamped to, as :mod:`unitlens.perturbation` says.

    Returns
    -------
    Dataset of the schema ``group_ablation`` on `group` (the names, or numbers from 0) and, where
    targets are classes, `class`: the variables of :func:`unitlens.unit_ablation`, and
    ``group_size``. A group whose units always have the values they are clamped to, such as one
    without units, has an importance of exactly 0.

    Raises
    ------
    ArgumentError, LayerError, ModelError
        As :mod:`unitlens.perturbation` says; ArgumentError too where there is no group, or a group
        holds a unit twice or one that is none of the chosen layers'.
    """
    settings = Settings(layers, samples, seed, batch_size, device, memory_gb, score, precision)
    names = names_of(groups)
    with open_session(model, dataset, settings, "together") as session:
        numbers = numbers_of(groups, pairs_of(session.layers))
        sums, baseline = _exact(session, numbers, clamp_to(session, value, reference))
        table = importance_table(
            session,
            sums.importance(by_class=session.by_class),
            "group",
            xr.Dataset(coords={"group": names}),
            "group_ablation",
            group_size=np.array([len(group) for group in numbers]),
        )
        attributes = {"value": value_name(value), **session.attributes()}
        return table.assign_attrs(attributes, **baseline.attributes())


def _exact(
    session: Session, groups: Sequence[Ints], clamping: Clamping
) -> tuple[PairedSums, Baseline]:
    parts = _by_first_layer(session, groups)
    baseline = Baseline()
    sums = PairedSums(len(groups), session.classes, session.device)
    at_most, kept_bytes = session.engine.samples_together, clamping.kept_bytes
    for batch in session.batches("group ablation", at_most=at_most, kept_bytes=kept_bytes):
        scores = baseline.add(session, batch)
        sums.count(batch.classes)
        replacement = clamping.replacement(batch)
        for part in parts:
            part.add(session, batch, replacement, scores, sums)
    return sums, baseline


def _by_first_layer(session: Session, groups: Sequence[Ints]) -> list["_Clamped"]:
    """Return groups that begin in the same layer together: a pass is resumed behind it."""
    layer_of = np.repeat(np.arange(len(session.layers)), [one.units for one in session.layers])
    channel_of = np.concatenate([np.arange(layer.units) for layer in session.layers])
    first = [layer_of[group].min() if len(group) else -1 for group in groups]
    parts = []
    for number in range(len(session.layers)):
        rows = [row for row, layer in enumerate(first) if layer == number]
        if not rows:
            continue
        sizes = [len(groups[row]) for row in rows]
        units = np.concatenate([groups[row] for row in rows])
        variant = np.repeat(np.arange(len(rows)), sizes)
        members = {}
        for place in np.unique(layer_of[units]):
            layer, here = session.layers[place], layer_of[units] == place
            pair = variant[here], channel_of[units[here]]
            variants, channels = (torch.as_tensor(a, device=session.device) for a in pair)
            members[layer] = _Members(variants, channels)
        table_rows = torch.as_tensor(np.array(rows), device=session.device)
        parts.append(_Clamped(table_rows, members))
    return parts


@dataclass(frozen=True)
class _Members:
    """Units of one layer: the variant that clamps each, and its channel."""

    variants: Tensor
    channels: Tensor


class _Clamped:
    """Groups that are ablated as the variants of one resumed pass."""

    def __init__(self, table_rows: Tensor, members: Mapping[UnitLayer, _Members]) -> None:
        self._table_rows, self._members = table_rows, members
        self._reached = torch.zeros_like(table_rows, dtype=torch.bool)

    def add(
        self,
        session: Session,
        batch: Batch,
        replacement: Replacement,
        scores: tuple[Tensor, Tensor],
        sums: PairedSums,
    ) -> None:
        """Add what each group changes on a batch."""
        self._reached.zero_()

        def edit(layer: UnitLayer, activations: Tensor, which: slice) -> Tensor:
            return self._clamped(layer, activations, replacement(layer, activations[0]), which)

        count, layers = len(self._table_rows), tuple(self._members)
        for which, logits in session.engine.together(batch.inputs, count, edit, layers):
            found = session.score.of_variants(logits, batch.targets)
            reached = self._reached[which].unsqueeze(1)  # others change nothing but rounding
            loss, hits = (
                torch.where(reached, ablated - before, 0.0).flatten()
                for ablated, before in zip(found, scores, strict=True)
            )
            rows = self._table_rows[which]
            classes = batch.classes.repeat(len(rows))
            sums.add(rows.repeat_interleave(len(batch.classes)), classes, loss, hits)

    def _clamped(
        self, layer: UnitLayer, activations: Tensor, replaced: Tensor, which: slice
    ) -> Tensor:
        members, axis = self._members[layer], layer.axis
        here = (members.variants >= which.start) & (members.variants < which.stop)
        variants, channels = members.variants[here], members.channels[here]
        places = variants - which.start, channels
        edited = activations.expand(which.stop - which.start, *activations.shape[1:]).clone()
        by_unit = edited.movedim(2 if axis == 1 else -1, 1)
        before = by_unit[places]
        values = replaced.to(before.dtype).expand_as(activations[0]).movedim(axis, 0)[channels]
        self._reached[variants[(before != values).flatten(1).any(1)]] = True
        by_unit[places] = values
        return edited
