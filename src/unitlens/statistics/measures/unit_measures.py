"""The measures of every unit, side by side in one table."""

from itertools import zip_longest

import numpy as np
import xarray as xr

from unitlens.errors import TableError
from unitlens.statistics.measures.class_correlation import class_correlation
from unitlens.statistics.measures.class_selectivity import (
    Rest,
    ccmas,
    class_selectivity,
)
from unitlens.statistics.measures.detection import (
    average_precision,
    informedness,
    roc_auc,
)
from unitlens.statistics.measures.information import mutual_information
from unitlens.statistics.measures.sparsity import sparsity
from unitlens.statistics.measures.top_precision import top_precision
from unitlens.statistics.measures.variance import empirical_mean, empirical_variance
from unitlens.variables.checks import annotate


def unit_measures(
    test_stats: xr.Dataset,
    train_stats: xr.Dataset,
    l1_norm: xr.DataArray,
    *,
    rest: Rest = "classes",
    bins: int | None = None,
) -> xr.Dataset:
    """Compute the table of unit measures.

    Parameters
    ----------
    test_stats
        Class statistics of the split that all but mean and variance are of.
    train_stats
        Class statistics of the split that mean and variance are of, for the same units.
    l1_norm
        L1 norms on ``unit``, matched by layer and channel; units that it lacks get NaN.
    rest
        As in :func:`unitlens.class_selectivity`.
    bins
        As in :func:`unitlens.mutual_information`.

    Returns
    -------
    A table of schema ``unit_measures``.

    Raises
    ------
    TableError
        Where the two statistics are of different units, or `l1_norm` has no layer or channel.
    """
    ours = _places(test_stats)
    _check_same_units(ours, _places(train_stats))
    norms = dict(zip(_places(l1_norm), l1_norm.to_numpy().tolist(), strict=True))
    selectivity = class_selectivity(test_stats, rest=rest)
    information = mutual_information(test_stats, bins=bins)
    table = xr.merge(
        [selectivity, information, *_detectors(test_stats)], join="exact", compat="equals"
    ).assign(
        mean=("unit", empirical_mean(train_stats).to_numpy()),
        variance=("unit", empirical_variance(train_stats).to_numpy()),
        l1_norm=("unit", np.array([norms.get(place, np.nan) for place in ours], np.float64)),
        class_mean=test_stats["class_mean"],
    )
    return annotate(table.assign_attrs(selectivity.attrs | information.attrs), "unit_measures")


def _detectors(stats: xr.Dataset) -> list[xr.Dataset]:
    """Return the measures that need nothing but the statistics of one split."""
    measures = (
        ccmas,
        roc_auc,
        informedness,
        average_precision,
        class_correlation,
        sparsity,
        top_precision,
    )
    return [measure(stats) for measure in measures]


def _check_same_units(ours: list[tuple[str, int]], theirs: list[tuple[str, int]]) -> None:
    if ours == theirs:
        return
    pairs = zip_longest(ours, theirs)
    one, other = next(pair for pair in pairs if pair[0] != pair[1])
    raise TableError(
        f"the statistics of the two splits are of different units ({len(ours)} and {len(theirs)}, "
        f"first difference: {one} and {other}), but must be of the same in the same order; record "
        "both splits with the same layers"
    )


def _places(table: xr.Dataset | xr.DataArray) -> list[tuple[str, int]]:
    """Return layer and channel of each unit."""
    for name in ("layer", "channel"):
        if name not in table.coords:
            raise TableError(
                f"a table of units has no coordinate '{name}', by which units are matched; "
                "assign it on 'unit'"
            )
    layers, channels = table["layer"].to_numpy(), table["channel"].to_numpy()
    return [(str(layer), int(channel)) for layer, channel in zip(layers, channels, strict=True)]
