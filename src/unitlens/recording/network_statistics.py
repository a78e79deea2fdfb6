"""Class statistics straight from forward passes, without a store."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from unitlens.config.base import DeclaredLayer, LastLayers
from unitlens.data.items import ItemForm
from unitlens.data.loading_workers import loading_workers
from unitlens.data.positions import Positions, whole_items
from unitlens.data.samples import open_samples
from unitlens.model.outputs import OutputChoice
from unitlens.recording.forward_passes import (
    Columns,
    Recording,
    RecordingSettings,
    check_settings,
)
from unitlens.recording.open_recording import open_recording
from unitlens.statistics.activation_layers import ActivationLayer
from unitlens.statistics.adapted_bins import adapt_bins, sampled_rows
from unitlens.statistics.block_states import Floats, Integers
from unitlens.statistics.blocks import Statistics, block_statistics, merge_statistics
from unitlens.statistics.class_labels import By, choose_classes, sample_labels
from unitlens.statistics.class_statistics import check_sizes
from unitlens.statistics.class_table import UnitStatistics, described, statistics_table
from unitlens.statistics.histograms import Bins, make_bins
from unitlens.store.format.layout import POSITION_ARRAYS

_BLOCK_BYTES = 2**26  # of all layers' activations that are reduced at once
_SAMPLE_ARRAYS = ("label", "true_label", "prediction", *POSITION_ARRAYS)


def network_statistics(
    model: nn.Module,
    dataset: Any,
    *,
    layers: Sequence[str | DeclaredLayer] | int | LastLayers | None = None,
    reduce: str = "mean",
    by: By = "label",
    classes: int | Sequence[int] | None = None,
    fine_bins: int = 128,
    strongest: int = 100,
    batch_size: int | None = None,
    workers: int = 0,
    device: torch.device | str | None = None,
    output: OutputChoice = None,
    target: str | int | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    ignore_index: int | None = None,
    positions: Positions = None,
) -> xr.Dataset:
    """Compute the class statistics of every unit while the model runs, without a store.

    The table equals that of :func:`unitlens.class_statistics` on a store of the same recording,
    except for rounding of means and variances. The model runs over the data set twice, because
    histograms need the range of each unit, and a sample of its activations, first. A store is
    cheaper, with one pass, where several statistics or single activations are used.

    Parameters
    ----------
    model
        Any module that returns logits of shape (samples, classes), or another output.
    dataset
        Data set of a length, with items by index. Its items are pairs (input, label); dictionaries
        of inputs and a label; or inputs alone. An input is a tensor, an array or a list of numbers;
        or a tuple or a dictionary of these, the positional or the keyword arguments of ``forward``.
        Labels are integers from 0, one-hot vectors, or texts: the classes of texts are those of the
        attribute ``classes`` of the data set, else the sorted texts. Where targets are no labels,
        or there are none, all samples are of one class, and the attribute ``no_classes`` tells why;
        where the output is no logits, there are no predictions and losses, and ``no_scores`` tells
        why.
    layers
        Names of layers as :func:`unitlens.unit_layers` lists them, of modules or graph nodes,
        patterns, or results of :func:`unitlens.layer`; or a number of last layers, ``3`` or
        ``LastLayers(last=3)``; by default all layers.
    reduce
        Reduction of a feature map over its positions: ``mean``, ``max``, or ``active``, the share
        of positions that are not zero.
    by
        Class of each sample: ``label``, ``true_label``, ``prediction``, with
        ``positions="samples"`` also ``item`` or ``position``; or one integer from 0 for each
        sample.
    classes
        Classes of the table: their number (labels from 0), or their labels; by default the labels
        that occur.
    fine_bins
        Number of bins of a unit's histogram beside the bin of zero, at least 2.
    strongest
        Number of strongest samples that are kept of each unit, at least 1.
    batch_size
        Samples of a forward pass; by default as many as the caches of a CPU hold, from 16 to 2,000.
    workers
        Number of processes that read the items of a data set ahead, for data sets that read files
        or compute; numbers do not change. With 0 the items are read in this process.
    device
        Device of the computation, such as ``"cuda"``. The model is moved there and back. None:
        the model's own.
    output
        What holds the logits of an output that is no tensor: the key or the place of an entry, or a
        function of the output. None: the entry or attribute ``logits`` or ``out``, else the only
        tensor that fits the labels.
    target
        Key of the target in items that are dictionaries, or its place in items of several entries.
        None: ``label``, ``labels``, ``target`` or ``targets``, or the second entry of a pair.
    collate_fn
        Function of a list of items that returns a batch of the form of an item, with the samples on
        axis 0, such as one that pads sequences. None: tensors are stacked.
    ignore_index
        Label of samples that are left out, such as -100. None: no sample is left out.
    positions
        ``"samples"``: every position with a valid target, such as a token or a pixel, is a sample,
        in the order of the items and of their positions. Targets are integers of shape (samples,
        positions ...), each of the output at its own position; `ignore_index` (-100 if None) marks
        positions that are no samples. Layers have the positions of the targets; where none are
        named, others are left out with a warning. None: an item is one sample.

    Returns
    -------
    The table of schema ``class_statistics``, as :func:`unitlens.class_statistics` describes it. The
    attribute ``doubts`` says in words what makes the numbers doubtful, where something does.

    Raises
    ------
    ArgumentError
        Where `reduce` is unknown, `batch_size` or `strongest` is below 1, `fine_bins` is below 2,
        the data set is empty, `by` is not one integer from 0 for each sample, or a label is not
        among `classes`.
    LayerError
        Where the model lacks a layer.
    ModelError
        Where the model cannot be run on the data, or several tensors of its output could be the
        logits.
    DatasetError
        Where a label is not among the classes, or an item is of another form than described above.
    StoreError
        Where an activation is beyond the range of float32.
    TableError
        Where the samples have no attribute `by`.

    Examples
    --------
    >>> import torch, unitlens as ul
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> data = torch.utils.data.TensorDataset(torch.randn(10, 4), torch.arange(10) % 2)
    >>> statistics = ul.network_statistics(model, data)
    >>> statistics["class_mean"].sizes
    Frozen({'unit': 3, 'class': 2})
    """
    check_sizes(fine_bins, strongest)
    settings = RecordingSettings(
        layers, (reduce,), batch_size=batch_size, device=device, output=output,
        form=ItemForm(target, collate_fn, ignore_index),
        positions=positions,
    )  # fmt: skip
    data = open_samples(dataset, whole_items(settings.form, positions), model)
    check_settings(settings, data)
    reading = loading_workers(workers, data.dataset)
    with reading, open_recording(model, data, settings, {}) as recording:
        ranges, sampled, samples = _pass_for_ranges(recording)
        labels = sample_labels(samples, by)
        kept_classes = choose_classes(labels, classes)
        index = np.searchsorted(kept_classes, labels)
        bins = {
            name: adapt_bins(make_bins(*limits, fine_bins), sampled[name])
            for name, limits in ranges.items()
        }
        statistics = _pass_for_statistics(recording, bins, index, len(kept_classes), strongest)
        parts = [UnitStatistics(statistics[name], bins[name]) for name in bins]
        table = statistics_table(parts, _layers(recording), kept_classes, labels)
        doubts = {"doubts": "; ".join(recording.doubts)} if recording.doubts else {}
        return described(table.assign_attrs(doubts), recording.contents.attributes, by)


def _pass_for_ranges(
    recording: Recording,
) -> tuple[dict[str, tuple[Floats, Floats]], dict[str, Any], xr.DataTree]:
    """Return what the bins depend on, layer by layer, and the sample arrays.

    Returns
    -------
    The range of each layer's units, NaN where an activation is; the activations of the sampled
    samples, (sampled samples, units) each; the sample arrays.
    """
    ranges: dict[str, tuple[Any, Any]] = {}
    pieces: dict[str, list[Any]] = {name: [] for name in _SAMPLE_ARRAYS}
    sampled: dict[str, list[Any]] = {layer.name: [] for layer in recording.layers}
    rows, first = sampled_rows(recording.contents.samples), 0
    for columns in _batches(recording, "ranges of activations"):
        last = first + len(columns["label"])
        inside = rows[(rows >= first) & (rows < last)] - first
        first = last
        for layer in recording.layers:
            values = columns[f"{layer.name}/activation"]
            sampled[layer.name].append(values[inside])
            low, high = values.min(axis=0), values.max(axis=0)
            if layer.name in ranges:
                low = np.minimum(low, ranges[layer.name][0])
                high = np.maximum(high, ranges[layer.name][1])
            ranges[layer.name] = low, high
        for name in pieces.keys() & columns.keys():
            pieces[name].append(columns[name])
    wide = {name: (low.astype(float), high.astype(float)) for name, (low, high) in ranges.items()}
    if "no_scores" in recording.contents.attributes:
        del pieces["prediction"]
    coordinates = {
        name: ("sample", np.concatenate(arrays)) for name, arrays in pieces.items() if arrays
    }
    attributes = {"classes": recording.contents.classes}
    kept = {name: np.concatenate(parts) for name, parts in sampled.items()}
    return wide, kept, xr.DataTree(xr.Dataset(coords=coordinates, attrs=attributes))


def _pass_for_statistics(
    recording: Recording, bins: dict[str, Bins], index: Integers, classes: int, ranks: int
) -> dict[str, Statistics]:
    statistics: dict[str, Statistics] = {}
    floors = {name: np.full(len(of.finite), -np.inf) for name, of in bins.items()}
    first = 0
    for block in _blocks(recording, sum(len(of.finite) for of in bins.values())):
        last = first + len(next(iter(block.values())))
        for name, values in block.items():
            part = block_statistics(
                values, index[first:last], classes, bins[name], ranks, first, floors[name]
            )
            statistics[name] = (
                merge_statistics(statistics[name], part) if name in statistics else part
            )
        first = last
    return statistics


def _blocks(recording: Recording, units: int) -> Iterator[dict[str, Any]]:
    """Yield the activations of all layers, several batches at a time."""
    rows = max(1, _BLOCK_BYTES // (4 * units))
    names = [layer.name for layer in recording.layers]
    waiting: list[Columns] = []

    def join() -> dict[str, Any]:
        return {
            name: np.concatenate([columns[f"{name}/activation"] for columns in waiting])
            for name in names
        }

    for columns in _batches(recording, "class statistics"):
        waiting.append(columns)
        if sum(len(columns["label"]) for columns in waiting) >= rows:
            yield join()
            waiting.clear()
    if waiting:
        yield join()


def _batches(recording: Recording, label: str) -> Iterator[Columns]:
    indices = np.arange(recording.contents.samples)
    for _, columns in recording.columns(indices, label):
        yield columns


def _layers(recording: Recording) -> list[ActivationLayer]:
    return [
        ActivationLayer(
            layer.name,
            layer.depth,
            xr.Dataset({"activation": (("sample", "unit"), np.empty((0, layer.units)))}),
        )
        for layer in recording.layers
    ]
