"""Gather what the page shows and write it."""

import base64
import csv
import json
from collections.abc import Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from unitlens.analysis.run_groups import (
    ALL,
    BESIDE_MODEL,
    RunGroup,
    group_runs,
    rows_of,
)
from unitlens.errors import TableError
from unitlens.report.chart import unit_chart
from unitlens.report.words import GLOSSARY, IN_THE_PAPER, PAPER
from unitlens.reproduction.later import GROUPS
from unitlens.reproduction.markdown_page import (
    COLUMNS,
    blocks,
    cells,
    of_paper,
    remarks,
    told,
)
from unitlens.tables.results import Results, open_results
from unitlens.variables.declarations import VARIABLES

MOST_ROWS = 300  # of a table on the page; the rest is in the results
NONE = "\N{EN DASH}"
Row = Sequence[str]


def write_report(
    results: str | Path,
    figures: str | Path,
    path: str | Path,
    *,
    paper: str | Path | None = None,
) -> None:
    """Write one page that works offline.

    Parameters
    ----------
    results
        A results directory with its tables.
    figures
        Directory that :func:`unitlens.figures.draw.draw_figures` has written.
    path
        HTML page to write. Everything is in it: figures, style, and the script of its one
        interactive chart. The same results give the same bytes.
    paper
        ``paper.csv`` of :func:`unitlens.reproduction.compare.compare_with_paper`, for the
        section "The paper and us"; no section if None.

    Raises
    ------
    TableError
        Where there are no tables, no figures, or no `paper` that was named.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    opened = open_results(results)
    environment = Environment(
        loader=PackageLoader("unitlens.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        style=files("unitlens.report").joinpath("page.css").read_text(encoding="utf-8"),
        reference=PAPER,
        glossary=GLOSSARY,
        summary=_summary(opened),
        runs=_run_rows(opened.runs),
        left_out=max(0, opened.runs.sizes["run"] - MOST_ROWS),
        numbers=_number_rows(opened),
        figures=_figures(Path(figures)),
        correlations=_correlation_rows(opened),
        compared=_compared(paper),
        chart=unit_chart(opened),
        example_run=_example_run(opened),
    )
    Path(path).write_text(page, encoding="utf-8")


def _example_run(results: Results) -> str:
    """Return a run of which there are units, if there is any."""
    measured = (results.directory / "units.zarr").exists()
    return str((results.units if measured else results.runs)["run"].values[0])


def _summary(results: Results) -> dict[str, str]:
    runs = results.runs
    units = runs["units"].values
    return {
        "networks": f"{runs.sizes['run']:,}",
        "experiments": ", ".join(map(str, runs["experiment"].values)),
        "datasets": ", ".join(dict.fromkeys(map(str, runs["dataset"].values))),
        "models": ", ".join(dict.fromkeys(map(str, runs["model"].values))),
        "units": f"{int(units[units > 0].sum()):,}",
    }


def _run_rows(runs: xr.Dataset) -> list[Row]:
    trained = {
        run: _without_dataset(group)
        for group in group_runs(runs, ("dataset", *BESIDE_MODEL))
        for run in group.runs
    }
    shown = map(str, runs["run"].values[:MOST_ROWS])
    return [_run_row(runs.sel(run=run), trained[run]) for run in shown]


def _without_dataset(group: RunGroup) -> str:
    """Return what tells the training of a group from others of the same data set."""
    label = group.label.removeprefix(str(group.values["dataset"])).removeprefix(", ")
    return "" if label == ALL else label


def _run_row(run: xr.Dataset, trained: str) -> Row:
    value = {str(name): run[name].item() for name in run.variables if not run[name].ndim}
    return (
        value["dataset"],
        f"{value['corruption']:g}",
        _model(value),
        str(value["seed"]),
        str(value["epoch"]),
        _number(value["train_accuracy"], 3),
        _number(value["test_accuracy"], 3),
        _number(value["auc"], 3),
        trained,
        value["run"],
    )


def _model(value: dict[str, Any]) -> str:
    parts = [value["model"], value["widths"].replace(" ", "-")]
    if np.isfinite(value["width"]) and value["width"] != 1:
        parts.append(f"width x{value['width']:g}")
    if np.isfinite(value["dropout"]) and value["dropout"]:
        parts.append(f"dropout {value['dropout']:g}")
    if value["batch_norm"] == 1:
        parts.append("batch norm")
    return " ".join(part for part in parts if part)


def _number_rows(results: Results) -> list[Row]:
    """Return a row for each group of runs that differ in their seed only, its means."""
    return [
        _number_row(group, rows_of(results.runs, group.runs), _correlations_of(results, group))
        for group in group_runs(results.runs)[:MOST_ROWS]
    ]


def _number_row(group: RunGroup, runs: xr.Dataset, rho: np.ndarray) -> Row:
    measured = runs.isel(run=np.flatnonzero(runs["units"].values > 0))
    dead = measured["dead_units"].values / measured["units"].values
    return (
        group.label,
        str(len(group.runs)),
        *(_mean(runs[name].values, 3) for name in ("train_accuracy", "test_accuracy")),
        *(_mean(runs[name].values, 2) for name in ("auc", "noise_scale_at_half")),
        *(_mean(runs[name].values, 2) for name in ("mean_selectivity", "mean_mutual_information")),
        _mean(100 * dead, 1),
        _mean(rho, 2),
    )


def _correlations_of(results: Results, group: RunGroup) -> np.ndarray:
    if not (results.directory / "correlations.zarr").exists():
        return np.empty(0)
    rows = results.correlations
    wanted = (
        (rows["scope"] == "run")
        & (rows["measure"] == "selectivity")
        & rows["run"].isin(list(group.runs))
    )
    return np.asarray(rows["spearman"].values[wanted.values])


def _correlation_rows(results: Results) -> list[Row]:
    """Return the pooled correlations, then each network's; layers are in the figures."""
    if not (results.directory / "correlations.zarr").exists():
        return []
    rows = results.correlations
    rows = rows.isel(row=np.flatnonzero(rows["n"].values))
    scopes = rows["scope"].values
    places = [*np.flatnonzero(scopes == "pooled"), *np.flatnonzero(scopes == "run")][:MOST_ROWS]
    return [_correlation_row(rows.isel(row=int(place))) for place in places]


def _correlation_row(row: xr.Dataset) -> Row:
    value = {str(name): row[name].item() for name in row.variables}
    pooled = value["scope"] == "pooled"
    where = f"all of {value['experiment']}" if pooled else value["run"]
    p = value["p_value"]
    return (
        where,
        VARIABLES[value["measure"]].long_name,
        _number(value["spearman"], 3),
        "< .001" if p < 0.001 else _number(p, 3),
        f"{value['n']:,}",
    )


def _mean(values: np.ndarray, digits: int) -> str:
    known = values[np.isfinite(values)]
    return _number(float(known.mean()), digits) if known.size else NONE


def _number(value: float, digits: int) -> str:
    if not np.isfinite(value):
        return NONE
    rounded = round(value, digits) + 0.0  # no minus before a zero
    return f"{rounded:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _figures(directory: Path) -> list[dict[str, str]]:
    path = directory / "figures.json"
    if not path.exists():
        raise TableError(f"there are no figures in {directory} (no figures.json); draw them first")
    listed = json.loads(path.read_text(encoding="utf-8"))
    return [
        {
            **{key: str(figure[key]) for key in ("name", "title", "caption", "finding")},
            "image": _image(directory, figure["name"]),
            "paper": IN_THE_PAPER.get(figure["name"], ""),
        }
        for figure in listed
    ]


def _compared(path: str | Path | None) -> dict[str, Any] | None:
    """Return the comparison with the paper, group by group of those that have an experiment."""
    if path is None:
        return None
    if not Path(path).exists():
        raise TableError(f"there is no {path}; make it: unitlens compare-with-paper")
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    groups = [
        {
            "title": f"Tested as a cause: {cause}" if cause else GROUPS[name].title,
            "rows": [cells(row) for row in own],
            "remarks": remarks(own),
            "command": own[0]["command"],
        }
        for name, of_group in groupby(rows, key=lambda row: row["group"])
        for cause, own in blocks(list(of_group))
        if own[0]["command"]
    ]
    return {"told": told(of_paper(rows)), "groups": groups, "columns": COLUMNS}


def _image(directory: Path, name: str) -> str:
    """Return the figure as a data URI, SVG or PNG, whichever is smaller."""
    kinds = {"svg+xml": directory / f"{name}.svg", "png": directory / f"{name}.png"}
    found = {kind: path.read_bytes() for kind, path in kinds.items() if path.exists()}
    if not found:
        raise TableError(f"the figure {name} is in {directory}/figures.json but not beside it")
    kind = min(found, key=lambda key: len(found[key]))
    return f"data:image/{kind};base64,{base64.b64encode(found[kind]).decode()}"
