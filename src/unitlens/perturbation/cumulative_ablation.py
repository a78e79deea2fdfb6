"""Cumulative ablation: clamp more and more units together, in several orders."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import xarray as xr
from torch import nn

from unitlens.data.items import ItemForm
from unitlens.data.loading_workers import loading_workers
from unitlens.data.positions import Positions
from unitlens.model.device_memory import MemoryLimit
from unitlens.model.outputs import OutputChoice
from unitlens.model.precision import Precision
from unitlens.perturbation.ablation_orders import (
    check_counts,
    nested_sizes,
    order_ranks,
)
from unitlens.perturbation.bases import (
    Basis,
    BasisChoice,
    ParsedBasis,
    basis_name,
    open_basis,
    parse_basis,
)
from unitlens.perturbation.fitting_memory import fitting_memory
from unitlens.perturbation.order_curves import OrderCurves
from unitlens.perturbation.partial_calls import Checkpoint, Part, PartialCall, share
from unitlens.perturbation.scores import Floats, ScoreChoice
from unitlens.perturbation.session import LayerChoice, Session, Settings, open_session
from unitlens.perturbation.values.clamping import Value, clamp_to, value_name
from unitlens.perturbation.values.unit_values import values_by_unit


@fitting_memory
def cumulative_ablation(
    model: nn.Module,
    dataset: Any,
    *,
    orders: int = 10,
    points: int = 21,
    layers: LayerChoice = None,
    value: Value = "zero",
    by: Mapping[str, xr.DataArray] | None = None,
    basis: BasisChoice = "units",
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
    """Ablate more and more units together, and measure loss and accuracy of each set.

    An order is a sequence of all units of the chosen layers jointly. Its sets are nested, from no
    unit to all units. The result is exact; operations before the first layer run once per batch.

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
    orders
        Number of random orders, at least 1; or 0 where `by` or directions in `basis` give orders.
        The first orders do not depend on their number.
    points
        Number of sets of each order, at least 2: the numbers of ablated units are evenly spaced
        from none to all, rounded, each once.
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
    by
        Measures by name, DataArrays on ``unit`` with the coordinates ``layer`` and ``channel``.
        Units are ablated in the ascending and in the descending order of each measure as well.
        NaN comes last in both; equal units come by layer, then by channel. None: random orders
        only.
    basis
        What is ablated:

        ``"units"``
            The units.
        ``"random"``
            The directions of a random orthonormal basis of each layer, those of
            :func:`unitlens.random_directions` with the seed ``derived_seed(seed, "basis", depth)``
            of :mod:`unitlens.seeds`.
        directions
            Orthonormal rows of each chosen layer, in the forms that
            :func:`unitlens.direction_ablation` takes, not necessarily as many as units. Where
            `layers` is None, the layers are those of the directions. Directions are also ablated
            in the order of their numbers within their layers, ascending and descending.

        `by` is for units only.
    samples
        Size of a seeded random subset of `dataset` on which the network is scored. All samples if
        None.
    seed
        Seed of the random samples, orders, bases and partners, at least 0.
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
        Numbers (k, K): every K-th order is run, from the one of number k, so that K calls
        with k from 0 to K - 1 share the work. :func:`unitlens.merge_tables` joins their
        tables to the table of the whole call. None: all orders.
    checkpoint
        File in which a call saves its sums about every minute, within a batch too. A killed call
        that is begun again with the same arguments goes on there, and gives the same table to the
        last bit. The file is removed at the end. None: no sums are saved.

    Returns
    -------
    Dataset of the schema ``cumulative_ablation`` on `order` (``random-0``, ...,
    ``selectivity-ascending``, ..., ``basis-descending``) and `ablated`: ``accuracy``, and ``loss``
    in nats, means over the samples. Coordinates on `ablated`: ``ablated_units``, the number of
    ablated units or directions, and ``ablated_fraction``. Attributes: ``value``, ``basis``,
    ``samples``, ``seed``, ``layers``, ``score``, ``precision``, ``baseline_loss`` and
    ``baseline_accuracy`` of the unperturbed network on the same samples.

    Raises
    ------
    ArgumentError
        Where an argument is out of its range, a measure or value lacks a unit, directions of
        `basis` are not orthonormal or lack a layer, or `reference` is empty or lacks a class.
    LayerError
        Where a layer does not exist.
    SavedSumsError
        Where `checkpoint` is damaged, or holds the sums of another call.
    ModelError
        Where the model cannot be run, or its output is not logits under a built-in score.

    Notes
    -----
    Along a basis, let the rows of ``D`` be the ablated directions of a layer, ``a`` the layer's
    activations at one position, and ``v`` the values of its units. Then ``a`` is replaced by
    ``a - D^T D (a - v)``.

    Partners: where `reference` is `dataset`, the partner of a sample follows the sample in a
    seeded permutation of the data set, taken as one cycle, so it is never the sample itself. Else
    the samples take the samples of a seeded permutation of `reference` in order, again from the
    start where it is used up. A second pass per batch computes the partners' activations.

    A score function gets the output of the network, samples on axis 0, and the second elements of
    the data set as one tensor (plain floats as float64). It must score each sample by itself,
    since the rows come from any number of perturbations, in any order. Integer targets of shape
    (samples,) are classes.

    References
    ----------
    Morcos et al. 2018, arXiv 1803.06959.

    Examples
    --------
    >>> import torch
    >>> import unitlens as ul
    >>> model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(model[1].weight)  # two units, whose values are the logits
    >>> dataset = [(torch.tensor([3.0, 1.0]), 0), (torch.tensor([0.0, 2.0]), 1)]
    >>> curves = ul.cumulative_ablation(model, dataset, orders=2)
    >>> curves["ablated_units"].values.tolist()
    [0, 1, 2]
    >>> curves["accuracy"].sel(order="random-0").values.tolist()
    [1.0, 0.5, 0.5]
    """
    parsed, layers = parse_basis(basis, by, layers)
    check_counts(orders, points, ordered=bool(by) or isinstance(parsed, dict))
    settings = Settings(
        layers, samples, seed, batch_size, device, memory_gb, score, precision,
        output, ItemForm(target, collate_fn, ignore_index), positions,
        PartialCall("cumulative_ablation", part, checkpoint, {
            "orders": orders, "points": points, "value": value, "by": by, "basis": basis,
        }),
    )  # fmt: skip
    reading = loading_workers(workers, dataset, reference)
    with reading, open_session(model, dataset, settings, "together") as session:
        clamping = clamp_to(session, value, reference)
        directions = open_basis(session, parsed, seed)
        keys = _sort_keys(session, by or {}, parsed, directions)
        ranks = order_ranks(session, directions, orders, keys, seed)
        names = [*ranks]
        ranks = {names[n]: ranks[names[n]] for n in share(len(names), part, "orders")}
        curves = OrderCurves(session, ranks, nested_sizes(ranks, points), clamping, directions)
        curves.add_all()
        table = curves.table().assign_attrs(value=value_name(value), basis=basis_name(parsed))
        return table.assign_attrs(session.attributes(), **curves.baseline.attributes())


def _sort_keys(
    session: Session,
    by: Mapping[str, xr.DataArray],
    parsed: ParsedBasis,
    directions: Basis | None,
) -> dict[str, Floats]:
    """Return the numbers by which units, or directions of a given basis, are ordered."""
    keys = {name: values_by_unit(session, measure, f"by['{name}']") for name, measure in by.items()}
    if directions is not None and isinstance(parsed, dict):
        keys["basis"] = directions.numbers
    return keys
