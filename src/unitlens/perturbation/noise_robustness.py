"""Noise robustness: add noise to all units together, scaled by each unit's variance."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import nn

from unitlens.data.items import ItemForm
from unitlens.data.loading_workers import loading_workers
from unitlens.data.positions import Positions
from unitlens.errors import ArgumentError
from unitlens.given_arrays import as_array
from unitlens.model.device_memory import MemoryLimit
from unitlens.model.outputs import OutputChoice
from unitlens.model.precision import Precision
from unitlens.perturbation.fitting_memory import fitting_memory
from unitlens.perturbation.noise_deviations import (
    NoisePer,
    NoiseVariance,
    noise_deviations,
)
from unitlens.perturbation.noisy_passes import NoisyPasses
from unitlens.perturbation.partial_calls import Checkpoint, Part, PartialCall, share
from unitlens.perturbation.scores import Floats, ScoreChoice
from unitlens.perturbation.session import LayerChoice, Settings, open_session


@fitting_memory
def noise_robustness(
    model: nn.Module,
    dataset: Any,
    scales: npt.ArrayLike,
    *,
    variance: NoiseVariance = None,
    reference: Any = None,
    per: NoisePer = "element",
    layers: LayerChoice = None,
    draws: int = 10,
    seed: int = 0,
    samples: int | None = None,
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
    """Add Gaussian noise to all units of the layers together, and measure loss and accuracy.

    The noise has mean 0 and standard deviation ``scale * sqrt(variance)``. It is drawn for each
    sample, added after the nonlinearity, and not rectified again. Each element of a feature map,
    that is each position of it, has noise of its own, scaled by the variance of the map's elements
    over samples and positions; or, with ``per="unit"``, all of them have the same number, scaled by
    the variance of their mean.

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
    scales
        Scales of the noise, numbers of at least 0, shape (scales,).
    variance
        Variance of every unit, at least 0, usually over the training set. None: it is computed over
        `reference`. A Dataset, which is matched by its coordinates ``layer`` and ``channel``: units
        whose elements have noise of their own take ``element_variance``, all others ``variance``,
        as :func:`unitlens.empirical_variance` gives it. Where it lacks ``element_variance``, that
        is computed over `reference`, which must then be given. A DataArray of another name than
        ``variance`` is matched alike, and an array has one number per unit in order; their numbers
        are taken for the noise as it is.
    reference
        Data set over which variances are computed that `variance` does not give, usually the
        training set, of the same form as `dataset`. It is run once. The data set that is scored if
        None.
    per
        ``"element"``: each element of a feature map, or of any unit with several positions, has
        noise of its own. ``"unit"``: a unit has one number per sample, the same at all positions.
        Units that are one number per sample have the same noise by both.
    layers
        The layers to whose units noise is added: names as :func:`unitlens.unit_layers` lists them,
        names of modules or graph nodes, patterns, or results of :func:`unitlens.layer`; or a number
        of last layers (``3`` or ``LastLayers(last=3)``). All layers that are found if None.
    draws
        Number of independent draws of the noise, at least 1. The first draws do not depend on it.
        A draw has the same normal numbers at every scale, so that curves over scales are smooth.
    seed
        Seed of the random samples and the noise, at least 0. The noise of a sample depends on its
        position among the scored samples, not on the batch size or the device.
    samples
        Size of a seeded random subset of `dataset` on which the network is scored. All samples if
        None.
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
        Numbers (k, K): every K-th draw is run, from the one of number k, so that K calls
        with k from 0 to K - 1 share the work. :func:`unitlens.merge_tables` joins their
        tables to the table of the whole call. None: all draws.
    checkpoint
        File in which a call saves its sums about every minute, within a batch too. A killed call
        that is begun again with the same arguments goes on there, and gives the same table to the
        last bit. The file is removed at the end. None: no sums are saved.

    Returns
    -------
    Dataset of the schema ``noise_robustness`` on `draw` and `noise_scale`: ``accuracy``, and
    ``loss`` in nats, means over the samples. Attributes: ``per``, ``samples``, ``seed``,
    ``layers``, ``score``, ``precision``, ``baseline_loss`` and ``baseline_accuracy`` of the network
    without noise on the same samples.

    Raises
    ------
    ArgumentError
        Where an argument is out of its range, or a unit has no variance or a variance that is not
        a number of at least 0, or `variance` lacks that of elements and no `reference` is given.
    LayerError
        Where the model has no layer of units.
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
    >>> noise = ul.noise_robustness(model, dataset, [0.0, 0.1], variance=[1.0, 1.0], draws=2)
    >>> noise["accuracy"].values.tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    checked = _check_scales(scales)
    if draws < 1:
        raise ArgumentError(f"draws is {draws}, but must be at least 1")
    settings = Settings(
        layers, samples, seed, batch_size, device, memory_gb, score, precision,
        output, ItemForm(target, collate_fn, ignore_index), positions,
        PartialCall("noise_robustness", part, checkpoint, {
            "scales": checked, "variance": variance, "draws": draws, "per": per,
        }),
    )  # fmt: skip
    reading = loading_workers(workers, dataset)
    with reading, open_session(model, dataset, settings, "together") as session:
        own = share(draws, part, "draws")
        deviations = noise_deviations(session, variance, reference, per)
        noisy = NoisyPasses(session, checked, deviations, own, seed, per)
        noisy.add_all()
        attributes = {"per": per, **session.attributes(), **noisy.baseline.attributes()}
        return noisy.table().assign_attrs(attributes)


def noise_scales(minimum: float, maximum: float, points: int) -> Floats:
    """Return scales of the noise that are evenly spaced on a logarithmic axis.

    Parameters
    ----------
    minimum
        First scale, above 0.
    maximum
        Last scale, above `minimum`.
    points
        Number of scales, at least 2.

    Returns
    -------
    The scales, shape (points,).

    Examples
    --------
    >>> noise_scales(0.1, 10, 3).tolist()
    [0.1, 1.0, 10.0]
    """
    return np.geomspace(minimum, maximum, points)


def _check_scales(scales: npt.ArrayLike) -> Floats:
    array = as_array(scales, np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ArgumentError(f"scales has shape {array.shape}, but must be a list of numbers")
    outside = array[~(np.isfinite(array) & (array >= 0))]
    if outside.size:
        raise ArgumentError(f"scales holds {outside[0]}, but every scale must be at least 0")
    return array
