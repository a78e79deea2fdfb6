"""Rank correlations between what is known of units."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr

from unitlens.errors import TableError, nearest
from unitlens.variables.checks import annotate

MEASURES = ("selectivity", "mutual_information", "l1_norm", "loss_increase_first_order")
FEWEST = 3  # two pairs are always in perfect order
# Below this the t distribution is a poor stand-in: it calls any perfect order of three certain.
FEWEST_FOR_P = 10


def rank_correlations(
    units: xr.Dataset,
    *,
    target: str = "loss_increase",
    measures: Sequence[str] | None = None,
    by: Sequence[str] = ("run",),
) -> xr.Dataset:
    """Return Spearman's rank correlation of a target with measures, over groups of units.

    Parameters
    ----------
    units
        Dataset on the dimension ``unit``, for example ``results.units`` or a part of it.
    target
        Variable that every measure is correlated with, by default an importance.
    measures
        The other variables; if None, those of selectivity, mutual information, L1 norm and
        first-order loss increase that the table has.
    by
        Coordinates of the units; each combination of their values is a group of its own. With
        none, all units are one group. Ranks are within a group.

    Returns
    -------
    Dataset on the dimension ``row``: one row a group and measure, in the order in which they
    come, with the columns of `by` and ``target``, ``measure``, ``spearman``, ``p_value`` (two-
    sided, t distribution) and ``n``, the number of units with both values. Ties have mean
    ranks. Where one of the two is constant, or ``n`` is under 3, the correlation is NaN.

    Raises
    ------
    TableError
        Where a variable or a coordinate does not exist.

    Notes
    -----
    Spearman, C. (1904). The proof and measurement of association between two things.
    """
    if measures is None:
        measures = [name for name in MEASURES if name in units.variables]
    for name in (target, *measures, *by):
        _need(units, name)
    values = {name: np.asarray(units[name].values, float) for name in (target, *measures)}
    rows = [
        {**group, "target": target, "measure": measure}
        | _spearman(values[target][where], values[measure][where])
        for group, where in _groups(units, by)
        for measure in measures
    ]
    columns = (*by, "target", "measure", "spearman", "p_value", "n")
    return as_rows(rows, columns)


def as_rows(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> xr.Dataset:
    """Return rows as a Dataset on the dimension ``row``, text as Python strings."""
    arrays = {name: np.array([row[name] for row in rows]) for name in columns}
    return xr.Dataset(
        {
            name: ("row", array.astype(object) if array.dtype.kind == "U" else array)
            for name, array in arrays.items()
        }
    )


def _need(units: xr.Dataset, name: str) -> None:
    if name not in units.variables:
        raise TableError(
            f"the table of units has no '{name}'; {nearest(name, map(str, units.variables))}"
        )
    if "unit" not in units[name].dims and units[name].ndim:
        raise TableError(f"'{name}' has dimensions {units[name].dims}, but it must be on 'unit'")


def _groups(units: xr.Dataset, by: Sequence[str]) -> Iterator[tuple[dict[str, object], np.ndarray]]:
    """Yield the coordinates of each group and the positions of its units."""
    import pandas as pd

    size = units.sizes["unit"]
    if not by:
        yield {}, np.arange(size)
        return
    keys = pd.DataFrame({name: np.broadcast_to(units[name].values, size) for name in by})
    for values, part in keys.groupby(list(by), sort=False):
        plain = [value.item() if isinstance(value, np.generic) else value for value in values]
        yield dict(zip(by, plain, strict=True)), part.index.to_numpy()


def _spearman(x: np.ndarray, y: np.ndarray) -> dict[str, float | int]:
    from scipy.stats import spearmanr

    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if x.size < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"spearman": float("nan"), "p_value": float("nan"), "n": x.size}
    found = spearmanr(x, y)
    return {
        "spearman": float(found.statistic),
        "p_value": float(found.pvalue) if x.size >= FEWEST_FOR_P else float("nan"),
        "n": x.size,
    }


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Return the correlation of finite values; NaN for fewer than three, or of a constant."""
    if x.size < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return the rank correlation of finite values; NaN for fewer than three, or of a constant."""
    from scipy.stats import rankdata

    return pearson(rankdata(x), rankdata(y))


def correlation_table(units: xr.Dataset, members: Mapping[str, Sequence[str]]) -> xr.Dataset:
    """Return the correlations of importance with every measure at hand.

    Parameters
    ----------
    units
        The table of all units.
    members
        Experiment to the names of its runs.

    Returns
    -------
    A table of the schema ``correlations``: over each network, each of its layers, and pooled
    over the networks of each experiment (epoch by epoch). Columns that do not apply to a row
    are empty, or -1.
    """
    parts = [
        _scoped(rank_correlations(units, by=("run", "epoch")), "run"),
        _scoped(rank_correlations(units, by=("run", "epoch", "layer", "depth")), "layer"),
    ]
    for experiment, runs in members.items():
        of_runs = units.isel(unit=np.flatnonzero(np.isin(units["run"].values, list(runs))))
        if of_runs.sizes["unit"] == 0:
            continue
        by = ("epoch",) if _several_epochs(of_runs) else ()
        pooled = rank_correlations(of_runs, by=by)
        parts.append(_scoped(pooled, "pooled", experiment=experiment))
    return annotate(xr.concat(parts, "row", data_vars="all"), "correlations")


def _several_epochs(units: xr.Dataset) -> bool:
    """Tell whether a run is among the units at more than one epoch."""
    pairs = set(zip(units["run"].values.tolist(), units["epoch"].values.tolist(), strict=True))
    return len(pairs) > len({run for run, _ in pairs})


def _scoped(rows: xr.Dataset, scope: str, *, experiment: str = "") -> xr.Dataset:
    size = rows.sizes["row"]
    columns = {"scope": scope, "experiment": experiment, "run": "", "layer": ""}
    text = {
        name: ("row", np.full(size, value, object))
        for name, value in columns.items()
        if name not in rows
    }
    numbers = {name: ("row", np.full(size, -1)) for name in ("epoch", "depth") if name not in rows}
    return rows.assign({**text, **numbers})
