"""Subcommands that perturb networks."""

from pathlib import Path
from typing import Any

from unitlens.cli.job import (
    Device,
    Log,
    Settings,
    Threads,
    open_log,
    torch_device,
    work,
)
from unitlens.cli.opening import Network, Prepared, open_network, open_split
from unitlens.config.networks import RunSpec
from unitlens.config.perturbation import (
    CumulativeAblationSpec,
    NoiseRobustnessSpec,
    UnitAblationSpec,
)
from unitlens.config.reading import parse_section


def unit_ablation(
    dataset: Prepared,
    network: Network,
    *,
    settings: Settings = "{}",
    threads: Threads = 1,
    device: Device = "auto",
    log: Log = None,
) -> None:
    """Ablate every unit, one at a time."""
    open_log(log)
    from unitlens.perturbation.unit_ablation import unit_ablation

    section = parse_section(UnitAblationSpec, settings)
    device = torch_device(device, threads)
    model, record = open_network(network)
    with work():
        samples = open_split(dataset, record.spec, section.split)
        result = unit_ablation(
            model,
            samples,
            layers=section.layers,
            value=_value(section.value, network),
            reference=_reference(section.value, section.split, dataset, record.spec, samples),
            units=section.units,
            units_per_layer=section.units_per_layer,
            samples=section.samples,
            seed=record.spec.seed,
            device=device,
            score=section.score,
            first_order=section.first_order,
        )
        result = result.assign_attrs(split=section.split, value=section.value)
        result.to_netcdf(network / "unit_ablation.nc", engine="h5netcdf")


def cumulative_ablation(
    dataset: Prepared,
    network: Network,
    *,
    settings: Settings = "{}",
    threads: Threads = 1,
    device: Device = "auto",
    log: Log = None,
) -> None:
    """Ablate more and more units together, in each variant that is asked for."""
    open_log(log)
    from unitlens.perturbation.cumulative_ablation import cumulative_ablation
    from unitlens.perturbation.join_curves import join_variants

    section = parse_section(CumulativeAblationSpec, settings)
    device = torch_device(device, threads)
    model, record = open_network(network)
    with work():
        measures = _measures(network) if section.by else {}
        by = {str(name): measures[name] for name in section.by}
        samples = open_split(dataset, record.spec, section.split)
        variants = [
            cumulative_ablation(
                model,
                samples,
                orders=section.orders,
                points=section.points,
                layers=section.layers,
                value=_value(value, network),
                reference=_reference(value, section.split, dataset, record.spec, samples),
                by={} if number else by,
                basis=_basis(basis, network),
                samples=section.samples,
                seed=record.spec.seed,
                device=device,
                score=section.score,
            ).assign_attrs(split=section.split, value=value, basis=basis)
            for number, (value, basis) in enumerate(section.variants)
        ]
        result = join_variants(variants)
        result.to_netcdf(network / "cumulative_ablation.nc", engine="h5netcdf")


def noise_robustness(
    dataset: Prepared,
    network: Network,
    *,
    settings: Settings = "{}",
    threads: Threads = 1,
    device: Device = "auto",
    log: Log = None,
) -> None:
    """Add noise to all units at once."""
    open_log(log)
    import numpy as np

    from unitlens.perturbation.noise_robustness import noise_robustness

    section = parse_section(NoiseRobustnessSpec, settings)
    device = torch_device(device, threads)
    model, record = open_network(network)
    scales = section.scales
    with work():
        result = noise_robustness(
            model,
            open_split(dataset, record.spec, section.split),
            np.geomspace(scales.minimum, scales.maximum, scales.points),
            variance=_measures(network)["variance"],
            draws=section.draws,
            seed=record.spec.seed,
            samples=section.samples,
            device=device,
            score=section.score,
        )
        result = result.assign_attrs(split=section.split)
        result.to_netcdf(network / "noise_robustness.nc", engine="h5netcdf")


def _measures(network: Path) -> Any:
    import xarray as xr

    from unitlens.variables.checks import validate

    measures = xr.load_dataset(network / "unit_measures.nc", engine="h5netcdf")
    validate(measures, "unit_measures")
    return measures


def _value(value: str, network: Path) -> Any:
    """Return the means over the training set where units are clamped to them."""
    return _measures(network)["mean"] if value == "mean" else value


def _basis(basis: str, network: Path) -> Any:
    """Return the stored principal components of each layer where the basis is of them."""
    if basis != "principal_components":
        return basis
    from unitlens.tables.storage import read_components

    stored = read_components(network / "principal_components.nc")
    return [table["component"] for table in stored.values()]


def _reference(value: str, split: str, dataset: Path, spec: RunSpec, scored: Any) -> Any:
    """Return the training set where the value is made from it; it may be what is scored."""
    if value in ("zero", "mean"):
        return None
    return scored if split == "train" else open_split(dataset, spec, "train")


COMMANDS = (
    unit_ablation,
    cumulative_ablation,
    noise_robustness,
)
