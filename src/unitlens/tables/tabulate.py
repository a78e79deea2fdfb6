"""Join the files of all networks into the tables over all networks."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import xarray as xr

from unitlens.analysis.correlations import correlation_table
from unitlens.config.measurements import MEASUREMENT_FILES
from unitlens.config.runs import is_kept_epoch, run_of_network
from unitlens.errors import TableError, nearest
from unitlens.failed_network import failure_of
from unitlens.hashed_files import hash_values
from unitlens.provenance.file_provenance import FileProvenance
from unitlens.tables.curve_tables import curve_table, history_table, noise_table
from unitlens.tables.input_checks import ExpectedFiles
from unitlens.tables.network_batches import ReadNetworks, make_batches, read_batches
from unitlens.tables.run_table import run_identity_table, run_table
from unitlens.tables.storage import same_attributes
from unitlens.tables.table_set import NewTableSet, new_table_set
from unitlens.tables.tables_record import FINAL, KEPT, Sizes
from unitlens.tables.unit_blocks import UnitBlocks
from unitlens.tables.unit_table import PARTS

logger = logging.getLogger("unitlens")

MEASURED = tuple(MEASUREMENT_FILES.values())
BY_HAND = FileProvenance("tabulate")


def tabulate(
    results: str | Path,
    networks: Mapping[str, Sequence[str]],
    *,
    measured: Mapping[str, Mapping[str, Collection[str]]] | None = None,
    expected: Mapping[str, ExpectedFiles] | None = None,
    provenance: FileProvenance = BY_HAND,
    threads: int = 1,
) -> dict[str, Sizes]:
    """Write the tables over all runs, and the same tables over all kept epochs.

    The files of each network are checked first: against the hash that each carries, against
    `expected`, and against the network, the data set and the files that they were computed from.
    A network whose training failed is left out with a warning, and is listed in ``tables.json``.

    Parameters
    ----------
    results
        Directory of the networks. ``runs``, ``units``, ``curves``, ``noise``, ``history`` and
        ``correlations`` are written there, each as ``.zarr`` and as tidy ``.parquet``, and the
        tables over kept epochs to its folder ``checkpoints``. ``runs`` is always written; another
        table only if any network has its measurement. ``tables.json`` has the sizes of all tables
        and the hash of each of their files. Earlier tables are replaced when the new ones are
        complete.
    networks
        Name of each network, ``{run}`` or ``{run}/epoch-0005`` for a kept epoch, to the
        experiments that use the network.
    measured
        Each experiment to the measurements of its networks: ``runs`` and ``kept`` (epochs), both
        a list of :data:`MEASURED`. The tables join the measurements of any of a network's
        experiments. A file of another measurement is ignored: it may come from an earlier
        configuration. None joins every file that exists.
    expected
        Name of each network to its files, by their paths in its directory, each with the values
        of the :class:`FileProvenance` that the file must state, as ``plan.json`` has them. None
        accepts any settings and code.
    provenance
        What the tables are made from: step, settings and code. The hash of all files that are
        read is added to its inputs.
    threads
        Largest number of processes that read the files of networks. Few networks are read by one
        process, as they are with 1. The tables are the same with any number.

    Returns
    -------
    ``final``, and ``checkpoints`` if there are kept epochs, to the sizes of each table.

    Raises
    ------
    TableError
        Where there is no network to tabulate, `measured` lacks an experiment of a network, a
        network has no ``checkpoint.json``, a file is damaged, does not follow its schema, or does
        not fit, or the disk is full.
    UsedUpMemoryError
        Where the system ended a process that reads files.

    Notes
    -----
    Networks are read in batches of 32 MiB of units, or of one network that has more. A batch at a
    time is in memory, for each of the processes, and so are curves and histories of all networks,
    names of all units, and two variables of all units.
    """
    results = Path(results)
    files = {
        network: {*_measurements(network, experiments, measured), "history"}
        for network, experiments in networks.items()
    }
    failed = _failed_networks(results, networks)
    if not any(name not in failed and not is_kept_epoch(name) for name in networks):
        raise TableError(_no_network(failed))
    hashes: dict[str, str] = {}
    with new_table_set(results) as new:
        for of, kept in ((FINAL, False), (KEPT, True)):
            asked = {name: networks[name] for name in networks if is_kept_epoch(name) is kept}
            known = list(dict.fromkeys(name for own in asked.values() for name in own))
            joined = {name: own for name, own in asked.items() if name not in failed}
            if not joined:
                continue
            with new.blocks() as blocks:
                measured_on = {name: files[name] for name in joined}
                batches = make_batches(results, measured_on, expected, blocks)
                read = list(read_batches(batches, threads))
                hashes |= {file: digest for batch in read for file, digest in batch.hashes.items()}
                _join_networks(new, of, joined, known, read)
        inputs = {**provenance.inputs, "networks": hash_values(hashes)}
        record = new.install(
            failed={name: reason for name, reason in failed.items() if not is_kept_epoch(name)},
            provenance=replace(provenance, inputs=inputs),
        )
    return dict(record.tables)


def _measurements(
    network: str,
    experiments: Sequence[str],
    measured: Mapping[str, Mapping[str, Collection[str]]] | None,
) -> Collection[str]:
    """Return the measurements of a network that any of its experiments makes."""
    if measured is None:
        return MEASURED
    for experiment in experiments:
        if experiment not in measured:
            raise TableError(
                f"the network {network} belongs to the experiment '{experiment}', but measured "
                f"does not say what is measured on its networks; {nearest(experiment, measured)}"
            )
    kind = "kept" if is_kept_epoch(network) else "runs"
    return {name for experiment in experiments for name in measured[experiment][kind]}


def _failed_networks(results: Path, networks: Iterable[str]) -> dict[str, str]:
    """Return the networks whose training failed, each with the reason."""
    failed = {name: failure_of(results / name) for name in networks}
    failed = {name: reason for name, reason in failed.items() if reason}
    for name, reason in failed.items():
        if not is_kept_epoch(name):
            logger.warning("%s is left out of the tables: %s", name, reason)
    return failed


def _no_network(failed: Mapping[str, str]) -> str:
    if not failed:
        return "there is no network to tabulate; name at least one"
    name, reason = next(iter(failed.items()))
    return (
        f"there is no network to tabulate: the training of each of {len(failed)} failed, of {name} "
        f"with: {reason}; change the training in the configuration, then run snakemake again"
    )


def _join_networks(
    new: NewTableSet,
    of: str,
    networks: Mapping[str, Sequence[str]],
    known: Sequence[str],
    read: Sequence[ReadNetworks],
) -> None:
    """Write the tables over some networks, from what the files of the networks hold.

    Parameters
    ----------
    new
        What the tables are written to.
    of
        ``final``, or ``checkpoints`` for kept epochs.
    networks
        Name of each network to the experiments that use the network.
    known
        Names of all experiments.
    read
        What the files hold, batch by batch.
    """
    rows = [row for batch in read for row in batch.rows]
    identity = run_identity_table(rows)
    tables: dict[str, xr.Dataset] = {}
    places: dict[str, list[int]] = {}
    blocks = [(first, batch.units) for first, batch in _numbered(read) if batch.units]
    if blocks:
        attributes = _attributes_of_units(read)
        tables["units"] = new.write_units(of, UnitBlocks(blocks, identity, attributes))
    for name, schema, join in (
        ("curves", "cumulative_ablation", curve_table),
        ("noise", "noise_robustness", noise_table),
        ("history", "history", history_table),
    ):
        contents = _contents(read, schema)
        if contents:
            tables[name], places[name] = join(contents, identity), list(contents)
            new.write(of, name, tables[name])
    new.write(of, "runs", run_table(rows, list(networks.values()), tables, places, known))
    names = [*tables, "runs"]
    if {"loss_increase", "selectivity"} <= set(tables.get("units", {})):
        members = _runs_of_experiments(networks)
        new.write(of, "correlations", correlation_table(tables["units"], members))
        names.append("correlations")
    logger.info("tables of %d networks: %s", len(networks), ", ".join(sorted(names)))


def _numbered(read: Sequence[ReadNetworks]) -> Iterator[tuple[int, ReadNetworks]]:
    """Yield each batch with the position of its first network."""
    first = 0
    for batch in read:
        yield first, batch
        first += len(batch.rows)


def _contents(read: Sequence[ReadNetworks], schema: str) -> dict[int, xr.Dataset]:
    """Return the position of each network that has a file of a schema to the file's table."""
    return {
        first + place: table
        for first, batch in _numbered(read)
        for place, table in batch.curves[schema].items()
    }


def _attributes_of_units(read: Sequence[ReadNetworks]) -> dict[str, object]:
    """Return the attributes that all tables of a part of the units share, by part and name."""
    attributes: dict[str, object] = {}
    for part in PARTS:
        of_tables = (own for batch in read for own in batch.attributes[part])
        attributes |= same_attributes(of_tables, prefix=f"{part}_")
    return attributes


def _runs_of_experiments(networks: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    runs: dict[str, list[str]] = {}
    for network, experiments in networks.items():
        for experiment in experiments:
            runs.setdefault(experiment, []).append(run_of_network(network))
    return runs
