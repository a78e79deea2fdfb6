"""Subcommands that need no network: statistics, tables, figures, the page."""

import json
from pathlib import Path
from typing import Annotated

import typer

from unitlens.cli.job import (
    Code,
    Log,
    Settings,
    Threads,
    open_log,
    work,
)
from unitlens.cli.scheduler import Scheduler, dask_scheduler
from unitlens.cli.step_job import StepJob
from unitlens.config.measurements import MeasureSpec, PrincipalComponentsSpec, StatisticsSpec
from unitlens.config.reading import parse_section
from unitlens.errors import TableError
from unitlens.hashed_files import hash_values, read_json
from unitlens.provenance.file_provenance import FileProvenance

Network = Annotated[str, typer.Argument(help="Directory of the network: a path or a URL.")]
Results = Annotated[Path, typer.Argument(help="Directory of the results.")]


def class_statistics(
    network: Network,
    *,
    settings: Settings = "{}",
    code: Code = "",
    threads: Threads = 1,
    scheduler: Scheduler = None,
    log: Log = None,
) -> None:
    """Read each store of a network once: class moments and histograms of every unit."""
    open_log(log)
    from unitlens.statistics.class_statistics import class_statistics
    from unitlens.store.backend.netcdf import write_netcdf
    from unitlens.store.backend.places import locate
    from unitlens.store.reader import open_activations

    section = parse_section(StatisticsSpec, settings)
    place = locate(network)
    job = StepJob("class_statistics", section, code, place)
    if job.is_left_out():
        return
    with job.work(), dask_scheduler(scheduler, threads, place):
        for split in ("train", "test"):
            activations = open_activations(place / split / "activations.zarr")
            statistics = class_statistics(activations, **section.arguments())
            write_netcdf(
                statistics,
                place / split / "class_statistics.nc",
                # Most bins of most units are empty: level 1 already makes them a tenth.
                {"histogram": {"zlib": True, "complevel": 1}},
                provenance=job.provenance_of_stores({split: activations}),
            )


def unit_measures(
    network: Network,
    *,
    settings: Settings = "{}",
    code: Code = "",
    log: Log = None,
) -> None:
    """Compute selectivity, mutual information and variance of every unit."""
    open_log(log)
    from unitlens.statistics.measures.unit_measures import unit_measures
    from unitlens.store.backend.netcdf import read_netcdf, write_netcdf
    from unitlens.store.backend.places import locate

    section = parse_section(MeasureSpec, settings)
    place = locate(network)
    job = StepJob("unit_measures", section, code, place)
    if job.is_left_out():
        return
    files = {split: f"{split}/class_statistics.nc" for split in ("train", "test")}
    with job.work():
        statistics = {split: read_netcdf(place / file) for split, file in files.items()}
        measures = unit_measures(
            statistics[section.split],
            statistics["train"],  # mean and variance, as the paper scales its noise
            read_netcdf(place / "l1_norm.nc")["l1_norm"],
            **section.arguments(),
        )
        provenance = job.provenance(*files.values(), "l1_norm.nc")
        write_netcdf(measures, place / "unit_measures.nc", provenance=provenance)


def principal_components(
    network: Network,
    *,
    settings: Settings = "{}",
    code: Code = "",
    threads: Threads = 1,
    scheduler: Scheduler = None,
    log: Log = None,
) -> None:
    """Find the directions in which each layer's activations vary most."""
    open_log(log)
    from unitlens.statistics.subspaces.principal_components import principal_components
    from unitlens.store.backend.netcdf import write_components
    from unitlens.store.backend.places import locate
    from unitlens.store.reader import open_activations

    section = parse_section(PrincipalComponentsSpec, settings)
    place = locate(network)
    job = StepJob("principal_components", section, code, place)
    if job.is_left_out():
        return
    with job.work(), dask_scheduler(scheduler, threads, place):
        activations = open_activations(place / section.split / "activations.zarr")
        tables = principal_components(activations, **section.arguments())
        of_split = [table.assign_attrs(split=section.split) for table in tables.values()]
        provenance = job.provenance_of_stores({section.split: activations})
        write_components(of_split, place / "principal_components.nc", provenance=provenance)


def tabulate(
    output: Annotated[Path, typer.Argument(help="tables.json to write.")],
    *,
    plan: Annotated[Path, typer.Option(help="plan.json of the workflow: networks, settings.")],
    code: Code = "",
    threads: Annotated[int, typer.Option(min=1, help="Processes to read files with.")] = 1,
    log: Log = None,
) -> None:
    """Join everything about runs and units into the final tables."""
    open_log(log)
    from unitlens.tables.tabulate import tabulate

    remedy = "remove the file and run snakemake again: it writes the plan"
    with work():
        values = read_json(plan, error=TableError, remedy=remedy)
        provenance = FileProvenance("tabulate", {"plan": hash_values(values)}, code)
        tabulate(output.parent, **values, provenance=provenance, threads=threads)


def draw_figures(
    results: Results,
    output: Annotated[Path, typer.Argument(help="figures.json to write.")],
    *,
    figures: Annotated[str, typer.Option(help="Figure to the experiments it shows, as JSON.")],
    paper: Annotated[
        str,
        typer.Option(help="Group of the paper's results to the experiments beside it, as JSON."),
    ] = "{}",
    code: Code = "",
    log: Log = None,
) -> None:
    """Draw the figures, each with what it shows."""
    open_log(log)
    from unitlens.figures.draw import draw_figures

    wanted = {name: tuple(of) for name, of in json.loads(figures).items()}
    with work():
        draw_figures(results, wanted, output.parent, paper=json.loads(paper), code=code)


def compare_with_paper(
    results: Results,
    output: Annotated[Path, typer.Argument(help="paper.csv to write, with pages beside it.")],
    *,
    claims: Annotated[str, typer.Option(help="Group of results to its experiments, as JSON.")],
    causes: Annotated[
        str, typer.Option(help="Group to extra experiments and the causes they test, as JSON.")
    ] = "{}",
    command: Annotated[
        str, typer.Option(help="How the results were made, for the commands on the page.")
    ] = "snakemake --cores all",
    earlier: Annotated[
        list[Path] | None,
        typer.Option(help="paper.csv of an earlier comparison, several times; for an appendix."),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="Hash of the protocol, as unitlens protocol states it.")
    ] = "",
    code: Code = "",
    log: Log = None,
) -> None:
    """Set the results of the paper beside ours, with a verdict each by a stated rule."""
    open_log(log)
    from unitlens.reproduction.compare import compare_with_paper

    wanted = {name: tuple(of) for name, of in json.loads(claims).items()}
    with work():
        compare_with_paper(
            results,
            wanted,
            output.parent,
            causes=json.loads(causes),
            command=command,
            earlier=earlier or (),
            protocol=protocol,
            code=code,
        )


def write_report(
    results: Results,
    output: Annotated[Path, typer.Argument(help="HTML page to write.")],
    *,
    paper: Annotated[Path | None, typer.Option(help="paper.csv of compare-with-paper.")] = None,
    explorer: Annotated[Path | None, typer.Option(help="Page of save-explorer, to link.")] = None,
    code: Code = "",
    log: Log = None,
) -> None:
    """Write one page that works offline."""
    open_log(log)
    from unitlens.report.page import write_report

    with work():
        write_report(
            results, results / "figures", output, paper=paper, explorer=explorer, code=code
        )


COMMANDS = (
    class_statistics,
    unit_measures,
    principal_components,
    tabulate,
    draw_figures,
    compare_with_paper,
    write_report,
)
