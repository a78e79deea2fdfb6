"""Subcommands that prepare data sets and train networks."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from unitlens.cli.job import (
    Code,
    Gpu,
    Gres,
    Log,
    Threads,
    job_device,
    open_log,
    work,
)
from unitlens.cli.opening import Prepared
from unitlens.config.networks import DatasetSpec, RunSpec
from unitlens.config.reading import parse_section

Spec = Annotated[str, typer.Option(help="Data set, or run, as JSON.")]
UserCode = Annotated[str, typer.Option(help="Digest of the user's own code that is called.")]
FailedRuns = Annotated[
    Literal["stop", "skip"],
    typer.Option(help="What is done where the training fails: stop, or skip the network."),
]


def prepare_dataset(
    output: Annotated[Path, typer.Argument(help="dataset.json to write.")],
    *,
    spec: Spec,
    data: Annotated[Path, typer.Option(help="Directory that data sets are read from.")] = Path(
        "data"
    ),
    download: Annotated[bool, typer.Option("--download", help="Allow downloads.")] = False,
    code: Code = "",
    user_code: UserCode = "",
    log: Log = None,
) -> None:
    """Check and convert a data set once."""
    open_log(log)
    from unitlens.data.prepare import prepare_dataset

    section = parse_section(DatasetSpec, spec)
    with work():
        prepare_dataset(
            section,
            output.parent,
            data=data,
            download=download,
            code=code,
            user_code=user_code,
        )


def train(
    dataset: Prepared,
    output: Annotated[Path, typer.Argument(help="checkpoint.json to write.")],
    *,
    spec: Spec,
    code: Code = "",
    user_code: UserCode = "",
    failed_runs: FailedRuns = "stop",
    threads: Threads = 1,
    gpu: Gpu = 0,
    gres: Gres = "",
    log: Log = None,
) -> None:
    """Train one network."""
    open_log(log)
    section = parse_section(RunSpec, spec)
    device = job_device(gpu, gres, threads)
    from unitlens.training.train import train

    with work():
        train(
            section,
            dataset.parent,
            output.parent,
            device=device,
            code=code,
            user_code=user_code,
            failed=failed_runs,
        )


COMMANDS = (
    prepare_dataset,
    train,
)
