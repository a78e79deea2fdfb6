"""Networks in folders of the names that unitlens before 0.3 gave: six digits in place of twelve."""

import logging
import re
from pathlib import Path

from unitlens.config.runs import former_name
from unitlens.errors import ModelError
from unitlens.training.checkpoints import RECORD, read_record
from unitlens.training.network_origin import NetworkOrigin

logger = logging.getLogger("unitlens")


def adopt_former_folder(directory: Path, origin: NetworkOrigin) -> None:
    """Move a finished network of the same origin from the folder of its former name.

    Parameters
    ----------
    directory
        Directory of the run. Nothing is done where it holds a network.
    origin
        The origin of the network.

    The record moves last, so that a killed move is finished by the next call.
    """
    if (directory / RECORD).exists() or not re.search(r"-[0-9a-f]{12}$", directory.name):
        return
    former = directory.with_name(former_name(directory.name))
    if not (former / RECORD).is_file():
        return
    try:
        record = read_record(former / RECORD)
    except ModelError:
        return
    if origin.find_difference(record) is not None:
        return
    _move(former, directory)
    logger.info("%s is adopted from %s, the folder of its former name", directory, former)


def _move(source: Path, target: Path) -> None:
    """Move everything in a folder into another, the record of the network last."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in sorted(source.iterdir(), key=lambda entry: entry.name == RECORD):
        there = target / entry.name
        if entry.is_dir() and there.is_dir():
            _move(entry, there)
        else:
            entry.replace(there)
    source.rmdir()
