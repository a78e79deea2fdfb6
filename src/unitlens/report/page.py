"""Gather what the report page shows, and write the page."""

import base64
import csv
import json
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from unitlens.errors import TableError
from unitlens.local_files import write_whole
from unitlens.report.chart import unit_chart
from unitlens.report.page_tables import (
    MAX_ROWS,
    correlation_rows,
    has_table,
    key_number_rows,
    network_rows,
)
from unitlens.report.paper_results import IN_THE_PAPER
from unitlens.report.words import GLOSSARY, REFERENCE
from unitlens.reproduction.follow_ups import CLAIM_GROUPS
from unitlens.reproduction.markdown_page import (
    COLUMNS,
    experiment_blocks,
    paper_rows,
    remarks,
    row_cells,
    verdict_summary,
)
from unitlens.tables.results import Results, open_results


def write_report(
    results: str | Path,
    figures: str | Path,
    path: str | Path,
    *,
    paper: str | Path | None = None,
) -> None:
    """Write the report, one page that works offline.

    Parameters
    ----------
    results
        A results directory with its tables.
    figures
        Directory that :func:`unitlens.figures.draw.draw_figures` has written.
    path
        HTML page to write. The page contains its figures, its style and the script of its
        interactive chart. The same results give the same bytes.
    paper
        ``paper.csv`` of :func:`unitlens.reproduction.compare.compare_with_paper`, for the section
        "Comparison with the paper"; the page has no such section if None.

    Raises
    ------
    TableError
        Where the tables, the figures, or the file `paper` are missing.
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
        reference=REFERENCE,
        glossary=GLOSSARY,
        summary=_summary(opened),
        networks=network_rows(opened.runs),
        left_out=max(0, opened.runs.sizes["run"] - MAX_ROWS),
        key_numbers=key_number_rows(opened),
        figures=_read_figures(Path(figures)),
        correlations=correlation_rows(opened),
        comparison=None if paper is None else _read_comparison(Path(paper)),
        chart=unit_chart(opened),
        example_run=_example_run(opened),
    )
    write_whole(Path(path), page.encode())


def _example_run(results: Results) -> str:
    """Return the name of a run, of one with measured units if there is any."""
    table = results.units if has_table(results, "units") else results.runs
    return str(table["run"].values[0])


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


def _read_figures(directory: Path) -> list[dict[str, str]]:
    path = directory / "figures.json"
    if not path.exists():
        raise TableError(f"there are no figures in {directory} (no figures.json); draw them first")
    figures = json.loads(path.read_text(encoding="utf-8"))
    return [
        {
            **{key: str(figure[key]) for key in ("name", "title", "caption", "finding")},
            "image": _image_uri(directory, figure["name"]),
            "paper": IN_THE_PAPER.get(figure["name"], ""),
        }
        for figure in figures
    ]


def _image_uri(directory: Path, name: str) -> str:
    """Return a figure as a data URI, of its SVG or its PNG file, whichever is smaller."""
    paths = {"svg+xml": directory / f"{name}.svg", "png": directory / f"{name}.png"}
    images = {kind: path.read_bytes() for kind, path in paths.items() if path.exists()}
    if not images:
        raise TableError(
            f"the figure '{name}' is listed in {directory}/figures.json, but there is no file "
            "beside it; draw the figures again"
        )
    kind = min(images, key=lambda key: len(images[key]))
    return f"data:image/{kind};base64,{base64.b64encode(images[kind]).decode()}"


def _read_comparison(path: Path) -> dict[str, Any]:
    """Return the rows of ``paper.csv`` that have an experiment, by group and suspected cause."""
    if not path.exists():
        raise TableError(f"there is no {path}; make it: unitlens compare-with-paper")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    groups = [
        {
            "title": f"Suspected cause: {cause}" if cause else CLAIM_GROUPS[name].title,
            "rows": [row_cells(row) for row in block],
            "remarks": remarks(block),
            "command": block[0]["command"],
        }
        for name, of_group in groupby(rows, key=lambda row: row["group"])
        for cause, block in experiment_blocks(list(of_group))
        if block[0]["command"]
    ]
    return {"summary": verdict_summary(paper_rows(rows)), "groups": groups, "columns": COLUMNS}
