"""The networks that a result comes from: rows of the table of runs, with their curves and units."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from unitlens.analysis.curve_summaries import random_orders
from unitlens.analysis.run_groups import rows_of
from unitlens.catalogue.comparisons import COMPARISONS
from unitlens.errors import TableError, nearest
from unitlens.reproduction.protocol import MEMORISED
from unitlens.reproduction.student_t import Floats
from unitlens.tables.results import Results


class NotMeasuredError(Exception):
    """Our result of a claim does not exist; the text of the error says why."""


@dataclass(frozen=True)
class Runs:
    """Some rows of the table of runs.

    Attributes
    ----------
    results
        The results that the runs are from.
    table
        The rows.
    """

    results: Results
    table: xr.Dataset = field(repr=False)

    @property
    def names(self) -> list[str]:
        """The names of the runs, in the order of the table."""
        return [str(name) for name in self.table["run"].values]

    def select(self, rows: np.ndarray) -> "Runs":
        """Return the runs at some positions, or where a boolean mask is true."""
        positions = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Runs(self.results, self.table.isel(run=positions))

    def select_names(self, names: Iterable[str]) -> "Runs":
        """Return the runs with some names, in the order of the table."""
        return self.select(np.isin(self.table["run"].values, list(names)))

    def select_equal(self, column: str, value: float) -> "Runs":
        """Return the runs with a value in a column.

        Raises
        ------
        NotMeasuredError
            Where there is no such run.
        """
        runs = self.select(np.isclose(self.table[column].values.astype(float), value))
        if not runs.names:
            raise NotMeasuredError(f"no network has {column} = {value:g}")
        return runs

    def corruption_levels(self) -> list[float]:
        """Return the levels of label corruption, ascending."""
        return [float(level) for level in np.unique(self.table["corruption"].values)]

    def random_curves(
        self, value: str | None = None, basis: str | None = None
    ) -> tuple["Runs", xr.Dataset]:
        """Return the runs with cumulative ablation in random orders, and their curves.

        Parameters
        ----------
        value
            What units were clamped to; as in the main curves if None.
        basis
            The directions that were ablated; as in the main curves if None.

        Raises
        ------
        NotMeasuredError
            Where there are no such curves.
        """
        curves = random_orders(self.results.curves, value=value, basis=basis)
        if not curves.sizes["order"]:
            clamped = f" clamped to {value}" if value else ""
            raise NotMeasuredError(f"no curves of {basis or 'units'}{clamped} were measured")
        return self.with_curves(curves)

    def with_curves(self, curves: xr.Dataset) -> tuple["Runs", xr.Dataset]:
        """Return the runs that have some of the curves, and these curves.

        Raises
        ------
        NotMeasuredError
            Where no run has any.
        """
        table = rows_of(curves, self.names).transpose("run", "order", "ablated")
        table = measured_networks(table, "cumulative ablation was not measured on these networks")
        return self.select_names(table["run"].values), table

    def units(self, *columns: str) -> xr.Dataset:
        """Return the table of the units of all runs.

        Parameters
        ----------
        columns
            Variables that the table must have.

        Raises
        ------
        NotMeasuredError
            Where a variable is missing.
        """
        units = self.results.units
        for name in columns:
            if name not in units.variables:
                raise NotMeasuredError(f"{name} was not measured")
        return units

    def memorisation_notes(self) -> tuple[str, ...]:
        """Return a remark if networks have not learnt the labels that they were trained on."""
        accuracy = self.table["train_accuracy"].values
        short = accuracy < MEMORISED
        if not short.any():
            return ()
        note = (
            f"{short.sum()} of {short.size} networks did not memorise their labels: train accuracy "
            f"is under {MEMORISED:g} (lowest {accuracy.min():.3f})"
        )
        return (note,)


def check_group(group: str) -> None:
    """Check that a group of the paper's results exists.

    Parameters
    ----------
    group
        Name of the group.

    Raises
    ------
    TableError
        Where :data:`unitlens.catalogue.comparisons.COMPARISONS` has no group of this name.
    """
    if group not in COMPARISONS:
        raise TableError(
            f"the paper has no results called '{group}'; {nearest(group, COMPARISONS)}"
        )


def measured_networks(table: xr.Dataset, missing: str) -> xr.Dataset:
    """Return the rows of a table of curves, on ``run`` first, that hold an accuracy.

    Parameters
    ----------
    table
        The table.
    missing
        Text of the error where no row holds any.

    Raises
    ------
    NotMeasuredError
        Where no row holds any.
    """
    measured = np.isfinite(table["accuracy"].values).any((1, 2))
    if not measured.any():
        raise NotMeasuredError(missing)
    return table.isel(run=np.flatnonzero(measured))


def rows_by_run(table: xr.DataArray, dim: str) -> dict[str, Floats]:
    """Return, for each run, its values along a dimension, without rows that are not finite.

    Parameters
    ----------
    table
        Array on ``run``, `dim` and at most one more dimension.
    dim
        The dimension of the rows, such as ``order``.
    """
    ordered = table.transpose("run", dim, ...)
    return {
        str(run): rows[np.isfinite(rows).reshape(len(rows), -1).all(1)]
        for run, rows in zip(ordered["run"].values, np.asarray(ordered.values, float), strict=True)
    }
