"""Repairing: what is bad of a store is recorded again, and nothing else."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unitlens.config.measurements import MapSpec
from unitlens.errors import StoreError
from unitlens.recording.origin import complete_provenance
from unitlens.recording.record import Recording, open_recording
from unitlens.store.backend.lock import only_writer
from unitlens.store.backend.places import locate
from unitlens.store.damage import StoreRecord, find_damage, read_known
from unitlens.store.format.layout import FeatureMaps
from unitlens.store.format.manifest import Contents
from unitlens.store.resume import Salvage
from unitlens.store.verify import StoreReport, verify_store
from unitlens.store.writer import StoreWriter

IDENTITIES = {"weights_hash": "weights", "dataset_identity": "data"}


def repair_activations(
    model: nn.Module,
    dataset: Any,
    path: str | Path,
    *,
    device: torch.device | str | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> StoreReport:
    """Verify a finished store, and record again just those of its shards that are bad.

    Layers, reduction, dtype, size and cut of batches and number of threads are the store's own. A
    shard is taken only where its values are those that it had, so the store ends as it was.

    Parameters
    ----------
    model, dataset
        Those that the store was recorded from.
    path
        The store, as :func:`unitlens.record_activations` has written it: a path or a URL.
    device
        Where the model runs; the kind of device of the recording by default.
    provenance
        What :func:`unitlens.record_activations` was given, as far as it said ``weights_hash`` or
        ``dataset_identity``.

    Returns
    -------
    What was wrong and is no more: `faults` are empty where the store was whole.

    Raises
    ------
    StoreError
        Where model or data are not the store's, values come out differently, there is no finished
        store, or it is being written by another process.
    """
    path = locate(path)
    origin = complete_provenance(model, dataset, provenance or {})
    with only_writer(path):
        known = read_known(path)
        _check_origin(path, origin, known.contents)
        left, report = find_damage(path, known)
        if not report.whole:
            with _as_recorded(model, dataset, known, device) as recording:
                _record_again(path, recording, known, left)
            _check_mended(path)
    return report


def _check_origin(path: Path, origin: Mapping[str, Any], contents: Contents) -> None:
    for name, what in IDENTITIES.items():
        found = contents.provenance.get(name)
        if found != origin[name]:
            raise StoreError(
                f"the store {path} was recorded from other {what}, whose {name} is {found!r}, not "
                f"{origin[name]!r}; repair it with those, or record to another path"
            )


@contextmanager
def _as_recorded(
    model: nn.Module, dataset: Any, known: StoreRecord, device: torch.device | str | None
) -> Iterator[Recording]:
    """Open the recording as it was, with its own threads: others could change the last bits."""
    how, of = known.conditions, known.contents
    if device is None and how["device"] == "cuda" and not torch.cuda.is_available():
        raise StoreError(
            "the store was recorded on cuda, but there is no GPU here that torch can use; repair "
            "it where there is one, or name another device: it is taken if its numbers are the same"
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(how["threads"])
    try:
        with open_recording(
            model,
            dataset,
            of.provenance,
            [layer.name for layer in of.layers],
            of.reductions,
            of.dtype,
            of.codec,
            how["batch_size"],
            how["device"] if device is None else device,
            _asked_for(of.maps),
        ) as recording:
            yield recording
    finally:
        torch.set_num_threads(threads)


def _asked_for(maps: FeatureMaps | None) -> MapSpec | None:
    return None if maps is None else MapSpec(layers=tuple(maps.positions), samples=maps.samples)


def _record_again(path: Path, recording: Recording, known: StoreRecord, left: Salvage) -> None:
    stored, ours = known.contents.to_json(), recording.contents.to_json()
    for name, found in stored.items():
        if found != ours[name]:
            raise StoreError(
                f"the store {path} was recorded from something else, whose {name} is "
                f"{json.dumps(found)[:200]}, not {json.dumps(ours[name])[:200]}; repair it with "
                "that, or record to another path"
            )
    with StoreWriter(path, known.contents, known.conditions, left=left) as writer:
        recording.fill(writer)
        writer.finish()


def _check_mended(path: Path) -> None:
    report = verify_store(path)
    if not report.whole:
        raise StoreError(
            f"the store {path} is still not whole after its repair: {report.faults[0]}; record to "
            "another path, on another disk if this one is failing"
        )
