"""One split of a prepared data set."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unitlens.data.dataset_record import DatasetRecord, Normalisation


class SampleReader(Protocol):
    """Where the stored values of a split come from; `streams` says that reading costs time."""

    streams: bool

    def read(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Return stored values of shape (samples, ...)."""


class MemoryReader:
    """Stored values that lie in memory, mapped from a file."""

    streams = False

    def __init__(self, inputs: Tensor) -> None:
        self._inputs = inputs

    def read(self, indices: npt.NDArray[np.int64]) -> Tensor:
        """Gather the samples at `indices`."""
        return self._inputs.index_select(0, torch.from_numpy(indices))


class SplitDataset:
    """One split of a prepared data set, normalised; map-style.

    Attributes
    ----------
    labels
        Labels to train on and to be scored against, int64 of shape (samples,).
    true_labels
        The same before corruption.
    classes
        Names of the classes.
    input_shape
        Shape of one input.
    identity
        Hash of all that determines what this data set yields.
    streams
        Whether samples are read from files or from the user's function, not from memory.
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
        self.identity, self.streams = identity, reader.streams
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
        """Read many samples at once.

        Parameters
        ----------
        indices
            Which samples, of shape (batch,).

        Returns
        -------
        Normalised float32 inputs of shape (batch, *input_shape), int64 labels of shape (batch,).
        """
        chosen = np.asarray(indices, np.int64)
        labels = self._label_tensor.index_select(0, torch.from_numpy(chosen))
        return self._normalise(self._reader.read(chosen)), labels
