"""What figures need: runs, tables and variables, and the error where the results lack any of them.

The functions of this module raise :class:`UnmetNeedError`, which does not name a figure. The
decorators :func:`figure` and :func:`finding` name the figure, so that the name of a figure stands
in its declaration and in the names of its two functions only.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import xarray as xr

from unitlens.analysis.run_groups import ALL, RunGroup, group_runs, rows_of
from unitlens.errors import TableError, nearest
from unitlens.plot.style import styled
from unitlens.tables.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

Draw = Callable[..., "Figure"]  # of results and runs, and the numbers of the paper by keyword
Tell = Callable[[Results, Sequence[str]], str]

FINDING = "_finding"  # ends the name of the function that tells a figure's finding
# Fields of a run's spec that tell kinds of networks apart.
KIND = ("dataset", "model", "widths", "width", "corruption", "dropout", "batch_norm")


class UnmetNeedError(TableError):
    """The results lack what a figure needs.

    The text is the rest of a sentence that begins with the figure: "needs ...", "cannot be drawn:
    ...".
    """


class UndrawnFigureError(TableError):
    """A figure cannot be drawn from the results; the text begins with "the figure NAME"."""


def figure(draw: Callable[P, "Figure"]) -> Callable[P, "Figure"]:
    """Mark the function that draws a figure; the function bears the figure's name.

    The function draws in the style of all figures. Its :class:`UnmetNeedError` becomes an
    :class:`UndrawnFigureError`.
    """
    return styled(_name_in_errors(draw, draw.__name__))


def finding(tell: Tell) -> Tell:
    """Mark the function that tells a figure's finding, and name the figure in its errors."""
    return _name_in_errors(tell, tell.__name__.removesuffix(FINDING))


def _name_in_errors(function: Callable[P, R], name: str) -> Callable[P, R]:
    @wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except UnmetNeedError as error:
            raise UndrawnFigureError(f"the figure {name} {error}") from None

    return inside


def require_table(results: Results, name: str) -> xr.Dataset:
    """Return the table of a name."""
    table: xr.Dataset = _read(results, name)
    return table


def require_kept(results: Results) -> Results:
    """Return the results at the kept epochs."""
    kept: Results = _read(results, "checkpoints")
    return kept


def _read(results: Results, name: str) -> Any:
    try:
        return getattr(results, name)
    except TableError as error:
        raise UnmetNeedError(f"cannot be drawn: {error}") from None


def require_values(table: xr.Dataset, name: str) -> np.ndarray:
    """Return the values of a variable, of which at least one must be known."""
    if name not in table.variables or not _is_any_known(table[name].values):
        raise UnmetNeedError(
            f"needs '{name}', which was measured on none of its runs; measure it, or leave the "
            "figure out of `figures`"
        )
    return np.asarray(table[name].values)


def _is_any_known(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any()) if values.dtype.kind == "f" else values.size > 0


def require_runs(results: Results, runs: Sequence[str]) -> xr.Dataset:
    """Return the rows of runs in the table of runs; there must be a run, and each must exist."""
    known = list(map(str, results.runs["run"].values))
    for run in runs:
        if run not in known:
            raise UnmetNeedError(
                f"is to show the run '{run}', which the results lack; {nearest(run, known)}"
            )
    if not runs:
        raise UnmetNeedError("has no run to show; name an experiment with runs")
    return rows_of(results.runs, runs)


def require_units(results: Results, runs: Sequence[str], variables: Sequence[str]) -> xr.Dataset:
    """Return the units of runs on which all variables were measured; there must be a unit."""
    require_runs(results, runs)
    units = rows_of(require_table(results, "units"), runs)
    measured = np.ones(units.sizes["unit"], bool)
    for name in variables:
        measured &= np.isfinite(require_values(units, name))
    if not measured.any():
        raise UnmetNeedError(
            f"needs units on which all of {', '.join(variables)} were measured, but there is none; "
            "measure the same layers"
        )
    return units.isel(unit=np.flatnonzero(measured))


def runs_by_dataset(results: Results, runs: Sequence[str]) -> list[RunGroup]:
    """Return the runs of each data set."""
    return group_runs(require_runs(results, runs), ("dataset",))


def titles_of(groups: Sequence[RunGroup]) -> list[str]:
    """Return a title for each group: its label, or nothing where there is one group only."""
    return ["" if group.label == ALL else group.label for group in groups]
