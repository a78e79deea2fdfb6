"""The kept epochs of a run: which there are, and their units."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from unitlens.config.looks import epoch_text
from unitlens.errors import MissingTableError, UnitlensError
from unitlens.tables.tables_record import COMMAND

if TYPE_CHECKING:
    from unitlens.tables.results import Results

END = "end of training"
EPOCH = "%.10g"  # how a slider writes an epoch


def epoch_words(epoch: float | None) -> str:
    """Return the words for an epoch, None for the end of training.

    Examples
    --------
    >>> epoch_words(4), epoch_words(0.25), epoch_words(None)
    ('epoch 4', 'epoch 0.25', 'end of training')
    """
    return END if epoch is None else f"epoch {epoch_text(epoch)}"


def not_kept(what: str, epoch: float | None = None, section: str = "measures") -> str:
    """Return the line that something was not measured at a kept epoch.

    Parameters
    ----------
    what
        Words for it, such as ``activations``.
    epoch
        The epoch; None where no kept epoch was measured.
    section
        The section of the measurements that measures it.
    """
    at = "any kept epoch" if epoch is None else epoch_words(epoch)
    return (
        f"there are no {what} of {at}; set measurements.{section}.checkpoints to true and run: "
        f"{COMMAND}"
    )


def kept_epochs(results: "Results", run: str) -> list[float]:
    """Return the kept epochs of a run that the results have tables of, in order.

    Parameters
    ----------
    results
        The results.
    run
        Name of the run.
    """
    return _epochs_in(results, "runs", run)


def runs_with_epochs(results: "Results") -> list[str]:
    """Return the names of the runs that kept epochs.

    Parameters
    ----------
    results
        The results.

    Raises
    ------
    TableError
        Where there is no table of kept epochs.
    """
    return list(dict.fromkeys(map(str, results.checkpoints.runs["run"].values)))


def measured_epochs(results: "Results", run: str) -> list[float]:
    """Return the kept epochs of a run whose units were measured, in order.

    Parameters
    ----------
    results
        The results.
    run
        Name of the run.
    """
    return _epochs_in(results, "units", run)


def _epochs_in(results: "Results", name: str, run: str) -> list[float]:
    """Return the kept epochs of a run in a table; none where the table cannot be read."""
    try:
        table = getattr(results.checkpoints, name)
    except UnitlensError:
        return []
    epochs = table["epoch"].values[table["run"].values == run]
    return [int(epoch) if epoch == int(epoch) else float(epoch) for epoch in np.unique(epochs)]


def units_of(results: "Results", run: str, epoch: float | None) -> xr.Dataset:
    """Return the units of a run at an epoch.

    Parameters
    ----------
    results
        The results.
    run
        Name of the run.
    epoch
        A kept epoch; None for the end of training.

    Raises
    ------
    TableError
        Where there is no such table, or the epoch has no units.
    """
    if epoch is None:
        return results.units.sel(run=run)
    try:
        units = results.checkpoints.units
    except MissingTableError:
        raise MissingTableError(not_kept("measures", epoch)) from None
    rows = np.flatnonzero((units["run"].values == run) & (units["epoch"].values == epoch))
    if not rows.size:
        raise MissingTableError(not_kept("measures", epoch))
    return units.isel(unit=rows)


def row_of(table: xr.Dataset, run: str, epoch: float | None) -> xr.Dataset:
    """Return the row of a run in a table that has one a run, or one a run and kept epoch.

    Parameters
    ----------
    table
        A table of :attr:`Results.checkpoints`, or of the results for the end of training.
    run
        Name of the run.
    epoch
        A kept epoch; None for the end of training.

    Raises
    ------
    TableError
        Where the table has no such row.
    """
    there = table["run"].values == run
    if epoch is not None:
        there &= table["epoch"].values == epoch
    rows = np.flatnonzero(there)
    if not rows.size:
        raise MissingTableError(f"run = {run!r}: the table has no row of {epoch_words(epoch)}")
    return table.isel(run=int(rows[0]))
