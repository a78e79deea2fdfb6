"""Gather what the report page shows, and write the page."""

import base64
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from unitlens.local_files import write_whole
from unitlens.provenance.file_provenance import FileProvenance
from unitlens.report.chart import unit_chart
from unitlens.report.comparison_part import read_comparison
from unitlens.report.contradictions import contradictions
from unitlens.report.explorer_link import link_to_explorer
from unitlens.report.first_findings import first_findings
from unitlens.report.page_tables import (
    MAX_ROWS,
    MOST_WHOLE,
    correlation_rows,
    key_number_rows,
    network_rows,
)
from unitlens.report.paper_results import IN_THE_PAPER
from unitlens.report.script_data import script_json
from unitlens.report.words import GLOSSARY, REFERENCE
from unitlens.reproduction.page_files import read_figures_record, writing_pages
from unitlens.tables.results import Results, open_results
from unitlens.tables.tables_record import RECORD


def write_report(
    results: str | Path,
    figures: str | Path,
    path: str | Path,
    *,
    paper: str | Path | None = None,
    explorer: str | Path | None = None,
    code: str = "",
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
        interactive chart, and says which tables it was made from. The same results give the same
        bytes.
    paper
        ``paper.csv`` of :func:`unitlens.reproduction.compare.compare_with_paper`, for the section
        "Comparison with the paper"; the page has no such section if None.
    explorer
        Page of :func:`unitlens.explorer.saved_page.save_explorer`, which the report links; None
        without one.
    code
        Digest of the code that writes the page, for what the page says of itself.

    Raises
    ------
    TableError
        Where the tables, the figures, or the file `paper` or `explorer` are missing, damaged, or
        of other tables than those of the results, or the disk is full.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    opened = open_results(results)
    shown = _read_figures(Path(figures), opened)
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
        found=first_findings(shown),
        networks=network_rows(opened.runs),
        is_long=opened.runs.sizes["run"] > MOST_WHOLE,
        left_out=max(0, opened.runs.sizes["run"] - MAX_ROWS),
        key_numbers=key_number_rows(opened),
        figures=shown,
        correlations=correlation_rows(opened),
        comparison=None if paper is None else read_comparison(Path(paper), opened, shown),
        explorer=None
        if explorer is None
        else link_to_explorer(Path(explorer), Path(path), opened.record),
        chart=unit_chart(opened),
        example_run=_example_run(opened),
        failed=opened.failed,
        tables_hash=opened.record.hash,
        version=version("unitlens"),
        provenance=script_json(_provenance(opened, code)),
    )
    with writing_pages(Path(path).parent):
        write_whole(Path(path), page.encode())


def _provenance(results: Results, code: str) -> dict[str, Any]:
    """Return what the page is made from, as the page states it in a script element."""
    stated = FileProvenance("write_report", {}, code, {RECORD: results.record.hash})
    return {**stated.to_values(), "versions": {"unitlens": version("unitlens")}}


def _example_run(results: Results) -> str:
    """Return the name of a run, of one with measured units if there is any."""
    table = results.units if results.has_table("units") else results.runs
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


def _read_figures(directory: Path, results: Results) -> list[dict[str, Any]]:
    return [
        {
            **{key: str(figure[key]) for key in ("name", "title", "caption", "finding")},
            "image": _image_uri(directory, figure["name"]),
            "paper": IN_THE_PAPER.get(figure["name"], ""),
            "contradictions": contradictions(results, figure["name"], figure["experiments"]),
        }
        for figure in read_figures_record(directory, results.record)["figures"]
    ]


def _image_uri(directory: Path, name: str) -> str:
    """Return a figure as a data URI, of its SVG or its PNG file, whichever is smaller."""
    paths = {"svg+xml": directory / f"{name}.svg", "png": directory / f"{name}.png"}
    images = {kind: path.read_bytes() for kind, path in paths.items()}
    kind = min(images, key=lambda key: len(images[key]))
    return f"data:image/{kind};base64,{base64.b64encode(images[kind]).decode()}"
