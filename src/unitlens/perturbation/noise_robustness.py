"""Noise robustness: add noise to all units together, scaled by each unit's variance."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor, nn

from unitlens.data.items import ItemForm
from unitlens.data.loading_workers import loading_workers
from unitlens.data.positions import Positions
from unitlens.errors import ArgumentError
from unitlens.given_arrays import as_array
from unitlens.model.device_memory import MemoryLimit
from unitlens.model.layers import UnitLayer
from unitlens.model.outputs import OutputChoice
from unitlens.model.precision import Precision
from unitlens.perturbation.fitting_memory import fitting_memory
from unitlens.perturbation.mean_scores import Baseline, VariantScores
from unitlens.perturbation.partial_calls import Checkpoint, Part, PartialCall, share
from unitlens.perturbation.scores import Floats, ScoreChoice
from unitlens.perturbation.session import Batch, LayerChoice, Session, Settings, open_session
from unitlens.perturbation.summed_batches import summed_batches
from unitlens.perturbation.values.unit_values import align_with_activations, values_by_unit
from unitlens.seeds import derived_seed

# Samples whose noise one random generator draws. Another number gives other noise for a seed.
NOISE_BLOCK = 64


@fitting_memory
def noise_robustness(
    model: nn.Module,
    dataset: Any,
    scales: npt.ArrayLike,
    *,
    variance: xr.Dataset | xr.DataArray | npt.ArrayLike,
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

    The noise of a unit has mean 0 and standard deviation ``scale * sqrt(variance)``. It is drawn
    for each sample, added after the nonlinearity, and not rectified again. A feature map is one
    unit: it gets one number per sample, the same at all positions, so that the noise of its mean
    over positions has the standard deviation above.

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
        Variance of every unit's activation, at least 0, usually over the training set: the result
        of :func:`unitlens.empirical_variance`, or a DataArray on ``unit`` that is matched by its
        coordinates ``layer`` and ``channel``, or one number per unit in order.
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
    ``loss`` in nats, means over the samples. Attributes: ``samples``, ``seed``, ``layers``,
    ``score``, ``precision``, ``baseline_loss`` and ``baseline_accuracy`` of the network without
    noise on the same samples.

    Raises
    ------
    ArgumentError
        Where an argument is out of its range, or a unit has no variance or a variance that is not
        a number of at least 0.
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
            "scales": checked, "variance": variance, "draws": draws,
        }),
    )  # fmt: skip
    reading = loading_workers(workers, dataset)
    with reading, open_session(model, dataset, settings, "together") as session:
        own = share(draws, part, "draws")
        noisy = _Noise(session, checked, _deviations(session, variance), own, seed)
        noisy.add_all()
        return noisy.table().assign_attrs(session.attributes(), **noisy.baseline.attributes())


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


def _deviations(session: Session, variance: xr.Dataset | xr.DataArray | npt.ArrayLike) -> Floats:
    """Return the standard deviation of every unit's activation, (units,)."""
    given = variance.get("variance", variance) if isinstance(variance, xr.Dataset) else variance
    array = values_by_unit(session, given, "variance")
    outside = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if outside.size:
        raise ArgumentError(
            f"variance holds {array[outside[0]]} for unit {outside[0]}, but must be at least 0 for "
            "every unit"
        )
    return np.sqrt(array)


def standard_normal(seed: int, draw: int, start: int, stop: int, units: int) -> Tensor:
    """Return the normal numbers of one draw for the samples from `start` to `stop`.

    Parameters
    ----------
    seed, draw
        Seed and number of the draw.
    start, stop
        Positions among the scored samples.
    units
        Number of units of all layers.

    Returns
    -------
    Shape (stop - start, units), float32, on the CPU.

    Examples
    --------
    >>> whole, part = standard_normal(0, 0, 0, 5, 2), standard_normal(0, 0, 3, 5, 2)
    >>> torch.equal(whole[3:], part)
    True
    """
    blocks = range(start // NOISE_BLOCK, -(-stop // NOISE_BLOCK))
    drawn = [_block(seed, draw, block, units) for block in blocks]
    offset = blocks.start * NOISE_BLOCK
    return torch.cat(drawn)[start - offset : stop - offset]


def _block(seed: int, draw: int, block: int, units: int) -> Tensor:
    generator = torch.Generator().manual_seed(derived_seed(seed, "noise", draw, block))
    return torch.randn((NOISE_BLOCK, units), generator=generator, dtype=torch.float32)


class _Noise:
    """Scores under noise, one variant of the network per draw and scale.

    Parameters
    ----------
    session
        The session.
    scales, deviations
        Scales of the noise, and standard deviation of each unit's activation.
    draws, seed
        Numbers of the draws, and their seed.
    """

    def __init__(
        self, session: Session, scales: Floats, deviations: Floats, draws: Sequence[int], seed: int
    ) -> None:
        self._session, self._scales, self._draws, self._seed = session, scales, draws, seed
        self._factors = session.tensor(np.tile(scales, len(draws))).reshape(-1, 1, 1)
        self._deviations = session.tensor(deviations)
        # Start of the batch, first and last draw for which the noise is at hand.
        self._drawn_for = (-1, -1, -1)
        self._drawn: dict[int, dict[str, Tensor]] = {}
        self._scores = VariantScores(session, len(draws) * len(scales))
        self.baseline = Baseline()

    def add_all(self) -> None:
        """Score all draws and scales on all samples."""
        for batch in summed_batches(
            self._session,
            (self.baseline, self._scores),
            "noise robustness",
            at_most=self._session.engine.samples_together,
        ):
            self._add(batch)

    def _add(self, batch: Batch) -> None:
        """Score all draws and scales on a batch."""
        self.baseline.add(self._session, batch)

        def add_noise(layer: UnitLayer, activations: Tensor, variants: slice) -> Tensor:
            noise = self._noise(layer, batch, variants)
            aligned = align_with_activations(noise, layer, activations.dim())
            if len(activations) == len(noise):
                return activations.add_(aligned)
            return activations + aligned

        count, engine = len(self._factors), self._session.engine
        runs = engine.together(batch.inputs, count, add_noise, is_due=batch.is_due)
        for variants, outputs in runs:
            self._scores.add(variants, outputs, batch)

    def _noise(self, layer: UnitLayer, batch: Batch, variants: slice) -> Tensor:
        """Return the noise of a layer's units, (variants, samples, units)."""
        places = [variant // len(self._scales) for variant in range(variants.start, variants.stop)]
        draws = [self._draws[place] for place in places]
        if self._drawn_for != (batch.start, draws[0], draws[-1]):
            self._drawn_for = (batch.start, draws[0], draws[-1])
            self._drawn = {draw: self._draw(batch, draw) for draw in dict.fromkeys(draws)}
        drawn = torch.stack([self._drawn[draw][layer.name] for draw in draws])
        return drawn.mul_(self._factors[variants])

    def _draw(self, batch: Batch, draw: int) -> dict[str, Tensor]:
        """Return the noise of one draw on a batch at scale 1, by the name of the layer."""
        stop = batch.start + len(batch.inputs)
        normal = standard_normal(self._seed, draw, batch.start, stop, self._session.units)
        return self._session.split(normal.to(self._deviations) * self._deviations)

    def table(self) -> xr.Dataset:
        """Return accuracy and loss by draw and scale."""
        shape = (len(self._draws), len(self._scales))
        variables = {
            name: (("draw", "noise_scale"), means.reshape(shape))
            for name, means in self._scores.means().items()
        }
        coordinates = {"draw": np.array(self._draws), "noise_scale": self._scales}
        return self._session.annotated(xr.Dataset(variables, coordinates), "noise_robustness")
