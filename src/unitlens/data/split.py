"""One split of a prepared data set."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unitlens.data.dataset_record import DatasetRecord
from unitlens.data.map_style import WholeBatches
from unitlens.data.normalisation import Normalisation


class SampleReader(Protocol):
    """Reads the stored values of a split.

    Attributes
    ----------
    streams
        Whether the values are read from files or a user's function, not from memory.
    """

    streams: bool

    def read(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return the stored values at `indices`, of shape (samples, ...)."""


class MemoryReader:
    """Reads stored values from memory.

    Parameters
    ----------
    inputs
        All values of the split, of shape (samples, ...).
    """

    streams = False

    def __init__(self, inputs: Tensor) -> None:
        self._inputs = inputs

    def read(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return the stored values at `indices`, of shape (samples, ...)."""
        return self._inputs.index_select(0, torch.from_numpy(indices))


class SplitDataset(WholeBatches):
    """One split of a prepared data set, as a map-style data set of normalised inputs and labels.

    Parameters
    ----------
    record
        Record of the data set.
    reader
        Reads the stored values of the split.
    labels
        Labels, corrupted or not, int64 of shape (samples,).
    true_labels
        Labels before corruption.
    identity
        Hash over everything that determines inputs and labels.

    Attributes
    ----------
    labels
        Labels for training and scoring, int64 of shape (samples,).
    true_labels
        Labels before corruption.
    classes
        Names of the classes.
    input_shape
        Shape of one input.
    identity
        Hash over everything that determines inputs and labels.
    content_hash
        Hash of the prepared data set, which both splits share.
    streams
        Whether inputs are read from files or a user's function, not from memory.
    """

    def __init__(
        self,
        record: DatasetRecord,
        reader: SampleReader,
        *,
        labels: npt.NDArray[np.int64],
        true_labels: npt.NDArray[np.int64],
        identity: str,
    ) -> None:
        self.labels, self.true_labels = labels, true_labels
        self.classes, self.input_shape = record.classes, record.input_shape
        self.identity, self.content_hash = identity, record.content_hash
        self.streams = reader.streams
        self._reader, self._normalise = reader, Normalisation(record)
        self._label_tensor = torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        inputs, _ = self.batch([index % len(self)])
        return inputs[0], int(self.labels[index])

    def batch(self, indices: npt.NDArray[np.int64] | Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return a batch of samples.

        Parameters
        ----------
        indices
            Indices of the samples, of shape (batch,).

        Returns
        -------
        Normalised float32 inputs of shape (batch, *input_shape), int64 labels of shape (batch,).
        """
        stored, labels = self.stored_batch(np.asarray(indices, np.int64))
        return self.finished(stored), labels

    def stored_batch(self, indices: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return stored values of shape (batch, *input_shape), often bytes, and the labels."""
        labels = self._label_tensor.index_select(0, torch.from_numpy(indices))
        return self._reader.read(indices), labels

    def finished(self, stored: Tensor) -> Tensor:
        """Return the normalised float32 inputs of stored values, computed on their device."""
        return self._normalise(stored)
