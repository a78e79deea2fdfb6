"""The columns of a table of units, each read when it is first asked for."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from unitlens.errors import TableError, nearest

if TYPE_CHECKING:
    from unitlens.explorer.axis_scales import Values
    from unitlens.tables.results import Results

_CLASS = "_class"  # how the name of a variable ends whose values are classes
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class UnitName:
    """What names one unit of a results folder.

    Attributes
    ----------
    run
        Name of the run.
    layer
        Name of the layer.
    channel
        Index of the unit in the layer.
    """

    run: str
    layer: str
    channel: int


class UnitColumns:
    """The units of all runs, column by column.

    Parameters
    ----------
    table
        The table :attr:`Results.units`.
    """

    def __init__(self, table: xr.Dataset) -> None:
        self.table = table
        self.size = table.sizes["unit"]
        self._read: dict[str, npt.NDArray[Any]] = {}

    @cached_property
    def measures(self) -> dict[str, str]:
        """Label, with units, of each variable that is a number of a unit, and its name."""
        return self._labelled(
            name
            for name in self._scalars()
            if self.table[name].dtype.kind in "fiu" and not str(name).endswith(_CLASS)
        )

    @cached_property
    def classes(self) -> dict[str, str]:
        """Label of each variable whose values are classes, and its name."""
        return self._labelled(
            name
            for name in self._scalars()
            if self.table[name].dtype.kind in "iu" and str(name).endswith(_CLASS)
        )

    def _scalars(self) -> list[Hashable]:
        return [
            name for name, variable in self.table.data_vars.items() if variable.dims == ("unit",)
        ]

    def _labelled(self, names: Any) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in map(str, names):
            label = self.label(name)
            found[label if label not in found else f"{label} [{name}]"] = name
        return found

    def label(self, name: str) -> str:
        """Return the words for a variable, with its units.

        Parameters
        ----------
        name
            Name of the variable.
        """
        attributes = self.table[name].attrs
        units = attributes.get("units", "")
        words = str(attributes.get("long_name", name))
        return f"{words} ({units})" if units not in {"", "1"} else words

    def values(self, name: str) -> "Values":
        """Return a variable of all units as floating-point numbers.

        Parameters
        ----------
        name
            Name of the variable.
        """
        if name not in self._read:
            self._read[name] = np.asarray(self.table[name].values, np.float64)
        return self._read[name]

    @cached_property
    def channels(self) -> Rows:
        """Channel of each unit."""
        return np.asarray(self.table["channel"].values, np.int64)

    @cached_property
    def _run_factors(self) -> tuple[Rows, list[str]]:
        codes, names = pd.factorize(self.table["run"].values)
        return codes.astype(np.int64), [str(name) for name in names]

    @property
    def runs(self) -> list[str]:
        """Names of the runs, in the order of the table."""
        return self._run_factors[1]

    @property
    def run_codes(self) -> Rows:
        """Place of each unit's run in :attr:`runs`."""
        return self._run_factors[0]

    @cached_property
    def _layer_factors(self) -> tuple[Rows, list[str]]:
        codes, names = pd.factorize(self.table["layer"].values)
        return codes.astype(np.int64), [str(name) for name in names]

    @property
    def layers(self) -> list[str]:
        """Names of the layers, each once, in the order in which the table has them."""
        return self._layer_factors[1]

    @property
    def layer_codes(self) -> Rows:
        """Place of each unit's layer in :attr:`layers`."""
        return self._layer_factors[0]

    @cached_property
    def depths(self) -> Rows:
        """Index of each unit's layer in the forward pass, from 0."""
        return np.asarray(self.table["depth"].values, np.int64)

    @cached_property
    def short_runs(self) -> list[str]:
        """Names of the runs without the hash at their end, where they stay different."""
        return short_names(self.runs)

    def layers_of(self, run: str) -> list[str]:
        """Return the names of the layers of a run, in the order of the forward pass.

        Parameters
        ----------
        run
            Name of the run.
        """
        return list(
            dict.fromkeys(self.layers[code] for code in self.layer_codes[self.rows_of([run])])
        )

    def rows_of(self, runs: Sequence[str]) -> Rows:
        """Return the rows of the units of runs.

        Parameters
        ----------
        runs
            Names of the runs.
        """
        wanted = np.isin(np.array(self.runs, object), np.array(list(runs), object))
        return np.flatnonzero(wanted[self.run_codes])

    def name_of(self, row: int) -> UnitName:
        """Return the name of the unit of a row.

        Parameters
        ----------
        row
            The row, from 0.
        """
        return UnitName(
            self.runs[self.run_codes[row]],
            self.layers[self.layer_codes[row]],
            int(self.channels[row]),
        )

    def row_of(self, unit: UnitName) -> int:
        """Return the row of a unit.

        Parameters
        ----------
        unit
            Name of the unit.

        Raises
        ------
        TableError
            Where the table has no such unit.
        """
        if unit.run in self.runs and unit.layer in self.layers:
            found = np.flatnonzero(
                (self.run_codes == self.runs.index(unit.run))
                & (self.layer_codes == self.layers.index(unit.layer))
                & (self.channels == unit.channel)
            )
            if found.size:
                return int(found[0])
        raise TableError(
            f"run = {unit.run!r}, layer = {unit.layer!r}, channel = {unit.channel}: the table of "
            f"units has no such unit; {self._names_like(unit)}"
        )

    def _names_like(self, unit: UnitName) -> str:
        """Tell the names that there are in place of the first wrong part of a unit's name."""
        if unit.run not in self.runs:
            return f"of its runs: {nearest(unit.run, self.runs)}"
        layers = self.layers_of(unit.run)
        if unit.layer not in layers:
            return f"of the layers of the run: {nearest(unit.layer, layers)}"
        of_layer = (self.run_codes == self.runs.index(unit.run)) & (
            self.layer_codes == self.layers.index(unit.layer)
        )
        there = self.channels[of_layer]
        return f"the layer has channels from {there.min()} to {there.max()}"

    def frame(self, rows: Rows, names: Sequence[str]) -> pd.DataFrame:
        """Return rows of the table with what names a unit and some variables.

        Parameters
        ----------
        rows
            The rows.
        names
            Names of the variables.
        """
        columns: dict[str, Any] = {
            "run": pd.Categorical.from_codes(self.run_codes[rows], pd.Index(self.runs)),
            "layer": pd.Categorical.from_codes(self.layer_codes[rows], pd.Index(self.layers)),
            "channel": self.channels[rows],
        }
        for name in names:
            if name in self.classes.values():
                columns[name] = self.values(name)[rows].astype(np.int64)
            else:
                columns[name] = self.values(name)[rows]
        return pd.DataFrame(columns)


@lru_cache(2)
def columns_of(results: "Results") -> UnitColumns:
    """Return the units of results, whose columns all pages of the results share.

    Parameters
    ----------
    results
        The results.

    Raises
    ------
    TableError
        Where there is no table of units, or it is damaged.
    """
    return UnitColumns(results.units)


def short_names(runs: Sequence[str]) -> list[str]:
    """Return the names of runs without the hash at their end, where they stay different.

    Parameters
    ----------
    runs
        Names of the runs.

    Examples
    --------
    >>> short_names(["mlp-seed1-365b0ec5de92", "mlp-seed2-12a6713706cd"])
    ['mlp-seed1', 'mlp-seed2']
    >>> short_names(["mlp-seed1-365b0ec5de92", "mlp-seed1-12a6713706cd"])
    ['mlp-seed1-365b0ec5de92', 'mlp-seed1-12a6713706cd']
    """
    shorter = [name.rpartition("-")[0] or name for name in runs]
    return [
        short if shorter.count(short) == 1 else name
        for short, name in zip(shorter, runs, strict=True)
    ]
