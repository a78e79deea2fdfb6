"""Cumulative ablation curves of several values and bases in one table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import nn

from unitlens.data.loading_workers import loading_workers
from unitlens.data.positions import Positions
from unitlens.errors import ArgumentError
from unitlens.model.device_memory import MemoryLimit
from unitlens.model.outputs import OutputChoice
from unitlens.model.precision import Precision
from unitlens.perturbation.cumulative_ablation import cumulative_ablation
from unitlens.perturbation.given_directions import DirectionRows
from unitlens.perturbation.partial_calls import Checkpoint, KeptSums, Part, PartialCall
from unitlens.perturbation.scores import ScoreChoice
from unitlens.perturbation.session import LayerChoice
from unitlens.variables.checks import annotate


def ablation_curves(
    model: nn.Module,
    dataset: Any,
    variants: Sequence[tuple[str, str]],
    *,
    values: Mapping[str, npt.ArrayLike | xr.DataArray] | None = None,
    bases: Mapping[str, DirectionRows] | None = None,
    by: Mapping[str, xr.DataArray] | None = None,
    orders: int = 10,
    points: int = 21,
    layers: LayerChoice = None,
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
    """Compute cumulative ablation curves of several values and bases, and join them in one table.

    The curves of each variant equal those of :func:`unitlens.cumulative_ablation`.

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
    variants
        Pairs of the name of a value and the name of a basis, the pair of the main curves first.
        Names are those that :func:`unitlens.cumulative_ablation` knows, and the keys of `values`
        and `bases`.
    values
        Numbers of the units by the name of a value, as arrays or DataArrays, in place of the value
        that is known by that name: ``{"mean": means}`` spares a pass over `reference`.
    bases
        Directions of each layer by the name of a basis, in the forms of
        :func:`unitlens.direction_ablation`: ``{"principal_components": components}``.
    by
        Measures by name, DataArrays on ``unit`` with the coordinates ``layer`` and ``channel``, by
        which units are ablated in the main curves, ascending and descending. None: random orders
        only.
    orders
        Number of random orders of each variant, at least 1; or 0 where the main curves have orders
        by measures and the others by the numbers of directions.
    points
        Number of sets of each order, at least 2: the numbers of ablated units are evenly spaced
        from none to all, rounded, each once.
    layers
        The layers whose units are ablated: names as :func:`unitlens.unit_layers` lists them,
        names of modules or graph nodes, patterns, or results of :func:`unitlens.layer`; or a number
        of last layers (``3`` or ``LastLayers(last=3)``). All layers that are found if None.
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
        Numbers (k, K): every K-th order of each variant is run, from the one of number k,
        so that K calls with k from 0 to K - 1 share the work. :func:`unitlens.merge_tables`
        joins their tables to the table of the whole call. None: all orders.
    checkpoint
        File in which the sums of the running curves are saved, as
        :func:`unitlens.cumulative_ablation` does; where there are several variants, one file each,
        whose name has the number of the variant behind it. None: no sums are saved.

    Returns
    -------
    Dataset of the schema ``cumulative_ablation`` as :func:`join_variants` makes it: on `order` and
    `ablated`, with the coordinates ``value`` and ``basis`` on `order`.

    Raises
    ------
    ArgumentError
        Where there is no variant, a variant is given twice, variants ablate different numbers of
        units or directions, or an argument breaks a rule of
        :func:`unitlens.cumulative_ablation`.
    LayerError
        Where a layer does not exist.
    ModelError
        Where the model cannot be run, or its output is not logits under a built-in score.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 2, bias=False))
    >>> dataset = [(torch.tensor([3.0, 1.0]), 0), (torch.tensor([0.0, 2.0]), 1)]
    >>> variants = [("zero", "units"), ("mean", "random")]
    >>> curves = ablation_curves(model, dataset, variants, orders=1)
    >>> curves["order"].values.tolist()
    ['random-0', 'mean-random-random-0']
    """
    given_values: Mapping[str, Any] = values or {}
    given_bases: Mapping[str, Any] = bases or {}
    curves = []
    files = _files_of_variants(PartialCall("ablation_curves", part, checkpoint), len(variants))
    with loading_workers(workers, dataset, reference):
        for number, (value, basis) in enumerate(variants):
            of_variant = cumulative_ablation(
                model, dataset,
                value=given_values.get(value, value), basis=given_bases.get(basis, basis),
                by=None if number else by,
                orders=orders, points=points, layers=layers, samples=samples, seed=seed,
                reference=reference, batch_size=batch_size, device=device, memory_gb=memory_gb,
                score=score, precision=precision,
                output=output, target=target, collate_fn=collate_fn, ignore_index=ignore_index,
                positions=positions, part=part, checkpoint=files[number],
            )  # fmt: skip
            curves.append(of_variant.assign_attrs(value=value, basis=basis))
    for file in files:
        if isinstance(file, KeptSums):
            file.path.unlink(missing_ok=True)
    return join_variants(curves)


def _files_of_variants(call: PartialCall, count: int) -> list[Checkpoint]:
    """Return the file of the sums of each variant; those of several stay until all are done."""
    path = call.path
    if path is None or count == 1:
        return [path] * count
    return [KeptSums(path.with_name(f"{path.name}.{number}")) for number in range(count)]


def join_variants(variants: Sequence[xr.Dataset]) -> xr.Dataset:
    """Join curves of the same units and samples that differ in value or basis.

    Parameters
    ----------
    variants
        Results of :func:`unitlens.cumulative_ablation` with the attributes ``value`` and
        ``basis``, the main curves first.

    Returns
    -------
    Dataset of the schema ``cumulative_ablation`` with the attributes of the main curves and the
    coordinates ``value`` and ``basis`` on ``order``. Orders of the main curves keep their names;
    those of the others are called ``{value}-{basis}-{order}`` (``mean-units-random-0``).

    Raises
    ------
    ArgumentError
        Where there is no variant, variants have different numbers of ablated units, or a variant
        is given twice.
    """
    if not variants:
        raise ArgumentError("variants is empty, but must hold at least the main curves")
    main, *others = variants
    renamed = [main]
    for other in others:
        if not np.array_equal(other["ablated_units"], main["ablated_units"]):
            raise ArgumentError(
                f"the curves along {other.attrs['basis']} ablate up to "
                f"{int(other['ablated_units'].max())} directions, but the main ones "
                f"{int(main['ablated_units'].max())}; give all the same layers, points and "
                "numbers of directions"
            )
        prefix = f"{other.attrs['value']}-{other.attrs['basis']}"
        names = [f"{prefix}-{order}" for order in other["order"].values]
        renamed.append(other.assign_coords(order=np.array(names, object)))
    joined = xr.concat([_with_variant(one) for one in renamed], "order", combine_attrs="override")
    names = joined["order"].values.tolist()
    if len(set(names)) < len(names):
        raise ArgumentError("a value and basis is there twice; join each variant once")
    if "part_rows" in main.attrs:
        joined = joined.assign_attrs(part_rows=len(names))
    return annotate(joined, "cumulative_ablation")


def _with_variant(curves: xr.Dataset) -> xr.Dataset:
    """Return curves with their value and basis as coordinates of each order."""
    size = curves.sizes["order"]
    return curves.assign_coords(
        {name: ("order", np.full(size, curves.attrs[name], object)) for name in ("value", "basis")}
    )
