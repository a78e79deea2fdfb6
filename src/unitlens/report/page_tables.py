"""The tables of the page: networks, key numbers and correlations, as text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from unitlens.analysis.run_groups import ALL, BESIDE_MODEL, RunGroup, group_runs, rows_of
from unitlens.tables.results import Results
from unitlens.variables.declarations import VARIABLES

MAX_ROWS = 300  # of a table; the results hold all rows
MOST_WHOLE = 40  # networks of a table without a scrolling box
MISSING = "\N{EN DASH}"
TextRow = Sequence[str]


def network_rows(runs: xr.Dataset) -> list[TextRow]:
    """Return a row for each network: its data set, model, training and scores."""
    settings = {
        run: _training_label(group)
        for group in group_runs(runs, ("dataset", *BESIDE_MODEL))
        for run in group.runs
    }
    names = map(str, runs["run"].values[:MAX_ROWS])
    return [_network_row(runs.sel(run=name), settings[name]) for name in names]


def _training_label(group: RunGroup) -> str:
    """Return the settings in which a group's training differs from others on its data set."""
    label = group.label.removeprefix(str(group.values["dataset"])).removeprefix(", ")
    return "" if label == ALL else label


def _network_row(run: xr.Dataset, settings: str) -> TextRow:
    values = {str(name): run[name].item() for name in run.variables if not run[name].ndim}
    return (
        values["dataset"],
        f"{values['corruption']:g}",
        _model_text(values),
        str(values["seed"]),
        str(values["epoch"]),
        decimal_text(values["train_accuracy"], 3),
        decimal_text(values["test_accuracy"], 3),
        decimal_text(values["auc"], 3),
        settings,
        values["run"],
    )


def _model_text(values: dict[str, Any]) -> str:
    parts = [values["model"], values["widths"].replace(" ", "-")]
    if np.isfinite(values["width"]) and values["width"] != 1:
        parts.append(f"width x{values['width']:g}")
    if np.isfinite(values["dropout"]) and values["dropout"]:
        parts.append(f"dropout {values['dropout']:g}")
    if values["batch_norm"] == 1:
        parts.append("batch norm")
    return " ".join(part for part in parts if part)


def key_number_rows(results: Results) -> list[TextRow]:
    """Return a row for each group of networks that differ in their seed only: means."""
    return [
        _key_number_row(
            group, rows_of(results.runs, group.runs), _selectivity_correlations(results, group)
        )
        for group in group_runs(results.runs)[:MAX_ROWS]
    ]


def _key_number_row(group: RunGroup, runs: xr.Dataset, correlations: np.ndarray) -> TextRow:
    measured = runs.isel(run=np.flatnonzero(runs["units"].values > 0))
    dead = measured["dead_units"].values / measured["units"].values
    accuracies = ("train_accuracy", "test_accuracy")
    others = ("auc", "noise_scale_at_half", "mean_selectivity", "mean_mutual_information")
    return (
        group.label,
        str(len(group.runs)),
        *(_mean_text(runs[name].values, 3) for name in accuracies),
        *(_mean_text(runs[name].values, 2) for name in others),
        _mean_text(100 * dead, 1),
        _mean_text(correlations, 2),
    )


def _selectivity_correlations(results: Results, group: RunGroup) -> np.ndarray:
    """Return the rank correlation of selectivity and importance in each network of a group."""
    if not results.has_table("correlations"):
        return np.empty(0)
    rows = results.correlations
    of_group = (
        (rows["scope"] == "run")
        & (rows["measure"] == "selectivity")
        & rows["run"].isin(list(group.runs))
    )
    return np.asarray(rows["spearman"].values[of_group.values])


def correlation_rows(results: Results) -> list[TextRow]:
    """Return the correlations pooled over each experiment, then those of each network.

    Correlations within layers are left to the figures.
    """
    if not results.has_table("correlations"):
        return []
    rows = results.correlations
    rows = rows.isel(row=np.flatnonzero(rows["n"].values))
    scopes = rows["scope"].values
    places = [*np.flatnonzero(scopes == "pooled"), *np.flatnonzero(scopes == "run")][:MAX_ROWS]
    return [_correlation_row(rows.isel(row=int(place))) for place in places]


def _correlation_row(row: xr.Dataset) -> TextRow:
    values = {str(name): row[name].item() for name in row.variables}
    pooled = values["scope"] == "pooled"
    p_value = values["p_value"]
    return (
        f"all of {values['experiment']}" if pooled else values["run"],
        VARIABLES[values["measure"]].long_name,
        decimal_text(values["spearman"], 3),
        "< .001" if p_value < 0.001 else decimal_text(p_value, 3),
        f"{values['n']:,}",
    )


def _mean_text(values: np.ndarray, digits: int) -> str:
    finite = values[np.isfinite(values)]
    return decimal_text(float(finite.mean()), digits) if finite.size else MISSING


def decimal_text(value: float, digits: int) -> str:
    """Return a number with some decimals, a true minus sign, and no minus before zero.

    Examples
    --------
    >>> decimal_text(-0.004, 2), decimal_text(-0.25, 1), decimal_text(float("nan"), 2)
    ('0.00', '−0.2', '–')
    """
    if not np.isfinite(value):
        return MISSING
    rounded = round(value, digits) + 0.0  # makes -0.0 positive
    return f"{rounded:.{digits}f}".replace("-", "\N{MINUS SIGN}")
