"""Subcommands that perturb networks: whole, or in parts that are merged."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unitlens.cli.job import Code, Gpu, Gres, Log, Settings, Site, Threads, job_device, open_log
from unitlens.cli.opening import Network, Prepared
from unitlens.cli.step_job import StepJob
from unitlens.config.perturbation import (
    CumulativeAblationSpec,
    NoiseRobustnessSpec,
    UnitAblationSpec,
)
from unitlens.config.reading import parse_section
from unitlens.errors import ArgumentError, SavedSumsError, TableError
from unitlens.hashed_files import read_trailer
from unitlens.provenance.file_provenance import DATASET, WEIGHTS, FileProvenance
from unitlens.store.backend.places import is_remote

if TYPE_CHECKING:
    import xarray as xr

    from unitlens.stored_network import StoredNetwork

logger = logging.getLogger("unitlens")

Perturbation = Annotated[str, typer.Option(help="unit_ablation, cumulative_ablation ...")]


def unit_ablation(
    dataset: Prepared,
    network: Network,
    *,
    settings: Settings = "{}",
    site: Site = "{}",
    code: Code = "",
    threads: Threads = 1,
    gpu: Gpu = 0,
    gres: Gres = "",
    log: Log = None,
) -> None:
    """Ablate every unit, one at a time."""
    open_log(log)
    section = parse_section(UnitAblationSpec, settings, site)
    job = StepJob("unit_ablation", section, code, network, dataset)
    device = partial(job_device, gpu, gres, threads)
    _perturb(job, _ablate_units, section, network / "unit_ablation.nc", device)


def cumulative_ablation(
    dataset: Prepared,
    network: Network,
    *,
    settings: Settings = "{}",
    site: Site = "{}",
    code: Code = "",
    threads: Threads = 1,
    gpu: Gpu = 0,
    gres: Gres = "",
    log: Log = None,
) -> None:
    """Ablate more and more units together, for each value and basis that is asked for."""
    open_log(log)
    section = parse_section(CumulativeAblationSpec, settings, site)
    job = StepJob("cumulative_ablation", section, code, network, dataset)
    device = partial(job_device, gpu, gres, threads)
    _perturb(job, _ablate_sets, section, network / "cumulative_ablation.nc", device)


def noise_robustness(
    dataset: Prepared,
    network: Network,
    *,
    settings: Settings = "{}",
    site: Site = "{}",
    code: Code = "",
    threads: Threads = 1,
    gpu: Gpu = 0,
    gres: Gres = "",
    log: Log = None,
) -> None:
    """Add noise to all units at once."""
    open_log(log)
    section = parse_section(NoiseRobustnessSpec, settings, site)
    job = StepJob("noise_robustness", section, code, network, dataset)
    device = partial(job_device, gpu, gres, threads)
    _perturb(job, _add_noise, section, network / "noise_robustness.nc", device)


def perturb_part(
    dataset: Prepared,
    network: Network,
    output: Annotated[Path, typer.Argument(help="Table to write, in the network's directory.")],
    *,
    perturbation: Perturbation,
    part: Annotated[int, typer.Option(min=1, help="Which part.")],
    of: Annotated[int, typer.Option(min=1, help="How many parts there are.")],
    settings: Settings = "{}",
    site: Site = "{}",
    code: Code = "",
    threads: Threads = 1,
    gpu: Gpu = 0,
    gres: Gres = "",
    log: Log = None,
) -> None:
    """Perturb by a part of the units, orders or draws; merge-tables joins the tables of all."""
    open_log(log)
    section = parse_section(_section_of(perturbation), settings, site)
    output.parent.mkdir(parents=True, exist_ok=True)
    inside = output.relative_to(network)
    job = StepJob(perturbation, section, code, network, dataset, part=inside)
    computes: dict[str, Callable[..., xr.Dataset]] = {
        "unit_ablation": _ablate_units,
        "cumulative_ablation": _ablate_sets,
        "noise_robustness": _add_noise,
    }
    compute = computes[perturbation]
    _perturb(
        job, compute, section, output, partial(job_device, gpu, gres, threads), part=(part - 1, of)
    )


def merge_tables(
    network: Network,
    parts: Annotated[list[Path], typer.Argument(help="Tables of all parts.")],
    *,
    perturbation: Perturbation,
    settings: Settings = "{}",
    code: Code = "",
    log: Log = None,
) -> None:
    """Join the tables of the parts of a perturbation to that of the whole."""
    open_log(log)
    from unitlens.perturbation.merge_tables import merge_tables
    from unitlens.store.backend.netcdf import read_netcdf, write_netcdf

    section = parse_section(_section_of(perturbation), settings)
    job = StepJob(perturbation, section, code, network)
    if job.is_left_out():
        return
    with job.work():
        provenance = _provenance_of(parts, job.provenance())
        whole = merge_tables(read_netcdf(part) for part in parts)
        output = network / f"{perturbation}.nc"
        write_netcdf(whole, output, provenance=provenance)
        _remove_other_parts(output, parts)


Section = UnitAblationSpec | CumulativeAblationSpec | NoiseRobustnessSpec
_SECTIONS: dict[str, type[Section]] = {
    "unit_ablation": UnitAblationSpec,
    "cumulative_ablation": CumulativeAblationSpec,
    "noise_robustness": NoiseRobustnessSpec,
}
Part = tuple[int, int] | None


def _perturb(
    job: StepJob,
    compute: Callable[..., "xr.Dataset"],
    section: Section,
    output: Path,
    device: Callable[[], str],
    part: Part = None,
) -> None:
    """Compute the table of a perturbation, or of its part, and write it.

    Parameters
    ----------
    job
        The job.
    compute
        Function of the network, the section and further arguments that returns the table. Each
        command gives its own: the digest of a rule's code covers all that its command reaches.
    section
        Settings of the perturbation.
    output
        The file.
    device
        Function that returns the device; it may wait for a GPU.
    part
        Number of the part from 0, and number of parts; None for the whole.
    """
    from unitlens.store.backend.netcdf import write_netcdf

    if job.is_left_out():
        return
    more = {"device": device(), "part": part}
    with job.work():
        table = _going_on(
            lambda sums: compute(job.stored, section, checkpoint=sums, **more), output
        )
        write_netcdf(table, output, provenance=job.provenance(*_read_files(section)))
        if part is None:
            _remove_other_parts(output, ())


def _going_on(compute: Callable[[Path | None], "xr.Dataset"], output: Path) -> "xr.Dataset":
    """Compute a table from the sums that a killed job has saved, or anew where they do not fit."""
    if is_remote(output):
        return compute(None)
    sums = output.with_name(f".{output.stem}.sums")
    try:
        return compute(sums)
    except SavedSumsError as error:
        logger.warning("the sums of an earlier job are removed: %s", error)
        for file in output.parent.glob(f"{sums.name}*"):
            file.unlink()
        return compute(sums)


def _remove_other_parts(output: Path, joined: Sequence[Path]) -> None:
    """Remove what is left of parts that a finished table was not joined of.

    The parts that lie beside a finished table tell the workflow of how many it was made.
    """
    if is_remote(output):
        return
    for file in (output.parent / "parts" / output.stem).glob("*"):
        if file not in joined:
            file.unlink()


def _ablate_units(stored: "StoredNetwork", section: UnitAblationSpec, **more: Any) -> "xr.Dataset":
    from unitlens.perturbation.unit_ablation import unit_ablation
    from unitlens.stored_network import value_arguments

    importance = unit_ablation(
        stored.model,
        stored.dataset(section.split),
        **value_arguments(stored, section.value),
        **section.arguments(),
        seed=stored.seed,
        **more,
    )
    return importance.assign_attrs(split=section.split, value=section.value)


def _ablate_sets(
    stored: "StoredNetwork", section: CumulativeAblationSpec, **more: Any
) -> "xr.Dataset":
    from unitlens.perturbation.join_curves import ablation_curves
    from unitlens.stored_network import (
        read_measures,
        reference_set,
        stored_bases,
        stored_values,
    )

    values, bases = zip(*section.variants, strict=True)
    measures = read_measures(stored) if section.by else {}
    curves = ablation_curves(
        stored.model,
        stored.dataset(section.split),
        section.variants,
        values=stored_values(stored, values),
        bases=stored_bases(stored, bases),
        by={score: measures[score] for score in section.by},
        reference=reference_set(stored, values),
        **section.arguments(),
        seed=stored.seed,
        **more,
    )
    return curves.assign_attrs(split=section.split)


def _add_noise(stored: "StoredNetwork", section: NoiseRobustnessSpec, **more: Any) -> "xr.Dataset":
    from unitlens.perturbation.noise_robustness import noise_robustness, noise_scales
    from unitlens.stored_network import noise_variances

    noise = noise_robustness(
        stored.model,
        stored.dataset(section.split),
        noise_scales(**section.scales.model_dump()),
        variance=noise_variances(stored),
        reference=stored.dataset("train") if section.per == "element" else None,
        **section.arguments(),
        seed=stored.seed,
        **more,
    )
    return noise.assign_attrs(split=section.split)


def _section_of(perturbation: str) -> type[Section]:
    """Return the class of the section of a perturbation."""
    if perturbation not in _SECTIONS:
        raise ArgumentError(
            f"--perturbation is {perturbation!r}, but must be one of {', '.join(_SECTIONS)}"
        )
    return _SECTIONS[perturbation]


def _provenance_of(parts: list[Path], expected: FileProvenance) -> FileProvenance:
    """Return the provenance of the whole, with the inputs that the tables of all parts state.

    Parameters
    ----------
    parts
        The files.
    expected
        Step, settings and code of the whole; its inputs are not compared.

    Raises
    ------
    TableError
        Where a file states another one.
    """
    first: FileProvenance | None = None
    for part in parts:
        trailer = read_trailer(part)
        own = FileProvenance.from_values(trailer.provenance) if trailer else None
        difference = "it states none" if own is None else own.find_difference(first or expected)
        if own is None or difference is not None:
            raise TableError(
                f"{part} was not computed as the other parts and the plan say ({difference}); "
                "remove the file and run snakemake again"
            )
        first = first or own
    stated = {} if first is None else first.inputs
    in_order = [name for name in (WEIGHTS, DATASET) if name in stated]
    inputs = {name: stated[name] for name in dict.fromkeys((*in_order, *stated))}
    return replace(expected, inputs=inputs)


def _read_files(section: Section) -> list[str]:
    """Return the files of the network that a perturbation reads beside the weights."""
    files = ["unit_measures.nc"] if section.needs_measures else []
    components = isinstance(section, CumulativeAblationSpec) and section.needs_components
    return [*files, "principal_components.nc"] if components else files


COMMANDS = (unit_ablation, cumulative_ablation, noise_robustness, perturb_part, merge_tables)
