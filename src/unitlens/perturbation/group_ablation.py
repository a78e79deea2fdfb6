"""Ablation of groups of units: clamp all units of a group together, and score the network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from unitlens.data.items import ItemForm
from unitlens.data.loading_workers import loading_workers
from unitlens.data.positions import Positions
from unitlens.model.device_memory import MemoryLimit
from unitlens.model.layers import UnitLayer
from unitlens.model.outputs import OutputChoice
from unitlens.model.precision import Precision
from unitlens.perturbation.engine.perturbed_directions import Replacement
from unitlens.perturbation.group_members import Groups, Ints, group_names, member_numbers
from unitlens.perturbation.importance import (
    Sums,
    add_outputs,
    begin_batch,
    importance_table,
    make_sums,
)
from unitlens.perturbation.mean_scores import Baseline
from unitlens.perturbation.partial_calls import Checkpoint, Part, PartialCall, rows_of_part
from unitlens.perturbation.scores import ScoreChoice
from unitlens.perturbation.session import Batch, LayerChoice, Session, Settings, open_session
from unitlens.perturbation.values.clamping import Value, clamp_to, value_name
from unitlens.perturbation.values.unit_values import unit_keys, units_of


def group_ablation(
    model: nn.Module,
    dataset: Any,
    groups: Groups,
    *,
    layers: LayerChoice = None,
    value: Value = "zero",
    samples: int | None = None,
    seed: int = 0,
    reference: Any = None,
    batch_size: int = 4096,
    workers: int = 0,
    device: torch.device | str | None = None,
    memory_gb: MemoryLimit = "auto",
    score: ScoreChoice = "top1",
    precision: Precision = None,
    output: OutputChoice = None,
    target: str | int | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    ignore_index: int | None = None,
    positions: Positions = None,
    part: Part = None,
    checkpoint: Checkpoint = None,
) -> xr.Dataset:
    """Ablate groups of units, all units of a group together, and measure loss and accuracy.

    The result is exact. The operations before the first layer of a group are run once per batch.

    Parameters
    ----------
    model
        Network that returns logits of shape (samples, classes), or any output that `output` and
        `score` take. The network runs in eval mode and comes back unchanged.
    dataset
        Data set on which the network is scored. Its items are pairs (input, label), or (input,
        target) where `score` is a function; dictionaries of inputs and a target; or inputs alone,
        which are then the targets of a score function. An input is a tensor, an array or a list of
        numbers; or a tuple or a dictionary of these, the positional or the keyword arguments of
        ``forward``. Labels are integers from 0, one-hot vectors, or texts: the classes of texts
        are those of the attribute ``classes`` of the data set, else the sorted texts.
    groups
        Lists of units, or such lists by name. A unit is a pair (layer, channel), or its number
        among the units of the chosen layers, from 0. A group may hold units of several layers, or
        no unit, and groups may share units.
    layers
        The layers whose units are ablated: names as :func:`unitlens.unit_layers` lists them,
        names of modules or graph nodes, patterns, or results of :func:`unitlens.layer`; or a number
        of last layers (``3`` or ``LastLayers(last=3)``). All layers that are found if None.
    value
        Value that a unit is clamped to, after the nonlinearity:

        ``"zero"``
            0 for every sample and position.
        ``"mean"``
            The unit's mean over the samples and positions of `reference`.
        ``"position_mean"``
            The unit's mean over the samples of `reference` at each position. All inputs must give
            activations of one shape.
        ``"class_mean"``
            The unit's mean over the positions and the samples of `reference` that have the label
            of the scored sample. Targets must be classes, and `reference` must have each of them.
        ``"resample"``
            The unit's activation at each position on another sample of `reference`, the partner
            of the scored sample: one partner for all units, drawn by `seed` (see Notes).
        an array
            One number per unit for every sample and position: in the order of the units, or as a
            DataArray on ``unit`` that is matched by its coordinates ``layer`` and ``channel``.
    samples
        Size of a seeded random subset of `dataset` on which the network is scored. All samples if
        None.
    seed
        Seed of the random samples and partners, at least 0.
    reference
        Data set of the same form as `dataset` for means and partners, usually the training set.
        `dataset` if None.
    batch_size
        Largest number of samples per batch. Batches are smaller where `memory_gb` or the caches of
        a CPU require it.
    workers
        Number of processes that read the items of a data set ahead, for data sets that read files
        or compute; numbers do not change. With 0 the items are read in this process.
    device
        Device of the computation, such as ``"cuda"``. The model is moved there and back. None:
        the model's own. GPUs are supported, but not tested.
    memory_gb
        Limit in 10^9 bytes of the memory for activations and copies of weights, beside the model,
        the data set and the result. Smaller limits lead to smaller batches and to fewer shortcuts.
        One sample under one perturbation, and three samples at the start, run in any case.
        ``"auto"``: 2 on a CPU; on a GPU 60 % of the memory that is free.
    score
        ``"top1"``: the loss is the cross-entropy in nats, and a sample is a hit where the label
        has the largest logit (of equal logits, the smallest class counts). ``"top5"``: a sample is
        a hit where the label is among the five largest logits; for six classes and more. Or a
        function of outputs and targets that returns the loss and the hit of every sample, two
        tensors of shape (samples,), or the loss alone (see Notes). Accuracy is the mean of the
        hits, NaN without hits.
    precision
        Type that the network computes in. None: the network's own. ``"float64"``: parameters and
        buffers are float64 for the time of the call, to see the effect of rounding.
        ``"bfloat16"``: passes run under ``torch.autocast`` with parameters in float32, to about
        three digits; faster only on hardware that is fast in bfloat16.
    output
        What is scored of an output that is no tensor: the key or the place of an entry, or a
        function of the output. None: for a built-in score the entry or attribute ``logits`` or
        ``out``, else the only tensor that fits the labels; a score function gets the whole output,
        or, where the function fails on this, the entry ``logits`` or ``out`` or the only tensor.
    target
        Key of the target in items that are dictionaries, or its place in items of several entries.
        None: ``label``, ``labels``, ``target`` or ``targets``, or the second entry of a pair.
    collate_fn
        Function of a list of items that returns a batch of the form of an item, with the samples on
        axis 0, such as one that pads sequences. None: tensors are stacked.
    ignore_index
        Label of samples that are left out, such as -100. None: no sample is left out.
    positions
        ``"samples"``: every position with a valid target, such as a token or a pixel, is a sample:
        losses and accuracies are means over all of them, and standard errors are over items.
        Outputs have the shape (samples, positions ..., classes) or (samples, classes, positions
        ...), targets are integers of shape (samples, positions ...), each for the output at its
        own position, and `ignore_index` (-100 if None) marks positions that do not count. A score
        function gets outputs (positions, classes) and targets (positions,). None: an item is one
        sample.
    part
        Numbers (k, K): every K-th group is ablated, from the one of number k, so that K
        calls with k from 0 to K - 1 share the work. :func:`unitlens.merge_tables` joins
        their tables to the table of the whole call. None: all groups.
    checkpoint
        File in which a call saves its sums at the end of a batch, about every minute. A killed call
        that is begun again with the same arguments goes on there, and gives the same table to the
        last bit. The file is removed at the end. None: no sums are saved.

    Returns
    -------
    Dataset of the schema ``group_ablation`` on `group` (the names of the groups, or their numbers
    from 0) and, where targets are classes, `class`: the variables of
    :func:`unitlens.unit_ablation`, and ``group_size``, the number of units. A group whose units
    always have the value, such as a group without units, has an importance of exactly 0.
    Attributes: ``value``, ``samples``, ``seed``, ``layers``, ``score``, ``precision``,
    ``baseline_loss`` and ``baseline_accuracy`` of the unperturbed network on the same samples.

    Where positions are samples, the class is that of the position; where the sums by class take
    more than `memory_gb`, the importance by class is left out, and the attribute
    ``no_class_importance`` says so.

    Raises
    ------
    ArgumentError
        Where an argument is out of its range, there is no group, a group holds a unit twice or a
        unit that is not of the chosen layers, a value lacks a unit, or `reference` is empty or
        lacks a class.
    LayerError
        Where a layer does not exist.
    SavedSumsError
        Where `checkpoint` is damaged, or holds the sums of another call.
    ModelError
        Where the model cannot be run, or its output is not logits under a built-in score.

    See Also
    --------
    random_groups : Groups of random units as controls.

    Notes
    -----
    Partners: where `reference` is `dataset`, the partner of a sample follows the sample in a
    seeded permutation of the data set, taken as one cycle, so it is never the sample itself. Else
    the samples take the samples of a seeded permutation of `reference` in order, again from the
    start where it is used up. A second pass per batch computes the partners' activations.

    A score function gets the output of the network, samples on axis 0, and the second elements of
    the data set as one tensor (plain floats as float64). It must score each sample by itself,
    since the rows come from any number of perturbations, in any order. Integer targets of shape
    (samples,) are classes.

    Examples
    --------
    >>> import torch
    >>> import unitlens as ul
    >>> model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(model[1].weight)  # two units, whose values are the logits
    >>> dataset = [(torch.tensor([3.0, 1.0]), 0), (torch.tensor([0.0, 2.0]), 1)]
    >>> table = ul.group_ablation(model, dataset, {"both": [("0", 0), ("0", 1)], "none": []})
    >>> table["accuracy_drop"].to_series().to_dict()
    {'both': 0.5, 'none': 0.0}
    """
    settings = Settings(
        layers, samples, seed, batch_size, device, memory_gb, score, precision,
        output, ItemForm(target, collate_fn, ignore_index), positions,
        PartialCall("group_ablation", part, checkpoint, {"groups": groups, "value": value}),
    )  # fmt: skip
    names = group_names(groups)
    reading = loading_workers(workers, dataset, reference)
    with reading, open_session(model, dataset, settings, "together") as session:
        members = member_numbers(groups, unit_keys(units_of(session.layers), "layers"))
        clamping = clamp_to(session, value, reference)
        own = rows_of_part(np.zeros(len(members)), part)
        parts = _by_first_layer(session, members, own)

        def ablate(batch: Batch, baseline: Baseline, sums: Sums) -> None:
            logits = session.engine.logits(batch.inputs)
            scores = begin_batch(session, batch, logits, baseline, sums)
            replacement = clamping.replacement(batch)
            for part in parts:
                part.add_changes(session, batch, replacement, scores, sums)

        return importance_table(
            session, xr.Dataset(coords={"group": names[own]}), ablate,
            make_sums(session, len(own)), schema="group_ablation",
            value=value_name(value), at_most=session.engine.samples_together,
            kept_bytes=clamping.kept_bytes,
            beside={"group_size": np.array([len(numbers) for numbers in members])[own]},
        )  # fmt: skip


def _by_first_layer(session: Session, groups: Sequence[Ints], own: Ints) -> list["_GroupsOfPass"]:
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
            members[session.layers[number]] = _Members(variants, channels)
        table_rows = torch.as_tensor(np.searchsorted(own, rows), device=session.device)
        parts.append(_GroupsOfPass(table_rows, members))
    return parts


@dataclass(frozen=True)
class _Members:
    """The units of one layer in the groups of a pass.

    Attributes
    ----------
    variants, channels
        For each unit, the variant of the network in which it is clamped, and its channel.
    """

    variants: Tensor
    channels: Tensor


class _GroupsOfPass:
    """Groups with the same first layer, ablated as the variants of one resumed pass.

    Parameters
    ----------
    table_rows
        Row of each group in the table.
    members
        Units of the groups by layer.
    """

    def __init__(self, table_rows: Tensor, members: Mapping[UnitLayer, _Members]) -> None:
        self._table_rows, self._members = table_rows, members
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

        count, layers = len(self._table_rows), tuple(self._members)
        for variants, outputs in session.engine.together(batch.inputs, count, edit, layers):
            changed = self._changed[variants]  # the others differ by rounding alone
            rows, samples = self._table_rows[variants][changed], len(batch.classes)
            numbers = torch.arange(samples, device=rows.device).repeat(len(rows))
            pairs = rows.repeat_interleave(samples), numbers
            add_outputs(session, batch, scores, sums, pairs, outputs[changed].flatten(0, 1))

    def _clamped(
        self, layer: UnitLayer, activations: Tensor, replaced: Tensor, which: slice
    ) -> Tensor:
        """Return activations with the units of some variants clamped; note which ones change."""
        members, axis = self._members[layer], layer.axis
        inside = (members.variants >= which.start) & (members.variants < which.stop)
        variants, channels = members.variants[inside], members.channels[inside]
        places = variants - which.start, channels
        edited = activations.expand(which.stop - which.start, *activations.shape[1:]).clone()
        by_unit = edited.movedim(2 if axis == 1 else -1, 1)
        before = by_unit[places]
        values = replaced.to(before.dtype).expand_as(activations[0]).movedim(axis, 0)[channels]
        self._changed[variants[(before != values).flatten(1).any(1)]] = True
        by_unit[places] = values
        return edited
