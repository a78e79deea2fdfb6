"""Batches of the samples of any data set, in a given order."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unitlens.data.loading_workers import read_ahead
from unitlens.data.map_style import Indices
from unitlens.data.samples import Targets, open_samples
from unitlens.errors import ArgumentError, DatasetError
from unitlens.given_arrays import as_array
from unitlens.model.inputs import AnyInputs, Inputs, describe_inputs
from unitlens.model.precision import autocast_disabled
from unitlens.seeds import seeded


def iterate_batches(
    dataset: Any,
    batch_size: int,
    *,
    indices: npt.ArrayLike | None = None,
    device: torch.device | str = "cpu",
    targets: Targets = "labels",
    least: int = 1,
) -> Iterator[tuple[Indices, AnyInputs, Tensor]]:
    """Read a data set batch by batch.

    Parameters
    ----------
    dataset
        :class:`~unitlens.data.samples.Samples`, or a data set of (input, label) that is opened as
        such. Data sets of unitlens read whole batches at once.
    batch_size
        Samples in a batch; the last batch may hold fewer.
    indices
        Indices of the samples, in the order in which they are read; all samples in the order of
        the data set if None.
    device
        Device of the tensors. Copies to a GPU are pinned and do not block.
    targets
        ``labels``: the target of an item is a label; ``any``: it is a number, an array or a tensor,
        of one shape for all items; ``none``: it is not read.
    least
        Fewest samples in a batch: a last batch that would have fewer is joined to the one before.

    Yields
    ------
    Indices of shape (batch,), inputs with the samples on axis 0, and int64 labels of shape
    (batch,). With ``any``, targets of shape (batch, ...) instead of labels; floats become float64.
    With ``none``, zeros.

    Raises
    ------
    ArgumentError
        Where the batch size is below 1.
    DatasetError
        Where an item is not a pair of an input and an integer label or target, or inputs or
        targets differ in shape.
    """
    if batch_size < 1:
        raise ArgumentError(f"batch_size is {batch_size}, but must be at least 1")
    samples = open_samples(dataset)
    order = np.arange(len(samples)) if indices is None else as_array(indices, np.int64)
    batches = np.split(order, batch_starts(len(order), batch_size, least)[1:]) if len(order) else ()
    with read_ahead(samples.dataset, samples.places(order), batch_size) as source:
        yield from read_batches(samples.read_from(source), batches, device=device, targets=targets)


def batch_starts(samples: int, batch_size: int, least: int = 1) -> Indices:
    """Return the first sample of each batch.

    Parameters
    ----------
    samples
        Number of samples.
    batch_size
        Samples in a batch.
    least
        Fewest samples in a batch: a last batch that would have fewer is joined to the one before.

    Examples
    --------
    >>> batch_starts(7, 3).tolist(), batch_starts(7, 3, least=2).tolist()
    ([0, 3, 6], [0, 3])
    """
    starts = np.arange(0, samples, batch_size)
    return starts[:-1] if len(starts) > 1 and samples - starts[-1] < least else starts


def read_batches(
    dataset: Any,
    batches: Iterable[Indices],
    *,
    device: torch.device | str = "cpu",
    targets: Targets = "labels",
) -> Iterator[tuple[Indices, AnyInputs, Tensor]]:
    """Read given batches of a data set.

    Parameters
    ----------
    dataset
        As for :func:`iterate_batches`.
    batches
        Indices of the samples of each batch.
    device
        Device of the tensors.
    targets
        As for :func:`iterate_batches`.

    Yields
    ------
    As :func:`iterate_batches`.
    """
    device, samples = torch.device(device), open_samples(dataset)
    for batch in batches:
        with autocast_disabled(device):
            inputs, labels = samples.read(batch, targets)
            moved = inputs.to(device) if isinstance(inputs, Inputs) else _to_device(inputs, device)
            moved = samples.finished(moved)
        yield batch, moved, _to_device(labels, device)


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def one_tensor(inputs: AnyInputs) -> Tensor:
    """Return inputs that are one tensor.

    Raises
    ------
    DatasetError
        Where they are several.
    """
    if isinstance(inputs, Inputs):
        raise DatasetError(
            f"an input of the data set has several tensors, {describe_inputs(inputs)}, but "
            "training needs one; join the tensors in the data set, and take them apart in the model"
        )
    return inputs


def sample_indices(n: int, samples: int | None, seed: int) -> Indices:
    """Draw a seeded subset of the samples of a data set.

    Parameters
    ----------
    n
        Number of samples of the data set.
    samples
        Size of the subset; all samples if None or not below `n`.
    seed
        Equal seeds draw equal samples.

    Returns
    -------
    Ascending indices of shape (samples,).

    Examples
    --------
    >>> sample_indices(4, None, 0).tolist()
    [0, 1, 2, 3]
    """
    if samples is None or samples >= n:
        return np.arange(n)
    return np.sort(seeded(seed, "samples").permutation(n)[:samples])
