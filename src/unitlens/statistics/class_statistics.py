"""One pass over the activations: moments and histograms of every unit by class.

Each block (a shard of the store) is reduced to its statistics in float64, and the statistics are
merged by a tree, so that any chunking gives the same numbers except for rounding. The pass runs on
the scheduler that dask is set to. The bins depend on the range of each unit, which a store holds;
other activations are read a second time to find their range. Where bins of equal width would be
crowded, the bins adapt to a sample of the activations.
"""

import logging
from collections.abc import Iterator, Sequence
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
from unitlens.statistics.adapted_bins import adapt_bins, sampled_rows
from unitlens.statistics.block_states import (
    ClassMoments,
    Floats,
    Integers,
    Values,
    merge_by_tree,
)
from unitlens.statistics.blocks import block_statistics, merge_statistics
from unitlens.statistics.class_labels import By, choose_classes, sample_labels, shared_index
from unitlens.statistics.class_table import UnitStatistics, all_finite, described, statistics_table
from unitlens.statistics.histograms import Bins, make_bins

logger = logging.getLogger("unitlens")

_BYTES_AT_A_TIME = 2**26  # of the states that are computed before they are copied to the table


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
        Activations as :func:`unitlens.open_activations` returns them: a tree with ``label`` on
        ``sample`` at the root, and one child for each layer with ``activation`` (sample, unit),
        lazy or in memory.
    by
        Class of each sample: the name of a coordinate on ``sample``, such as ``true_label``, or
        one integer from 0 for each sample.
    classes
        Classes of the table: their number (labels from 0), or their labels. By default the labels
        that occur.
    fine_bins
        Number of bins of a unit's histogram beside the bin of zero, at least 2. The bins have equal
        widths. Where these would hold most samples in a few bins, because a few activations lie
        far from the rest, the bins are about equally filled (from 9 bins on).
    strongest
        Number of strongest samples that are kept of each unit, at least 1.

    Returns
    -------
    A table of schema ``class_statistics``. On ``class``: ``count``. On (unit, class):
    ``class_mean``, ``class_variance`` (of the population), ``class_minimum``, ``class_maximum`` and
    ``class_nonzero`` (a share). The histogram: ``histogram`` (unit, class, bin) and ``bin_edges``
    (unit, bin_edge). On (unit, rank), the strongest samples in descending order, of equal samples
    the first: ``top_activation``, ``top_sample`` (position among the samples) and ``top_class``,
    NaN and -1 where there are fewer samples. A class without samples has count 0 and NaN. A unit
    with a NaN or an infinite activation has NaN, no strongest samples and an empty histogram. The
    attribute ``doubts`` of `acts` is kept.

    Raises
    ------
    ArgumentError
        Where `fine_bins` is below 2, `strongest` is below 1, `by` is not one integer from 0 for
        each sample, or a label is not among `classes`.
    TableError
        Where `acts` holds no layers, no labels, or labels that are negative or beyond the attribute
        ``classes``, or where activations of a layer exceed its ``minimum`` or ``maximum``.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> samples = xr.Dataset(coords={"label": ("sample", [0, 0, 1, 1])})
    >>> relu = xr.Dataset({"activation": (("sample", "unit"), [[3.0, 0], [1, 2], [0, 2], [0, 0]])})
    >>> stats = ul.class_statistics(xr.DataTree.from_dict({"/": samples, "/relu": relu}))
    >>> stats["class_mean"].values
    array([[2., 0.],
           [1., 1.]])
    """
    check_sizes(fine_bins, strongest)
    labels = sample_labels(acts, by)
    class_labels = choose_classes(labels, classes)
    layers = activation_layers(acts)
    index = shared_index(labels, class_labels)
    states = [
        state
        for layer, layer_range in zip(layers, layer_ranges(layers), strict=True)
        for state in _layer_states(
            layer, index, len(class_labels), make_bins(*layer_range, fine_bins), strongest
        )
    ]
    logger.info("class statistics of %d layers, %d samples", len(layers), len(labels))
    parts = _computed_in_turn(states, _unit_bytes(len(class_labels), fine_bins, strongest))
    table = statistics_table(parts, layers, class_labels, labels)
    doubts = {name: acts.attrs[name] for name in ("doubts",) if name in acts.attrs}
    return described(table.assign_attrs(doubts), acts.attrs, by)


def check_sizes(fine_bins: int, strongest: int) -> None:
    """Refuse too small numbers of bins and of strongest samples."""
    if fine_bins < 2:
        raise ArgumentError(
            f"fine_bins is {fine_bins}, but must be at least 2: one bin for each sign"
        )
    if strongest < 1:
        raise ArgumentError(f"strongest is {strongest}, but must be at least 1")


def _unit_bytes(classes: int, fine_bins: int, strongest: int) -> int:
    """Return the bytes of the state of one unit, of its bins, and of the strongest samples."""
    return classes * (4 * (fine_bins + 1) + 4 * 8) + 8 * (fine_bins + 2) + 16 * strongest


def _computed_in_turn(
    states: Sequence[tuple[int, Any]], unit_bytes: int
) -> Iterator[UnitStatistics]:
    """Yield the computed states of all columns in their order, as many at a time as fit.

    Parameters
    ----------
    states
        Number of units of each column of blocks, and its delayed state.
    unit_bytes
        Bytes of one unit in a state.

    Notes
    -----
    Where all columns are computed at once, all states are in memory beside the table that they are
    copied to, and a cluster is sent all tasks in one message. No column is cut: the tree of its
    merges, and so the bits of its numbers, depend on the blocks alone.
    """
    ends = np.cumsum([units for units, _ in states]) * unit_bytes
    turns = ends // _BYTES_AT_A_TIME
    for turn in np.unique(turns):
        together = computed([states[at][1] for at in np.flatnonzero(turns == turn).tolist()])
        together.reverse()
        while together:
            yield together.pop()


def _layer_states(
    layer: ActivationLayer, index: Any, classes: int, bins: Bins, strongest: int
) -> list[tuple[int, Any]]:
    """Return the number of units and the delayed state of each column of blocks of a layer."""
    blocks = layer.activation.data
    rows, columns = (np.cumsum((0, *sizes)) for sizes in blocks.chunks)
    state = delayed(_block_state, traverse=False)
    # Blocks in one process share the floors of the strongest samples: later blocks skip more.
    floors = np.full(columns[-1], -np.inf)
    sampled = sampled_rows(int(rows[-1]))
    of_blocks = np.split(sampled, np.searchsorted(sampled, rows[1:-1]))
    inside = [part - first for part, first in zip(of_blocks, rows[:-1], strict=True)]
    states = []
    for column, *ends in zip(blocks.to_delayed().T, columns[:-1], columns[1:], strict=True):
        units = slice(*ends)
        adapted = _adapted_bins(column, inside, bins[units])
        common = classes, adapted, strongest, floors[units], layer.name
        parts = [
            state(block, index, first, *common)
            for block, first in zip(column, rows[:-1], strict=True)
        ]
        states.append((ends[1] - ends[0], merge_by_tree(parts, _merge)))
    return states


def _adapted_bins(column: Sequence[Any], sampled: Sequence[Integers], bins: Bins) -> Any:
    """Return the delayed bins of a column of blocks, given the sampled rows of each block.

    The blocks that hold sampled rows stay in memory until their statistics are computed, so that
    no block is read twice. They are few: see `sampled_rows`.
    """
    take = delayed(np.take, traverse=False)
    parts = [
        take(block, rows, axis=0) for block, rows in zip(column, sampled, strict=True) if len(rows)
    ]
    return delayed(_adapt, traverse=False)(parts, bins) if parts else bins


def _adapt(parts: list[Values], bins: Bins) -> Bins:
    return adapt_bins(bins, np.concatenate(parts))


def _block_state(
    values: Values,
    index: Integers,
    first: int,
    classes: int,
    bins: Bins,
    strongest: int,
    floors: Floats,
    layer: str,
) -> UnitStatistics:
    of_block = index[first : first + len(values)].astype(np.int64)
    statistics = block_statistics(values, of_block, classes, bins, strongest, first, floors)
    moments = statistics.moments
    _check_range(moments, bins.finite & all_finite(moments), bins, layer)
    return UnitStatistics(statistics, bins)


def _merge(one: UnitStatistics, other: UnitStatistics) -> UnitStatistics:
    return UnitStatistics(merge_statistics(one.statistics, other.statistics), one.bins)


def _check_range(
    moments: ClassMoments, countable: NDArray[np.bool_], bins: Bins, layer: str
) -> None:
    """Refuse activations outside the range of the bins."""
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
            f"{high[unit]:g}; drop these two variables, so that the range of the activations is "
            "computed"
        )
