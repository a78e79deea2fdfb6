"""Rank correlations between variables of units, such as measures and importance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from unitlens.analysis.reliability import corrected_for_attenuation, ranking_reliability
from unitlens.catalogue.measures import IMPORTANCE_SCORES
from unitlens.errors import TableError, nearest
from unitlens.variables.checks import annotate

MEASURES = (*IMPORTANCE_SCORES, "loss_increase_first_order")
FEWEST = 3  # two pairs are always in perfect order
# With fewer pairs the t distribution is a poor approximation: a perfect order of three has p = 0.
FEWEST_FOR_P = 10
_OF_CORRELATION = ("spearman", "p_value", "n")
_OF_ESTIMATES = ("reliability", "spearman_corrected")  # columns where the target is estimated


def rank_correlations(
    units: xr.Dataset,
    *,
    target: str = "loss_increase",
    measures: Sequence[str] | None = None,
    by: Sequence[str] = ("run",),
) -> xr.Dataset:
    """Compute Spearman's rank correlation of a target with measures, over groups of units.

    Parameters
    ----------
    units
        Dataset on the dimension ``unit``, for example ``results.units`` or a selection from it.
    target
        Variable that every measure is correlated with; by default an importance.
    measures
        Names of the other variables. If None, all variables that the table has of selectivity,
        mutual information, L1 norm (the measures declared for it) and first-order loss increase.
    by
        Names of coordinates of the units. Each combination of their values is a group, and ranks
        are within a group. Without names, all units are one group.

    Returns
    -------
    Dataset on the dimension ``row``, with one row for each group and measure: the columns of
    `by`, ``target``, ``measure``, ``spearman``, ``p_value`` (two-sided, t distribution; NaN for
    fewer than ten units) and ``n``, the number of units with both values. Where the target is
    estimated from drawn pairs (the table has its ``_sampling_se``), also ``reliability``, the share
    of the target's variance over the units of the group that is no error of drawing, and
    ``spearman_corrected``, the correlation corrected for attenuation by it. Groups come in the
    order of their first units. Ties have mean ranks. The correlation is NaN where the target or the
    measure is constant, or ``n`` is below 3.

    Raises
    ------
    TableError
        Where a variable or a coordinate does not exist.

    Notes
    -----
    Spearman, C. (1904). The proof and measurement of association between two things,
    doi:10.2307/1412159: the rank correlation, and the correction for attenuation.

    Examples
    --------
    >>> import unitlens as ul
    >>> import xarray as xr
    >>> units = xr.Dataset(
    ...     {
    ...         "loss_increase": ("unit", [0.1, 0.2, 0.3, 0.4]),
    ...         "selectivity": ("unit", [0.9, 0.8, 0.5, 0.7]),
    ...     },
    ...     coords={"run": ("unit", ["a"] * 4)},
    ... )
    >>> rows = ul.rank_correlations(units)
    >>> rows["run"].item(), rows["measure"].item(), round(rows["spearman"].item(), 3)
    ('a', 'selectivity', -0.8)
    """
    if measures is None:
        measures = [name for name in MEASURES if name in units.variables]
    for name in (target, *measures, *by):
        _need(units, name)
    return _correlate(units, target, measures, [_group(units, by)])[0]


@dataclass(frozen=True)
class _Grouping:
    """Groups of units: the coordinates of a group, and for each its values and its units."""

    by: tuple[str, ...]
    groups: Sequence[tuple[dict[str, object], np.ndarray]]


def _correlate(
    units: xr.Dataset, target: str, measures: Sequence[str], groupings: Sequence[_Grouping]
) -> list[xr.Dataset]:
    """Return the rows of each grouping of the units. One measure at a time is in memory."""
    x = np.asarray(units[target].values, float)
    drawing = f"{target}_sampling_se"
    is_estimated = drawing in units.variables
    # An importance without an error of drawing is exact.
    errors = np.nan_to_num(np.asarray(units[drawing].values, float)) if is_estimated else None
    columns = (*_OF_CORRELATION, *(_OF_ESTIMATES if is_estimated else ()))
    sizes = [(len(grouping.groups), len(measures), len(columns)) for grouping in groupings]
    found = [np.full(size, np.nan) for size in sizes]
    for place, measure in enumerate(measures):
        y = np.asarray(units[measure].values, float)
        for grouping, numbers in zip(groupings, found, strict=True):
            for row, (_, where) in enumerate(grouping.groups):
                drawn = None if errors is None else errors[where]
                row_of = _spearman(x[where], y[where], drawn)
                numbers[row, place] = [row_of[name] for name in columns]
    return [
        _rows_of_groups(grouping, target, measures, dict(zip(columns, numbers.T, strict=True)))
        for grouping, numbers in zip(groupings, found, strict=True)
    ]


def _rows_of_groups(
    grouping: _Grouping, target: str, measures: Sequence[str], numbers: Mapping[str, np.ndarray]
) -> xr.Dataset:
    """Return a row for each group and measure; `numbers` are of shape (measures, groups)."""
    size = len(grouping.groups)
    of_groups = as_rows([group for group, _ in grouping.groups], grouping.by)
    rows = {name: array.values.repeat(len(measures)) for name, array in of_groups.items()}
    rows["target"] = np.full(size * len(measures), target, object)
    rows["measure"] = np.tile(np.array(measures, object), size)
    rows |= {name: array.T.ravel() for name, array in numbers.items()}
    rows["n"] = rows["n"].astype(np.int64)
    return xr.Dataset({name: ("row", array) for name, array in rows.items()})


def as_rows(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> xr.Dataset:
    """Return rows as a Dataset on the dimension ``row``, with text as Python strings."""
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
        raise TableError(
            f"'{name}' has dimensions {units[name].dims}, but must be on 'unit'; name another "
            "variable"
        )


def _group(units: xr.Dataset, by: Sequence[str], within: np.ndarray | None = None) -> _Grouping:
    """Group the units at the positions `within`, or all units, by the values of coordinates."""
    within = np.arange(units.sizes["unit"]) if within is None else within
    return _Grouping(tuple(by), list(_groups(units, by, within)))


def _groups(
    units: xr.Dataset, by: Sequence[str], within: np.ndarray
) -> Iterator[tuple[dict[str, object], np.ndarray]]:
    """Yield the values of the coordinates of each group, and the positions of its units."""
    import pandas as pd

    size = units.sizes["unit"]
    if not by:
        yield {}, within
        return
    keys = pd.DataFrame({name: np.broadcast_to(units[name].values, size)[within] for name in by})
    for values, part in keys.groupby(list(by), sort=False):
        plain = [value.item() if isinstance(value, np.generic) else value for value in values]
        yield dict(zip(by, plain, strict=True)), within[part.index.to_numpy()]


def _spearman(
    x: np.ndarray, y: np.ndarray, errors: np.ndarray | None = None
) -> dict[str, float | int]:
    """Return the columns of a correlation, and those of estimates where `x` has errors."""
    from scipy.stats import spearmanr

    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    rho = p_value = float("nan")
    if x.size >= FEWEST and np.ptp(x) > 0 and np.ptp(y) > 0:
        correlation = spearmanr(x, y)
        rho = float(correlation.statistic)
        p_value = float(correlation.pvalue) if x.size >= FEWEST_FOR_P else float("nan")
    columns: dict[str, float | int] = {"spearman": rho, "p_value": p_value, "n": x.size}
    if errors is None:
        return columns
    reliability = ranking_reliability(x, errors[both])
    corrected = corrected_for_attenuation(rho, reliability)
    return columns | dict(zip(_OF_ESTIMATES, (reliability, corrected), strict=True))


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Return the correlation of finite values; NaN for fewer than three values or a constant."""
    if x.size < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Return the rank correlation of finite values; NaN as :func:`pearson`."""
    from scipy.stats import rankdata

    return pearson(rankdata(x), rankdata(y))


def correlation_table(units: xr.Dataset, members: Mapping[str, Sequence[str]]) -> xr.Dataset:
    """Return the correlations of importance with measures of the units.

    Parameters
    ----------
    units
        The table of all units. Of its variables, one at a time is read.
    members
        Names of the runs of each experiment, by the experiment's name.

    Returns
    -------
    A table of the schema ``correlations``: over the units of each network, of each layer, and of
    all networks of each experiment (epoch by epoch). Columns that do not apply to a row are empty,
    or -1.
    """
    import pandas as pd

    groupings = {
        ("run", ""): _group(units, ("run", "epoch")),
        ("layer", ""): _group(units, ("run", "epoch", "layer", "depth")),
    }
    names = pd.Series(units["run"].values, dtype=object)
    for experiment, runs in members.items():
        of_runs = np.flatnonzero(names.isin(list(runs)).to_numpy())
        if of_runs.size:
            by = ("epoch",) if _several_epochs(units, of_runs) else ()
            groupings["pooled", experiment] = _group(units, by, of_runs)
    measures = [name for name in MEASURES if name in units.variables]
    tables = _correlate(units, "loss_increase", measures, list(groupings.values()))
    parts = [
        _scoped(rows, scope, experiment=experiment)
        for (scope, experiment), rows in zip(groupings, tables, strict=True)
    ]
    return annotate(xr.concat(parts, "row", data_vars="all"), "correlations")


def _several_epochs(units: xr.Dataset, within: np.ndarray) -> bool:
    """Tell whether the units at some positions are of more than one epoch of a run."""
    names, epochs = (units[name].values[within].tolist() for name in ("run", "epoch"))
    pairs = set(zip(names, epochs, strict=True))
    return len(pairs) > len({run for run, _ in pairs})


def _scoped(rows: xr.Dataset, scope: str, *, experiment: str = "") -> xr.Dataset:
    """Return rows with all columns of the table, empty or -1 where a column does not apply."""
    size = rows.sizes["row"]
    columns = {"scope": scope, "experiment": experiment, "run": "", "layer": ""}
    text = {
        name: ("row", np.full(size, value, object))
        for name, value in columns.items()
        if name not in rows
    }
    numbers = {name: ("row", np.full(size, -1)) for name in ("epoch", "depth") if name not in rows}
    return rows.assign({**text, **numbers})
