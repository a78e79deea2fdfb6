"""Subcommands that record activations: whole, in parts, and again where a store is damaged."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unitlens.cli.job import (
    Code,
    Gpu,
    Gres,
    Log,
    Settings,
    Site,
    Threads,
    job_device,
    open_log,
    set_threads,
    work,
)
from unitlens.cli.opening import SPLITS, Network, Prepared, open_network
from unitlens.cli.step_job import StepJob
from unitlens.config.measurements import ActivationSpec
from unitlens.config.reading import parse_section
from unitlens.errors import ArgumentError, StoreError
from unitlens.failed_network import FAILED, failure_of
from unitlens.hashed_files import write_json

if TYPE_CHECKING:
    from unitlens.stored_network import StoredNetwork

STORE = "activations.zarr"
Device = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1 ...; by default the kind of device of the recording."),
]


def record_activations(
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
    """Write every unit's activation over both splits, and the L1 norm of its weights."""
    open_log(log)
    section = parse_section(ActivationSpec, settings, site)
    job = StepJob("record_activations", section, code, network, dataset)
    if job.is_left_out():
        return
    device = job_device(gpu, gres, threads)
    with job.work():
        for split in SPLITS:
            _record(job.stored, split, section, code, device)
        _write_norms(job)


def record_part(
    dataset: Prepared,
    network: Network,
    output: Annotated[Path, typer.Argument(help="JSON to write when the part is recorded.")],
    *,
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
    """Write a part of both splits' activations; merge-activations makes stores of all parts."""
    open_log(log)
    section = parse_section(ActivationSpec, settings, site)
    output.parent.mkdir(parents=True, exist_ok=True)
    done = {"part": part, "of": of, "splits": SPLITS}
    if reason := failure_of(network):
        write_json(output, {**done, FAILED: reason})
        return
    device = job_device(gpu, gres, threads)
    stored = open_network(network, dataset)
    with work():
        for split in SPLITS:
            # The merge makes the manifest anew, as any rule does with what it declares.
            (network / split / "activations.json").unlink(missing_ok=True)
            _record(stored, split, section, code, device, (part, of))
        write_json(output, done)


def merge_activations(
    dataset: Prepared,
    network: Network,
    *,
    settings: Settings = "{}",
    code: Code = "",
    log: Log = None,
) -> None:
    """Make stores of the recorded parts of both splits; write the L1 norm of the weights."""
    open_log(log)
    from unitlens.store.merge import merge_activations

    section = parse_section(ActivationSpec, settings)
    job = StepJob("record_activations", section, code, network, dataset)
    if job.is_left_out():
        return
    with job.work():
        try:
            for split in SPLITS:
                merge_activations(network / split / STORE)
        except StoreError:
            # Snakemake records those parts again whose files are not there; whole ones resume.
            for file in (network / "parts").glob("*-of-*.json"):
                file.unlink()
            raise
        _write_norms(job)


def repair(
    dataset: Prepared,
    network: Annotated[str, typer.Argument(help="Directory of the network: a path or a URL.")],
    split: Annotated[str, typer.Argument(help="train or test.")],
    *,
    threads: Threads = 1,
    device: Device = None,
    log: Log = None,
) -> None:
    """Record again just those shards of a finished store that are missing or damaged."""
    open_log(log)
    if split not in SPLITS:
        raise ArgumentError(f"the split is {split!r}, but must be one of {', '.join(SPLITS)}")
    from unitlens.recording.repair import repair_activations

    set_threads(threads)
    stored = open_network(network, dataset)
    path = stored.directory / split / STORE
    with work():
        report = repair_activations(
            stored.model,
            stored.dataset(split),
            path,
            device=device,
            provenance=stored.provenance(split, code=""),
        )
    typer.echo(report)
    if not report.whole:
        typer.echo(f"{path}: repaired, {len(report.faults)} faults are no more")


def _record(
    stored: "StoredNetwork",
    split: str,
    section: ActivationSpec,
    code: str,
    device: str,
    part: tuple[int, int] | None = None,
) -> None:
    from unitlens.recording.record import record_activations

    record_activations(
        stored.model,
        stored.dataset(split),
        stored.directory / split / STORE,
        **section.arguments(),
        provenance=stored.provenance(split, code, section.content()),
        device=device,
        part=part,
    )


def _write_norms(job: StepJob) -> None:
    from unitlens.model.weights import l1_norms
    from unitlens.store.backend.netcdf import write_netcdf

    stored = job.stored
    example, *_ = stored.dataset(SPLITS[-1]).batch([0])
    norms = l1_norms(stored.model, example).to_dataset()
    write_netcdf(norms, job.network / "l1_norm.nc", provenance=job.provenance())


COMMANDS = (record_activations, record_part, merge_activations, repair)
