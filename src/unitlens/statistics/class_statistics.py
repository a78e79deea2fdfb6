"""One pass over the activations: moments and histograms of every unit by class.

Each block (a shard of the store) is reduced by itself in float64, and the results are merged by a
tree, so that any chunking gives the same numbers but for rounding. It runs on whichever scheduler
dask is set to. The bins need each unit's range beforehand: the store gives it; activations that
come without are read once more for it.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from dask.delayed import delayed
from numpy.typing import NDArray

from unitlens.errors import ArgumentError, TableError
from unitlens.statistics.activation_layers import (
    ActivationLayer,
    activation_layers,
    computed,
    layer_ranges,
)
from unitlens.statistics.block_states import (
    ClassMoments,
    Floats,
    Integers,
    Values,
    merged,
)
from unitlens.statistics.blocks import block_statistics, merge_statistics
from unitlens.statistics.class_labels import By, choose_classes, sample_labels
from unitlens.statistics.class_table import UnitStatistics, all_finite, statistics_table
from unitlens.statistics.histograms import Bins, make_bins

logger = logging.getLogger("unitlens")


def class_statistics(
    acts: xr.DataTree,
    *,
    by: By = "label",
    classes: int | Sequence[int] | None = None,
    fine_bins: int = 128,
    strongest: int = 100,
) -> xr.Dataset:
    """Compute counts, moments and histograms of every unit for every class, in one pass.

    Parameters
    ----------
    acts
        Activations as :func:`unitlens.open_activations` gives them: ``label`` on ``sample`` at
        the root, and one child a layer with ``activation`` (sample, unit), lazy or not.
    by
        What tells the samples apart: the name of a coordinate on ``sample``, such as
        ``true_label``, or one integer from 0 for each sample. Its values are the classes.
    classes
        Which classes to tell apart: a number of classes (labels from 0), or the labels
        themselves. By default the labels that occur.
    fine_bins
        Number of bins of a unit's histogram beside zero's own, at least 2.
    strongest
        How many of each unit's strongest samples are kept, at least 1.

    Returns
    -------
    A table of schema ``class_statistics``: ``count`` (class); for each unit and class
    ``class_mean``, ``class_variance`` (of the population), ``class_minimum``, ``class_maximum``,
    ``class_nonzero`` (a share), ``histogram`` (unit, class, bin) and ``bin_edges``
    (unit, bin_edge); of each unit's strongest samples, descending, of equal ones the first,
    ``top_activation``, ``top_sample`` (position among the samples) and ``top_class``
    (unit, rank), NaN and -1 where there are fewer. A class without samples has count 0 and NaN. A
    unit with a NaN or an infinite activation has NaN, no strongest samples, an empty histogram.

    Raises
    ------
    ArgumentError
        Where `fine_bins` is below 2, `strongest` below 1, `by` no integer from 0 for each sample,
        or a label not among the `classes` asked for.
    TableError
        Where `acts` holds no layers, no labels, labels that are negative or beyond the attribute
        ``classes``, or a layer's ``minimum`` and ``maximum`` do not bound its activations.
    """
    check_sizes(fine_bins, strongest)
    labels = sample_labels(acts, by)
    chosen = choose_classes(labels, classes)
    layers = activation_layers(acts)
    index = np.searchsorted(chosen, labels)
    states = [
        _layer_states(layer, index, len(chosen), make_bins(*layer_range, fine_bins), strongest)
        for layer, layer_range in zip(layers, layer_ranges(layers), strict=True)
    ]
    logger.info("class statistics of %d layers, %d samples", len(layers), len(labels))
    parts = [part for states in computed(states) for part in states]
    return statistics_table(parts, layers, chosen, labels)


def check_sizes(fine_bins: int, strongest: int) -> None:
    """Refuse numbers of bins and of strongest samples that are too small."""
    if fine_bins < 2:
        raise ArgumentError(f"fine_bins is {fine_bins}, but must be at least 2: one for each sign")
    if strongest < 1:
        raise ArgumentError(f"strongest is {strongest}, but must be at least 1")


def _layer_states(
    layer: ActivationLayer, index: Integers, classes: int, bins: Bins, strongest: int
) -> list[Any]:
    """Return one delayed state for each column of blocks of a layer."""
    blocks = layer.activation.data
    rows, columns = (np.cumsum((0, *sizes)) for sizes in blocks.chunks)
    state = delayed(_block_state, traverse=False)
    # Blocks in one process share what the strongest samples reach so far: later ones skip more.
    floors = np.full(columns[-1], -np.inf)
    return [
        merged(
            [
                state(
                    block,
                    index[first:last],
                    classes,
                    bins[units],
                    strongest,
                    first,
                    floors[units],
                    layer.name,
                )
                for block, first, last in zip(column, rows[:-1], rows[1:], strict=True)
            ],
            _merge,
        )
        for column, units in zip(
            blocks.to_delayed().T, map(slice, columns[:-1], columns[1:]), strict=True
        )
    ]


def _block_state(
    values: Values,
    index: Integers,
    classes: int,
    bins: Bins,
    strongest: int,
    first: int,
    floors: Floats,
    layer: str,
) -> UnitStatistics:
    found = block_statistics(values, index, classes, bins, strongest, first, floors)
    _check_range(found.moments, bins.finite & all_finite(found.moments), bins, layer)
    return UnitStatistics(found, bins)


def _merge(one: UnitStatistics, other: UnitStatistics) -> UnitStatistics:
    return UnitStatistics(merge_statistics(one.statistics, other.statistics), one.bins)


def _check_range(
    moments: ClassMoments, countable: NDArray[np.bool_], bins: Bins, layer: str
) -> None:
    """Refuse activations outside the range that the bins were made for."""
    lowest, highest = (
        moments.minimum.min(axis=0, initial=np.inf),
        moments.maximum.max(axis=0, initial=-np.inf),
    )
    low, high = bins.range
    outside = countable & ((lowest < low) | (highest > high))
    if outside.any():
        unit = int(np.flatnonzero(outside)[0])
        raise TableError(
            f"layer '{layer}' has a unit with activations from {lowest[unit]:g} to "
            f"{highest[unit]:g}, but its 'minimum' and 'maximum' are {low[unit]:g} and "
            f"{high[unit]:g}; drop these two variables and they are found from the activations"
        )
