"""The source that the jobs of the workflow compute with, in whichever environment they run."""

import os
from pathlib import Path

from unitlens.local_files import partial_path
from unitlens.workflow.workflow_files import IN_REPOSITORY

_PACKAGE = Path(__file__).resolve().parents[1]
_LINKED = Path(".snakemake") / "unitlens"


def source_folder() -> Path:
    """Return a folder that holds the package and no other one.

    Returns
    -------
    ``src`` of the repository. Of an installed package, a folder below ``.snakemake`` with a link to
    the package: the folder that the package lies in holds the packages of one environment, and a
    job may run in another one.
    """
    if IN_REPOSITORY:
        return _PACKAGE.parent
    link = _LINKED.absolute() / _PACKAGE.name
    if link.resolve() != _PACKAGE:
        link.parent.mkdir(parents=True, exist_ok=True)
        made = partial_path(link)
        made.unlink(missing_ok=True)
        made.symlink_to(_PACKAGE)
        made.replace(link)
    return link.parent


def put_first_on_path(folder: Path) -> None:
    """Have the jobs of this process look for Python's modules in a folder first.

    Parameters
    ----------
    folder
        The folder.
    """
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [entry for entry in before if entry and entry != str(folder)]
    os.environ["PYTHONPATH"] = os.pathsep.join((str(folder), *others))


def container_image() -> str | None:
    """Return the image that the site names for all jobs, in the variable UNITLENS_CONTAINER."""
    return os.environ.get("UNITLENS_CONTAINER")
