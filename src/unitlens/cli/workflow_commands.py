"""Subcommands that begin an experiment and run its workflow."""

import os
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer

from unitlens.cli.terminal import say
from unitlens.extras import require

_SUFFIXES = (".yaml", ".yml")


def init(
    directory: Annotated[Path, typer.Argument(help="Folder of the experiment.")],
) -> None:
    """Begin an experiment: config.yaml, a Snakefile that uses the workflow, presets, profiles."""
    from unitlens.workflow.experiment_folder import begin_experiment

    for file in begin_experiment(directory):
        say(file)


def run(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG -- ARGUMENTS",
            help="Configuration (.yaml; config.yaml if none), then arguments of Snakemake.",
        ),
    ] = None,
) -> None:
    """Run the workflow of a configuration with Snakemake, on all cores if not told otherwise."""
    from unitlens.workflow.snakemake_start import snakemake_command

    require("snakemake")
    values = arguments or []
    configs = [*takewhile(_is_config, values)]
    command, environment = snakemake_command(
        [Path(config) for config in configs], values[len(configs) :], os.environ
    )
    os.execve(command[0], command, environment)  # noqa: S606 - no shell


def _is_config(value: str) -> bool:
    return not value.startswith("-") and value.endswith(_SUFFIXES)


COMMANDS = (init, run)
