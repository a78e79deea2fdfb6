"""Means of every unit by class and nothing more, for very many classes."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from dask.delayed import delayed

from unitlens.statistics.activation_layers import (
    ActivationLayer,
    activation_layers,
    computed,
)
from unitlens.statistics.block_states import Floats, Integers, Values, merged
from unitlens.statistics.blocks import column_slabs
from unitlens.statistics.class_labels import By, choose_classes, sample_labels
from unitlens.variables.checks import annotate
from unitlens.variables.unit_index import unit_coordinates

logger = logging.getLogger("unitlens")


def class_means(
    acts: xr.DataTree, *, by: By = "label", classes: int | Sequence[int] | None = None
) -> xr.Dataset:
    """Compute the mean of every unit for every class, in one pass.

    Where means are all that is needed, this takes less time and memory than
    :func:`unitlens.class_statistics`, whose histograms take some hundred numbers a unit and class.

    Parameters
    ----------
    acts, by, classes
        As for :func:`unitlens.class_statistics`.

    Returns
    -------
    A table of schema ``class_means``: ``count`` (class) and ``class_mean`` (unit, class), which
    is NaN for a class without samples or with a NaN among them.

    Raises
    ------
    ArgumentError, TableError
        As :func:`unitlens.class_statistics`.

    Notes
    -----
    Sums are in float64, block by block, and merged by a tree. Runs on whichever scheduler dask is
    set to.
    """
    labels = sample_labels(acts, by)
    chosen = choose_classes(labels, classes)
    layers = activation_layers(acts)
    index = np.searchsorted(chosen, labels)
    count = np.bincount(index, minlength=len(chosen))
    logger.info("class means of %d layers, %d samples", len(layers), len(labels))
    sums = computed([_layer_sums(layer, index, len(chosen)) for layer in layers])
    with np.errstate(invalid="ignore"):
        means = [(one / count[:, None]).T for of_layer in sums for one in of_layer]
    table = xr.Dataset(
        {"class_mean": (("unit", "class"), np.concatenate(means)), "count": ("class", count)},
        coords=unit_coordinates(layer.units for layer in layers) | {"class": chosen},
        attrs={"samples": len(labels)},
    )
    return annotate(table, "class_means")


def _layer_sums(layer: ActivationLayer, index: Integers, classes: int) -> list[Any]:
    """Return the delayed sums of each column of blocks of a layer."""
    blocks = layer.activation.data
    rows = np.cumsum((0, *blocks.chunks[0]))
    sums = delayed(_block_sums, traverse=False)
    return [
        merged(
            [
                sums(block, index[first:last], classes)
                for block, first, last in zip(column, rows[:-1], rows[1:], strict=True)
            ],
            np.add,
        )
        for column in blocks.to_delayed().T
    ]


def _block_sums(values: Values, index: Integers, classes: int) -> Floats:
    from unitlens.statistics.block_kernels import block_sums

    sums = np.zeros((classes, values.shape[1]))
    for part, columns in column_slabs(values):
        found = np.zeros((classes, part.shape[1]))
        block_sums(part, index, found)
        sums[:, columns] = found
    return sums
