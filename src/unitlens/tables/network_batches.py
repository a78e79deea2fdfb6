"""Reading the files of all networks, some networks at a time, in several processes."""

import multiprocessing
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from unitlens.analysis.stored_drops import with_intervals
from unitlens.errors import UsedUpMemoryError
from unitlens.store.backend.netcdf import read_netcdf
from unitlens.tables.input_checks import ExpectedFiles, InputChecker
from unitlens.tables.run_table import read_network_record
from unitlens.tables.unit_blocks import UnitBlock, write_block
from unitlens.tables.unit_table import PARTS, unit_rows
from unitlens.variables.checks import validate

CURVES = ("cumulative_ablation", "noise_robustness", "history")  # small files, kept in memory
BATCH_BYTES = 2**25  # of the files of units; a process needs about five times as much
BATCH_NETWORKS = 64  # at most


@dataclass(frozen=True)
class NetworkBatch:
    """Some networks that are read together.

    Attributes
    ----------
    results
        Directory of the networks.
    files
        Name of each network to the schemas of the files that are joined.
    expected
        Name of each network to its files as :func:`unitlens.tables.tabulate.tabulate` takes them.
    block
        The file to which the joined units are written.
    """

    results: Path
    files: Mapping[str, Collection[str]]
    expected: Mapping[str, ExpectedFiles] | None
    block: Path


@dataclass(frozen=True)
class ReadNetworks:
    """What the files of a batch of networks hold.

    Attributes
    ----------
    rows
        Row of each network in the table of runs, of
        :attr:`unitlens.tables.run_table.RecordedNetwork.row`.
    hashes
        Hash of each file, by its path in the directory of the networks.
    curves
        Each of :data:`CURVES` to the position of a network in the batch to the network's table.
    attributes
        ``unit_measures`` and ``unit_ablation``, each to the attributes of the tables of networks.
    units
        The file of the joined units; None where no network has any.
    """

    rows: list[dict[str, Any]]
    hashes: dict[str, str]
    curves: dict[str, dict[int, xr.Dataset]]
    attributes: dict[str, list[dict[str, Any]]]
    units: UnitBlock | None


def make_batches(
    results: Path,
    files: Mapping[str, Collection[str]],
    expected: Mapping[str, ExpectedFiles] | None,
    blocks: Path,
) -> list[NetworkBatch]:
    """Divide networks into batches of about :data:`BATCH_BYTES` of units, one network at least.

    Parameters
    ----------
    results
        Directory of the networks.
    files
        Name of each network to the schemas of the files that are joined.
    expected
        Name of each network to its files, or None.
    blocks
        Directory for the joined units of each batch.
    """
    groups: list[list[str]] = []
    size = 0
    for network, schemas in files.items():
        own = sum(_size(results / network / f"{part}.nc") for part in PARTS if part in schemas)
        full = not groups or size + own > BATCH_BYTES or len(groups[-1]) == BATCH_NETWORKS
        if full:
            groups.append([])
            size = 0
        groups[-1].append(network)
        size += own
    return [
        NetworkBatch(
            results,
            {network: files[network] for network in group},
            None if expected is None else {name: expected.get(name, {}) for name in group},
            blocks / f"{number}.npz",
        )
        for number, group in enumerate(groups)
    ]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def read_batches(batches: Sequence[NetworkBatch], processes: int) -> Iterator[ReadNetworks]:
    """Check and read the files of networks, and yield what they hold batch by batch.

    HDF5 reads one file at a time in a process, hence several processes read.

    Parameters
    ----------
    batches
        The batches.
    processes
        Largest number of processes. One batch, or one process, is read by the process at hand.

    Raises
    ------
    TableError
        Where a file is missing, is damaged, does not follow its schema, or does not fit.
    UsedUpMemoryError
        Where the system ended one of the processes.
    """
    processes = min(processes, len(batches))
    if processes <= 1:
        yield from map(read_batch, batches)
        return
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawned) as pool:
        try:
            yield from pool.map(read_batch, batches)
        except BrokenProcessPool as error:
            raise UsedUpMemoryError(
                f"one of {processes} processes that read the files of networks was ended by the "
                "system, which it does where memory is used up; give the step more memory, or one "
                "thread: snakemake --set-threads tabulate=1"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def read_batch(batch: NetworkBatch) -> ReadNetworks:
    """Check and read the files of the networks of one batch, and write their joined units.

    Parameters
    ----------
    batch
        The batch.

    Raises
    ------
    TableError
        Where a file is missing, is damaged, does not follow its schema, or does not fit.
    """
    checker = InputChecker(batch.results, batch.expected)
    records = [read_network_record(batch.results, network) for network in batch.files]
    for (network, schemas), record in zip(batch.files.items(), records, strict=True):
        checker.check(network, record, [f"{schema}.nc" for schema in sorted(schemas)])
    curves = {schema: _without_descriptions(_read(batch, schema)) for schema in CURVES}
    parts = {part: _read(batch, part) for part in PARTS}
    ablations = parts["unit_ablation"]
    parts["unit_ablation"] = {place: with_intervals(own) for place, own in ablations.items()}
    return ReadNetworks(
        rows=[record.row for record in records],
        hashes=checker.hashes,
        curves=curves,
        attributes={part: [table.attrs for table in parts[part].values()] for part in PARTS},
        units=write_block(unit_rows(parts), batch.block) if any(parts.values()) else None,
    )


def _read(batch: NetworkBatch, schema: str) -> dict[int, xr.Dataset]:
    """Return the position of each network that has a file of a schema to the file's table."""
    tables = {}
    for place, (network, schemas) in enumerate(batch.files.items()):
        path = batch.results / network / f"{schema}.nc"
        if schema in schemas and path.exists():
            tables[place] = read_netcdf(path).drop_encoding()
            validate(tables[place], schema)
    return tables


def _without_descriptions(tables: Mapping[int, xr.Dataset]) -> dict[int, xr.Dataset]:
    """Return tables without the attributes of their variables, which take most of the memory."""
    return {
        place: table.drop_attrs(deep=True).assign_attrs(table.attrs)
        for place, table in tables.items()
    }
