"""The start of Snakemake: which Snakefile, which configuration, how many cores."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from unitlens.errors import ArgumentError
from unitlens.workflow.workflow_files import SNAKEFILE

# Where Snakemake itself looks for a Snakefile.
_SNAKEFILES = ("Snakefile", "snakefile", "workflow/Snakefile", "workflow/snakefile")
# Options after which the number of cores is not this module's business.
_CORES = ("--cores", "-c", "--jobs", "-j", "--executor", "-e", "--profile", "--workflow-profile")


def snakemake_command(
    configs: Sequence[Path], arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs the workflow in the current directory, and its environment.

    The workflow is that of the Snakefile in the current directory, and the installed one where
    there is none. All cores are used where the arguments do not say how many.

    Parameters
    ----------
    configs
        Configuration files, the later over the earlier; ``config.yaml`` where there is none.
    arguments
        Further arguments of Snakemake.
    environment
        Environment variables. The interpreter that runs this function is put first on ``PATH``, so
        that the jobs use the same installation.

    Returns
    -------
    The command, and the environment that it needs.

    Raises
    ------
    ArgumentError
        Where a configuration file is missing.
    """
    _check_configs(configs, arguments)
    command = [sys.executable, "-m", "snakemake"]
    if not _has_option(arguments, ("--snakefile", "-s")) and not any(
        Path(name).is_file() for name in _SNAKEFILES
    ):
        command += ["--snakefile", SNAKEFILE]
    if not _has_option(arguments, _CORES) and "SNAKEMAKE_PROFILE" not in environment:
        command += ["--cores", "all"]
    command += arguments
    if configs:  # at the end, since the option takes everything up to the next option
        command += ["--configfile", *map(str, configs)]
    path = os.pathsep.join((str(Path(sys.executable).parent), environment.get("PATH", os.defpath)))
    return command, {**environment, "PATH": path}


def _has_option(arguments: Sequence[str], names: Sequence[str]) -> bool:
    """Tell whether an option is among arguments, written as ``-c 2``, ``-c2`` or ``--cores=2``."""
    return any(
        argument.partition("=")[0] == name
        or (len(name) == len("-c") and argument.startswith(name) and argument[1] != "-")
        for argument in arguments
        for name in names
    )


def _check_configs(configs: Sequence[Path], arguments: Sequence[str]) -> None:
    for config in configs:
        if not config.is_file():
            raise ArgumentError(
                f"there is no configuration {config}; name a file that is there, or write one: "
                "unitlens init FOLDER"
            )
    named = configs or _has_option(
        arguments, ("--configfile", "--configfiles", "--directory", "-d")
    )
    if not named and not Path("config.yaml").is_file():
        raise ArgumentError(
            f"there is no config.yaml in {Path.cwd()}; name a configuration: unitlens run FILE, or "
            "write one: unitlens init FOLDER"
        )
