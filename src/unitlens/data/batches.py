"""Batches of any map-style data set of (input, label), in a given order."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unitlens.data.item_files import file_of_item
from unitlens.data.labels import whole_label
from unitlens.data.loading_workers import read_ahead
from unitlens.errors import ArgumentError, DatasetError, UnitlensError, one_line, shown
from unitlens.model.precision import autocast_disabled
from unitlens.seeds import seeded

Indices = npt.NDArray[np.int64]
Targets = Literal["labels", "any"]


class MapStyle(Protocol):
    """A data set that has a length and returns (input, label) by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def iterate_batches(
    dataset: MapStyle,
    batch_size: int,
    *,
    indices: npt.ArrayLike | None = None,
    device: torch.device | str = "cpu",
    targets: Targets = "labels",
    least: int = 1,
) -> Iterator[tuple[Indices, Tensor, Tensor]]:
    """Read a data set batch by batch.

    Parameters
    ----------
    dataset
        Map-style data set of (input, label). Whole batches are read by its method
        ``batch(indices)`` where it has one, as the data sets of unitlens have.
    batch_size
        Samples in a batch; the last batch may hold fewer.
    indices
        Indices of the samples, in the order in which they are read; all samples in the order of
        the data set if None.
    device
        Device of the tensors. Copies to a GPU are pinned and do not block.
    targets
        ``labels``: the second element of an item is an integer label; ``any``: it is a number, an
        array or a tensor, of one shape for all items.
    least
        Fewest samples in a batch: a last batch that would have fewer is joined to the one before.

    Yields
    ------
    Indices of shape (batch,), inputs of shape (batch, ...) and int64 labels of shape (batch,).
    With ``any``, targets of shape (batch, ...) instead of labels; floats become float64.

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
    order = np.arange(len(dataset)) if indices is None else np.asarray(indices, np.int64)
    batches = np.split(order, batch_starts(len(order), batch_size, least)[1:]) if len(order) else ()
    with read_ahead(dataset, order, batch_size) as source:
        yield from read_batches(source, batches, device=device, targets=targets)


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
    dataset: MapStyle,
    batches: Iterable[Indices],
    *,
    device: torch.device | str = "cpu",
    targets: Targets = "labels",
) -> Iterator[tuple[Indices, Tensor, Tensor]]:
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
    device = torch.device(device)
    for batch in batches:
        with autocast_disabled(device):
            inputs, labels = _read(dataset, batch, targets)
        yield batch, _to_device(inputs, device), _to_device(labels, device)


def _read(dataset: MapStyle, indices: Indices, targets: Targets) -> tuple[Tensor, Tensor]:
    """Return inputs (batch, ...) and labels (batch,) or targets (batch, ...) at `indices`."""
    # A data set may cache tensors, which must stay usable outside of inference mode.
    with torch.inference_mode(mode=False):
        whole = getattr(dataset, "batch", None)
        if callable(whole):
            inputs, labels = whole(indices)
            return inputs, labels
        items = [_read_item(dataset, int(index), targets) for index in indices]
    inputs = _stack([value for value, _ in items], indices, "an input")
    if targets == "any":
        return inputs, _stack([label for _, label in items], indices, "a target")
    return inputs, torch.tensor([label for _, label in items], dtype=torch.int64)


def _stack(values: list[Tensor], indices: Indices, kind: str) -> Tensor:
    first = values[0].shape
    for index, value in zip(indices, values, strict=True):
        if value.shape != first:
            raise DatasetError(
                f"item {index} of the data set has {kind} of shape {tuple(value.shape)}, but "
                f"item {indices[0]} has {kind} of shape {tuple(first)}; bring all "
                f"{kind.split()[1]}s to one shape"
            )
    return torch.stack(values)


def _read_item(dataset: MapStyle, index: int, targets: Targets) -> tuple[Tensor, Any]:
    item = get_item(dataset, index, "the data set")
    if not isinstance(item, Sequence) or len(item) != 2:
        raise DatasetError(
            f"item {index} of the data set is a {type(item).__name__}, but must be a pair "
            "(input, label)"
        )
    value, label = item
    try:
        target = whole_label(label) if targets == "labels" else _target_tensor(label)
        return torch.as_tensor(value), target
    except (TypeError, ValueError, RuntimeError) as error:
        second = "an integer label" if targets == "labels" else "a number, tensor or array"
        raise DatasetError(
            f"item {index} of the data set is ({type(value).__name__}, {_told(label)}), but must "
            f"be a tensor or array and {second}"
        ) from error


def _told(label: Any) -> str:
    """Return a label as a message shows it: of an array its shape, not its numbers."""
    shape = tuple(getattr(label, "shape", ()))
    return f"{type(label).__name__} of shape {shape}" if shape else shown(label)


def get_item(dataset: MapStyle, index: int, name: str) -> Any:
    """Return an item of a data set.

    Parameters
    ----------
    dataset
        The data set.
    index
        Index of the item.
    name
        Name of the data set, for the message of an error.

    Raises
    ------
    DatasetError
        Where the data set raises an error of its own: the message names the item.
    """
    try:
        return dataset[index]
    except (UnitlensError, MemoryError):
        raise
    except Exception as error:
        file = file_of_item(dataset, index)
        of_file = f" ({file})" if file is not None else ""
        raise DatasetError(
            f"item {index} of {name}{of_file} cannot be read ({type(error).__name__}: "
            f"{one_line(error)}); mend the item or leave it out"
        ) from error


def _target_tensor(target: Any) -> Tensor:
    # torch would make plain floats float32 and lose digits.
    return torch.as_tensor(target, dtype=torch.float64 if isinstance(target, float) else None)


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


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
