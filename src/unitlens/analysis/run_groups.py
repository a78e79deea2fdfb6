"""Groups of runs with the same spec, and the labels of the groups."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from unitlens.errors import TableError, nearest

# Fields of a run's spec by which the groups of a figure may differ, with the form of a label.
_WORDS: dict[str, Callable[[Any], str]] = {
    "dataset": str,
    "model": str,
    "corruption": lambda value: f"corruption {value:g}",
    "dropout": lambda value: f"dropout {value:g}" if value else "no dropout",
    "batch_norm": lambda value: {1: "batch norm", 0: "no batch norm"}.get(value, ""),
    "selectivity_regulariser": lambda value: f"alpha {value:g}",
    "widths": lambda value: f"widths {value}",
    "width": lambda value: f"width x{value:g}",
    "optimizer": str,
    "learning_rate": lambda value: f"rate {value:g}",
    "batch_size": lambda value: f"batch {value}",
    "weight_decay": lambda value: f"decay {value:g}",
    "epochs": lambda value: f"{value} epochs",
    "settings": str,
}
FIELDS = tuple(_WORDS)
BESIDE_MODEL = ("selectivity_regulariser", *FIELDS[FIELDS.index("optimizer") :])
_LEADING = ("dataset", "model")  # other fields are named where runs that agree in these differ
ALL = "all runs"  # label of the only group
WITHOUT = "without"  # label of a group without the settings in the labels of other groups


@dataclass(frozen=True)
class RunGroup:
    """Runs with the same values of some fields of their spec."""

    label: str
    values: dict[str, object]
    runs: tuple[str, ...]


def members_of(runs: xr.Dataset, experiments: Sequence[str], asked: str) -> xr.Dataset:
    """Return the rows of the table of runs that belong to experiments.

    Parameters
    ----------
    runs
        The table of runs.
    experiments
        Names of experiments.
    asked
        Beginning of the error text: "the figure x is to show".

    Raises
    ------
    TableError
        Where the table lacks an experiment.
    """
    known = list(map(str, runs["experiment"].values))
    for name in experiments:
        if name not in known:
            raise TableError(
                f"{asked} the experiment '{name}', which the results lack; {nearest(name, known)}"
            )
    member = runs["member"].sel(experiment=list(experiments)).any("experiment")
    return runs.isel(run=np.flatnonzero(member.values))


def rows_of(table: xr.Dataset, runs: Sequence[str]) -> xr.Dataset:
    """Return the rows of a table on ``run`` or ``unit`` that belong to `runs`."""
    dim = "unit" if "unit" in table.dims else "run"
    return table.isel({dim: np.flatnonzero(np.isin(table["run"].values, list(runs)))})


def group_runs(specs: xr.Dataset, fields: Sequence[str] | None = None) -> list[RunGroup]:
    """Group runs by fields of their spec, sorted by the fields.

    Parameters
    ----------
    specs
        Rows of the table of runs.
    fields
        Names of columns of `specs`; by default all fields of the spec except the seed.

    Returns
    -------
    The groups. The label of a group names the fields in which the groups differ.
    """
    fields = FIELDS if fields is None else fields
    rows: dict[tuple[object, ...], list[str]] = {}
    columns = [_plain(specs[name].values) for name in fields]
    for run, *values in zip(specs["run"].values.tolist(), *columns, strict=True):
        rows.setdefault(tuple(values), []).append(run)
    keys = sorted(rows, key=lambda key: [(str(type(v)), v) for v in key])
    return [
        RunGroup(label, dict(zip(fields, key, strict=True)), tuple(rows[key]))
        for key, label in zip(keys, _labels(keys, fields), strict=True)
    ]


def _labels(keys: Sequence[tuple[object, ...]], fields: Sequence[str]) -> list[str]:
    """Return the label of each group, with as few fields as distinguish the groups."""
    distinguishing: list[int] = []
    for i in range(len(fields)):
        longer = {tuple(key[j] for j in (*distinguishing, i)) for key in keys}
        if len(longer) > len({tuple(key[j] for j in distinguishing) for key in keys}):
            distinguishing.append(i)
    leading = [i for i in distinguishing if fields[i] in _LEADING]
    labels = []
    for key in keys:
        alike = [other for other in keys if all(other[i] == key[i] for i in leading)]
        named = [
            i for i in distinguishing if i in leading or len({other[i] for other in alike}) > 1
        ]
        words = [
            _own_settings(str(key[i]), [str(other[i]) for other in alike])
            if fields[i] == "settings"
            else _WORDS[fields[i]](key[i])
            for i in named
            if key[i] is not None
        ]
        labels.append(", ".join(filter(None, words)) or (WITHOUT if len(keys) > 1 else ALL))
    return labels


def _own_settings(settings: str, alike: Sequence[str]) -> str:
    """Return the settings of a group without the settings that all groups share."""
    split = re.compile(r" (?=[\w.]+=)").split  # a value may hold blanks
    shared = set.intersection(*(set(split(other)) for other in alike))
    return " ".join(setting for setting in split(settings) if setting not in shared)


def _plain(values: np.ndarray) -> list[object]:
    """Return values as Python objects, with None for NaN, which is not equal to itself."""
    return [None if value != value else value for value in values.tolist()]
