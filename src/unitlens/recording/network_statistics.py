"""Class statistics straight from forward passes, without a store."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from unitlens.config.base import LastLayers
from unitlens.recording.record import Columns, Recording, open_recording
from unitlens.statistics.activation_layers import ActivationLayer
from unitlens.statistics.block_states import Floats, Integers
from unitlens.statistics.blocks import Statistics, block_statistics, merge_statistics
from unitlens.statistics.class_labels import By, choose_classes, sample_labels
from unitlens.statistics.class_statistics import check_sizes
from unitlens.statistics.class_table import UnitStatistics, statistics_table
from unitlens.statistics.histograms import Bins, make_bins
from unitlens.store.format.encoding import DEFAULT_CODEC

logger = logging.getLogger("unitlens")

_BLOCK_BYTES = 2**26  # of all layers' activations that are reduced at once
_OF_SAMPLES = ("label", "true_label", "prediction")


def network_statistics(
    model: nn.Module,
    dataset: Any,
    *,
    layers: Sequence[str] | LastLayers | None = None,
    reduce: str = "mean",
    by: By = "label",
    classes: int | Sequence[int] | None = None,
    fine_bins: int = 128,
    strongest: int = 100,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
) -> xr.Dataset:
    """Compute the class statistics of every unit while the model runs, and store nothing.

    The table is that of :func:`unitlens.class_statistics` on a store of the same recording, but
    for rounding of means and variances. The model runs over the data set twice: histograms need
    each unit's range first. Where several statistics are wanted, or single activations, a store
    costs one pass.

    Parameters
    ----------
    model, dataset, layers, reduce, batch_size, device
        As for :func:`unitlens.record_activations`; `reduce` is one of its reductions.
    by
        ``label``, ``true_label`` or ``prediction``, or one integer from 0 for each sample.
    classes, fine_bins, strongest
        As for :func:`unitlens.class_statistics`.

    Returns
    -------
    The table of schema ``class_statistics``.

    Raises
    ------
    ArgumentError, DatasetError, LayerError, ModelError, StoreError, TableError
        As these two.
    """
    check_sizes(fine_bins, strongest)
    how = layers, (reduce,), "float32", DEFAULT_CODEC, batch_size, device
    with open_recording(model, dataset, {}, *how) as recording:
        ranges, samples = _ranges(recording)
        labels = sample_labels(samples, by)
        chosen = choose_classes(labels, classes)
        index = np.searchsorted(chosen, labels)
        bins = {name: make_bins(*pair, fine_bins) for name, pair in ranges.items()}
        found = _statistics(recording, bins, index, len(chosen), strongest)
        parts = [UnitStatistics(found[name], bins[name]) for name in bins]
        return statistics_table(parts, _layers(recording), chosen, labels)


def _ranges(recording: Recording) -> tuple[dict[str, tuple[Floats, Floats]], xr.DataTree]:
    """Return the range of each layer's units, NaN where one is, and what is known of samples."""
    ranges: dict[str, tuple[Any, Any]] = {}
    of_samples: dict[str, list[Any]] = {name: [] for name in _OF_SAMPLES}
    for columns in _passes(recording, "ranges of activations"):
        for layer in recording.layers:
            values = columns[f"{layer.name}/activation"]
            low, high = values.min(axis=0), values.max(axis=0)
            if layer.name in ranges:
                low = np.minimum(low, ranges[layer.name][0])
                high = np.maximum(high, ranges[layer.name][1])
            ranges[layer.name] = low, high
        for name, found in of_samples.items():
            found.append(columns[name])
    wide = {name: (low.astype(float), high.astype(float)) for name, (low, high) in ranges.items()}
    coordinates = {name: ("sample", np.concatenate(found)) for name, found in of_samples.items()}
    attributes = {"classes": recording.contents.classes}
    return wide, xr.DataTree(xr.Dataset(coords=coordinates, attrs=attributes))


def _statistics(
    recording: Recording, bins: dict[str, Bins], index: Integers, classes: int, ranks: int
) -> dict[str, Statistics]:
    found: dict[str, Statistics] = {}
    floors = {name: np.full(len(of.finite), -np.inf) for name, of in bins.items()}
    first = 0
    for block in _blocks(recording, sum(len(of.finite) for of in bins.values())):
        last = first + len(next(iter(block.values())))
        for name, values in block.items():
            one = block_statistics(
                values, index[first:last], classes, bins[name], ranks, first, floors[name]
            )
            found[name] = merge_statistics(found[name], one) if name in found else one
        first = last
    return found


def _blocks(recording: Recording, units: int) -> Iterator[dict[str, Any]]:
    """Yield the activations of all layers, some batches at a time."""
    rows = max(1, _BLOCK_BYTES // (4 * units))
    names = [layer.name for layer in recording.layers]
    waiting: list[Columns] = []

    def joined() -> dict[str, Any]:
        return {
            name: np.concatenate([one[f"{name}/activation"] for one in waiting]) for name in names
        }

    for columns in _passes(recording, "class statistics"):
        waiting.append(columns)
        if sum(len(one["label"]) for one in waiting) >= rows:
            yield joined()
            waiting.clear()
    if waiting:
        yield joined()


def _passes(recording: Recording, what: str) -> Iterator[Columns]:
    everyone = np.arange(recording.contents.samples)
    for _, columns in recording.columns(everyone, what):
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
