"""Join the files of all networks into the tables over all networks."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import xarray as xr

from unitlens.analysis.correlations import correlation_table
from unitlens.errors import TableError
from unitlens.tables.curve_tables import curve_table, history_table, noise_table
from unitlens.tables.run_table import read_record, run_identity_table, run_table
from unitlens.tables.storage import write_tables
from unitlens.tables.unit_table import PARTS, unit_table
from unitlens.variables.checks import validate

logger = logging.getLogger("unitlens")

MEASURED = (*PARTS, "cumulative_ablation", "noise_robustness")


def tabulate(
    results: str | Path,
    networks: Mapping[str, Sequence[str]],
    directory: str | Path,
    *,
    measured: Collection[str] | Mapping[str, Collection[str]] = MEASURED,
) -> dict[str, dict[str, int]]:
    """Write the tables over all networks, from the files of each that exist.

    Parameters
    ----------
    results
        Directory of the networks.
    networks
        Name of each network (a run, or ``{run}/epoch-0005`` for a kept epoch) to the
        experiments that it belongs to.
    directory
        Where ``runs``, ``units``, ``curves``, ``noise``, ``history`` and ``correlations`` are
        written, each as ``.zarr`` and as tidy ``.parquet``. A table for which no network has
        been measured is not written (and one of an earlier call removed); ``runs`` always is.
    measured
        Which measurements are joined, of all networks or, by its name, of each. A file of any
        other may lie there from an earlier configuration, and be of other weights.

    Returns
    -------
    Name of each table that was written to its sizes.

    Raises
    ------
    TableError
        Where there is no network, one has no ``checkpoint.json``, or a file is not of its
        schema.
    """
    results, directory = Path(results), Path(directory)
    if not networks:
        raise TableError("there is no network to tabulate; name at least one")
    names = list(networks)
    kinds = measured if isinstance(measured, Mapping) else dict.fromkeys(names, measured)
    records = [read_record(results, name) for name in names]
    identity = run_identity_table(records)
    tables, places = _joined(results, {name: {*kinds[name], "history"} for name in names}, identity)
    tables["runs"] = run_table(records, list(networks.values()), tables, places)
    if {"loss_increase", "selectivity"} <= set(tables.get("units", {})):
        tables["correlations"] = correlation_table(tables["units"], _members(networks))
    write_tables(tables, directory)
    logger.info("tables of %d networks: %s", len(names), ", ".join(sorted(tables)))
    return {name: {str(dim): size for dim, size in tables[name].sizes.items()} for name in tables}


def _joined(
    results: Path, kinds: Mapping[str, Collection[str]], identity: xr.Dataset
) -> tuple[dict[str, xr.Dataset], dict[str, list[int]]]:
    """Return the tables for which there are files, and the positions of their networks."""
    tables, places = {}, {}
    parts = {part: _read(results, kinds, part) for part in PARTS}
    if any(parts.values()):
        tables["units"] = unit_table(parts, identity)
    for table, schema, make in (
        ("curves", "cumulative_ablation", curve_table),
        ("noise", "noise_robustness", noise_table),
        ("history", "history", history_table),
    ):
        found = _read(results, kinds, schema)
        if found:
            tables[table], places[table] = make(found, identity), list(found)
    return tables, places


def _read(
    results: Path, kinds: Mapping[str, Collection[str]], schema: str
) -> dict[int, xr.Dataset]:
    found = {}
    for place, (name, of) in enumerate(kinds.items()):
        path = results / name / f"{schema}.nc"
        if schema in of and path.exists():
            found[place] = xr.load_dataset(path, engine="h5netcdf").drop_encoding()
            validate(found[place], schema)
    return found


def _members(networks: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for network, experiments in networks.items():
        for experiment in experiments:
            members.setdefault(experiment, []).append(network.partition("/")[0])
    return members
