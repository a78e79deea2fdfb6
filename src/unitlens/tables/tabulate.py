"""Join the files of all networks into the tables over all networks."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import xarray as xr

from unitlens.analysis.correlations import correlation_table
from unitlens.config.measurements import MEASUREMENT_FILES
from unitlens.config.runs import is_kept_epoch, run_of_network
from unitlens.errors import TableError, nearest
from unitlens.failed_network import failure_of
from unitlens.provenance.file_provenance import FileProvenance
from unitlens.store.backend.netcdf import read_netcdf
from unitlens.tables.curve_tables import curve_table, history_table, noise_table
from unitlens.tables.input_checks import ExpectedFiles, InputChecker
from unitlens.tables.run_table import read_network_record, run_identity_table, run_table
from unitlens.tables.table_set import Tables, write_table_set
from unitlens.tables.tables_record import FINAL, KEPT, Sizes
from unitlens.tables.unit_table import PARTS, unit_table
from unitlens.variables.checks import validate

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

    Returns
    -------
    ``final``, and ``checkpoints`` if there are kept epochs, to the sizes of each table.

    Raises
    ------
    TableError
        Where there is no network to tabulate, `measured` lacks an experiment of a network, a
        network has no ``checkpoint.json``, a file is damaged, does not follow its schema, or does
        not fit, or the disk is full.
    """
    results = Path(results)
    files = {
        network: {*_measurements(network, experiments, measured), "history"}
        for network, experiments in networks.items()
    }
    failed = _failed_networks(results, networks)
    checker = InputChecker(results, expected)
    sets: dict[str, Tables] = {}
    for of, kept in ((FINAL, False), (KEPT, True)):
        asked = {name: networks[name] for name in networks if is_kept_epoch(name) is kept}
        known = list(dict.fromkeys(name for own in asked.values() for name in own))
        joined = {name: own for name, own in asked.items() if name not in failed}
        if joined:
            sets[of] = _join_networks(results, joined, known, files, checker)
    if FINAL not in sets:
        raise TableError(_no_network(failed))
    inputs = {**provenance.inputs, "networks": checker.digest}
    record = write_table_set(
        results,
        sets,
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
    results: Path,
    networks: Mapping[str, Sequence[str]],
    known: Sequence[str],
    measured: Mapping[str, Collection[str]],
    checker: InputChecker,
) -> Tables:
    """Return the tables over some networks, from the files of each network that exist.

    Parameters
    ----------
    results
        Directory of the networks.
    networks
        Name of each network to the experiments that use the network.
    known
        Names of all experiments.
    measured
        Name of each network to the schemas of the files that are joined.
    checker
        Checks the files of each network.
    """
    files = {name: measured[name] for name in networks}
    records = [read_network_record(results, name) for name in networks]
    for name, record in zip(networks, records, strict=True):
        checker.check(name, record, [f"{schema}.nc" for schema in sorted(files[name])])
    rows = [record.row for record in records]
    identity = run_identity_table(rows)
    tables, places = _join_files(results, files, identity)
    tables["runs"] = run_table(rows, list(networks.values()), tables, places, known)
    if {"loss_increase", "selectivity"} <= set(tables.get("units", {})):
        tables["correlations"] = correlation_table(tables["units"], _runs_of_experiments(networks))
    logger.info("tables of %d networks: %s", len(networks), ", ".join(sorted(tables)))
    return tables


def _join_files(
    results: Path, files: Mapping[str, Collection[str]], identity: xr.Dataset
) -> tuple[dict[str, xr.Dataset], dict[str, list[int]]]:
    """Return the tables for which files exist, and the positions of their networks."""
    tables, places = {}, {}
    parts = {part: _read_files(results, files, part) for part in PARTS}
    if any(parts.values()):
        tables["units"] = unit_table(parts, identity)
    for name, schema, join in (
        ("curves", "cumulative_ablation", curve_table),
        ("noise", "noise_robustness", noise_table),
        ("history", "history", history_table),
    ):
        contents = _read_files(results, files, schema)
        if contents:
            tables[name], places[name] = join(contents, identity), list(contents)
    return tables, places


def _read_files(
    results: Path, files: Mapping[str, Collection[str]], schema: str
) -> dict[int, xr.Dataset]:
    """Return the position of each network that has a file of a schema to the file's table."""
    tables = {}
    for place, (network, schemas) in enumerate(files.items()):
        path = results / network / f"{schema}.nc"
        if schema in schemas and path.exists():
            tables[place] = read_netcdf(path).drop_encoding()
            validate(tables[place], schema)
    return tables


def _runs_of_experiments(networks: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    runs: dict[str, list[str]] = {}
    for network, experiments in networks.items():
        for experiment in experiments:
            runs.setdefault(experiment, []).append(run_of_network(network))
    return runs
