"""Files of a results folder that do not fit a plan, found by what the files themselves state.

What Snakemake remembers is not used: a folder that was copied is judged by its own files.
The content of a file is not read here; a step that reads the file notices damage.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unitlens.config.networks import RunSpec
from unitlens.config.runs import network_name
from unitlens.data.prepared_state import find_stale_dataset
from unitlens.errors import StoreError
from unitlens.hashed_files import HASH, hash_values
from unitlens.planning.network_steps import expected_provenances, step_code
from unitlens.planning.plan import Plan
from unitlens.planning.plan_file import plan_values
from unitlens.provenance.file_provenance import FileProvenance
from unitlens.provenance.misfits import (
    CHECKPOINT,
    HISTORY,
    STORE_FILES,
    find_misfits,
    read_values,
)
from unitlens.provenance.user_source import user_code_digest


def find_stale(plan: Plan) -> dict[str, str]:
    """Return the files of the results folder that must be made again, each with the reason.

    Parameters
    ----------
    plan
        The plan. Missing files are left to Snakemake.

    Returns
    -------
    Path of each file to what does not fit, in words.

    Raises
    ------
    StoreError
        Where a store that is needed lies at a URL that cannot be reached.
    """
    results = Path(plan.config.results)
    if not results.is_dir():
        return {}
    stale = dict(_stale_datasets(plan, results)) | dict(_stale_checkpoints(plan, results))
    for network, files in expected_provenances(plan).items():
        directory = results / network
        found = stale_network_files(directory, files, _parts(directory, files))
        for name, reason in found.items():
            stale[f"{results}/{network}/{name}"] = reason
    return stale | dict(_stale_tables(results)) | dict(_stale_plan(plan, results))


def stale_network_files(
    directory: Path,
    files: Mapping[str, FileProvenance],
    parts: Mapping[str, FileProvenance] | None = None,
) -> dict[str, str]:
    """Return the files of one network that must be made again, each with the reason.

    Parameters
    ----------
    directory
        Directory of the network.
    files
        Path of each file in the directory to the provenance that it must have.
    parts
        The same of parts of tables.
    """
    misfits = find_misfits(directory, {**files, **(parts or {})})
    return misfits | _incomplete_stores(directory, files, misfits)


def _parts(directory: Path, files: Mapping[str, FileProvenance]) -> dict[str, FileProvenance]:
    """Return the parts of tables that are there, with the provenance that they must have."""
    return {
        str(path.relative_to(directory)): provenance
        for name, provenance in files.items()
        for path in sorted((directory / "parts" / Path(name).stem).glob("*.nc"))
    }


def _stale_datasets(plan: Plan, results: Path) -> Iterator[tuple[str, str]]:
    """Yield the prepared data sets that were made from other files or by other code."""
    code, data = step_code("prepare_dataset"), Path(plan.config.data)
    for name, spec in plan.datasets.items():
        directory = results / "datasets" / name
        if not (directory / "dataset.json").is_file():
            continue
        user_code = user_code_digest(spec.name)
        reason = find_stale_dataset(directory, spec, data, code=code, user_code=user_code)
        if reason is not None:
            yield str(directory / "dataset.json"), reason


def changed_code(stated: Mapping[str, Any], step: str, function: str) -> str | None:
    """Return which code has changed since a file was made, in words.

    Parameters
    ----------
    stated
        What the file states: ``code`` and ``user_code``, or neither.
    step
        The step that makes the file.
    function
        The user's function that the step calls, or another name.
    """
    now = {"code": step_code(step), "user_code": user_code_digest(function)}
    for key, digest in now.items():
        if stated.get(key, digest) != digest:
            return f"the {key.replace('_', ' ')} of {step.replace('_', ' ')} has changed"
    return None


def _stale_checkpoints(plan: Plan, results: Path) -> Iterator[tuple[str, str]]:
    """Yield the networks that were made from something else than the plan says."""
    for name, run in plan.runs.items():
        path = results / name / CHECKPOINT
        record = read_values(path)
        if record is None:
            continue
        reason = _checkpoint_difference(record, run.spec, plan)
        if reason is None and not record.get("failed"):
            reason = _missing_file(results, name, run.spec)
        if reason is not None:
            yield str(path), reason


def _missing_file(results: Path, name: str, spec: RunSpec) -> str | None:
    """Return which file of a trained network is missing that no rule asks for, in words."""
    epochs = spec.training.checkpoints if spec.training else ()
    kept = [f"{network_name(name, epoch)}/{CHECKPOINT}" for epoch in epochs]
    for file in (f"{name}/{HISTORY}", *kept):
        if not (results / file).is_file():
            return f"{file} is missing"
    return None


def _checkpoint_difference(record: Mapping[str, Any], spec: RunSpec, plan: Plan) -> str | None:
    if record.get("failed") and plan.config.failed_runs == "stop":
        return "its training failed, and failed_runs is stop"
    return changed_code(record.get("origin_parts") or {}, "train", spec.model.name)


def _incomplete_stores(
    directory: Path, expected: Mapping[str, FileProvenance], stale: Mapping[str, str]
) -> dict[str, str]:
    """Return the stores that lack files, but not a removed store that no other file needs."""
    from unitlens.store.format.manifest import check_whole, read_manifest
    from unitlens.store.located import locate_store, reach_location

    incomplete = {}
    others = [name for name in expected if name not in STORE_FILES]
    is_used = any(name in stale or not (directory / name).is_file() for name in others)
    for name in STORE_FILES:
        store = directory / Path(name).with_suffix(".zarr")
        if name not in expected or name in stale or not (directory / name).is_file():
            continue
        if not store.is_dir() and not is_used:
            continue
        reach_location(store)
        try:
            place = locate_store(store)
            check_whole(place, read_manifest(place))
        except StoreError as error:
            incomplete[name] = str(error)
    return incomplete


def _stale_tables(results: Path) -> Iterator[tuple[str, str]]:
    """Yield the records of tables, figures and pages of which a file is missing."""
    for record in ("tables.json", "figures/figures.json", "paper.json"):
        path = results / record
        values = read_values(path)
        if values is None:
            continue
        files = values.get("files")
        if not isinstance(files, dict):
            yield str(path), "it states no files: it is damaged, or of unitlens before 0.3"
            continue
        missing = [name for name in files if not (path.parent / name).is_file()]
        if missing:
            yield str(path), f"{path.parent / missing[0]} is missing"


def _stale_plan(plan: Plan, results: Path) -> Iterator[tuple[str, str]]:
    path = results / "plan.json"
    values = read_values(path)
    if values is not None and values.get(HASH) != hash_values(plan_values(plan)):
        yield str(path), "networks, settings or code have changed"
