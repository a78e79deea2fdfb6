"""Repairing a store: its bad shards are recorded again, and nothing else."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unitlens.config.measurements import MapSpec
from unitlens.data.items import ItemForm
from unitlens.data.loading_workers import loading_workers
from unitlens.data.positions import Positions, whole_items
from unitlens.data.samples import Samples, open_samples
from unitlens.errors import StoreError
from unitlens.model.outputs import OutputChoice
from unitlens.recording.forward_passes import Recording, RecordingSettings
from unitlens.recording.open_recording import open_recording
from unitlens.recording.origin import IDENTITIES, Origin
from unitlens.recording.store_comparison import StoreComparison
from unitlens.store.backend.lock import only_writer
from unitlens.store.damage import find_damage
from unitlens.store.description import StoreDescription, describe_store
from unitlens.store.located import locate_store as locate
from unitlens.store.resume import WriteState
from unitlens.store.verify import StoreReport, verify_activations
from unitlens.store.writer import StoreWriter


def repair_activations(
    model: nn.Module,
    dataset: Any,
    path: str | Path,
    *,
    workers: int = 0,
    device: torch.device | str | None = None,
    provenance: Mapping[str, Any] | None = None,
    output: OutputChoice = None,
    target: str | int | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    ignore_index: int | None = None,
    positions: Positions = None,
) -> StoreReport:
    """Verify a finished store, and record its missing and damaged shards again.

    Layers, reductions, dtype, batches and number of threads are those of the recording. A shard is
    accepted only where its values are those that it had, so the store ends as it was.

    Parameters
    ----------
    model
        The model that the store was recorded from, for instance one that
        :func:`unitlens.record_activations` or the workflow has recorded.
    dataset
        The data set that the store was recorded from.
    path
        The store, as :func:`unitlens.record_activations` has written it: a path, or a URL such as
        ``s3://bucket/acts.zarr``.
    workers
        Number of processes that read the items of a data set ahead, for data sets that read files
        or compute; numbers do not change. With 0 the items are read in this process.
    device
        Device that the model runs on; by default the kind of device of the recording.
    provenance
        The entries ``weights_hash`` and ``dataset_identity`` that
        :func:`unitlens.record_activations` was given, where these are not the computed ones.
    output
        What holds the logits, as :func:`unitlens.record_activations` was given.
    target
        Key or place of the target in an item, as for the recording.
    collate_fn
        Function that makes a batch of a list of items, as for the recording.
    ignore_index
        Label of samples that are left out, as for the recording.
    positions
        ``"samples"`` where positions are the samples, as for the recording.

    Returns
    -------
    The report of :func:`unitlens.verify_activations` before the repair: its `faults` are repaired
    now, and empty where the store was whole.

    Raises
    ------
    ArgumentError
        Where `path` is a URL of an unknown scheme, or `provenance` cannot be stored.
    LayerError, ModelError, DatasetError
        As :func:`unitlens.record_activations`.
    StoreError
        Where the store was recorded from another model or other data, values come out differently,
        the store is not finished, or another process writes it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import torch, unitlens as ul
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> data = torch.utils.data.TensorDataset(torch.randn(10, 4), torch.arange(10) % 2)
    >>> with TemporaryDirectory() as directory:
    ...     path = ul.record_activations(model, data, f"{directory}/acts.zarr")
    ...     (path / "1/activation/c/0/0").unlink()
    ...     print(ul.repair_activations(model, data, path).faults[0])
    ...     print(ul.verify_activations(path).whole)
    the shard '1/activation/c/0/0' is missing
    True
    """
    path = locate(path)
    form = ItemForm(target, collate_fn, ignore_index)
    given = RecordingSettings(output=output, form=form, positions=positions)
    samples = open_samples(dataset, whole_items(form, positions), model)
    origin = Origin(model, samples, provenance or {})
    with loading_workers(workers, samples.dataset), only_writer(path):
        description = describe_store(path)
        _check_origin(path, origin, description.contents.provenance)
        with _open_as_recorded(model, samples, description, device, given) as recording:
            _check_recording(path, recording, description)
            state, report = find_damage(path, description)
            if not report.whole:
                _record_again(path, recording, description, state)
        if not report.whole:
            _check_repaired(path)
    return report


def _check_origin(path: Path, origin: Origin, stored: Mapping[str, Any]) -> None:
    name = origin.find_difference(stored)
    if name is not None:
        raise StoreError(
            f"the store {path} was recorded from other {IDENTITIES[name]}, whose {name} is "
            f"{stored.get(name)!r}, not {origin.stated(name)!r}; repair it with those, or record "
            "to another path"
        )


@contextmanager
def _open_as_recorded(
    model: nn.Module,
    samples: Samples,
    description: StoreDescription,
    device: torch.device | str | None,
    given: RecordingSettings,
) -> Iterator[Recording]:
    """Open a recording with the settings and the threads of an earlier one."""
    conditions, contents = description.conditions, description.contents
    if device is None and conditions["device"] == "cuda" and not torch.cuda.is_available():
        raise StoreError(
            "the store was recorded on cuda, but there is no GPU here that torch can use; repair "
            "it where there is one, or name another device: it is taken if its numbers are the same"
        )
    maps = contents.maps
    settings = RecordingSettings(
        layers=[layer.name for layer in contents.layers],
        reductions=contents.reductions,
        dtype=contents.dtype,
        codec=contents.codec,
        batch_size=conditions["batch_size"],
        device=conditions["device"] if device is None else device,
        maps=MapSpec(layers=tuple(maps.positions), samples=maps.samples) if maps else None,
        output=given.output,
        form=given.form,
        positions=given.positions,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(conditions["threads"])  # others could change the last bits
    try:
        with open_recording(model, samples, settings, contents.provenance) as recording:
            yield recording
    finally:
        torch.set_num_threads(threads)


def _check_recording(path: Path, recording: Recording, description: StoreDescription) -> None:
    """Raise StoreError where a recording has other contents or values than the store."""
    stored, ours = description.contents.to_json(), recording.contents.to_json()
    for name in {**stored, **ours}:
        value, now = stored.get(name), ours.get(name)
        if value != now:
            raise StoreError(
                f"the store {path} was recorded from something else, whose {name} is "
                f"{json.dumps(value)[:200]}, not {json.dumps(now)[:200]}; repair it with "
                "that, or record to another path"
            )
    difference = StoreComparison(recording).find_difference(path, description)
    if difference is not None:
        raise StoreError(
            f"the store {path} was recorded from another network or from other data: {difference}; "
            "repair it with those, or record to another path"
        )


def _record_again(
    path: Path, recording: Recording, description: StoreDescription, state: WriteState
) -> None:
    with StoreWriter(path, description.contents, description.conditions, state=state) as writer:
        recording.fill(writer)
        writer.finish()


def _check_repaired(path: Path) -> None:
    report = verify_activations(path)
    if not report.whole:
        raise StoreError(
            f"the store {path} is still not whole after its repair: {report.faults[0]}; record to "
            "another path, on another disk if this one is failing"
        )
