"""Agreement of measures of selectivity, and of a unit's preferred and most damaged class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import FEWEST_FOR_P, rank_correlations
from unitlens.catalogue.measures import AGREEMENT_SCORES

GROUPS = ("run", "epoch", "depth")


def measure_agreement(units: xr.Dataset, *, measures: Sequence[str] | None = None) -> xr.DataArray:
    """Return the mean rank correlation of each two measures within layers.

    Parameters
    ----------
    units
        Dataset on the dimension ``unit``, such as ``results.units``.
    measures
        Names of variables of `units`; by default the measures of selectivity that the table has.

    Returns
    -------
    Spearman's rank correlation on ``measure`` and ``other``: the mean over the layers of all
    networks in which at least ten units have both values and neither measure is constant. NaN
    where there is no such layer. The attribute ``layers`` holds the number of layers.
    """
    if measures is None:
        measures = [name for name in AGREEMENT_SCORES if _known(units, name)]
    size = len(measures)
    matrix = np.eye(size)
    layers = 0
    for row, name in enumerate(measures[:-1]):
        others = list(measures[row + 1 :])
        by_layer = rank_correlations(units, target=name, measures=others, by=GROUPS)
        enough = by_layer["n"].values >= FEWEST_FOR_P
        for column, other in enumerate(others, row + 1):
            rho = by_layer["spearman"].values[enough & (by_layer["measure"].values == other)]
            rho = rho[np.isfinite(rho)]
            layers = max(layers, rho.size)
            matrix[row, column] = matrix[column, row] = rho.mean() if rho.size else np.nan
    names = np.array(list(measures), object)
    return xr.DataArray(
        matrix,
        dims=("measure", "other"),
        coords={"measure": names, "other": names},
        attrs={"layers": layers},
    )


def _known(units: xr.Dataset, name: str) -> bool:
    return name in units and bool(np.isfinite(units[name].values).any())


@dataclass(frozen=True)
class ClassAgreement:
    """Agreement of the preferred class of units with the class that their ablation damages most.

    Attributes
    ----------
    units
        Number of units with a preferred class whose ablation makes the accuracy of a class drop.
    share
        Share of these units for which both are the same class.
    chance
        The share for preferred and damaged classes of different units of a layer, drawn at random:
        the sum over classes of the product of the two shares.
    """

    units: int
    share: float
    chance: float


def class_agreement(units: xr.Dataset) -> ClassAgreement:
    """Compare the preferred class of each unit with its most damaged class.

    Parameters
    ----------
    units
        Dataset on ``unit`` with ``preferred_class``, ``most_damaged_class`` and
        ``class_accuracy_drop_max``.

    Returns
    -------
    The agreement. The chance is computed within each layer of each network, and averaged over
    units.
    """
    counted = units.isel(unit=np.flatnonzero(damaging(units)))
    preferred = counted["preferred_class"].values
    damaged = counted["most_damaged_class"].values
    if preferred.size == 0:
        return ClassAgreement(0, float("nan"), float("nan"))
    keys = [np.unique(counted[name].values.astype(str), return_inverse=True)[1] for name in GROUPS]
    layer = np.unique(np.stack(keys), axis=1, return_inverse=True)[1].reshape(-1)
    chance = np.empty(preferred.size)
    classes = np.arange(max(preferred.max(), damaged.max()) + 1)
    for one in range(layer.max() + 1):
        own = layer == one
        shares = [(values[own, None] == classes).mean(0) for values in (preferred, damaged)]
        chance[own] = shares[0] @ shares[1]
    return ClassAgreement(
        preferred.size, float((preferred == damaged).mean()), float(chance.mean())
    )


def damaging(units: xr.Dataset) -> np.ndarray:
    """Return which units have a preferred class and an ablation that damages a class."""
    drop = np.nan_to_num(units["class_accuracy_drop_max"].values, nan=0.0)
    known = (units["preferred_class"].values >= 0) & (units["most_damaged_class"].values >= 0)
    return np.asarray(known & (drop > 0))


def preferred_class_drop(units: xr.Dataset) -> np.ndarray:
    """Return the accuracy drop of each unit's preferred class by ablation of the unit.

    NaN where the unit has no preferred class, or was not ablated.
    """
    drop = units["class_accuracy_drop"].transpose("unit", "class").values
    preferred = units["preferred_class"].values
    return np.where(
        preferred >= 0, drop[np.arange(preferred.size), np.maximum(preferred, 0)], np.nan
    )


def layer_means(tables: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return the mean selectivity and importance of the units of layers, and their correlation.

    Parameters
    ----------
    tables
        Tables of units with ``selectivity`` and ``loss_increase``, such as the tables of kept
        epochs and of the end of training. Where a network's epoch is in two tables, the first
        counts.

    Returns
    -------
    Dataset on ``row``, with one row for each layer of a network at an epoch: ``run``, ``epoch``,
    ``depth``, ``layer``, ``selectivity`` and ``loss_increase`` (means over the units with a value)
    and ``spearman``, the rank correlation of the two, NaN for fewer than ten units.
    """
    import pandas as pd

    values = ("selectivity", "loss_increase")
    frame = pd.concat(
        pd.DataFrame({name: table[name].values for name in (*GROUPS, "layer", "channel", *values)})
        for table in tables
    )
    frame = frame.drop_duplicates([*GROUPS, "channel"]).sort_values([*GROUPS, "channel"])
    units = xr.Dataset({name: ("unit", frame[name].to_numpy()) for name in frame.columns})
    keys = (*GROUPS, "layer")
    layers = rank_correlations(units, measures=("selectivity",), by=keys)
    means = frame.groupby(list(keys), sort=False)[list(values)].mean()
    enough = layers["n"].values >= FEWEST_FOR_P
    layers["spearman"] = layers["spearman"].where(xr.DataArray(enough, dims="row"))
    for name in values:
        layers[name] = ("row", means[name].to_numpy())
    return layers[[*keys, *values, "spearman"]]
