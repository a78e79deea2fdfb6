"""Subcommands that perturb networks."""

from unitlens.cli.job import Code, Device, Log, Settings, Site, Threads, open_log, torch_device
from unitlens.cli.opening import Network, Prepared
from unitlens.cli.step_job import StepJob
from unitlens.config.perturbation import (
    CumulativeAblationSpec,
    NoiseRobustnessSpec,
    UnitAblationSpec,
)
from unitlens.config.reading import parse_section
from unitlens.store.backend.netcdf import write_netcdf


def unit_ablation(
    dataset: Prepared,
    network: Network,
    *,
    settings: Settings = "{}",
    site: Site = "{}",
    code: Code = "",
    threads: Threads = 1,
    device: Device = "auto",
    log: Log = None,
) -> None:
    """Ablate every unit, one at a time."""
    open_log(log)
    from unitlens.perturbation.unit_ablation import unit_ablation
    from unitlens.stored_network import value_arguments

    section = parse_section(UnitAblationSpec, settings, site)
    job = StepJob("unit_ablation", section, code, network, dataset)
    if job.is_left_out():
        return
    device = torch_device(device, threads)
    stored = job.stored
    with job.work():
        importance = unit_ablation(
            stored.model,
            stored.dataset(section.split),
            **value_arguments(stored, section.value),
            **section.arguments(),
            seed=stored.seed,
            device=device,
        )
        importance = importance.assign_attrs(split=section.split, value=section.value)
        provenance = job.provenance(*_read_files(section))
        write_netcdf(importance, network / "unit_ablation.nc", provenance=provenance)


def cumulative_ablation(
    dataset: Prepared,
    network: Network,
    *,
    settings: Settings = "{}",
    site: Site = "{}",
    code: Code = "",
    threads: Threads = 1,
    device: Device = "auto",
    log: Log = None,
) -> None:
    """Ablate more and more units together, for each value and basis that is asked for."""
    open_log(log)
    from unitlens.perturbation.join_curves import ablation_curves
    from unitlens.stored_network import (
        read_measures,
        reference_set,
        stored_bases,
        stored_values,
    )

    section = parse_section(CumulativeAblationSpec, settings, site)
    job = StepJob("cumulative_ablation", section, code, network, dataset)
    if job.is_left_out():
        return
    device = torch_device(device, threads)
    stored = job.stored
    values, bases = zip(*section.variants, strict=True)
    with job.work():
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
            device=device,
        )
        curves = curves.assign_attrs(split=section.split)
        provenance = job.provenance(*_read_files(section))
        write_netcdf(curves, network / "cumulative_ablation.nc", provenance=provenance)


def noise_robustness(
    dataset: Prepared,
    network: Network,
    *,
    settings: Settings = "{}",
    site: Site = "{}",
    code: Code = "",
    threads: Threads = 1,
    device: Device = "auto",
    log: Log = None,
) -> None:
    """Add noise to all units at once."""
    open_log(log)
    from unitlens.perturbation.noise_robustness import noise_robustness, noise_scales
    from unitlens.stored_network import read_measures

    section = parse_section(NoiseRobustnessSpec, settings, site)
    job = StepJob("noise_robustness", section, code, network, dataset)
    if job.is_left_out():
        return
    device = torch_device(device, threads)
    stored = job.stored
    with job.work():
        noise = noise_robustness(
            stored.model,
            stored.dataset(section.split),
            noise_scales(**section.scales.model_dump()),
            variance=read_measures(stored)["variance"],
            **section.arguments(),
            seed=stored.seed,
            device=device,
        )
        noise = noise.assign_attrs(split=section.split)
        provenance = job.provenance(*_read_files(section))
        write_netcdf(noise, network / "noise_robustness.nc", provenance=provenance)


def _read_files(
    section: UnitAblationSpec | CumulativeAblationSpec | NoiseRobustnessSpec,
) -> list[str]:
    """Return the files of the network that a perturbation reads beside the weights."""
    files = ["unit_measures.nc"] if section.needs_measures else []
    components = isinstance(section, CumulativeAblationSpec) and section.needs_components
    return [*files, "principal_components.nc"] if components else files


COMMANDS = (unit_ablation, cumulative_ablation, noise_robustness)
