"""The table of class statistics: how it is made from states, and how measures read it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from unitlens.statistics.activation_layers import ActivationLayer
from unitlens.statistics.block_states import ClassMoments, Integers, Strongest
from unitlens.statistics.blocks import Statistics
from unitlens.statistics.histograms import Bins, bin_edges
from unitlens.variables.checks import annotate
from unitlens.variables.declarations import VARIABLES
from unitlens.variables.unit_index import index_units, unit_coordinates

Flags = NDArray[np.bool_]


def seen_classes(stats: xr.Dataset) -> Flags:
    """Return which classes have samples, shape (classes,)."""
    return np.asarray(stats["count"].to_numpy() > 0)


def finite_units(stats: xr.Dataset) -> Flags:
    """Return which units have nothing but finite activations, and some, shape (units,)."""
    seen = seen_classes(stats)
    means = stats["class_mean"].to_numpy()[:, seen]
    return np.asarray(np.isfinite(means).all(axis=1) & seen.any())


def constant_units(stats: xr.Dataset) -> Flags:
    """Return which units have the same activation on every sample, shape (units,)."""
    seen = seen_classes(stats)
    if not seen.any():
        return np.zeros(stats.sizes["unit"], np.bool_)
    low, high = (stats[name].to_numpy()[:, seen] for name in ("class_minimum", "class_maximum"))
    return np.asarray(low.min(axis=1) == high.max(axis=1))


def labels_at(stats: xr.Dataset, places: Integers) -> Integers:
    """Return the labels of the classes at some places of the table, -1 where a place is -1."""
    return np.append(stats["class"].to_numpy(), -1)[places].astype(np.int64)


def on_units(stats: xr.Dataset, variables: dict[str, Any], **attributes: Any) -> xr.Dataset:
    """Return a table of arrays of shape (units,) with the units' coordinates."""
    table = xr.Dataset(
        {name: ("unit", values) for name, values in variables.items()},
        coords=stats["class_mean"].drop_vars("class").coords,
        attrs=attributes,
    )
    return index_units(table)


@dataclass(frozen=True)
class UnitStatistics:
    """The statistics of some units, and their bins."""

    statistics: Statistics
    bins: Bins


def all_finite(moments: ClassMoments) -> NDArray[np.bool_]:
    """Return which units have nothing but finite activations, shape (units,)."""
    seen = moments.count > 0
    finite = np.isfinite(moments.minimum) & np.isfinite(moments.maximum)
    return np.asarray(finite[seen].all(axis=0))


def statistics_table(
    parts: list[UnitStatistics], layers: list[ActivationLayer], classes: Integers, labels: Integers
) -> xr.Dataset:
    """Return the table of the units of all `parts`, in their order."""
    columns = [_columns(part, labels) for part in parts]
    variables = {
        name: (VARIABLES[name].dims, np.concatenate([column[name] for column in columns]))
        for name in columns[0]
    }
    count = parts[0].statistics.moments.count
    table = xr.Dataset(
        variables | {"count": ("class", count)},
        coords=unit_coordinates(layer.units for layer in layers) | {"class": classes},
        attrs={"samples": int(count.sum()), "fine_bins": parts[0].bins.fine},
    )
    return annotate(table, "class_statistics")


def _columns(state: UnitStatistics, labels: Integers) -> dict[str, NDArray[Any]]:
    """Return the variables of a state's units; NaN where a unit or a class has no numbers."""
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
    histogram[~known] = 0  # in place: it may be the largest thing in memory
    columns["histogram"] = histogram
    columns["bin_edges"] = np.where(known[:, None], bin_edges(bins), np.nan)
    return columns | _top(state.statistics.strongest, known, labels)


def _top(
    strongest: Strongest, known: NDArray[np.bool_], labels: Integers
) -> dict[str, NDArray[Any]]:
    """Return the variables of the strongest samples of units, none where a unit is not known."""
    samples = np.where(known[:, None], strongest.samples, -1)
    there = samples >= 0
    return {
        "top_activation": np.where(there, strongest.values, np.nan),
        "top_sample": samples,
        "top_class": np.where(there, np.append(labels, -1)[samples], -1),
    }
