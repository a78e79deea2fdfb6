"""What we have to set beside a result of the paper, and the networks that it comes from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import xarray as xr

from unitlens.analysis.curve_summaries import random_orders
from unitlens.analysis.run_groups import rows_of
from unitlens.reproduction.bootstrap import BootstrapEstimate, Floats, interval
from unitlens.tables.results import Results

MEMORISED = 0.99  # train accuracy, on its own labels, of a network that has memorised


class Counts(NamedTuple):
    """Units and orders (draws, where noise was added) that an estimate is over; 0 if none."""

    units: int = 0
    orders: int = 0


NONE = Counts()


class NotMeasuredError(Exception):
    """A result has no number of ours; its text says why."""


@dataclass(frozen=True)
class Evidence:
    """A number of ours, or the reason why there is none.

    Attributes
    ----------
    value, low, high
        The number and its 95 % interval.
    over
        What was resampled; empty where nothing could be, and the interval is the number itself.
    networks, units, orders
        How many there were; `orders` are draws where noise was added. 0 where they play no part.
    values
        Of an order, one a level.
    ordered
        Of an order, the share of the resamples in which it holds.
    missing
        Why there is no number.
    notes
        What must be known of the networks.
    """

    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    over: str = ""
    networks: int = 0
    units: int = 0
    orders: int = 0
    values: tuple[float, ...] = ()
    ordered: float = float("nan")
    missing: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Runs:
    """Some rows of the table of runs, and the results that they are of."""

    results: Results
    table: xr.Dataset = field(repr=False)

    @property
    def names(self) -> list[str]:
        """Return their names."""
        return [str(name) for name in self.table["run"].values]

    def take(self, where: np.ndarray) -> "Runs":
        """Return the runs at places, or where a mask is true."""
        places = np.flatnonzero(where) if where.dtype == bool else where
        return Runs(self.results, self.table.isel(run=places))

    def where(self, name: str, value: float) -> "Runs":
        """Return the runs in whose spec a number is `value`.

        Raises
        ------
        NotMeasuredError
            Where there is none.
        """
        found = self.take(np.isclose(self.table[name].values.astype(float), value))
        if not found.names:
            raise NotMeasuredError(f"no network has {name} = {value:g}")
        return found

    def levels(self) -> list[float]:
        """Return the levels of label corruption, ascending."""
        return [float(level) for level in np.unique(self.table["corruption"].values)]

    def named(self, names: Iterable[str]) -> "Runs":
        """Return the runs of some names, in the order of the table."""
        return self.take(np.isin(self.table["run"].values, list(names)))

    def with_table(self, table: xr.Dataset) -> "Runs":
        """Return the runs that a table over runs or units has rows of."""
        return self.named(table["run"].values)

    def curves(
        self, value: str | None = None, basis: str | None = None
    ) -> tuple["Runs", xr.Dataset]:
        """Return the runs whose units were ablated in random orders, and their curves.

        Parameters
        ----------
        value, basis
            What was clamped to what; as in the main curves where None.
        """
        return self.of_orders(_variant(self.results.curves, value, basis))

    def of_orders(self, curves: xr.Dataset) -> tuple["Runs", xr.Dataset]:
        """Return the runs that some curves are of, and their curves."""
        table = rows_of(curves, self.names)
        table = table.transpose("run", "order", "ablated")
        there = np.isfinite(table["accuracy"].values).any((1, 2))
        table = table.isel(run=np.flatnonzero(there))
        if not table.sizes["run"]:
            raise NotMeasuredError("cumulative ablation was not measured on these networks")
        return self.with_table(table), table

    def notes(self) -> tuple[str, ...]:
        """Return which networks have not learnt the labels that they were trained on."""
        accuracy = self.table["train_accuracy"].values
        short = accuracy < MEMORISED
        if not short.any():
            return ()
        told = (
            f"{short.sum()} of {short.size} networks have not memorised: train accuracy on their "
            f"labels is under {MEMORISED:g} (lowest {accuracy.min():.3f})"
        )
        return (told,)


def _variant(curves: xr.Dataset, value: str | None, basis: str | None) -> xr.Dataset:
    chosen = random_orders(curves, value=value, basis=basis)
    if not chosen.sizes["order"]:
        clamped = f" clamped to {value}" if value else ""
        raise NotMeasuredError(f"no curves of {basis or 'units'}{clamped} were measured")
    return chosen


def by_order(values: xr.DataArray) -> list[Floats]:
    """Return, for each run, one value an order; orders that a run lacks are left out."""
    rows = values.transpose("run", "order").values
    return [np.asarray(row[np.isfinite(row)], float) for row in rows]


def from_estimate(
    estimate: BootstrapEstimate, runs: Runs, counts: Counts = NONE, notes: Sequence[str] = ()
) -> Evidence:
    """Return an estimate with what it rests on."""
    low, high = interval(estimate)
    return Evidence(
        value=estimate.value,
        low=low,
        high=high,
        over=estimate.over,
        networks=len(runs.names),
        units=counts.units,
        orders=counts.orders,
        missing="" if np.isfinite(estimate.value) else "it is undefined on these networks",
        notes=(*runs.notes(), *notes),
    )


def of_order(estimates: Sequence[BootstrapEstimate], runs: Runs, counts: Counts) -> Evidence:
    """Return how sure it is that independent estimates fall strictly, in the order given."""
    resamples = np.stack([estimate.resamples for estimate in estimates])
    falling = (np.diff(resamples, axis=0) < 0).all(0)
    over = " or ".join(dict.fromkeys(e.over for e in estimates if e.over))
    return Evidence(
        over=over if all(estimate.over for estimate in estimates) else "",
        networks=len(runs.names),
        units=counts.units,
        orders=counts.orders,
        values=tuple(estimate.value for estimate in estimates),
        ordered=float(falling.mean()),
        notes=runs.notes(),
    )
