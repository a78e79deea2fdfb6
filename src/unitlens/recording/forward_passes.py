"""Forward passes over a data set, and the arrays of a store that they give."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unitlens.config.base import DeclaredLayer, LastLayers
from unitlens.config.measurements import MapSpec
from unitlens.data.batches import batch_starts, iterate_batches
from unitlens.data.items import ItemForm
from unitlens.data.labels import label_remedy
from unitlens.data.positions import Positions, check_positions
from unitlens.data.samples import Samples
from unitlens.errors import ArgumentError, DatasetError
from unitlens.model.devices import describe_device
from unitlens.model.inputs import PADDING, has_padding
from unitlens.model.layers import REDUCTIONS, UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.model.outputs import OutputChoice
from unitlens.progress import track
from unitlens.recording.all_labels import confirm_labels, read_all_labels
from unitlens.recording.element_recording import ElementRecording, Reduce
from unitlens.recording.kept_arrays import ActivationReducer
from unitlens.recording.recorded_classes import RecordedClasses
from unitlens.store.format.encoding import check_codec
from unitlens.store.format.layout import DEFAULT_CODEC, MAP_SAMPLE, check_dtype
from unitlens.store.format.manifest import Contents
from unitlens.store.writer import StoreWriter

logger = logging.getLogger("unitlens")

Columns = dict[str, NDArray[Any]]  # rows of each array, by the path of the array in a store


@dataclass(frozen=True)
class RecordingSettings:
    """The settings of a recording, as :func:`unitlens.record_activations` describes them."""

    layers: Sequence[str | DeclaredLayer] | int | LastLayers | None = None
    reductions: Sequence[str] = ("mean",)
    dtype: str = "float32"
    codec: str = DEFAULT_CODEC
    batch_size: int | None = None
    device: torch.device | str | None = None
    maps: MapSpec | None = None
    output: OutputChoice = None
    form: ItemForm = field(default_factory=ItemForm)
    positions: Positions = None


def check_settings(settings: RecordingSettings, samples: Samples) -> None:
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
    check_positions(settings.positions)
    if settings.positions is not None and settings.maps is not None:
        raise ArgumentError("maps are asked for, but with positions='samples' there are none")
    if len(samples) < 1:
        raise ArgumentError("the data set has no samples, but at least one is needed")


class Recording:
    """A recording: the network, the data set, and the contents of the store.

    Parameters
    ----------
    network
        The network, entered.
    samples
        The samples that are recorded.
    layers
        Layers that are recorded.
    contents
        Contents of the store.
    classes
        The classes.
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
        samples: Samples,
        layers: tuple[UnitLayer, ...],
        contents: Contents,
        classes: RecordedClasses,
        batch_size: int,
        device: torch.device | str,
        *,
        least_batch: int = 1,
        doubts: tuple[str, ...] = (),
    ) -> None:
        self.network, self.samples, self.layers, self.contents = network, samples, layers, contents
        self._classes, self._told = classes, False
        self.batch_size, self.device = batch_size, torch.device(device)
        self.least_batch, self._doubts = least_batch, doubts
        true_labels = getattr(samples.dataset, "true_labels", None)  # of label-corrupted sets
        self.true_labels: NDArray[np.int64] | None = None
        if true_labels is not None and not samples.no_labels:
            self.true_labels = np.asarray(true_labels)[samples.places(np.arange(len(samples)))]
        self._reducer = ActivationReducer(
            network, contents.reductions, contents.dtype, contents.maps
        )
        self._map_samples = np.array(contents.maps.samples if contents.maps else (), np.int64)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What makes the numbers doubtful, in words, with what the batches so far have shown."""
        return tuple(dict.fromkeys((*self._doubts, *self.network.doubts)))

    def conditions(self) -> dict[str, Any]:
        """Return the conditions that can change the last bits of a number."""
        on_cpu = self.device.type == "cpu"
        return {
            "batch_size": self.batch_size,
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            "versions": {name: version(name) for name in ("unitlens", "torch", "numpy", "zarr")},
            **({} if on_cpu else {"hardware": describe_device(self.device)}),
            **({"doubts": list(self.doubts)} if self.doubts else {}),
        }

    def fill(self, writer: StoreWriter, elements: ElementRecording | None = None) -> None:
        """Run the samples that a store lacks, and append them to the store.

        Parameters
        ----------
        writer
            The writer of the store.
        elements
            What sums the moments of the elements of feature maps in the same pass.
        """
        missing = writer.missing
        # The batches are those of an undisturbed recording: others could change the last bits.
        indices = self.lacking(missing)
        if writer.first:
            message = "%s goes on at sample %d and runs %d of %d"
            logger.info(message, writer.path, writer.first, len(indices), len(missing))
        label = f"recording {writer.path.name}"
        for start, columns in self.columns(indices, label, elements=elements):
            if elements is not None:
                elements.save(start + len(columns["index"]))
            writer.append(start, columns)

    def lacking(self, missing: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return all samples of the batches of which samples are missing."""
        starts = batch_starts(len(missing), self.batch_size, self.least_batch)
        lacking = np.logical_or.reduceat(missing, starts)
        return np.flatnonzero(np.repeat(lacking, np.diff(np.append(starts, len(missing)))))

    def batch_of(self, sample: int, size: int) -> NDArray[np.int64]:
        """Return the samples that run in one batch of `size` with a sample."""
        samples = self.contents.samples
        starts = batch_starts(samples, size, self.least_batch)
        batches = np.split(np.arange(samples), starts[1:])
        return batches[int(np.searchsorted(starts, sample, side="right")) - 1]

    def all_labels(self) -> NDArray[np.int64]:
        """Return the label of every sample."""
        return read_all_labels(self.samples)

    def confirmed(self, labels: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the labels of :meth:`all_labels`, read from the items where they are wrong."""
        return confirm_labels(self.samples, labels, rows)

    def columns(
        self,
        indices: NDArray[np.int64],
        label: str,
        *,
        batch_size: int | None = None,
        elements: ElementRecording | None = None,
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
        elements
            What sums the moments of the elements of feature maps.
        """
        size = batch_size or self.batch_size
        batches = iterate_batches(
            self.samples,
            size,
            indices=indices,
            device=self.device,
            targets=self.samples.kind,
            least=self.least_batch,
        )
        total = ceil(len(indices) / size)
        for rows, inputs, labels in track(batches, label, total=total):
            check_labels(rows, labels, self.contents.classes)
            if not self._told and has_padding(inputs):
                self._told = True
                logger.warning(PADDING)
            map_rows = np.flatnonzero(np.isin(rows, self._map_samples))
            reduce: Reduce = partial(self._reducer.reduce, map_rows=map_rows)
            if elements is not None:
                reduce = elements.observed(reduce, rows)
            logits, reduced = self.network.capture(inputs, self.layers, reduce)
            scores = self._classes.scores(logits, labels)
            columns = sample_columns(reduced, scores, rows, rows[map_rows])
            if self.true_labels is not None:
                columns["true_label"] = self.true_labels[rows]
            yield int(rows[0]), columns


def sample_columns(
    reduced: Mapping[str, Mapping[str, Tensor]],
    scores: Mapping[str, Tensor],
    rows: NDArray[np.int64],
    map_rows: NDArray[np.int64] | tuple[()] = (),
) -> Columns:
    """Return the columns of some samples.

    Parameters
    ----------
    reduced
        Arrays of each layer's activations, by the names of layer and array.
    scores
        Label, prediction, loss and logits of the samples.
    rows, map_rows
        Numbers of the samples, and of those whose maps are kept.
    """
    tensors = {
        f"{layer}/{name}": values
        for layer, arrays in reduced.items()
        for name, values in arrays.items()
    }
    columns = {name: values.cpu().numpy() for name, values in {**tensors, **scores}.items()}
    numbers = {"index": rows, MAP_SAMPLE: np.asarray(map_rows, np.int64)}
    return {**columns, **numbers, "true_label": columns["label"]}


def check_labels(rows: NDArray[Any], labels: Tensor, classes: int) -> None:
    """Raise DatasetError where the label of a sample is none of the classes."""
    wrong = ((labels < 0) | (labels >= classes)).cpu().numpy()
    if wrong.any():
        sample = int(np.flatnonzero(wrong)[0])
        raise DatasetError(
            f"sample {rows[sample]} has the label {int(labels[sample])}, but the model has "
            f"{classes} logits, so labels must lie in 0..{classes - 1}; "
            f"{label_remedy(int(labels[sample]))}"
        )
