"""Forward passes over a data set, and the arrays of a store that they give."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from unitlens.config.base import DeclaredLayer, LastLayers
from unitlens.config.measurements import MapSpec
from unitlens.data.batches import batch_starts, iterate_batches
from unitlens.data.repeated_reading import DATA_REMEDY, RANDOM_DATA, find_random_data
from unitlens.errors import ArgumentError, DatasetError, ModelError, ScoreWarning
from unitlens.model.layers import REDUCTIONS, UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.model.precision import autocast_disabled
from unitlens.model.probabilities import find_probabilities
from unitlens.model.repeatability import REMEDIES, find_repeatability
from unitlens.progress import track
from unitlens.recording.kept_arrays import ActivationReducer, suitable_batch
from unitlens.recording.maps import choose_maps
from unitlens.store.format.encoding import DEFAULT_CODEC, check_codec
from unitlens.store.format.layout import MAP_SAMPLE, check_dtype
from unitlens.store.format.manifest import Contents, RecordedLayer
from unitlens.store.writer import StoreWriter
from unitlens.user_warnings import warn_caller, warn_of_doubts

logger = logging.getLogger("unitlens")

_EXAMPLE = 8  # samples from which layers are found and outputs are judged
_LOSS_REMEDY = (
    "activations and predictions are right; give the network without its last softmax or sigmoid"
)
Columns = dict[str, NDArray[Any]]  # rows of each array, by the path of the array in a store


@dataclass(frozen=True)
class RecordingSettings:
    """The settings of a recording, as :func:`unitlens.record_activations` describes them."""

    layers: Sequence[str | DeclaredLayer] | int | LastLayers | None = None
    reductions: Sequence[str] = ("mean",)
    dtype: str = "float32"
    codec: str = DEFAULT_CODEC
    batch_size: int | None = None
    device: torch.device | str = "cpu"
    maps: MapSpec | None = None


def check_settings(settings: RecordingSettings, dataset: Any) -> None:
    """Raise ArgumentError where a setting breaks its rule, or the data set is empty."""
    check_dtype(settings.dtype)
    check_codec(settings.codec)
    reductions, batch_size = settings.reductions, settings.batch_size
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


@contextmanager
def open_recording(
    model: nn.Module, dataset: Any, settings: RecordingSettings, provenance: Mapping[str, Any]
) -> Iterator["Recording"]:
    """Find the layers and classes of a model, and yield a recording that is ready to run.

    Parameters
    ----------
    model
        The model.
    dataset
        The data set.
    settings
        Settings of the recording.
    provenance
        Provenance of the activations.

    Raises
    ------
    ArgumentError, DatasetError, LayerError, ModelError
        As :func:`unitlens.record_activations`.
    """
    example = _example(dataset, settings)
    opened = UnitNetwork(model, example, device=settings.device, simplified=True)
    with autocast_disabled(torch.device(settings.device)), opened as network:
        layers = network.choose(settings.layers)
        logits = _logits(network, example)
        contents = Contents(
            samples=len(dataset),
            classes=logits.shape[1],
            layers=tuple(RecordedLayer(of.name, of.depth, of.units, of.positions) for of in layers),
            reduce=settings.reductions[0],
            dtype=settings.dtype,
            provenance=provenance,
            also=tuple(settings.reductions[1:]),
            codec=settings.codec,
            maps=choose_maps(settings.maps, layers, len(dataset)),
        )
        batch_size = settings.batch_size or suitable_batch(network, example)
        repeatability = find_repeatability(network, example)
        least_batch = repeatability.least_batch
        if batch_size < least_batch:
            raise ArgumentError(
                f"batch_size is {batch_size}, but the model cannot be run on one sample alone; "
                "give a batch_size of at least 2"
            )
        doubts = (*repeatability.doubts, *find_random_data(dataset))
        warn_of_doubts(doubts, REMEDIES | {RANDOM_DATA: DATA_REMEDY})
        kind = find_probabilities(network, logits)
        if kind is not None:
            warn_caller(f"{kind}, so losses are wrong; {_LOSS_REMEDY}", ScoreWarning)
            doubts = (*doubts, kind)
        yield Recording(
            network, dataset, layers, contents, batch_size, settings.device,
            least_batch=least_batch, doubts=doubts,
        )  # fmt: skip


class Recording:
    """A recording: the network, the data set, and the contents of the store.

    Parameters
    ----------
    network
        The network, entered.
    dataset
        The data set.
    layers
        Layers that are recorded.
    contents
        Contents of the store.
    batch_size
        Samples of a forward pass.
    device
        Device of the network.
    least_batch
        Fewest samples that the network can be run on.
    doubts
        What makes the numbers doubtful, in words.
    """

    def __init__(
        self,
        network: UnitNetwork,
        dataset: Any,
        layers: tuple[UnitLayer, ...],
        contents: Contents,
        batch_size: int,
        device: torch.device | str,
        *,
        least_batch: int = 1,
        doubts: tuple[str, ...] = (),
    ) -> None:
        self.network, self.dataset, self.layers, self.contents = network, dataset, layers, contents
        self.batch_size, self.device = batch_size, torch.device(device)
        self.least_batch, self.doubts = least_batch, doubts
        self._true_labels = getattr(dataset, "true_labels", None)  # of label-corrupted sets
        self._reducer = ActivationReducer(
            network, contents.reductions, contents.dtype, contents.maps
        )
        self._map_samples = np.array(contents.maps.samples if contents.maps else (), np.int64)

    def conditions(self) -> dict[str, Any]:
        """Return the conditions that can change the last bits of a number."""
        return {
            "batch_size": self.batch_size,
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            "versions": {name: version(name) for name in ("unitlens", "torch", "numpy", "zarr")},
            **({"doubts": list(self.doubts)} if self.doubts else {}),
        }

    def fill(self, writer: StoreWriter) -> None:
        """Run the samples that a store lacks, and append them to the store."""
        missing = writer.missing
        # The batches are those of an undisturbed recording: others could change the last bits.
        starts = batch_starts(len(missing), self.batch_size, self.least_batch)
        lacking = np.logical_or.reduceat(missing, starts)
        sizes = np.diff(np.append(starts, len(missing)))
        indices = np.flatnonzero(np.repeat(lacking, sizes))
        if writer.first:
            message = "%s goes on at sample %d and runs %d of %d"
            logger.info(message, writer.path, writer.first, len(indices), len(missing))
        for start, columns in self.columns(indices, f"recording {writer.path.name}"):
            writer.append(start, columns)

    def columns(
        self, indices: NDArray[np.int64], label: str, *, batch_size: int | None = None
    ) -> Iterator[tuple[int, Columns]]:
        """Run samples batch by batch; yield the first sample and the columns of each batch.

        The columns are those of the arrays of a store, and ``logits``.

        Parameters
        ----------
        indices
            Numbers of the samples.
        label
            Label of the progress.
        batch_size
            Samples of a forward pass; by default those of the recording.
        """
        size = batch_size or self.batch_size
        batches = iterate_batches(
            self.dataset, size, indices=indices, device=self.device, least=self.least_batch
        )
        total = ceil(len(indices) / size)
        for rows, inputs, labels in track(batches, label, total=total):
            _check_labels(rows, labels, self.contents.classes)
            map_rows = np.flatnonzero(np.isin(rows, self._map_samples))
            reduce = partial(self._reducer.reduce, map_rows=map_rows)
            logits, reduced = self.network.capture(inputs, self.layers, reduce)
            tensors = {
                f"{layer}/{name}": values
                for layer, arrays in reduced.items()
                for name, values in arrays.items()
            }
            tensors |= _scores(logits, labels)
            columns = {name: values.cpu().numpy() for name, values in tensors.items()}
            true_labels = columns["label"]
            if self._true_labels is not None:
                true_labels = np.asarray(self._true_labels)[rows]
            numbers = {"index": rows, MAP_SAMPLE: rows[map_rows]}
            yield int(rows[0]), {**columns, **numbers, "true_label": true_labels}


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
        "logits": precise,
        "prediction": logits.argmax(dim=1),
        "loss": cross_entropy(precise, labels, reduction="none"),
    }


def _example(dataset: Any, settings: RecordingSettings) -> Tensor:
    """Return a batch of the first samples, from which the layers are found."""
    most = max(2, min(_EXAMPLE, settings.batch_size or _EXAMPLE))
    rows = np.arange(min(most, len(dataset)))
    batches = iterate_batches(dataset, len(rows), indices=rows, device=settings.device)
    _, inputs, _ = next(batches)
    return inputs


def _logits(network: UnitNetwork, example: Tensor) -> Tensor:
    logits = network.forward_with(example, {})
    if logits.dim() != 2:
        raise ModelError(
            f"the model puts out {tuple(logits.shape)} for {len(example)} samples, but must put "
            "out logits of shape (samples, classes)"
        )
    return logits
