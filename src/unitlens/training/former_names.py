"""Networks in folders of the names that unitlens before 0.3 gave: six digits in place of twelve."""

import logging
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from unitlens.config.runs import former_name
from unitlens.errors import ModelError
from unitlens.local_files import replacing
from unitlens.provenance.misfits import HISTORY
from unitlens.training.checkpoints import RECORD, WEIGHTS, read_record, writing_network
from unitlens.training.network_origin import NetworkOrigin

logger = logging.getLogger("unitlens")

OUTPUTS = (RECORD, HISTORY, WEIGHTS)
LOCK_FILES = (".train.lock", ".train.holder")


def adopt_former_folder(directory: Path, origin: NetworkOrigin) -> Path | None:
    """Take over a finished network of the same origin from the folder of its former name.

    Everything else in that folder moves to the directory. The network itself is in both until
    :func:`remove_former_folder`, because Snakemake removes the outputs of a training that fails.
    A killed adoption is finished by the next call.

    Parameters
    ----------
    directory
        Directory of the run. Nothing is done where it holds a network of its own.
    origin
        The origin of the network.

    Returns
    -------
    The former folder where the directory holds its network now, else None.

    Raises
    ------
    ModelError
        Where a file cannot be moved.
    """
    if not re.search(r"-[0-9a-f]{12}$", directory.name):
        return None
    former = directory.with_name(former_name(directory.name))
    if not (former / RECORD).is_file():
        return None
    if (directory / RECORD).exists():
        return former if _is_one_file(former / WEIGHTS, directory / WEIGHTS) else None
    try:
        difference = origin.find_difference(read_record(former / RECORD))
    except ModelError as error:
        logger.warning("the network in %s is not adopted: %s", former, error)
        return None
    if difference is not None:
        return None
    with writing_network(directory):
        for entry in list(former.iterdir()):
            if entry.name not in (*OUTPUTS, *LOCK_FILES):
                _move(entry, directory / entry.name)
        for name in reversed(OUTPUTS):  # the record last: it vouches for the others
            if (former / name).is_file():
                _link(former / name, directory / name)
    logger.info("%s is adopted from %s, the folder of its former name", directory, former)
    return former


def remove_former_folder(former: Path) -> None:
    """Remove what :func:`adopt_former_folder` has left in the former folder.

    Parameters
    ----------
    former
        The former folder. It stays where it holds anything else.
    """
    with suppress(OSError):  # what is left behind harms nothing
        for name in (*OUTPUTS, *LOCK_FILES):
            (former / name).unlink(missing_ok=True)
        former.rmdir()


def _move(source: Path, target: Path) -> None:
    """Move a file, or a folder into another one that may hold something already."""
    if not (source.is_dir() and target.is_dir()):
        source.replace(target)
        return
    for entry in list(source.iterdir()):
        _move(entry, target / entry.name)
    source.rmdir()


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    if _is_one_file(source, target):
        return
    with replacing(target) as partial:
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)


def _is_one_file(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)
