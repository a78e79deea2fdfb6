"""Subcommands that run networks: each parses, opens its inputs, calls one function, writes."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from unitlens.cli.job import Device, Log, Settings, Threads, open_log, torch_device, work
from unitlens.config import (
    ActivationSpec,
    CumulativeAblationSpec,
    DatasetSpec,
    NoiseRobustnessSpec,
    RunSpec,
    UnitAblationSpec,
    parse_section,
)
from unitlens.errors import ArgumentError, ModelError

SPLITS = ("train", "test")

Spec = Annotated[str, typer.Option(help="Data set, or run, as JSON.")]
Prepared = Annotated[Path, typer.Argument(help="dataset.json of the prepared data set.")]
Code = Annotated[str, typer.Option(help="Digest of the code that does the work.")]
Network = Annotated[Path, typer.Argument(help="Directory of the network.")]


def prepare_dataset(
    output: Annotated[Path, typer.Argument(help="dataset.json to write.")],
    *,
    spec: Spec,
    data: Annotated[Path, typer.Option(help="Directory that data sets are read from.")] = Path(
        "data"
    ),
    download: Annotated[bool, typer.Option("--download", help="Allow downloads.")] = False,
    log: Log = None,
) -> None:
    """Check and convert a data set once."""
    open_log(log)
    from unitlens.networks.datasets import prepare_dataset

    section = parse_section(DatasetSpec, spec)
    with work():
        prepare_dataset(section, output.parent, data=data, download=download)


def train(
    dataset: Prepared,
    output: Annotated[Path, typer.Argument(help="checkpoint.json to write.")],
    *,
    spec: Spec,
    code: Code = "",
    threads: Threads = 1,
    device: Device = "auto",
    log: Log = None,
) -> None:
    """Train one network."""
    open_log(log)
    from unitlens.networks.training import train

    section = parse_section(RunSpec, spec)
    device = torch_device(device, threads)
    with work():
        train(section, dataset.parent, output.parent, device=device, code=code)


def record_activations(
    dataset: Prepared,
    network: Network,
    *,
    settings: Settings = "{}",
    code: Code = "",
    threads: Threads = 1,
    device: Device = "auto",
    log: Log = None,
) -> None:
    """Write every unit's activation over both splits, and the L1 norm of its weights."""
    open_log(log)
    section = parse_section(ActivationSpec, settings)
    device = torch_device(device, threads)
    opened = _open_network(network)
    with work():
        for split in SPLITS:
            _record_split(dataset, network, split, opened, section, code, device)
        _write_norms(dataset, network, opened)


def record_part(
    dataset: Prepared,
    network: Network,
    output: Annotated[Path, typer.Argument(help="JSON to write when the part is recorded.")],
    *,
    part: Annotated[int, typer.Option(min=1, help="Which part.")],
    of: Annotated[int, typer.Option(min=1, help="How many parts there are.")],
    settings: Settings = "{}",
    code: Code = "",
    threads: Threads = 1,
    device: Device = "auto",
    log: Log = None,
) -> None:
    """Write a part of both splits' activations; merge-activations makes stores of all parts."""
    open_log(log)
    section = parse_section(ActivationSpec, settings)
    device = torch_device(device, threads)
    opened = _open_network(network)
    with work():
        for split in SPLITS:
            # The merge makes the manifest anew, as any rule does with what it declares.
            (network / split / "activations.json").unlink(missing_ok=True)
            _record_split(dataset, network, split, opened, section, code, device, (part, of))
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({"part": part, "of": of, "splits": SPLITS}) + "\n")


def merge_activations(dataset: Prepared, network: Network, *, log: Log = None) -> None:
    """Make stores of the recorded parts of both splits; write the L1 norm of the weights."""
    open_log(log)
    from unitlens.store.merge import merge_activations

    with work():
        for split in SPLITS:
            merge_activations(network / split / "activations.zarr")
        _write_norms(dataset, network, _open_network(network))


def repair(
    dataset: Prepared,
    network: Annotated[str, typer.Argument(help="Directory of the network: a path or a URL.")],
    split: Annotated[str, typer.Argument(help="train or test.")],
    *,
    threads: Threads = 1,
    device: Device = "auto",
    log: Log = None,
) -> None:
    """Record again just those shards of a finished store that are missing or damaged."""
    open_log(log)
    if split not in SPLITS:
        raise ArgumentError(f"the split is {split!r}, but must be one of {', '.join(SPLITS)}")
    from unitlens.recording import repair_activations
    from unitlens.store.places import locate

    torch_device(device, threads)
    place = locate(network)
    model, record = _fetch_network(place)
    with work():
        samples = _open_split(dataset, record.spec, split)
        path = place / split / "activations.zarr"
        report = repair_activations(
            model,
            samples,
            path,
            device=None if device == "auto" else device,
            provenance={"weights_hash": record.weights_hash, "dataset_identity": samples.identity},
        )
    typer.echo(report)
    if not report.whole:
        typer.echo(f"{path}: repaired, {len(report.faults)} faults are no more")


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
    from unitlens.perturbation.ablation import unit_ablation

    section = parse_section(UnitAblationSpec, settings)
    device = torch_device(device, threads)
    model, record = _open_network(network)
    with work():
        samples = _open_split(dataset, record.spec, section.split)
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
    from unitlens.perturbation.cumulative import cumulative_ablation
    from unitlens.perturbation.variants import join_variants

    section = parse_section(CumulativeAblationSpec, settings)
    device = torch_device(device, threads)
    model, record = _open_network(network)
    with work():
        measures = _measures(network) if section.by else {}
        by = {str(name): measures[name] for name in section.by}
        samples = _open_split(dataset, record.spec, section.split)
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

    from unitlens.perturbation.noise import noise_robustness

    section = parse_section(NoiseRobustnessSpec, settings)
    device = torch_device(device, threads)
    model, record = _open_network(network)
    scales = section.scales
    with work():
        result = noise_robustness(
            model,
            _open_split(dataset, record.spec, section.split),
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


def _record_split(
    dataset: Path,
    network: Path,
    split: str,
    opened: Any,
    section: ActivationSpec,
    code: str,
    device: str,
    part: tuple[int, int] | None = None,
) -> None:
    from unitlens.recording import record_activations

    model, record = opened
    samples = _open_split(dataset, record.spec, split)
    provenance = {
        "weights_hash": record.weights_hash,
        "dataset_identity": samples.identity,
        "network": network.name,
        "split": split,
        "code": code,
    }
    record_activations(
        model,
        samples,
        network / split / "activations.zarr",
        layers=section.layers,
        reduce=section.reduce,
        dtype=section.dtype,
        codec=section.codec,
        batch_size=section.batch_size,
        device=device,
        limit_gb=section.limit_gb,
        provenance=provenance,
        part=part,
        maps=section.maps,
    )


def _write_norms(dataset: Path, network: Path, opened: Any) -> None:
    from unitlens.networks.weights import l1_norms

    model, record = opened
    norms = l1_norms(model, _open_split(dataset, record.spec, SPLITS[-1]).batch([0])[0])
    norms.to_netcdf(network / "l1_norm.nc", engine="h5netcdf")


def _open_network(network: Path) -> Any:
    from unitlens.networks.checkpoints import load_checkpoint

    return load_checkpoint(network)


def _fetch_network(place: Path) -> Any:
    """Open the network at a place, after a copy of it where that is a URL's."""
    from tempfile import TemporaryDirectory

    from unitlens.networks.checkpoints import RECORD, WEIGHTS
    from unitlens.store.files import read_files
    from unitlens.store.places import is_remote

    if not is_remote(place):
        return _open_network(place)
    with TemporaryDirectory() as room:
        names = (RECORD, WEIGHTS)
        for name, content in zip(names, read_files(place, names), strict=True):
            if content is None:
                raise ModelError(f"{place} holds no network: {name} is missing; copy it there")
            (Path(room) / name).write_bytes(content)
        return _open_network(Path(room))


def _open_split(dataset: Path, spec: RunSpec, split: str) -> Any:
    from unitlens.networks.datasets import load_dataset

    corruption = spec.dataset.corruption
    return load_dataset(dataset.parent, split, corruption=corruption, seed=spec.seed)


def _measures(network: Path) -> Any:
    import xarray as xr

    from unitlens.variables import validate

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
    from unitlens.tables.components import read_components

    stored = read_components(network / "principal_components.nc")
    return [table["component"] for table in stored.values()]


def _reference(value: str, split: str, dataset: Path, spec: RunSpec, scored: Any) -> Any:
    """Return the training set where the value is made from it; it may be what is scored."""
    if value in ("zero", "mean"):
        return None
    return scored if split == "train" else _open_split(dataset, spec, "train")


COMMANDS = (
    prepare_dataset,
    train,
    record_activations,
    record_part,
    merge_activations,
    repair,
    unit_ablation,
    cumulative_ablation,
    noise_robustness,
)
