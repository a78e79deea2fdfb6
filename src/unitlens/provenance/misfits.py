"""Misfits: files of a network whose stated provenance differs from the expected one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unitlens.hashed_files import read_trailer
from unitlens.provenance.file_provenance import DATASET, WEIGHTS, FileProvenance

CHECKPOINT = "checkpoint.json"
HISTORY = "history.nc"
STORE_FILES = ("train/activations.json", "test/activations.json")


def find_misfits(directory: Path, expected: Mapping[str, FileProvenance]) -> dict[str, str]:
    """Return the files of one network that must be made again, each with the reason.

    A file fits where it states the expected step, settings and code, and the weights of the
    checkpoint. Each input file that still exists must have the hash that the file states. The
    content of a file is not read here; a step that reads the file notices damage.

    Parameters
    ----------
    directory
        Directory of the network. Nothing is found where it holds no checkpoint.
    expected
        Path of each file in the directory to the provenance that it has when it fits; a file that
        does not exist is no misfit.

    Returns
    -------
    Path of each such file to what does not fit, in words.
    """
    record = read_values(directory / CHECKPOINT)
    if record is None:
        return {}
    weights = str(record.get("weights_hash", ""))
    misfits: dict[str, str] = {}
    for name, provenance in expected.items():
        path = directory / name
        if not path.is_file():
            continue
        stated = _stated(path, name)
        if stated is None:
            misfits[name] = "it states no provenance: it is damaged, or of unitlens before 0.3"
            continue
        inputs = {WEIGHTS: weights, **_present_inputs(directory, stated)}
        fitting = FileProvenance(provenance.step, provenance.settings, provenance.code, inputs)
        difference = stated.find_difference(fitting)
        if difference is not None:
            misfits[name] = difference
    return misfits


def _stated(path: Path, name: str) -> FileProvenance | None:
    """Return the provenance that a file states, None where it states none."""
    if name not in STORE_FILES:
        trailer = read_trailer(path)
        return FileProvenance.from_values(trailer.provenance) if trailer else None
    values = read_values(path) or {}
    stated = values.get("provenance")
    if not isinstance(stated, dict):
        return None
    if "step" in stated:  # of a network that is left out
        return FileProvenance.from_values(stated)
    if not isinstance(stated.get("settings"), dict):
        return None
    inputs = {WEIGHTS: stated.get("weights_hash", ""), DATASET: stated.get("dataset_hash", "")}
    code = str(stated.get("code", ""))
    return FileProvenance("record_activations", stated["settings"], code, inputs)


def _present_inputs(directory: Path, stated: FileProvenance) -> dict[str, str]:
    """Return the present hashes of those files that a file was computed from and that exist."""
    hashes = {}
    for name in stated.inputs:
        path = directory / name
        if name in (WEIGHTS, DATASET) or not path.is_file():
            continue
        if name in STORE_FILES:
            hashes[name] = str((read_values(path) or {}).get("content_hash", ""))
        elif (trailer := read_trailer(path)) is not None:
            hashes[name] = trailer.hash
    return hashes


def read_values(path: Path) -> dict[str, Any] | None:
    """Return the values of a JSON file: None where it is missing, nothing where it is damaged."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {} if path.is_file() else None
    return values if isinstance(values, dict) else {}
