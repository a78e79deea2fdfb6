"""Recordings in which every position with a valid target, a token or a pixel, is a sample."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unitlens.data.batches import batch_starts, iterate_batches
from unitlens.data.positions import no_position, position_targets
from unitlens.data.samples import Samples
from unitlens.errors import ArgumentError, DatasetError, LayerError
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.model.outputs import OutputChoice, OutputReader, check_choice, classes_last
from unitlens.progress import track
from unitlens.recording.element_recording import ElementRecording
from unitlens.recording.forward_passes import Columns, Recording, check_labels, sample_columns
from unitlens.recording.recorded_classes import RecordedClasses, unscored

logger = logging.getLogger("unitlens")
_NO_ROWS = np.empty(0, np.int64)


class PositionRecording(Recording):
    """A recording whose samples are the positions with a valid target.

    Samples are in the order of the items, and of one item in the order of its positions. A batch
    holds whole items.

    Parameters
    ----------
    *args
        As for :class:`~unitlens.recording.forward_passes.Recording`.
    read
        Item, position and label of each sample.
    ignored
        Target of positions that are no samples.
    least_batch
        Fewest items that the network can be run on.
    doubts
        As for :class:`~unitlens.recording.forward_passes.Recording`.
    """

    def __init__(
        self,
        *args: Any,
        read: "PositionSamples",
        ignored: int,
        least_batch: int = 1,
        doubts: tuple[str, ...] = (),
    ) -> None:
        super().__init__(*args, least_batch=least_batch, doubts=doubts)
        self.true_labels = None
        self._items, self._labels, self._ignored = read.items, read.labels, ignored
        self._positions = read.positions
        self._ranks = np.unique(read.items, return_inverse=True)[1]  # of items that have samples
        self._flat = {layer.name: flat_layer(layer) for layer in self.layers}

    def all_labels(self) -> NDArray[np.int64]:
        """Return the label of every sample."""
        return self._labels

    def confirmed(self, labels: NDArray[np.int64], _: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the labels, which have been read from the items."""
        return labels

    def batch_of(self, sample: int, size: int) -> NDArray[np.int64]:
        """Return the samples that run in one batch of `size` items with a sample."""
        batches = self._batches(size)
        return np.flatnonzero(batches == batches[sample])

    def lacking(self, missing: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return all samples of the batches of which samples are missing."""
        batches = self._batches(self.batch_size)
        return np.flatnonzero(np.isin(batches, np.unique(batches[missing])))

    def _batches(self, size: int) -> NDArray[np.int64]:
        """Return the number of the batch, of `size` items, in which each sample runs."""
        starts = batch_starts(int(self._ranks[-1]) + 1, size, self.least_batch)
        return np.searchsorted(starts, self._ranks, side="right")

    def columns(
        self,
        indices: NDArray[np.int64],
        label: str,
        *,
        batch_size: int | None = None,
        elements: ElementRecording | None = None,  # noqa: ARG002  a position is one element
    ) -> Iterator[tuple[int, Columns]]:
        """Run the items of some samples batch by batch; see :meth:`Recording.columns`."""
        size = batch_size or self.batch_size
        items = np.unique(self._items[indices])
        batches = iterate_batches(
            self.samples,
            size,
            indices=items,
            device=self.device,
            targets="any",
            least=self.least_batch,
        )
        for batch, inputs, targets in track(batches, label, total=ceil(len(items) / size)):
            first, last = np.searchsorted(self._items, [batch[0], batch[-1] + 1])
            rows = np.arange(first, last)[np.isin(self._items[first:last], batch)]
            valid = targets != self._ignored
            labels = targets[valid].long()
            if not np.array_equal(labels.cpu().numpy(), self._labels[rows]):
                raise DatasetError(
                    f"the targets of items {batch[0]} to {batch[-1]} differ from one reading to "
                    "the next; make the data set return the same items each time"
                )
            check_labels(rows, labels, self.contents.classes)
            wanted = np.isin(rows, indices)
            kept = torch.from_numpy(wanted).to(labels.device)
            output, reduced = self.network.capture(
                inputs, self.layers, self._reduction(valid, kept)
            )
            logits = output
            if self._classes.logits:
                logits = classes_last(output, targets)[valid][kept]
            tensors = self._classes.scores(logits, labels[kept])
            columns = sample_columns(reduced, tensors, rows[wanted])
            columns["item"] = self._items[rows[wanted]]
            columns["position"] = self._positions[rows[wanted]]
            yield int(rows[wanted][0]), columns

    def _reduction(self, valid: Tensor, kept: Tensor) -> Any:
        def reduce(layer: UnitLayer, activation: Tensor) -> dict[str, Tensor]:
            by_position = activation.movedim(layer.axis, -1)
            if by_position.shape[:-1] != valid.shape:
                raise LayerError(_misfit(layer, tuple(valid.shape[1:])))
            rows = by_position[valid][kept]
            return self._reducer.reduce(self._flat[layer.name], rows, _NO_ROWS)

        return reduce


def flat_layer(layer: UnitLayer) -> UnitLayer:
    """Return a layer whose units have one position, as those of a sample that is a position."""
    return replace(layer, shape=(layer.units,), axis=1)


def _misfit(layer: UnitLayer, positions: tuple[int, ...]) -> str:
    return (
        f"layer '{layer.name}' has positions of shape {layer.map_shape}, but the targets have "
        f"{positions}; name layers that have the positions of the targets"
    )


def layers_of_positions(
    layers: Sequence[UnitLayer], positions: tuple[int, ...], *, named: bool
) -> tuple[UnitLayer, ...]:
    """Return the layers that have the positions of the targets.

    Parameters
    ----------
    layers
        The chosen layers.
    positions
        Shape of the positions of a target.
    named
        Whether the layers were named, so that each must fit.

    Raises
    ------
    LayerError
        Where a named layer has other positions, or no layer has these.
    """
    fitting = tuple(layer for layer in layers if layer.map_shape == positions)
    others = [layer for layer in layers if layer.map_shape != positions]
    if others and (named or not fitting):
        raise LayerError(_misfit(others[0], positions))
    if others:
        names = ", ".join(f"'{layer.name}'" for layer in others)
        logger.warning("layers without the positions of the targets are left out: %s", names)
    return fitting


@dataclass(frozen=True)
class PositionSamples:
    """The positions with a valid target.

    Attributes
    ----------
    items
        Index of the item of each position, (samples,).
    positions
        Index of each position in its item, within `shape`, (samples,).
    labels
        Target of each position, (samples,).
    shape
        Shape of the positions of an item; of items of different shape the largest on each axis.
    """

    items: NDArray[np.int64]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    shape: tuple[int, ...]


def read_positions(samples: Samples, ignored: int) -> PositionSamples:
    """Return the positions with a valid target.

    Raises
    ------
    DatasetError
        Where there is no such position, or targets are no integers with positions.
    """
    places, labels, shapes, first = [], [], [], 0
    for targets in position_targets(samples, np.arange(len(samples))):
        valid = targets != ignored
        places.append(valid.nonzero().numpy() + np.eye(1, targets.dim(), dtype=np.int64) * first)
        labels.append(targets[valid].long().numpy())
        shapes.append(targets.shape[1:])
        first += len(targets)
    if not sum(map(len, labels)):
        raise no_position(ignored)
    items, *axes = np.concatenate(places).T
    shape = tuple(np.max(shapes, axis=0).tolist())
    positions = np.ravel_multi_index(axes, shape)
    return PositionSamples(items, positions, np.concatenate(labels), shape)


def find_position_classes(
    network: UnitNetwork,
    targets: Tensor,
    choice: OutputChoice,
    read: PositionSamples,
    ignored: int,
) -> RecordedClasses:
    """Return the classes of positions, and set what the network's outputs are read as.

    Parameters
    ----------
    network
        The open network.
    targets
        Targets of the samples that the network was opened with.
    choice
        What is chosen of an output; None for the default.
    read
        The positions with a valid target.
    ignored
        Target of positions that are no samples.
    """
    check_choice(choice)
    network.read_output(OutputReader(choice))
    attributes: dict[str, Any] = {
        "positions": "samples",
        "position_shape": list(read.shape),
        "ignore_index": ignored,
    }
    if network.output.name != "":
        attributes["output"] = network.output.name
    logits = network.logits(network.example_output)
    rows = torch.arange(3) % len(targets)
    try:
        count = classes_last(logits, targets.to(logits.device)[rows.to(logits.device)]).shape[-1]
    except ArgumentError as error:
        return unscored(network, attributes, str(error), int(read.labels.max()) + 1)
    return RecordedClasses(count, logits=True, attributes=attributes)
