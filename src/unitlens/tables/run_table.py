"""The table of all runs: settings, scores, and one number of each measurement."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from unitlens.analysis.curve_summaries import area_under_curve, noise_scale_at, random_orders
from unitlens.config.base import parse_at
from unitlens.config.networks import RunSpec
from unitlens.config.runs import run_of_network
from unitlens.errors import TableError
from unitlens.hashed_files import read_json
from unitlens.tables.unit_table import NOT_MEASURED
from unitlens.training.look_steps import trained_epochs
from unitlens.variables.checks import annotate

AGAIN = "remove the file and run snakemake again"
SCORES = ("train_accuracy", "test_accuracy", "train_loss", "test_loss")


@dataclass(frozen=True)
class RecordedNetwork:
    """What the record of a network says, as tables need it.

    Attributes
    ----------
    row
        Columns of the table of runs: ``run``, ``epoch``, ``classes``, the scores of
        :data:`SCORES`, and the settings of the run.
    spec
        The run.
    weights_hash
        Hash over the weights.
    """

    row: dict[str, Any]
    spec: RunSpec
    weights_hash: str


def read_network_record(directory: Path, network: str) -> RecordedNetwork:
    """Read ``checkpoint.json`` of a network.

    Parameters
    ----------
    directory
        Directory of all networks.
    network
        Name of the network, ``{run}`` or ``{run}/epoch-0005``.

    Raises
    ------
    TableError
        Where the network has no ``checkpoint.json``, or the file is damaged or lacks a key.
    """
    path = directory / network / "checkpoint.json"
    if not path.exists():
        raise TableError(
            f"the network {network} has no {path}; train it first: snakemake --cores 8 all"
        )
    record = read_json(path, error=TableError, remedy=AGAIN)
    try:
        scores = {name: float(record[name]) for name in SCORES}
        spec = parse_at(RunSpec, record["spec"], (str(path), "spec"))
        epoch = trained_epochs(int(record["epoch"]), record.get("origin_parts") or {})
        own = {"epoch": epoch, "classes": int(record["classes"])}
        row = {"run": run_of_network(network)} | own | scores | _setting_columns(spec)
        return RecordedNetwork(row, spec, str(record["weights_hash"]))
    except (KeyError, TypeError) as error:
        raise TableError(f"{path} is no record of a network ({error!r}); {AGAIN}") from error


def _setting_columns(spec: RunSpec) -> dict[str, Any]:
    """Return the settings of a run as columns; -1, NaN or empty where the run has none."""
    model, training = spec.model, spec.training
    widths = getattr(model, "widths", getattr(model, "channels", ()))
    batch_norm = getattr(model, "batch_norm", None)
    return {
        "dataset": spec.dataset.name,
        "corruption": float(spec.dataset.corruption),
        "model": model.name,
        "widths": " ".join(map(str, widths)),
        "width": float(getattr(model, "width", np.nan)),
        "dropout": float(getattr(model, "dropout", np.nan)),
        "batch_norm": -1 if batch_norm is None else int(batch_norm),
        "epochs": training.epochs if training else 0,
        "optimizer": training.optimizer if training else "",
        "learning_rate": training.learning_rate if training else np.nan,
        "batch_size": training.batch_size if training else -1,
        "weight_decay": training.weight_decay if training else np.nan,
        "selectivity_regulariser": training.selectivity_regulariser if training else np.nan,
        "settings": _other_settings(spec),
        "seed": spec.seed,
    }


# Fields of a spec that have a column of their own, or do not change the network.
_COLUMN_FIELDS: dict[str, Any] = {
    "dataset": {"name", "corruption"},
    "model": {"name", "widths", "channels", "width", "dropout", "batch_norm"},
    "training": {
        "epochs",
        "optimizer",
        "learning_rate",
        "batch_size",
        "weight_decay",
        "selectivity_regulariser",
        "checkpoints",
    },
    "seed": True,
}


def _other_settings(spec: RunSpec) -> str:
    """Write the fields of a spec that have no column and differ from their defaults."""
    rest = spec.model_dump(mode="json", exclude=_COLUMN_FIELDS, exclude_defaults=True)
    return " ".join(f"{key}={value}" for key, value in sorted(_flatten(rest, "").items()))


def _flatten(values: Mapping[str, Any], prefix: str) -> dict[str, str]:
    """Map the dotted key of each nested value to its JSON."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.dumps(value, separators=(",", ":"))
    return flat


def run_identity_table(records: Sequence[Mapping[str, Any]]) -> xr.Dataset:
    """Return the coordinates ``run`` and ``epoch`` of networks, on the dimension ``run``.

    Epochs are integers, or numbers of floating point where a network was kept inside an epoch.

    Parameters
    ----------
    records
        Row of each network, of :attr:`RecordedNetwork.row`.
    """
    names = np.array([record["run"] for record in records], object)
    told = [record["epoch"] for record in records]
    whole = all(isinstance(epoch, int) for epoch in told)
    epochs = np.array(told, np.int64 if whole else np.float64)
    return xr.Dataset(coords={"run": names, "epoch": ("run", epochs)})


def run_table(
    records: Sequence[Mapping[str, Any]],
    experiments: Sequence[Sequence[str]],
    tables: Mapping[str, xr.Dataset],
    places: Mapping[str, Sequence[int]],
    known: Sequence[str],
) -> xr.Dataset:
    """Join the settings, scores and summaries of networks.

    Parameters
    ----------
    records
        Row of each network, of :attr:`RecordedNetwork.row`.
    experiments
        The experiments that use each network.
    tables
        Those of the tables ``units``, ``curves`` and ``noise`` over all networks that exist.
    places
        Name of a table, ``curves`` or ``noise``, to the positions of its networks in `records`.
    known
        Names of all experiments, also of those whose networks are all left out.

    Returns
    -------
    A table of the schema ``runs``. Numbers that were not measured on a network are NaN, or -1.
    """
    table = run_identity_table(records)
    for name in records[0]:
        if name not in ("run", "epoch"):
            array = np.array([record[name] for record in records])
            table[name] = ("run", array.astype(object) if array.dtype.kind == "U" else array)
    summary = _curve_summary(tables, places, len(records)) | _unit_summary(tables, table)
    table = table.assign({name: ("run", array) for name, array in summary.items()})
    member = np.array([[name in own for name in known] for own in experiments])
    table = table.assign_coords(experiment=np.array(known, object))
    return annotate(table.assign(member=(("run", "experiment"), member)), "runs")


def _curve_summary(
    tables: Mapping[str, xr.Dataset], places: Mapping[str, Sequence[int]], size: int
) -> dict[str, np.ndarray]:
    """Return the area under the random orders' curves and the noise scale of half accuracy."""
    auc, scale = np.full(size, np.nan), np.full(size, np.nan)
    if "curves" in tables:
        areas = area_under_curve(random_orders(tables["curves"]))
        auc[list(places["curves"])] = areas.mean("order").values
    if "noise" in tables:
        scale[list(places["noise"])] = noise_scale_at(tables["noise"]).values
    largest = np.nanmax(auc) if np.isfinite(auc).any() else np.nan
    return {"auc": auc, "auc_normalized": auc / largest, "noise_scale_at_half": scale}


def _unit_summary(tables: Mapping[str, xr.Dataset], runs: xr.Dataset) -> dict[str, np.ndarray]:
    """Return number, dead number and mean measures of the measured units of each network."""
    import pandas as pd

    sources = {"mean_selectivity": "selectivity", "mean_mutual_information": "mutual_information"}
    if "selectivity" not in tables.get("units", {}):
        return {name: np.full(runs.sizes["run"], np.nan) for name in sources} | {
            name: np.full(runs.sizes["run"], -1) for name in ("units", "dead_units")
        }
    units = tables["units"]
    measured = units["undefined"].values != NOT_MEASURED
    frame = pd.DataFrame({name: units[name].values for name in ("run", "epoch", "dead")})
    for name, source in sources.items():
        frame[name] = units[source].values
    groups = frame[measured].groupby(["run", "epoch"], sort=False)
    summary = groups[list(sources)].mean()
    summary = summary.assign(units=groups.size(), dead_units=groups["dead"].sum())
    keys = pd.MultiIndex.from_arrays([runs["run"].values, runs["epoch"].values])
    summary = summary.reindex(keys).fillna({"units": -1, "dead_units": -1})
    return {
        name: summary[name].to_numpy(float if name in sources else np.int64)
        for name in summary.columns
    }
