"""Batches of any map-style data set of (input, label), in a known order."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unitlens.errors import ArgumentError, DatasetError
from unitlens.model.precision import uncast
from unitlens.seeds import seeded

Indices = npt.NDArray[np.int64]
Targets = Literal["labels", "any"]


class MapStyle(Protocol):
    """What is asked of a data set: its length, and (input, label) by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def iterate_batches(
    dataset: MapStyle,
    batch_size: int,
    *,
    indices: npt.ArrayLike | None = None,
    device: torch.device | str = "cpu",
    targets: Targets = "labels",
) -> Iterator[tuple[Indices, Tensor, Tensor]]:
    """Read a data set batch by batch.

    Parameters
    ----------
    dataset
        Map-style data set of (input, label). Where it has a method ``batch(indices)``, as
        unitlens' own sets have, whole batches are read by it.
    batch_size
        Samples in a batch; the last one may hold fewer.
    indices
        Which samples, in which order; all in the data set's order if None.
    device
        Where the tensors go. Copies to a GPU are pinned and do not block.
    targets
        What stands beside the inputs: integer labels, or with ``any`` numbers, arrays or tensors
        of one shape.

    Yields
    ------
    Indices of shape (batch,), inputs of shape (batch, ...) and int64 labels of shape (batch,);
    with ``any`` targets of shape (batch, ...), plain floats as float64.

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
    chosen = np.arange(len(dataset)) if indices is None else np.asarray(indices, np.int64)
    starts = range(0, len(chosen), batch_size)
    batches = (chosen[s : s + batch_size] for s in starts)
    yield from read_batches(dataset, batches, device=device, targets=targets)


def read_batches(
    dataset: MapStyle,
    batches: Iterable[Indices],
    *,
    device: torch.device | str = "cpu",
    targets: Targets = "labels",
) -> Iterator[tuple[Indices, Tensor, Tensor]]:
    """Read given batches; as :func:`iterate_batches`."""
    target = torch.device(device)
    for batch in batches:
        with uncast(target):
            inputs, labels = _read(dataset, batch, targets)
        yield batch, _moved(inputs, target), _moved(labels, target)


def _read(dataset: MapStyle, indices: Indices, targets: Targets) -> tuple[Tensor, Tensor]:
    """Read the samples at `indices`: inputs (batch, ...) and labels or targets (batch, ...)."""
    # What a data set keeps for itself must stay of use outside of inference mode.
    with torch.inference_mode(mode=False):
        whole = getattr(dataset, "batch", None)
        if callable(whole):
            inputs, labels = whole(indices)
            return inputs, labels
        items = [_pair(dataset, int(index), targets) for index in indices]
    inputs = _stacked([value for value, _ in items], indices, "input")
    if targets == "any":
        return inputs, _stacked([label for _, label in items], indices, "target")
    return inputs, torch.tensor([label for _, label in items], dtype=torch.int64)


def _stacked(values: list[Tensor], indices: Indices, what: str) -> Tensor:
    first = values[0].shape
    for index, value in zip(indices, values, strict=True):
        if value.shape != first:
            kind = f"an {what}" if what == "input" else f"a {what}"
            raise DatasetError(
                f"item {index} of the data set has {kind} of shape {tuple(value.shape)}, but "
                f"item {indices[0]} one of {tuple(first)}; bring all {what}s to one shape"
            )
    return torch.stack(values)


def _pair(dataset: MapStyle, index: int, targets: Targets) -> tuple[Tensor, Any]:
    item = dataset[index]
    if not isinstance(item, Sequence) or len(item) != 2:
        raise DatasetError(
            f"item {index} of the data set is a {type(item).__name__}, but must be a pair "
            "(input, label)"
        )
    value, label = item
    try:
        return torch.as_tensor(value), _whole(label) if targets == "labels" else _tensor(label)
    except (TypeError, ValueError, RuntimeError) as error:
        wanted = "an integer label" if targets == "labels" else "a number, tensor or array"
        raise DatasetError(
            f"item {index} of the data set is ({type(value).__name__}, {label!r}), but must be a "
            f"tensor or array and {wanted}"
        ) from error


def _tensor(target: Any) -> Tensor:
    # torch makes plain floats float32, which would lose digits of them.
    return torch.as_tensor(target, dtype=torch.float64 if isinstance(target, float) else None)


def _whole(label: Any) -> int:
    if int(label) != label:
        raise ValueError(f"{label} is not a whole number")
    return int(label)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def sample_indices(n: int, samples: int | None, seed: int) -> Indices:
    """Choose a seeded subset of the samples of a data set.

    Parameters
    ----------
    n
        Samples of the data set.
    samples
        Size of the subset; all samples if None, or if there are no more.
    seed
        Equal seeds choose equal samples.

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
