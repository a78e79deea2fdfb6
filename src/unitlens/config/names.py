"""Rules for names and directories that a configuration gives: what files and rules cannot take."""

import os
import re
from pathlib import Path

from unitlens.errors import printable, shown

NAME_CHARACTERS = 100
PATH_BYTES = 3000  # of 4,096; the rest is for what lies in the directory
PART_BYTES = 255


def check_name(name: str) -> str:
    """Return the name of an experiment, or refuse it.

    Parameters
    ----------
    name
        The name.

    Raises
    ------
    ValueError
        Where the name cannot be shown or be part of a workflow. The message tells rule and remedy.
    """
    _check_text(name, "name of an experiment")
    if len(name) > NAME_CHARACTERS:
        raise ValueError(
            f"the name of an experiment has {len(name)} characters, but may have "
            f"{NAME_CHARACTERS}; shorten it"
        )
    return name


def check_directory(path: str) -> str:
    """Return the path of a directory, or refuse it.

    Parameters
    ----------
    path
        The path, absolute or relative to the current directory.

    Raises
    ------
    ValueError
        Where the path is no directory that the workflow can write to by this name. The message
        tells rule and remedy.
    """
    _check_text(path, "directory")
    if path.startswith("~"):
        raise ValueError(
            f"~ is not replaced by your home directory; write the path out, as {_home(path)}"
        )
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", path):
        raise ValueError(
            "must be a directory of this machine, not a URL; name a directory (stores alone can "
            "lie elsewhere, by ul.record_activations)"
        )
    absolute = os.path.abspath(path)  # noqa: PTH100 - without looking at links
    if set(absolute) == {"/"}:
        raise ValueError("must not be the root of the file system; name a directory in it")
    if len(os.fsencode(absolute)) > PATH_BYTES or any(
        len(os.fsencode(part)) > PART_BYTES for part in Path(absolute).parts
    ):
        raise ValueError(
            f"has {len(os.fsencode(absolute))} bytes as a whole path, but may have {PATH_BYTES}, "
            f"and {PART_BYTES} in one of its names; name a shorter path"
        )
    return path


def _home(path: str) -> str:
    home = Path(path.partition("/")[0])
    try:
        return shown(str(home.expanduser() / path.partition("/")[2]))
    except RuntimeError:  # no such user
        return "/home/NAME/..."


def _check_text(text: str, what: str) -> None:
    if not text:
        raise ValueError(f"the {what} must not be empty; write one")
    if printable(text) != text:
        raise ValueError(
            f"the {what} has a control character, or one that turns the direction of writing; "
            "remove it"
        )
    if text != text.strip():
        raise ValueError(f"the {what} begins or ends with a blank; remove the blank")
    if set("{}") & set(text):
        raise ValueError(
            f"the {what} has braces, which Snakemake takes for a wildcard; use other brackets"
        )
