"""The command that a person repeats to make the same results."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from unitlens.provenance.user_source import module_root
from unitlens.workflow.jobs_source import source_folder

_SET_ANEW = {"results"}  # where the results go is said by whoever repeats the command


def repeated_command(
    beginning: str, settings: Mapping[str, Any], functions: Iterable[str], start: Path
) -> str:
    """Write the command that results were made by, for a person to repeat.

    Parameters
    ----------
    beginning
        Program with its options and the files of the configuration, quoted for the shell, such as
        ``snakemake --cores all --configfile a.yaml``.
    settings
        What was given by ``--config``. The key ``results`` is left out.
    functions
        The user's functions that the configuration names, as module:function.
    start
        Directory that the command is repeated in.

    Returns
    -------
    The command, quoted for the shell. It sets PYTHONPATH as it is now where a function is found
    there, and ends with ``--config`` and the settings where there are any.

    Examples
    --------
    >>> snakemake = "snakemake --cores all --configfile a.yaml"
    >>> repeated_command(snakemake, {"results": "a", "device": "cpu"}, [], Path("/data"))
    'snakemake --cores all --configfile a.yaml --config device=cpu'
    """
    given = [_setting(key, value) for key, value in settings.items() if key not in _SET_ANEW]
    words = [_python_path(functions, start), beginning, *(["--config", *given] if given else [])]
    return " ".join(word for word in words if word)


def _python_path(functions: Iterable[str], start: Path) -> str:
    """Write the assignment of PYTHONPATH with which the functions are found, empty if none.

    Jobs look in the current directory first. Where it is another one than `start`, the entries are
    absolute: jobs read the variable in their own directory.
    """
    here, of_jobs = Path.cwd(), source_folder().resolve()
    entries = [Path(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    listed = [entry for entry in entries if entry.resolve() != of_jobs]
    roots = {root.resolve() for name in functions if (root := module_root(name.partition(":")[0]))}
    if not {entry.resolve() for entry in listed} & (roots - {here.resolve()}):
        return ""
    moved = here.resolve() != start.resolve()
    told = [str(entry.resolve()) if moved else os.path.relpath(entry, start) for entry in listed]
    return f"PYTHONPATH={quote(os.pathsep.join(dict.fromkeys(told)))}"


def _setting(key: str, value: Any) -> str:
    """Write a setting as Snakemake reads it: a list or a mapping as JSON, which is YAML."""
    if value is None:
        return f"{key}="
    nested = isinstance(value, list | dict)
    return quote(f"{key}={json.dumps(value, ensure_ascii=False) if nested else value}")
