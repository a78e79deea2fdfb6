"""Recording: run a model over a data set and fill a store with its units' activations."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unitlens.config.base import LastLayers
from unitlens.config.measurements import MapSpec
from unitlens.data.batches import iterate_batches
from unitlens.errors import (
    ArgumentError,
    DatasetError,
    ModelError,
    StoreError,
)
from unitlens.model.layers import REDUCTIONS, UnitLayer, choose_layers
from unitlens.model.network import UnitNetwork
from unitlens.progress import track
from unitlens.recording.kept_arrays import Keeper, suitable_batch
from unitlens.recording.maps import choose_maps, parse_maps
from unitlens.recording.origin import complete_provenance
from unitlens.store.backend.lock import only_writer
from unitlens.store.backend.places import locate
from unitlens.store.format.encoding import DEFAULT_CODEC, check_codec
from unitlens.store.format.layout import (
    DEFAULT_LAYOUT,
    MAP_SAMPLE,
    check_dtype,
    check_path,
)
from unitlens.store.format.manifest import Contents, Manifest, RecordedLayer
from unitlens.store.format.parts import WHOLE, Part, make_part
from unitlens.store.format.store_size import estimate_store
from unitlens.store.writer import StoreWriter, is_recorded

logger = logging.getLogger("unitlens")

Columns = dict[str, NDArray[Any]]


def record_activations(
    model: nn.Module,
    dataset: Any,
    path: str | Path,
    *,
    layers: Sequence[str] | LastLayers | None = None,
    reduce: str | Sequence[str] = "mean",
    dtype: Literal["float32", "float16"] = "float32",
    codec: str = DEFAULT_CODEC,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    limit_gb: float | None = None,
    provenance: Mapping[str, Any] | None = None,
    part: tuple[int, int] | None = None,
    maps: Mapping[str, Any] | MapSpec | None = None,
) -> Path:
    """Write every unit's activation for every sample of a data set.

    A killed recording goes on with the shards it lacks and ends as an undisturbed one, bit for bit,
    if weights, data, arguments, threads and versions are the same. Batch norm is folded in.

    Parameters
    ----------
    model, dataset
        Any module that takes one tensor and returns logits (samples, classes); any map-style data
        set of (input, label), of which ``true_labels`` and ``identity`` are used.
    path
        The store, a directory or a URL such as ``s3://bucket/x.zarr``, left as it is if finished.
    layers, reduce
        Names of layers, or how many of the last layers; all by default. Of a feature map over
        positions: ``mean``, ``max``, or ``active``, the share that is not zero; of several,
        statistics are of the first.
    dtype, codec
        On disk, and its lossless compression, one of :data:`unitlens.store.format.encoding.CODECS`.
    batch_size, device, limit_gb
        Samples a pass (None: as caches hold); where it runs; most gigabytes, before compression.
    provenance, part
        Where they come from; ``weights_hash`` and ``dataset_identity`` are computed if not given.
        ``(k, K)``: the k-th of K parts, from 1; :func:`merge_activations` then makes one store.
    maps
        Full feature maps to keep too, ``{"layers": ["conv2"], "samples": [3, 17]}``: of all layers
        that have some where none are named; ``samples`` may say how many, which draws them.

    Returns
    -------
    The path of the store.

    Raises
    ------
    ArgumentError, LayerError, ModelError, DatasetError, StoreError
        Where an argument, the model or the data breaks a rule, or the store is over the limit, does
        not fit dtype or disk, or is another one's.
    """
    reductions = (reduce,) if isinstance(reduce, str) else tuple(reduce)
    _check_arguments(path := locate(path), dataset, reductions, dtype, codec, batch_size)
    chosen, mapped = make_part(part), parse_maps(maps)
    what = complete_provenance(model, dataset, provenance or {}), layers, reductions, dtype, codec
    with open_recording(model, dataset, *what, batch_size, device, mapped) as recording:
        recording.run(path, limit_gb, chosen)
    return path


@contextmanager
def open_recording(
    model: nn.Module,
    dataset: Any,
    origin: Mapping[str, Any],
    layers: Sequence[str] | LastLayers | None,
    reductions: Sequence[str],
    dtype: str,
    codec: str,
    batch_size: int | None,
    device: torch.device | str,
    maps: MapSpec | None = None,
) -> Iterator["Recording"]:
    """Find out what there is to record of a model and a data set, and yield it, ready to run."""
    example = _example(dataset, device)
    with UnitNetwork(model, example, device=device, simplified=True) as network:
        chosen, classes = choose_layers(network.layers, layers), _count_classes(network, example)
        about = (len(dataset), classes, _recorded(chosen), reductions[0], dtype, origin)
        mapped = choose_maps(maps, chosen, len(dataset))
        contents = Contents(*about, tuple(reductions[1:]), codec, mapped)
        size = batch_size or suitable_batch(network, example)
        yield Recording(network, dataset, chosen, contents, size, device)


class Recording:
    """One recording: the network, the data, and what is kept of each activation."""

    def __init__(
        self,
        network: UnitNetwork,
        dataset: Any,
        layers: tuple[UnitLayer, ...],
        contents: Contents,
        batch_size: int,
        device: torch.device | str,
    ) -> None:
        self.network, self.dataset, self.layers, self.contents = network, dataset, layers, contents
        self.batch_size, self.device = batch_size, torch.device(device)
        self._true_labels = getattr(dataset, "true_labels", None)  # of label-corrupted sets
        self._keeper = Keeper(network, contents.reductions, contents.dtype, contents.maps)
        self._mapped = np.array(contents.maps.samples if contents.maps else (), np.int64)

    def run(self, path: Path, limit_gb: float | None, part: Part) -> None:
        """Fill a part of the store at `path` unless it is finished."""
        with only_writer(path, part) as share:
            if is_recorded(path, self.contents):
                logger.info("%s is recorded already", path)
                return
            _check_limit(path, self.contents, limit_gb)
            with StoreWriter(
                path,
                self.contents,
                self.conditions(),
                layout=DEFAULT_LAYOUT,
                part=part,
                share=share,
            ) as writer:
                self.fill(writer)
                if part == WHOLE:
                    warn_of_nonfinite(path, writer.finish())
                else:
                    writer.complete()

    def conditions(self) -> dict[str, Any]:
        """Return what could change the last bits of a number."""
        return {
            "batch_size": self.batch_size,
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            "versions": {name: version(name) for name in ("unitlens", "torch", "numpy", "zarr")},
        }

    def fill(self, writer: StoreWriter) -> None:
        """Run the samples that a store lacks, and append them."""
        missing = writer.missing
        # The batches of an undisturbed recording: another cut could change the last bits.
        starts = np.arange(0, len(missing), self.batch_size)
        lacking = np.logical_or.reduceat(missing, starts)
        indices = np.flatnonzero(np.repeat(lacking, self.batch_size)[: len(missing)])
        if writer.first:
            what = "%s goes on at sample %d and runs %d of %d"
            logger.info(what, writer.path, writer.first, len(indices), len(missing))
        for start, columns in self.columns(indices, f"recording {writer.path.name}"):
            writer.append(start, columns)

    def columns(self, indices: NDArray[np.int64], what: str) -> Iterator[tuple[int, Columns]]:
        """Run samples batch by batch; yield the first one's index and their rows of each array."""
        batches = iterate_batches(
            self.dataset, self.batch_size, indices=indices, device=self.device
        )
        total = ceil(len(indices) / self.batch_size)
        for rows, inputs, labels in track(batches, what, total=total):
            _check_labels(rows, labels, self.contents.classes)
            mapped = np.flatnonzero(np.isin(rows, self._mapped))
            keep = partial(self._keeper.keep, mapped=mapped)
            logits, kept = self.network.capture(inputs, self.layers, keep)
            columns = {
                f"{layer}/{name}": values
                for layer, arrays in kept.items()
                for name, values in arrays.items()
            }
            columns |= _scores(logits, labels)
            arrays = {name: values.cpu().numpy() for name, values in columns.items()}
            true_labels = arrays["label"]
            if self._true_labels is not None:
                true_labels = np.asarray(self._true_labels)[rows]
            numbers = {"index": rows, MAP_SAMPLE: rows[mapped]}
            yield int(rows[0]), {**arrays, **numbers, "true_label": true_labels}


def warn_of_nonfinite(path: Path, manifest: Manifest) -> None:
    """Log how many activations of a store's layers are not finite."""
    for name, count in manifest.nonfinite.items():
        if count:
            logger.warning("%s: %d activations of '%s' are not finite", path, count, name)


def _recorded(layers: Sequence[UnitLayer]) -> tuple[RecordedLayer, ...]:
    return tuple(RecordedLayer(of.name, of.depth, of.units, of.positions) for of in layers)


def _check_labels(rows: NDArray[Any], labels: Tensor, classes: int) -> None:
    wrong = ((labels < 0) | (labels >= classes)).cpu().numpy()
    if wrong.any():
        sample = int(np.flatnonzero(wrong)[0])
        raise DatasetError(
            f"sample {rows[sample]} has the label {int(labels[sample])}, but the model has "
            f"{classes} logits, so labels must lie in 0..{classes - 1}; fit one to the other"
        )


def _scores(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    precise = logits if logits.dtype == torch.float64 else logits.float()
    return {
        "label": labels,
        "prediction": logits.argmax(dim=1),
        "loss": cross_entropy(precise, labels, reduction="none"),
    }


def _check_arguments(
    path: Path,
    dataset: Any,
    reductions: Sequence[str],
    dtype: str,
    codec: str,
    batch_size: int | None,
) -> None:
    check_path(path)
    check_dtype(dtype)
    check_codec(codec)
    for reduction in reductions:
        if reduction not in REDUCTIONS:
            known = ", ".join(REDUCTIONS)
            raise ArgumentError(f"reduce is {reduction!r}, but must be one of {known}")
    if not reductions or len(set(reductions)) < len(reductions):
        raise ArgumentError(
            f"reduce is {list(reductions)}, but must name at least one reduction, and each once"
        )
    if batch_size is not None and batch_size < 1:
        raise ArgumentError(f"batch_size is {batch_size}, but must be at least 1")
    if len(dataset) < 1:
        raise ArgumentError("the data set has no samples, but at least one is needed")


def _check_limit(path: Path, contents: Contents, limit_gb: float | None) -> None:
    layers, samples = contents.layers, contents.samples
    estimate = estimate_store(
        layers,
        samples,
        dtype=contents.dtype,
        reductions=contents.reductions,
        maps=contents.maps,
    )
    units = sum(layer.units for layer in layers)
    what = f"{units:,} units of {len(layers)} layers over {samples:,} samples"
    if limit_gb is not None and estimate.bytes > limit_gb * 1e9:
        smaller = " record as float16," if contents.dtype == "float32" else ""
        smaller += " keep fewer maps," if contents.maps else ""
        raise StoreError(
            f"recording {what} to {path} takes {estimate}, but limit_gb is {limit_gb:g}; choose "
            f"fewer layers,{smaller} or raise the limit"
        )
    logger.info("recording %s to %s: %s", what, path, estimate)


def _example(dataset: Any, device: torch.device | str) -> Tensor:
    """Return a batch of the first samples, to find the layers with."""
    rows = np.arange(min(2, len(dataset)))
    _, inputs, _ = next(iterate_batches(dataset, len(rows), indices=rows, device=device))
    return inputs


def _count_classes(network: UnitNetwork, example: Tensor) -> int:
    logits = network.forward_with(example, {})
    if logits.dim() != 2:
        raise ModelError(
            f"the model puts out {tuple(logits.shape)} for {len(example)} samples, but must put "
            "out logits of shape (samples, classes)"
        )
    return logits.shape[1]
