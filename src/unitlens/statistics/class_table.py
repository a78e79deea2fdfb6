"""The table of class statistics, from what is known of the units of each layer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from unitlens.statistics.blocks import Statistics
from unitlens.statistics.histograms import Bins, bin_edges
from unitlens.statistics.layers import Layer, unit_coordinates_of
from unitlens.statistics.moments import ClassMoments, Integers
from unitlens.statistics.ranking import Strongest
from unitlens.variables import VARIABLES, annotate


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
    parts: list[UnitStatistics], layers: list[Layer], classes: Integers, labels: Integers
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
        coords=unit_coordinates_of(layers) | {"class": classes},
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
