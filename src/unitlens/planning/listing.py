"""The tables and notes of an estimate, in Markdown or for a terminal."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unitlens.planning.plan_estimate import PlanEstimate

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Listing:
    """A table of text: the heads of the columns, and the cells of each row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Return the table in Markdown, its columns aligned."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        rule = tuple("-" * width for width in widths)
        lines = (self.columns, rule, *self.rows)
        return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)

    def rich(self) -> "Table":
        """Return the table for a terminal."""
        from rich.table import Table

        table = Table(*self.columns)
        for row in self.rows:
            table.add_row(*row)
        return table


def list_stores(estimate: PlanEstimate) -> Listing:
    """Return the table of the stores, with sums."""
    rows = [
        (
            *(group.name, f"{group.stores:,}", f"{group.layers:,}", f"{group.units:,}"),
            *(f"{group.samples:,}", _size(group.bytes), _size(group.compressed)),
            f"{group.files:,}",
        )
        for group in estimate.stores
    ]
    stores, before, after, files = (
        sum(getattr(group, name) for group in estimate.stores)
        for name in ("stores", "bytes", "compressed", "files")
    )
    rows.append(("in all", f"{stores:,}", "", "", "", _size(before), _size(after), f"{files:,}"))
    columns = ("activations of", "stores", "layers", "units", "samples")
    return Listing((*columns, "before compression", "after", "files"), tuple(rows))


def list_stages(estimate: PlanEstimate) -> Listing:
    """Return the table of the rules, with sums and maxima."""
    rows = [
        (
            *(stage.rule, f"{stage.jobs:,}", _time(stage.hours), _time(stage.longest)),
            _size(stage.memory) if stage.memory else "-",
        )
        for stage in estimate.stages
    ]
    jobs = sum(stage.jobs for stage in estimate.stages)
    hours = sum(stage.hours for stage in estimate.stages)
    longest = max(stage.longest for stage in estimate.stages)
    memory = max(stage.memory for stage in estimate.stages)
    rows.append(("in all", f"{jobs:,}", _time(hours), _time(longest), _size(memory)))
    return Listing(("rule", "jobs", "all jobs", "longest job", "memory"), tuple(rows))


def assumptions(estimate: PlanEstimate) -> tuple[str, ...]:
    """Return the assumptions of an estimate, a line each."""
    from unitlens.planning import rates
    from unitlens.planning.described_networks import TOLERANCE_SHARE

    machine = estimate.machine
    passes = ", ".join(f"{name} {macs / 1e6:,.4g}" for name, macs in estimate.forward.items())
    maps, neurons = rates.MAPS.value, rates.NEURONS.value
    small = (
        f"Networks that one job measures (measure_network): {estimate.of_one_job}; the rows of its "
        "steps count them."
    )
    return (
        *([small] if estimate.of_one_job else []),
        f"Million multiply-adds of one sample's forward pass: {passes}.",
        f"GFLOP/s in forward passes (--gflops): {machine.gflops:g}.",
        f"MB/s from the disk (--read-mb): {machine.read_mb:g}.",
        "Jobs one after another, without the seconds of their start.",
        f"Compression as elsewhere: {maps:g} of feature maps, {neurons:g} of dense layers.",
        "Upper bounds: unit_ablation, where units are zero for samples; train, with a stop rule.",
        f"A tolerance of unit_ablation: taken to need {TOLERANCE_SHARE:.0%} of the pairs.",
    )


def _size(size: int) -> str:
    return _scaled(size, (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)), "bytes")


def _time(hours: float) -> str:
    if not hours:
        return "-"
    return _scaled(hours * 3600, (("d", 86400), ("h", 3600), ("min", 60)), "s")


def _scaled(value: float, scales: Iterable[tuple[str, float]], smallest: str) -> str:
    for unit, scale in scales:
        if value >= 0.9995 * scale:  # 999.5 of a smaller unit is shown as 1,000
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g} {smallest}"
