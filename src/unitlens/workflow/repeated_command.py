"""The command that a person repeats to make the same results."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from unitlens.user_code import folder_of_module

_SET_ANEW = {"results"}  # where the results go is said by whoever repeats the command


def repeated_command(
    program: str,
    configfiles: Sequence[Path],
    settings: Mapping[str, Any],
    functions: Iterable[str],
    start: Path,
) -> str:
    """Write the command that results were made by, for a person to repeat.

    Parameters
    ----------
    program
        Program with its options, such as ``snakemake --cores all``.
    configfiles
        Files of the configuration. Where an option names them, `program` ends with that option.
    settings
        What was given by ``--config``. The key ``results`` is left out.
    functions
        The user's functions that the configuration names, as module:function.
    start
        Directory that the command is repeated in.

    Returns
    -------
    The command, quoted for the shell. It sets PYTHONPATH where a function is found there only, and
    ends with ``--config`` and the settings where there are any.

    Examples
    --------
    >>> program, files = "snakemake --cores all --configfile", [Path("/data/networks.yaml")]
    >>> repeated_command(program, files, {"results": "a", "device": "cpu"}, [], Path("/data"))
    'snakemake --cores all --configfile networks.yaml --config device=cpu'
    """
    words = [_python_path(functions, start), program]
    words += [quote(os.path.relpath(file, start)) for file in configfiles]
    given = [_setting(key, value) for key, value in settings.items() if key not in _SET_ANEW]
    return " ".join([word for word in words if word] + (["--config", *given] if given else []))


def _python_path(functions: Iterable[str], start: Path) -> str:
    """Write the assignment of PYTHONPATH with which the functions are found, empty if none."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    listed = {Path(entry).resolve() for entry in entries if entry} | {Path.cwd().resolve()}
    found = {folder_of_module(name.partition(":")[0]) for name in functions}
    needed = sorted(os.path.relpath(folder, start) for folder in listed & found - {start.resolve()})
    return f"PYTHONPATH={quote(os.pathsep.join(needed))}" if needed else ""


def _setting(key: str, value: Any) -> str:
    """Write a setting as Snakemake reads it: a plain word as it is, anything else as JSON."""
    if value is None:
        return f"{key}="
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z./][\w./-]*", value, re.ASCII)
    return quote(f"{key}={value if plain else json.dumps(value)}")
