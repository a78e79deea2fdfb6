"""Ablation of single units: clamp each unit alone, and score the network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from unitlens.data.items import ItemForm
from unitlens.data.loading_workers import loading_workers
from unitlens.data.positions import Positions
from unitlens.errors import ArgumentError
from unitlens.model.device_memory import MemoryLimit
from unitlens.model.layers import UnitLayer
from unitlens.model.outputs import OutputChoice
from unitlens.model.precision import Precision
from unitlens.perturbation.engine.perturbed_directions import Units
from unitlens.perturbation.first_order import first_order_importance
from unitlens.perturbation.fitting_memory import fitting_memory
from unitlens.perturbation.importance import (
    Ints,
    Sums,
    add_changes,
    importance_table,
    make_sums,
)
from unitlens.perturbation.mean_scores import Baseline
from unitlens.perturbation.partial_calls import Checkpoint, Part, PartialCall, rows_of_part
from unitlens.perturbation.sampling.drawn_directions import DrawnDirections
from unitlens.perturbation.sampling.sampled_importance import PairSampling, SampledAblation
from unitlens.perturbation.scores import ScoreChoice
from unitlens.perturbation.session import Batch, LayerChoice, Session, Settings, open_session
from unitlens.perturbation.values.clamping import Value, clamp_to, value_name
from unitlens.perturbation.values.unit_values import units_of
from unitlens.seeds import seeded


@fitting_memory
def unit_ablation(
    model: nn.Module,
    dataset: Any,
    *,
    layers: LayerChoice = None,
    value: Value = "zero",
    units: int | None = None,
    units_per_layer: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    reference: Any = None,
    batch_size: int = 4096,
    workers: int = 0,
    device: torch.device | str | None = None,
    memory_gb: MemoryLimit = "auto",
    score: ScoreChoice = "top1",
    precision: Precision = None,
    first_order: bool = False,
    rate: float | None = None,
    tolerance: float | None = None,
    output: OutputChoice = None,
    target: str | int | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    ignore_index: int | None = None,
    positions: Positions = None,
    part: Part = None,
    checkpoint: Checkpoint = None,
) -> xr.Dataset:
    """Ablate every unit alone, and measure how loss and accuracy change.

    The result is exact, at a fraction of one forward pass per unit: each batch is run once, and
    for each unit only the operations behind the unit's layer are run again, only on samples whose
    activation differs from the value, with many units in one batch. With `rate` or `tolerance`,
    only drawn pairs of a unit and a sample are run, and the result is an unbiased estimate of the
    exact one, with its standard error.

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
    units
        Size of a seeded random sample of the units of all layers. All units if None.
    units_per_layer
        Size of a seeded random sample of the units of each layer, in place of `units`. All units
        of each layer if None.
    samples
        Size of a seeded random subset of `dataset` on which the network is scored. All samples if
        None.
    seed
        Seed of the random samples, units and partners, at least 0.
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
        the model's own. GPUs are simulated in the tests, and no call ran on one yet.
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
        three digits; faster only on hardware that is fast in bfloat16. ``"tf32"``: factors of
        products are rounded to TF32 on a GPU. In all other cases products of float32 numbers are
        those of IEEE float32, whatever is set in torch.
    first_order
        Whether to estimate the loss increase from gradients as well: the mean over samples of the
        sum over positions of ``(value - activation) * d loss / d activation``.
    rate
        Share of the pairs of a unit and a sample that are run, above 0 and at most 1, for
        estimates in place of exact results (see Notes). None: `tolerance` sets the share; all pairs
        are run where neither is given.
    tolerance
        Largest standard error wanted of the loss increase of a unit, in nats, as an estimate of
        the exact one: for each unit, so many pairs are drawn as this takes by the errors seen on a
        few samples. The error that was reached is ``loss_increase_sampling_se``. Not with `rate`.
        With `checkpoint`, a second file, ``.pilot`` behind its name, holds the sums over these few.
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
        Numbers (k, K): every K-th unit of each layer is ablated, from the one of number k,
        so that K calls with k from 0 to K - 1 share the work. :func:`unitlens.merge_tables`
        joins their tables to the table of the whole call. None: all units.
    checkpoint
        File in which a call saves its sums about every minute, within a batch too. A killed call
        that is begun again with the same arguments goes on there, and gives the same table to the
        last bit. The file is removed at the end. None: no sums are saved.

    Returns
    -------
    Dataset of the schema ``unit_ablation`` on `unit` and, where targets are classes, `class`: the
    loss increase in nats and the accuracy drop, overall and by class (NaN for a class without
    samples); the largest accuracy drop of a class, and that class; the standard error of each,
    over paired samples. A unit that always has the value has an importance of exactly 0. The
    largest of noisy drops is biased upwards, and its standard error is that of the class alone.
    ``accuracy_drop_low`` and ``accuracy_drop_high``, and those by class, are the ends of 95 %
    intervals over samples, which hold where hits change rarely, too;
    ``class_accuracy_drop_max_low`` and ``class_accuracy_drop_max_high`` are those of an interval
    for the largest drop that a class has in truth, with the choice of the largest allowed for.
    Attributes: ``value``, ``samples``, ``seed``, ``layers``, ``score``, ``precision``,
    ``baseline_loss`` and ``baseline_accuracy`` of the unperturbed network on the same samples, and
    ``doubts``, in words, where something makes the numbers doubtful.

    With `rate` or `tolerance` also: the standard errors ``loss_increase_sampling_se``,
    ``accuracy_drop_sampling_se`` and those by class, of estimates of the exact results on the same
    samples (the other standard errors are over samples, and hold these); ``loss_increase_low`` and
    ``loss_increase_high``, an interval that holds the exact loss increase with 95 % confidence;
    ``pairs``, the number of pairs that were drawn; ``effective_samples``, the number of random
    samples that would give the same standard error. Attributes: ``rate`` or ``tolerance``,
    ``pairs``, ``pair_share``, ``ranking_reliability`` (the share of the variance of the loss
    increase over units that is no error of drawing), ``units_above_tolerance``, and
    ``drawn_without_gradient``, the reason, where no gradient can be computed and each unit's pairs
    are drawn at one rate.

    Where positions are samples, the class is that of the position; where the sums by class take
    more than `memory_gb`, the importance by class is left out, and the attribute
    ``no_class_importance`` says so.

    Warns
    -----
    RepeatabilityWarning
        Where the network gives other numbers from call to call or from batch to batch, or the data
        set gives other samples when it is read again.
    ScoreWarning
        Where the network puts out probabilities, which a built-in score takes for logits.

    Raises
    ------
    ArgumentError
        Where an argument is out of its range, both `units` and `units_per_layer` are given, a
        value lacks a unit, or `reference` is empty or lacks a class; where a score function
        returns no gradient for `first_order`.
    LayerError
        Where a layer does not exist.
    SavedSumsError
        Where `checkpoint` is damaged, or holds the sums of another call.
    ModelError
        Where the model cannot be run, its output is not logits under a built-in score, or no
        gradient can be computed for `first_order`.

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

    Drawn pairs: one backward pass a batch predicts the loss change of every pair, and how far the
    prediction may be wrong. Pairs are drawn independently of each other, with probabilities that
    rise with this size, by hashes of `seed`, unit and sample. The estimate is the mean prediction,
    corrected by the errors of prediction of drawn pairs, each divided by the pair's probability.

    References
    ----------
    Morcos et al. 2018, arXiv 1803.06959 (ablation); Zhou et al. 2018, arXiv 1806.02891 (largest
    drop of a class); Bonett & Price 2012, doi:10.3102/1076998611411915 (intervals); Molchanov et
    al. 2017, arXiv 1611.06440, and 2019, arXiv 1906.10771 (first order); Horvitz & Thompson 1952,
    doi:10.1080/01621459.1952.10483446, and Sarndal, Swensson & Wretman 1992, Model Assisted Survey
    Sampling, section 6.3 (drawn pairs).

    Examples
    --------
    >>> import torch
    >>> import unitlens as ul
    >>> model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(model[1].weight)  # two units, whose values are the logits
    >>> dataset = [(torch.tensor([3.0, 1.0]), 0), (torch.tensor([0.0, 2.0]), 1)]
    >>> table = ul.unit_ablation(model, dataset)
    >>> table["loss_increase"].values.round(2).tolist()
    [0.59, 0.24]
    >>> table.sel(channel=1)["class_accuracy_drop"].values.tolist()
    [[0.0, 1.0]]
    >>> estimate = ul.unit_ablation(model, dataset, rate=0.5)  # errors of drawn pairs are divided
    >>> estimate.attrs["pairs"] <= 3  # of the three pairs that an ablation changes
    True
    """
    settings = Settings(
        layers, samples, seed, batch_size, device, memory_gb, score, precision,
        output, ItemForm(target, collate_fn, ignore_index), positions,
        PartialCall("unit_ablation", part, checkpoint, {
            "value": value, "units": units, "units_per_layer": units_per_layer,
            "first_order": first_order, "rate": rate, "tolerance": tolerance,
        }),
    )  # fmt: skip
    _check_sample(units, units_per_layer)
    sampling = PairSampling(rate, tolerance)
    sampling.check()
    reading = loading_workers(workers, dataset, reference)
    with reading, open_session(model, dataset, settings, "units") as session:
        clamping = clamp_to(session, value, reference)
        numbers = _draw_units(session, units, units_per_layer, seed)
        numbers = numbers[rows_of_part(_layer_numbers(session)[numbers], part)]
        beside = {}
        if first_order:
            first = first_order_importance(session, clamping)
            beside = {name: estimate[numbers] for name, estimate in first.items()}
        by_layer = _by_layer(session, numbers)
        coordinates = units_of(session.layers).isel(unit=numbers)

        def clamped(batch: Batch) -> list[Units]:
            replacement = clamping.replacement(batch)
            return [of_layer.replaced_by(replacement) for of_layer in by_layer]

        if not sampling.is_exact:
            drawn = SampledAblation(
                session, lambda batch: DrawnDirections(session, batch, clamped(batch)),
                numbers, sampling, kept_bytes=clamping.kept_bytes,
            )  # fmt: skip
            return drawn.table(
                coordinates, schema="unit_ablation", value=value_name(value), beside=beside
            )

        def ablate(batch: Batch, baseline: Baseline, sums: Sums) -> None:
            add_changes(session, batch, clamped(batch), baseline, sums)

        return importance_table(
            session, coordinates, ablate, make_sums(session, len(numbers)), schema="unit_ablation",
            value=value_name(value), kept_bytes=clamping.kept_bytes, beside=beside,
        )  # fmt: skip


def _check_sample(units: int | None, units_per_layer: int | None) -> None:
    for name, size in (("units", units), ("units_per_layer", units_per_layer)):
        if size is not None and size < 1:
            raise ArgumentError(f"{name} is {size}, but must be at least 1")
    if units is not None and units_per_layer is not None:
        raise ArgumentError(
            f"units is {units} and units_per_layer {units_per_layer}: give one of them"
        )


def _draw_units(
    session: Session, units: int | None, units_per_layer: int | None, seed: int
) -> Ints:
    """Return the numbers, among all units, of the units to ablate, ascending."""
    total = session.units
    if units_per_layer is None:
        if units is None or units >= total:
            return np.arange(total)
        return np.sort(seeded(seed, "units").permutation(total)[:units])
    random, first, drawn = seeded(seed, "units"), 0, []
    for layer in session.layers:
        drawn.append(first + np.sort(random.permutation(layer.units)[:units_per_layer]))
        first += layer.units
    return np.concatenate(drawn)


def _layer_numbers(session: Session) -> Ints:
    """Return the number of the layer of each unit."""
    return np.repeat(np.arange(len(session.layers)), [layer.units for layer in session.layers])


def _by_layer(session: Session, numbers: Ints) -> list[Units]:
    """Return the units of some numbers by layer, each with its row in the table."""
    by_layer, first = [], 0
    for layer in session.layers:
        rows = np.flatnonzero((numbers >= first) & (numbers < first + layer.units))
        channels = torch.as_tensor(numbers[rows] - first, device=session.device)
        table_rows = torch.as_tensor(rows, device=session.device)
        if len(rows):
            by_layer.append(Units(layer, channels, _unchanged, table_rows))
        first += layer.units
    return by_layer


def _unchanged(_: UnitLayer, activation: torch.Tensor) -> torch.Tensor:
    """Replace nothing, until the replacement on a batch is known."""
    return activation
