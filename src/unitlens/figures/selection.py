"""What a figure shows: its runs, and the tables it cannot do without."""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from unitlens.analysis.run_groups import (
    ALL,
    RunGroup,
    group_runs,
    rows_of,
)
from unitlens.errors import TableError, nearest
from unitlens.tables.results import Results

Tell = Callable[[Results, Sequence[str]], str]


def table_of(results: Results, name: str, figure: str) -> xr.Dataset:
    """Return a table that a figure cannot do without."""
    try:
        table: xr.Dataset = getattr(results, name)
    except TableError as error:
        raise TableError(f"the figure {figure} cannot be drawn: {error}") from None
    return table


def variable_of(table: xr.Dataset, name: str, figure: str) -> np.ndarray:
    """Return the values of a variable that a figure cannot do without."""
    if name not in table.variables or not _any_value(table[name].values):
        raise TableError(
            f"the figure {figure} needs '{name}', which was measured on none of its runs; "
            "measure it, or leave the figure out of `figures`"
        )
    return np.asarray(table[name].values)


def _any_value(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any()) if values.dtype.kind == "f" else values.size > 0


def specs_of(results: Results, runs: Sequence[str], figure: str) -> xr.Dataset:
    """Return the rows of the table of runs that a figure shows.

    Raises
    ------
    TableError
        Where there is none, or a name is unknown.
    """
    known = list(map(str, results.runs["run"].values))
    for run in runs:
        if run not in known:
            raise TableError(
                f"the figure {figure} is to show the run '{run}', which the results lack; "
                f"{nearest(run, known)}"
            )
    if not runs:
        raise TableError(f"the figure {figure} has no run to show; name an experiment with runs")
    return rows_of(results.runs, runs)


def by_dataset(results: Results, runs: Sequence[str], figure: str) -> list[RunGroup]:
    """Return the runs of each data set, which one panel shows."""
    return group_runs(specs_of(results, runs, figure), ("dataset",))


def titles_of(parts: Sequence[RunGroup]) -> list[str]:
    """Return a title for each part, empty where it is the only one."""
    return ["" if part.label == ALL else part.label for part in parts]


def tell_each(results: Results, runs: Sequence[str], figure: str, tell: Tell) -> str:
    """Tell a finding for each data set."""
    parts = by_dataset(results, runs, figure)
    if len(parts) == 1:
        return tell(results, runs)
    return " ".join(f"{part.label}: {tell(results, part.runs)}" for part in parts)


def networks(count: int) -> str:
    """Return "1 network" or "n networks"."""
    return f"{count} network" if count == 1 else f"{count} networks"
