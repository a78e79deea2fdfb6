"""Recording activations to a store, or to a part of a store."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from unitlens.config.base import DeclaredLayer, LastLayers
from unitlens.config.measurements import MapSpec
from unitlens.data.items import ItemForm
from unitlens.data.loading_workers import loading_workers
from unitlens.data.positions import Positions, whole_items
from unitlens.data.samples import open_samples
from unitlens.errors import ArgumentError, StoreError
from unitlens.model.outputs import OutputChoice
from unitlens.recording.element_recording import element_recording
from unitlens.recording.forward_passes import (
    Recording,
    RecordingSettings,
    check_settings,
)
from unitlens.recording.maps import parse_maps
from unitlens.recording.open_recording import open_recording
from unitlens.recording.origin import Origin
from unitlens.recording.store_comparison import StoreComparison
from unitlens.store.backend.lock import check_unwritten, only_writer
from unitlens.store.description import find_description
from unitlens.store.element_file import remove_elements
from unitlens.store.format.journal import remove_journal
from unitlens.store.format.layout import DEFAULT_CODEC, DEFAULT_LAYOUT, check_path, manifest_path
from unitlens.store.format.manifest import Contents, Manifest
from unitlens.store.format.parts import WHOLE, Part, find_parts, make_part
from unitlens.store.format.store_estimate import estimate_store
from unitlens.store.located import locate_store as locate
from unitlens.store.resume import remove_store
from unitlens.store.writer import REPLACE, StoreWriter, is_recorded

logger = logging.getLogger("unitlens")


def record_activations(
    model: nn.Module,
    dataset: Any,
    path: str | Path,
    *,
    layers: Sequence[str | DeclaredLayer] | int | LastLayers | None = None,
    reduce: str | Sequence[str] = "mean",
    dtype: Literal["float32", "float16"] = "float32",
    codec: str = DEFAULT_CODEC,
    batch_size: int | None = None,
    workers: int = 0,
    device: torch.device | str | None = None,
    limit_gb: float | None = None,
    provenance: Mapping[str, Any] | None = None,
    part: tuple[int, int] | None = None,
    maps: Mapping[str, Any] | MapSpec | None = None,
    overwrite: bool = False,
    output: OutputChoice = None,
    target: str | int | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    ignore_index: int | None = None,
    positions: Positions = None,
) -> Path:
    """Write every unit's activation for every sample of a data set to a store.

    The model runs in evaluation mode, with batch norm folded into the layers before it, and comes
    back as it was. A killed recording is resumed by the same call: it runs only the samples of
    missing shards. The resumed store equals that of an undisturbed recording bit for bit where
    model, data, arguments, threads and versions are the same.

    A store at `path` counts as the same recording where its arguments, the weights and the classes
    of the modules are the same, all labels are equal, the inputs are equal (of a TensorDataset all
    inputs, of other data sets those of 64 seeded samples, or the attribute ``identity``), and the
    network puts out what is stored for 16 seeded samples: in each recorded layer, in the losses and
    in the predictions, within 1e-4 of the largest value of a layer (1e-2 on a GPU, for its
    convolutions round more). So two changes go unnoticed: of inputs that are none of these samples
    in a data set without an ``identity``, and of what the network puts out where that is smaller
    than rounding or concerns none of the 16 samples.

    Parameters
    ----------
    model
        Any module that returns logits of shape (samples, classes), or another output. Wrappers of
        ``torch.compile``, ``DataParallel`` and their like are taken off.
    dataset
        Data set of a length, with items by index. Its items are pairs (input, label); dictionaries
        of inputs and a label; or inputs alone. An input is a tensor, an array or a list of numbers;
        or a tuple or a dictionary of these, the positional or the keyword arguments of ``forward``.
        Labels are integers from 0, one-hot vectors, or texts: the classes of texts are those of the
        attribute ``classes`` of the data set, else the sorted texts. Where targets are no labels,
        or there are none, all samples are of one class, and the attribute ``no_classes`` tells why;
        where the output is no logits, there are no predictions and losses, and ``no_scores`` tells
        why. Further attributes are used where the data set has them: ``true_labels``, the labels
        before corruption; ``identity``, a text that identifies the data; ``targets`` or ``labels``,
        the labels of all samples, where these agree with 64 samples.
    path
        The store: a directory, or a URL such as ``s3://bucket/acts.zarr``. A finished store of the
        same recording stays as it is.
    layers
        Names of layers as :func:`unitlens.unit_layers` lists them, of modules or graph nodes,
        patterns, or results of :func:`unitlens.layer`; or a number of last layers, ``3`` or
        ``LastLayers(last=3)``; by default all layers.
    reduce
        Reduction of a feature map over its positions: ``mean``, ``max``, or ``active``, the share
        of positions that are not zero. Of several reductions each is stored, and statistics are of
        the first. A unit of a dense layer has a single position.
    dtype
        Dtype of the activations on disk.
    codec
        Lossless compression: ``lz4``, ``lz4-bitshuffle``, ``zstd`` or ``none``.
    batch_size
        Samples of a forward pass; by default as many as the caches of a CPU hold, from 16 to 2,000.
    workers
        Number of processes that read the items of a data set ahead, for data sets that read files
        or compute; numbers do not change. With 0 the items are read in this process.
    device
        Device of the computation, such as ``"cuda"``. The model is moved there and back. None:
        the model's own.
    limit_gb
        Most gigabytes (10^9 bytes) of the store before compression; by default there is no limit.
    provenance
        Origin of the activations, which the store keeps: text, numbers, lists and dictionaries.
        ``weights_hash`` and ``dataset_identity`` are computed where they are not given;
        ``modules_hash`` is added where ``weights_hash`` is not given.
    part
        ``(k, K)`` records the k-th of K parts, from 1, for instance in a job of its own.
        :func:`merge_activations` makes one store of all parts. By default the whole store is
        recorded.
    maps
        Full feature maps that are kept beside the reductions, for instance ``{"layers": ["conv2"],
        "samples": [3, 17]}``. ``layers`` takes the same values as `layers` and is by default every
        recorded layer with maps. ``samples`` are numbers of samples, or how many are drawn. By
        default no maps are kept.
    overwrite
        Whether a store at `path` is removed first, finished or begun, whatever it holds. Not
        together with `part`.
    output
        What holds the logits of an output that is no tensor: the key or the place of an entry, or a
        function of the output. None: the entry or attribute ``logits`` or ``out``, else the only
        tensor that fits the labels.
    target
        Key of the target in items that are dictionaries, or its place in items of several entries.
        None: ``label``, ``labels``, ``target`` or ``targets``, or the second entry of a pair.
    collate_fn
        Function of a list of items that returns a batch of the form of an item, with the samples on
        axis 0, such as one that pads sequences. None: tensors are stacked.
    ignore_index
        Label of samples that are left out, such as -100. None: no sample is left out.
    positions
        ``"samples"``: every position with a valid target, such as a token or a pixel, is a sample,
        in the order of the items and of their positions. Targets are integers of shape (samples,
        positions ...), each of the output at its own position; `ignore_index` (-100 if None) marks
        positions that are no samples. Layers have the positions of the targets; where none are
        named, others are left out with a warning. None: an item is one sample.

    Warns
    -----
    RepeatabilityWarning
        Where the network gives other numbers from call to call or from batch to batch, or the data
        set gives other samples when it is read again. The attribute ``doubts`` of the store says
        so, too.
    ScoreWarning
        Where the network puts out probabilities, of which the loss is not the cross-entropy.

    Returns
    -------
    The path of the store.

    Raises
    ------
    ArgumentError
        Where an argument breaks its rule, or the data set is empty.
    LayerError
        Where the model lacks a layer, or a layer of `maps` has no maps.
    ModelError
        Where the model cannot be run on the data, or several tensors of its output could be the
        logits.
    DatasetError
        Where a label is not among the classes, or an item is of another form than described above.
    StoreError
        Where the store would exceed `limit_gb`, a value is beyond the range of `dtype`, the disk is
        full, the finished store at `path` holds another recording, or another process writes it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> import torch, unitlens as ul
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> data = torch.utils.data.TensorDataset(torch.randn(10, 4), torch.arange(10) % 2)
    >>> with TemporaryDirectory() as directory:
    ...     path = ul.record_activations(model, data, f"{directory}/acts.zarr")
    ...     activations = ul.open_activations(path)
    ...     expected = model[:2](data.tensors[0]).detach().numpy()
    ...     print(np.allclose(activations["1"].activation, expected, atol=1e-6))
    True
    """
    path = locate(path)
    settings = RecordingSettings(
        layers=layers,
        reductions=(reduce,) if isinstance(reduce, str) else tuple(reduce),
        dtype=dtype,
        codec=codec,
        batch_size=batch_size,
        device=device,
        maps=parse_maps(maps),
        output=output,
        form=ItemForm(target, collate_fn, ignore_index),
        positions=positions,
    )
    check_path(path)
    samples = open_samples(dataset, whole_items(settings.form, positions), model)
    check_settings(settings, samples)
    which = make_part(part)
    if overwrite and which != WHOLE:
        raise ArgumentError(
            f"overwrite is True, and part is {part}, but other parts may be written meanwhile; "
            "record the parts to another path, or the whole store without part"
        )
    with loading_workers(workers, samples.dataset):
        origin = Origin(model, samples, provenance or {})
        with open_recording(model, samples, settings, origin.provenance) as recording:
            if overwrite:
                with only_writer(path):
                    _check_limit(path, recording.contents, limit_gb)
                    remove_store(path)
                    remove_elements(path)
            _write_store(path, recording, origin, which, limit_gb)
    return path


def _write_store(
    path: Path, recording: Recording, origin: Origin, part: Part, limit_gb: float | None
) -> None:
    """Fill a part of the store at `path` unless the store is finished."""
    comparison = StoreComparison(recording)
    # The network runs before the lock is held: only reading the store keeps other writers waiting.
    _compare(path, _adopt_provenance(path, recording.contents, origin), comparison)
    with only_writer(path, part) as admit_parts:
        contents = _adopt_provenance(path, recording.contents, origin)
        is_finished = is_recorded(path, contents)
        difference = _compare(path, contents, comparison)
        if difference is not None:
            _discard(path, part, difference)
        if is_finished:
            logger.info("%s is recorded already", path)
            return
        _check_limit(path, contents, limit_gb)
        with StoreWriter(
            path,
            contents,
            recording.conditions(),
            layout=DEFAULT_LAYOUT,
            part=part,
            admit_parts=admit_parts,
        ) as writer:
            layers, missing = recording.layers, writer.missing
            elements = element_recording(path, contents, layers, missing, DEFAULT_LAYOUT, part)
            recording.fill(writer, elements)
            if part == WHOLE:
                writer.add_doubts(recording.doubts)  # some may have come up
                warn_of_nonfinite(path, writer.finish())
            else:
                writer.complete()


def _compare(path: Path, contents: Contents, comparison: StoreComparison) -> str | None:
    """Return where the recording differs from a store at `path` that states the same contents."""
    description = find_description(path)
    if description is None or description.contents.to_json() != contents.to_json():
        return None
    return comparison.find_difference(path, description)


def _discard(path: Path, part: Part, difference: str) -> None:
    """Have a store that was begun for another network or other data started over.

    Raises
    ------
    StoreError
        Where the store is finished, or another part of it is being written.
    """
    if manifest_path(path).exists():
        raise StoreError(
            f"the store {path} is finished and holds another recording: {difference}; {REPLACE}"
        )
    if part != WHOLE:
        check_unwritten(path, part)
    logger.info("%s: %s; the recording is started over", path, difference)
    for other in (WHOLE, *find_parts(path, "journal")):
        remove_journal(other.journal(path))


def _adopt_provenance(path: Path, contents: Contents, origin: Origin) -> Contents:
    """Return the contents with the provenance of the store at `path` where both state one origin.

    A provenance may lack ``modules_hash``, so that two provenances of one origin can differ.
    """
    description = find_description(path)
    if description is None or not origin.matches(description.contents.provenance):
        return contents
    stored = description.contents
    adopted = replace(contents, provenance=stored.provenance)
    return adopted if adopted.to_json() == stored.to_json() else contents


def warn_of_nonfinite(path: Path, manifest: Manifest) -> None:
    """Log the number of activations of each layer of a store that are not finite."""
    for name, count in manifest.nonfinite.items():
        if count:
            logger.warning("%s: %d activations of '%s' are not finite", path, count, name)


def _check_limit(path: Path, contents: Contents, limit_gb: float | None) -> None:
    layers, samples = contents.layers, contents.samples
    estimate = estimate_store(
        layers,
        samples,
        dtype=contents.dtype,
        reductions=contents.reductions,
        maps=contents.maps,
        positions=contents.of_positions,
    )
    units = sum(layer.units for layer in layers)
    size = f"{units:,} units of {len(layers)} layers over {samples:,} samples"
    if limit_gb is not None and estimate.bytes > limit_gb * 1e9:
        smaller = " record as float16," if contents.dtype == "float32" else ""
        smaller += " keep fewer maps," if contents.maps else ""
        raise StoreError(
            f"recording {size} to {path} takes {estimate}, but limit_gb is {limit_gb:g}; choose "
            f"fewer layers,{smaller} or raise the limit"
        )
    logger.info("recording %s to %s: %s", size, path, estimate)
