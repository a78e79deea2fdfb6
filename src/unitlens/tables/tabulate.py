"""Join the files of all networks into the tables over all networks."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import xarray as xr

from unitlens.analysis.correlations import correlation_table
from unitlens.config.measurements import MEASUREMENT_FILES
from unitlens.config.runs import is_kept_epoch, run_of_network
from unitlens.errors import TableError, nearest
from unitlens.store.backend.netcdf import read_netcdf
from unitlens.tables.curve_tables import curve_table, history_table, noise_table
from unitlens.tables.run_table import read_record, run_identity_table, run_table
from unitlens.tables.storage import remove_tables, write_tables
from unitlens.tables.unit_table import PARTS, unit_table
from unitlens.variables.checks import validate

logger = logging.getLogger("unitlens")

MEASURED = tuple(MEASUREMENT_FILES.values())

Sizes = dict[str, dict[str, int]]


def tabulate(
    results: str | Path,
    networks: Mapping[str, Sequence[str]],
    *,
    measured: Mapping[str, Mapping[str, Collection[str]]],
) -> dict[str, Sizes]:
    """Write the tables over all runs, and the same tables over all kept epochs.

    Parameters
    ----------
    results
        Directory of the networks. The tables over runs are written there, the tables over kept
        epochs to its folder ``checkpoints``, as :func:`tabulate_networks` does.
    networks
        Name of each network, ``{run}`` or ``{run}/epoch-0005`` for a kept epoch, to the
        experiments that use the network.
    measured
        Each experiment to the measurements of its networks: ``runs`` and ``kept`` (epochs), both
        a list of :data:`MEASURED`. The tables join the measurements of any of a network's
        experiments.

    Returns
    -------
    ``final``, and ``checkpoints`` if there are kept epochs, to the sizes of each table.

    Raises
    ------
    TableError
        As :func:`tabulate_networks`; also where `measured` lacks an experiment of a network.
    """
    results = Path(results)
    measurements = {
        network: _measurements(network, experiments, measured)
        for network, experiments in networks.items()
    }
    runs = {name: of for name, of in networks.items() if not is_kept_epoch(name)}
    kept = {name: of for name, of in networks.items() if is_kept_epoch(name)}
    sizes = {"final": tabulate_networks(results, runs, results, measured=measurements)}
    directory = results / "checkpoints"
    remove_tables(directory)
    if kept:
        sizes["checkpoints"] = tabulate_networks(results, kept, directory, measured=measurements)
    return sizes


def _measurements(
    network: str,
    experiments: Sequence[str],
    measured: Mapping[str, Mapping[str, Collection[str]]],
) -> set[str]:
    """Return the measurements of a network that any of its experiments makes."""
    for experiment in experiments:
        if experiment not in measured:
            raise TableError(
                f"the network {network} belongs to the experiment '{experiment}', but measured "
                f"does not say what is measured on its networks; {nearest(experiment, measured)}"
            )
    kind = "kept" if is_kept_epoch(network) else "runs"
    return {name for experiment in experiments for name in measured[experiment][kind]}


def tabulate_networks(
    results: str | Path,
    networks: Mapping[str, Sequence[str]],
    directory: str | Path,
    *,
    measured: Collection[str] | Mapping[str, Collection[str]] = MEASURED,
) -> Sizes:
    """Write the tables over some networks, from the files of each network that exist.

    Parameters
    ----------
    results
        Directory of the networks.
    networks
        Name of each network, ``{run}`` or ``{run}/epoch-0005`` for a kept epoch, to the
        experiments that use the network.
    directory
        Directory to which ``runs``, ``units``, ``curves``, ``noise``, ``history`` and
        ``correlations`` are written, each as ``.zarr`` and as tidy ``.parquet``. ``runs`` is
        always written; another table only if any network has its measurement. Tables of an
        earlier call are removed.
    measured
        Measurements that are joined: the same for all networks, or the name of each network to
        its own. A file of another measurement is ignored: it may come from an earlier
        configuration, and from other weights.

    Returns
    -------
    Name of each written table to its sizes, by dimension.

    Raises
    ------
    TableError
        Where there is no network, a network has no ``checkpoint.json``, or a file does not
        follow its schema.
    """
    results, directory = Path(results), Path(directory)
    if not networks:
        raise TableError("there is no network to tabulate; name at least one")
    names = list(networks)
    if not isinstance(measured, Mapping):
        measured = dict.fromkeys(names, measured)
    records = [read_record(results, name) for name in names]
    identity = run_identity_table(records)
    files = {name: {*measured[name], "history"} for name in names}
    tables, places = _join_files(results, files, identity)
    tables["runs"] = run_table(records, list(networks.values()), tables, places)
    if {"loss_increase", "selectivity"} <= set(tables.get("units", {})):
        tables["correlations"] = correlation_table(tables["units"], _runs_of_experiments(networks))
    write_tables(tables, directory)
    logger.info("tables of %d networks: %s", len(names), ", ".join(sorted(tables)))
    return {name: {str(dim): size for dim, size in tables[name].sizes.items()} for name in tables}


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
