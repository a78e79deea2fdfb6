"""The table of class statistics: how the table is built, and how measures read it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from unitlens.errors import TableError
from unitlens.statistics.activation_layers import ActivationLayer
from unitlens.statistics.block_states import ClassMoments, Integers, Strongest
from unitlens.statistics.blocks import Statistics
from unitlens.statistics.histograms import Bins, bin_edges
from unitlens.variables.checks import annotate, describe, validate
from unitlens.variables.declarations import VARIABLES
from unitlens.variables.unit_index import index_units, unit_coordinates

Flags = NDArray[np.bool_]


def classes_with_samples(stats: xr.Dataset) -> Flags:
    """Return which classes have samples, shape (classes,)."""
    return np.asarray(stats["count"].to_numpy() > 0)


def finite_units(stats: xr.Dataset) -> Flags:
    """Return which units have finite activations on every sample, shape (units,).

    No unit where there are no samples.
    """
    occurring = classes_with_samples(stats)
    means = stats["class_mean"].to_numpy()[:, occurring]
    return np.asarray(np.isfinite(means).all(axis=1) & occurring.any())


def constant_units(stats: xr.Dataset) -> Flags:
    """Return which units have the same activation on every sample, shape (units,)."""
    occurring = classes_with_samples(stats)
    if not occurring.any():
        return np.zeros(stats.sizes["unit"], np.bool_)
    low, high = (
        stats[name].to_numpy()[:, occurring] for name in ("class_minimum", "class_maximum")
    )
    return np.asarray(low.min(axis=1) == high.max(axis=1))


def dead_units(stats: xr.Dataset) -> Flags:
    """Return which units are zero on every sample, shape (units,)."""
    occurring = classes_with_samples(stats)
    low, high = (
        stats[name].to_numpy()[:, occurring] for name in ("class_minimum", "class_maximum")
    )
    if not occurring.any():
        return np.zeros(len(low), np.bool_)
    return np.asarray(((low == 0) & (high == 0)).all(axis=1))


def check_classes(stats: xr.Dataset, measure: str) -> None:
    """Check that `stats` is a table of class statistics of samples that have classes.

    Parameters
    ----------
    stats
        The table.
    measure
        The measure that needs the classes, in words.

    Raises
    ------
    TableError
        Where the table is none of class statistics, or the samples have no classes.
    """
    validate(stats, "class_statistics")
    if "no_classes" in stats.attrs:
        raise TableError(
            f"the samples have no classes ({stats.attrs['no_classes']}), but {measure} needs the "
            "class of each sample; compute the statistics with by=, one integer from 0 for each "
            "sample, or take sparsity or empirical_variance"
        )


def labels_at(stats: xr.Dataset, positions: Integers) -> Integers:
    """Return the labels of the classes at some positions, -1 where a position is -1."""
    return np.append(stats["class"].to_numpy(), -1)[positions].astype(np.int64)


def on_units(stats: xr.Dataset, variables: dict[str, Any], **attributes: Any) -> xr.Dataset:
    """Return the table of a measure.

    Parameters
    ----------
    stats
        The table of class statistics, whose units the table is of.
    variables
        Values of each declared variable, shape (units,).
    attributes
        Attributes of the table.

    Returns
    -------
    The table on ``unit`` with the coordinates and the index of the units, and the declared
    attributes on every variable.
    """
    table = xr.Dataset(
        {name: ("unit", values) for name, values in variables.items()},
        coords=stats["class_mean"].drop_vars("class").coords,
        attrs=attributes,
    )
    return index_units(describe(table))


@dataclass(frozen=True)
class UnitStatistics:
    """The statistics of some units, and the bins of their histograms."""

    statistics: Statistics
    bins: Bins


def all_finite(moments: ClassMoments) -> Flags:
    """Return which units have finite activations on every sample, shape (units,)."""
    finite = np.isfinite(moments.minimum) & np.isfinite(moments.maximum)
    return np.asarray(finite[moments.count > 0].all(axis=0))


def statistics_table(
    parts: Iterable[UnitStatistics],
    layers: list[ActivationLayer],
    classes: Integers,
    labels: Integers,
) -> xr.Dataset:
    """Return the table of class statistics.

    Parameters
    ----------
    parts
        Statistics of some units each, in the order of the units, at least one. Each part is copied
        into the table before the next one is asked for, so that a generator need not keep them.
    layers
        The layers of the units.
    classes
        Labels of the classes, shape (classes,).
    labels
        Label of each sample, shape (samples,).
    """
    units = sum(len(layer.channel) for layer in layers)
    arrays: dict[str, NDArray[Any]] = {}
    first = 0
    for part in parts:
        stop = first + len(part.statistics.histogram)
        for name, values in _columns(part, labels).items():
            if name not in arrays:
                arrays[name] = np.empty((units, *values.shape[1:]), values.dtype)
            arrays[name][first:stop] = values
        first, count, fine = stop, part.statistics.moments.count, part.bins.fine
    variables = {name: (VARIABLES[name].dims, values) for name, values in arrays.items()}
    table = xr.Dataset(
        variables | {"count": ("class", count)},
        coords=unit_coordinates(layer.units for layer in layers) | {"class": classes},
        attrs={"samples": int(count.sum()), "fine_bins": fine},
    )
    return annotate(table, "class_statistics")


def described(table: xr.Dataset, attributes: Mapping[Any, Any], by: object) -> xr.Dataset:
    """Return a table of class statistics with what is known of its classes.

    Parameters
    ----------
    table
        The table.
    attributes
        Attributes of the activations: ``class_names``, ``no_classes``.
    by
        What the classes are; names belong to labels.

    Returns
    -------
    The table, with the coordinate ``class_name`` on ``class`` where each class has a name, and the
    attribute ``no_classes`` where the samples have no classes.
    """
    if not isinstance(by, str) or by not in ("label", "true_label", "prediction"):
        return table
    if "no_classes" in attributes:
        return table.assign_attrs(no_classes=attributes["no_classes"])
    names = attributes.get("class_names")
    names = json.loads(names) if isinstance(names, str) else names
    classes = table["class"].to_numpy()
    if not names or not len(classes) or classes.max() >= len(names):
        return table
    return table.assign_coords(
        class_name=("class", np.array([names[label] for label in classes], dtype=object))
    )


def _columns(state: UnitStatistics, labels: Integers) -> dict[str, NDArray[Any]]:
    """Return the variables of some units; NaN for non-finite units and classes without samples."""
    moments, histogram = state.statistics.moments, state.statistics.histogram
    bins = state.bins
    units = np.arange(histogram.shape[0])
    count = moments.count[:, None]
    number = np.maximum(count, 1)
    known = bins.finite & all_finite(moments)
    nonzero = 1 - histogram[units, :, bins.below].T / number
    by_class = {
        "class_mean": moments.mean,
        "class_variance": moments.squares / number,
        "class_minimum": moments.minimum,
        "class_maximum": moments.maximum,
        "class_nonzero": nonzero,
    }
    columns: dict[str, NDArray[Any]] = {
        name: np.where(known & (count > 0), values, np.nan).T for name, values in by_class.items()
    }
    histogram[~known] = 0  # in place: the histogram may be the largest array in memory
    columns["histogram"] = histogram
    columns["bin_edges"] = np.where(known[:, None], bin_edges(bins), np.nan)
    return columns | _top(state.statistics.strongest, known, labels)


def _top(strongest: Strongest, known: Flags, labels: Integers) -> dict[str, NDArray[Any]]:
    """Return the variables of the strongest samples of units, without samples for unknown units."""
    samples = np.where(known[:, None], strongest.samples, -1)
    filled = samples >= 0
    return {
        "top_activation": np.where(filled, strongest.values, np.nan),
        "top_sample": samples,
        "top_class": np.where(filled, np.append(labels, -1)[samples], -1),
    }
