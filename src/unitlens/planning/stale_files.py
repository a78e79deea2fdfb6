"""Files of a results folder that do not fit a plan, found by what the files themselves state.

Nothing that Snakemake remembers is used, so that a folder that was copied or moved is judged like
any other. Contents are not read: damage is noticed when a file is used.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unitlens.config.networks import RunSpec
from unitlens.config.runs import network_name
from unitlens.hashed_files import HASH, hash_values, read_trailer
from unitlens.planning.network_steps import STORE_FILES, expected_provenances, step_code
from unitlens.planning.plan import Plan
from unitlens.planning.plan_file import plan_values
from unitlens.provenance.file_provenance import DATASET, WEIGHTS, FileProvenance
from unitlens.provenance.user_source import user_code_digest

CHECKPOINT = "checkpoint.json"


def find_stale(plan: Plan) -> dict[str, str]:
    """Return the files of the results folder that must be made again, each with the reason.

    Parameters
    ----------
    plan
        The plan. Missing files are left to Snakemake.

    Returns
    -------
    Path of each file to what does not fit, in words.
    """
    results = Path(plan.config.results)
    if not results.is_dir():
        return {}
    stale = dict(_stale_checkpoints(plan, results))
    for network, files in expected_provenances(plan).items():
        for name, reason in _stale_files(results / network, files).items():
            stale[f"{results}/{network}/{name}"] = reason
    return stale | dict(_stale_tables(results)) | dict(_stale_plan(plan, results))


def _stale_checkpoints(plan: Plan, results: Path) -> Iterator[tuple[str, str]]:
    """Yield the networks that were made from something else than the plan says."""
    for name, run in plan.runs.items():
        path = results / name / CHECKPOINT
        record = _read_values(path)
        if record is None:
            continue
        reason = _checkpoint_difference(record, run.spec, plan)
        missing = [
            network
            for network in _kept_epochs(name, run.spec)
            if not record.get("failed") and not (results / network / CHECKPOINT).is_file()
        ]
        if reason is None and missing:
            reason = f"the network {missing[0]} is missing"
        if reason is not None:
            yield str(path), reason


def _kept_epochs(name: str, spec: RunSpec) -> list[str]:
    epochs = spec.training.checkpoints if spec.training else ()
    return [network_name(name, epoch) for epoch in epochs]


def _checkpoint_difference(record: Mapping[str, Any], spec: RunSpec, plan: Plan) -> str | None:
    if record.get("failed") and plan.config.failed_runs == "stop":
        return "its training failed, and failed_runs is stop"
    parts = record.get("origin_parts") or {}
    for part, now in (
        ("code", step_code("train")),
        ("user_code", user_code_digest(spec.model.name)),
    ):
        if part in parts and parts[part] != now:
            return f"the {part.replace('_', ' ')} of the training has changed"
    return None


def _stale_files(directory: Path, expected: Mapping[str, FileProvenance]) -> dict[str, str]:
    """Return the files of one network that do not fit, by their paths in its directory."""
    record = _read_values(directory / CHECKPOINT)
    if record is None:
        return {}
    weights = str(record.get("weights_hash", ""))
    stale: dict[str, str] = {}
    for name, provenance in expected.items():
        path = directory / name
        if not path.is_file():
            continue
        stated = _stated(path, name)
        if stated is None:
            stale[name] = "it states no provenance: it is damaged, or of unitlens before 0.3"
            continue
        inputs = {WEIGHTS: weights, **_file_inputs(directory, stated)}
        same_network = FileProvenance(provenance.step, provenance.settings, provenance.code, inputs)
        reason = stated.find_difference(same_network)
        if reason is not None:
            stale[name] = reason
    return stale | _incomplete_stores(directory, expected, stale)


def _stated(path: Path, name: str) -> FileProvenance | None:
    if name not in STORE_FILES:
        trailer = read_trailer(path)
        return FileProvenance.from_values(trailer.provenance) if trailer else None
    values = _read_values(path) or {}
    stated = values.get("provenance")
    if not isinstance(stated, dict):
        return None
    if "step" in stated:  # of a network that is left out
        return FileProvenance.from_values(stated)
    inputs = {WEIGHTS: stated.get("weights_hash", ""), DATASET: stated.get("dataset_hash", "")}
    settings = stated.get("settings")
    if settings is None:
        return None
    return FileProvenance("record_activations", settings, stated.get("code", ""), inputs)


def _file_inputs(directory: Path, stated: FileProvenance) -> dict[str, str]:
    """Return the present hashes of those files that a file was computed from and that exist."""
    hashes = {}
    for name in stated.inputs:
        path = directory / name
        if name in (WEIGHTS, DATASET) or not path.is_file():
            continue
        if name in STORE_FILES:
            values = _read_values(path) or {}
            hashes[name] = str(values.get("content_hash", ""))
        elif (trailer := read_trailer(path)) is not None:
            hashes[name] = trailer.hash
    return hashes


def _incomplete_stores(
    directory: Path, expected: Mapping[str, FileProvenance], stale: Mapping[str, str]
) -> dict[str, str]:
    """Return the stores that lack files and are needed: a whole one that was removed may be not."""
    from unitlens.errors import StoreError
    from unitlens.store.format.manifest import check_whole, read_manifest

    incomplete = {}
    others = [name for name in expected if name not in STORE_FILES]
    is_used = any(name in stale or not (directory / name).is_file() for name in others)
    for name in STORE_FILES:
        store = directory / Path(name).with_suffix(".zarr")
        if name not in expected or name in stale or not (directory / name).is_file():
            continue
        if not store.is_dir() and not is_used:
            continue
        try:
            check_whole(store, read_manifest(store))
        except StoreError as error:
            incomplete[name] = str(error)
    return incomplete


def _stale_tables(results: Path) -> Iterator[tuple[str, str]]:
    """Yield the records of tables, figures and pages of which a file is missing."""
    for record in ("tables.json", "figures/figures.json", "paper.json"):
        path = results / record
        values = _read_values(path)
        if values is None:
            continue
        files = values.get("files", {})
        missing = [name for name in files if not (path.parent / name).is_file()]
        if missing:
            yield str(path), f"{path.parent / missing[0]} is missing"


def _stale_plan(plan: Plan, results: Path) -> Iterator[tuple[str, str]]:
    path = results / "plan.json"
    values = _read_values(path)
    if values is not None and values.get(HASH) != hash_values(plan_values(plan)):
        yield str(path), "networks, settings or code have changed"


def _read_values(path: Path) -> dict[str, Any] | None:
    """Return the values of a JSON file, None where there is no such file to read."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {} if path.is_file() else None
    return values if isinstance(values, dict) else {}
