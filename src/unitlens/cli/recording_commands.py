"""Subcommands that record activations: whole, in parts, and again where a store is damaged."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from unitlens.cli.job import (
    Device,
    Log,
    Settings,
    Threads,
    open_log,
    torch_device,
    work,
)
from unitlens.cli.opening import SPLITS, Code, Network, Prepared, open_network, open_split
from unitlens.config.measurements import ActivationSpec
from unitlens.config.reading import parse_section
from unitlens.errors import ArgumentError, ModelError


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
    opened = open_network(network)
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
    opened = open_network(network)
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
        _write_norms(dataset, network, open_network(network))


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
    from unitlens.recording.repair import repair_activations
    from unitlens.store.backend.places import locate

    torch_device(device, threads)
    place = locate(network)
    model, record = _fetch_network(place)
    with work():
        samples = open_split(dataset, record.spec, split)
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
    from unitlens.recording.record import record_activations

    model, record = opened
    samples = open_split(dataset, record.spec, split)
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
    from unitlens.model.weights import l1_norms

    model, record = opened
    norms = l1_norms(model, open_split(dataset, record.spec, SPLITS[-1]).batch([0])[0])
    norms.to_netcdf(network / "l1_norm.nc", engine="h5netcdf")


def _fetch_network(place: Path) -> Any:
    """Open the network at a place, after a copy of it where that is a URL's."""
    from tempfile import TemporaryDirectory

    from unitlens.store.backend.files import read_files
    from unitlens.store.backend.places import is_remote
    from unitlens.training.checkpoints import RECORD, WEIGHTS

    if not is_remote(place):
        return open_network(place)
    with TemporaryDirectory() as room:
        names = (RECORD, WEIGHTS)
        for name, content in zip(names, read_files(place, names), strict=True):
            if content is None:
                raise ModelError(f"{place} holds no network: {name} is missing; copy it there")
            (Path(room) / name).write_bytes(content)
        return open_network(Path(room))


COMMANDS = (
    record_activations,
    record_part,
    merge_activations,
    repair,
)
