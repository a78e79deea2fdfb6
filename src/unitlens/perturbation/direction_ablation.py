"""Ablation of directions: project each direction out of its layer alone, and score the network."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from unitlens.catalogue.values import VALUES
from unitlens.data.items import ItemForm
from unitlens.data.loading_workers import loading_workers
from unitlens.data.positions import Positions
from unitlens.errors import ArgumentError
from unitlens.model.device_memory import MemoryLimit
from unitlens.model.layers import UnitLayer
from unitlens.model.outputs import OutputChoice
from unitlens.model.precision import Precision
from unitlens.perturbation.engine.perturbed_directions import Mixtures
from unitlens.perturbation.fitting_memory import fitting_memory
from unitlens.perturbation.given_directions import (
    DirectionRows,
    directions_by_layer,
    match_units_of_layer,
)
from unitlens.perturbation.importance import (
    Sums,
    add_changes,
    importance_table,
    make_sums,
)
from unitlens.perturbation.mean_scores import Baseline
from unitlens.perturbation.partial_calls import Checkpoint, Part, PartialCall, rows_of_part
from unitlens.perturbation.sampling.drawn_directions import DrawnDirections
from unitlens.perturbation.sampling.sampled_importance import PairSampling, SampledAblation
from unitlens.perturbation.scores import Floats, ScoreChoice
from unitlens.perturbation.session import Batch, LayerChoice, Session, Settings, open_session
from unitlens.perturbation.values.clamping import clamp_to


@fitting_memory
def direction_ablation(
    model: nn.Module,
    dataset: Any,
    directions: DirectionRows,
    *,
    layers: LayerChoice = None,
    value: Literal["zero", "mean"] = "zero",
    reference: Any = None,
    samples: int | None = None,
    seed: int = 0,
    batch_size: int = 4096,
    workers: int = 0,
    device: torch.device | str | None = None,
    memory_gb: MemoryLimit = "auto",
    score: ScoreChoice = "top1",
    precision: Precision = None,
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
    """Ablate every direction alone, and measure how loss and accuracy change.

    With ``d`` a direction of length 1 and ``a`` the activations of its layer for one sample at one
    position, ``a`` is replaced by ``a - (a . d - m) d``. The projection on ``d`` becomes ``m``,
    and nothing else changes. Along a single unit, this is the ablation of the unit. The result is
    exact, unless `rate` or `tolerance` is given.

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
    directions
        DataArray on (direction, unit) with the coordinates ``layer`` and ``channel``, over all
        units of one layer, such as the result of :func:`unitlens.random_directions` or the
        ``component`` of :func:`unitlens.principal_components`; or several such arrays, of one
        layer each; or a mapping of layers to arrays of shape (directions, units). Rows are scaled
        to length 1 and need not be orthogonal.
    layers
        The layers of the directions, where their axis or heads are declared by
        :func:`unitlens.layer`. By default they are found by the names in `directions`.
    value
        Value ``m`` of the projections: ``"zero"``, or ``"mean"`` for the mean projection over the
        samples and positions of `reference`.
    reference
        Data set of the same form as `dataset` for the means, usually the training set. `dataset`
        if None.
    samples
        Size of a seeded random subset of `dataset` on which the network is scored. All samples if
        None.
    seed
        Seed of the random samples, at least 0.
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
    rate
        Share of the pairs of a direction and a sample that are run, above 0 and at most 1, for
        estimates in place of exact results, as of :func:`unitlens.unit_ablation`. None: `tolerance`
        sets the share; all pairs are run where neither is given.
    tolerance
        Largest standard error wanted of the loss increase of a direction, in nats, as an estimate
        of the exact one. Not with `rate`. With `checkpoint`, a second file, ``.pilot`` behind its
        name, holds the sums over the few samples that are run first.
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
        Numbers (k, K): every K-th direction of each layer is ablated, from the one of
        number k, so that K calls with k from 0 to K - 1 share the work.
        :func:`unitlens.merge_tables` joins their tables to the table of the whole call.
        None: all directions.
    checkpoint
        File in which a call saves its sums about every minute, within a batch too. A killed call
        that is begun again with the same arguments goes on there, and gives the same table to the
        last bit. The file is removed at the end. None: no sums are saved.

    Returns
    -------
    Dataset of the schema ``direction_ablation`` on `direction` and, where targets are classes,
    `class`: the variables of :func:`unitlens.unit_ablation`, with the coordinates ``layer``,
    ``depth`` and the coordinates that the directions of all layers carry. Layers come in the order
    of the forward pass. Attributes: ``value``, ``samples``, ``seed``, ``layers``, ``score``,
    ``precision``, ``baseline_loss`` and ``baseline_accuracy`` of the unperturbed network on the
    same samples.

    Where positions are samples, the class is that of the position; where the sums by class take
    more than `memory_gb`, the importance by class is left out, and the attribute
    ``no_class_importance`` says so.

    Raises
    ------
    ArgumentError
        Where an argument is out of its range, a direction is zero or not finite, lacks a unit or
        is of several layers, the value is another one, or `reference` is empty.
    LayerError
        Where a layer does not exist.
    SavedSumsError
        Where `checkpoint` is damaged, or holds the sums of another call.
    ModelError
        Where the model cannot be run, or its output is not logits under a built-in score.

    Notes
    -----
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
    >>> table = ul.direction_ablation(model, dataset, {"0": [[1.0, 1.0], [1.0, 0.0]]})
    >>> table["layer"].values.tolist(), table["accuracy_drop"].values.tolist()
    (['0', '0'], [0.0, 0.5])
    """
    constant = [name for name, declared in VALUES.items() if declared.constant]
    if str(value) not in constant:  # an array has no such name either
        known = " or ".join(f"'{name}'" for name in constant)
        raise ArgumentError(f"value is {value!r}, but must be {known} for directions")
    given = directions_by_layer(directions, "directions")
    choice = tuple(given) if layers is None else layers
    sampling = PairSampling(rate, tolerance, "direction")
    sampling.check()
    settings = Settings(
        choice, samples, seed, batch_size, device, memory_gb, score, precision,
        output, ItemForm(target, collate_fn, ignore_index), positions,
        PartialCall("direction_ablation", part, checkpoint, {
            "directions": given, "value": value, "rate": rate, "tolerance": tolerance,
        }),
    )  # fmt: skip
    reading = loading_workers(workers, dataset, reference)
    with reading, open_session(model, dataset, settings, "mixtures") as session:
        chosen = [layer.name for layer in session.layers]
        if set(chosen) != set(given):
            raise ArgumentError(
                f"directions are of the layers {[*given]}, but layers are {chosen}; give the same"
            )
        rows = {layer.name: _unit_rows(given[layer.name], layer) for layer in session.layers}
        values = clamp_to(session, value, reference).constants
        mixtures = _mixtures(session, rows, values, part)

        coordinates = _coordinates(session, given)
        numbers = rows_of_part(coordinates["layer"].values, part)
        coordinates = coordinates.isel(direction=numbers)
        if not sampling.is_exact:
            drawn = SampledAblation(
                session, lambda batch: DrawnDirections(session, batch, mixtures), numbers, sampling
            )
            return drawn.table(coordinates, schema="direction_ablation", value=value)

        def ablate(batch: Batch, baseline: Baseline, sums: Sums) -> None:
            add_changes(session, batch, mixtures, baseline, sums)

        sums = make_sums(session, coordinates.sizes["direction"])
        return importance_table(
            session, coordinates, ablate, sums, schema="direction_ablation", value=value
        )


def _unit_rows(given: xr.DataArray, layer: UnitLayer) -> Floats:
    """Return a layer's directions, each scaled to length 1."""
    rows = match_units_of_layer(given, layer, "directions").astype(np.float64)
    # Scaled by the largest entry first, so that no square overflows or vanishes.
    rows = rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(float).tiny)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    zero = np.flatnonzero(lengths == 0)
    if zero.size:
        raise ArgumentError(
            f"directions holds row {zero[0]} of layer '{layer.name}' that is zero in every unit, "
            "but a direction must have a length; leave it out"
        )
    scaled: Floats = rows / lengths
    return scaled


def _mixtures(
    session: Session, rows: Mapping[str, Floats], values: Tensor | None, part: Part
) -> list[Mixtures]:
    """Return the directions by layer, each with its level and its row in the table.

    Parameters
    ----------
    session
        The session.
    rows
        Directions of length 1 by the name of the layer.
    values
        Value of each unit, (units,), whose projection is the level of a direction.
    part
        Part of each layer's directions.
    """
    constants = torch.zeros(session.units) if values is None else values
    by_name = session.split(constants.double().cpu())
    mixtures, first = [], 0
    for layer in session.layers:
        of_layer = rows[layer.name]
        levels = of_layer @ by_name[layer.name].numpy()
        own = rows_of_part(np.zeros(len(of_layer)), part)
        table_rows = torch.arange(first, first + len(own), device=session.device)
        tensors = session.tensor(of_layer[own]), session.tensor(levels[own])
        if len(own):
            places = torch.as_tensor(own, device=session.device)
            mixtures.append(Mixtures(layer, *tensors, table_rows, places))
        first += len(own)
    return mixtures


def _coordinates(session: Session, given: Mapping[str, xr.DataArray]) -> xr.Dataset:
    """Return layer and depth of the directions, and the coordinates that all layers' carry."""
    parts = []
    for layer in session.layers:
        rows = given[layer.name]
        carried = {
            str(name): array.variable
            for name, array in rows.coords.items()
            if array.dims == ("direction",)
        }
        count = rows.sizes["direction"]
        names = {
            "layer": ("direction", np.array([layer.name] * count, dtype=object)),
            "depth": ("direction", np.full(count, layer.depth)),
        }
        parts.append({"direction": ("direction", np.arange(count))} | carried | names)
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    tables = [xr.Dataset(coords={name: part[name] for name in shared}) for part in parts]
    return xr.concat(tables, "direction") if len(tables) > 1 else tables[0]
