"""Whether measures of the units' selectivity agree, and whether a unit's class is the one hurt."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from unitlens.analysis.correlations import FEWEST_FOR_P, rank_correlations

MEASURES = (
    "selectivity",
    "ccmas",
    "class_correlation",
    "roc_auc",
    "informedness",
    "average_precision",
    "precision_60",
    "precision_100",
    "mutual_information",
    "sparsity",
)
GROUPS = ("run", "epoch", "depth")


def measure_agreement(units: xr.Dataset, *, measures: Sequence[str] | None = None) -> xr.DataArray:
    """Return how far each two measures rank the units of a layer alike.

    Parameters
    ----------
    units
        Dataset on the dimension ``unit``, such as ``results.units``.
    measures
        Variables of it; by default those of selectivity that the table has.

    Returns
    -------
    Spearman's rank correlation on ``measure`` and ``other``: its mean over the layers of all
    networks that have ten units with both values at least and in which neither is constant; NaN
    where there is no such layer. The attribute ``layers`` has the number of layers.
    """
    if measures is None:
        measures = [name for name in MEASURES if _known(units, name)]
    size = len(measures)
    matrix = np.eye(size)
    layers = 0
    for row, name in enumerate(measures[:-1]):
        others = list(measures[row + 1 :])
        found = rank_correlations(units, target=name, measures=others, by=GROUPS)
        enough = found["n"].values >= FEWEST_FOR_P
        for column, other in enumerate(others, row + 1):
            rho = found["spearman"].values[enough & (found["measure"].values == other)]
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
    """How often a unit's preferred class is the one that its ablation damages most.

    `units` are those with a preferred class whose ablation makes any class's accuracy drop. `share`
    is that of the units for which both are the same class, `chance` that of pairs of units of the
    same layer drawn at random: the sum over classes of the product of the two shares.
    """

    units: int
    share: float
    chance: float


def class_agreement(units: xr.Dataset) -> ClassAgreement:
    """Compare the preferred with the most damaged class of each unit.

    Parameters
    ----------
    units
        Dataset on ``unit`` with ``preferred_class``, ``most_damaged_class`` and
        ``class_accuracy_drop_max``.

    Returns
    -------
    The agreement. Chance is computed within each layer of each network, and averaged over units.
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
    """Tell which units have a preferred class and make a class's accuracy drop when ablated."""
    drop = np.nan_to_num(units["class_accuracy_drop_max"].values, nan=0.0)
    known = (units["preferred_class"].values >= 0) & (units["most_damaged_class"].values >= 0)
    return np.asarray(known & (drop > 0))


def preferred_class_drop(units: xr.Dataset) -> np.ndarray:
    """Return how far the accuracy of each unit's preferred class drops when it is ablated.

    NaN where the unit has no preferred class, or was not ablated.
    """
    drop = units["class_accuracy_drop"].transpose("unit", "class").values
    preferred = units["preferred_class"].values
    return np.where(
        preferred >= 0, drop[np.arange(preferred.size), np.maximum(preferred, 0)], np.nan
    )


def layer_means(tables: Sequence[xr.Dataset]) -> xr.Dataset:
    """Average selectivity and importance over the units of each layer, and correlate them.

    Parameters
    ----------
    tables
        Tables of units, such as those of kept epochs and of the end of training, with
        ``selectivity`` and ``loss_increase``; a network's epoch counts once, the first time.

    Returns
    -------
    Dataset on ``row``, one a layer of a network at an epoch: ``run``, ``epoch``, ``depth``,
    ``layer``, ``selectivity`` and ``loss_increase`` (means over the units with a value) and
    ``spearman``, their rank correlation, NaN under ten units.
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
    found = rank_correlations(units, measures=("selectivity",), by=keys)
    means = frame.groupby(list(keys), sort=False)[list(values)].mean()
    enough = found["n"].values >= FEWEST_FOR_P
    found["spearman"] = found["spearman"].where(xr.DataArray(enough, dims="row"))
    for name in values:
        found[name] = ("row", means[name].to_numpy())
    return found[[*keys, *values, "spearman"]]
