"""Data sets as users bring them, opened as map-style sets: of a length, with items by index."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    default_collate,
)

from unitlens.data.items import ItemForm
from unitlens.errors import DatasetError
from unitlens.seeds import seeded

Indices = npt.NDArray[np.int64]
PROBES = 64  # samples that show the form of a whole data set


class MapStyle(Protocol):
    """A data set that has a length and returns items by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class WholeBatches(ABC):
    """A data set that reads whole batches of inputs and labels at once.

    Only subclasses are read so: many other data sets have a method ``batch`` that does something
    else.
    """

    @abstractmethod
    def batch(self, indices: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the inputs (batch, ...) and the labels (batch,) of some samples."""

    def stored_batch(self, indices: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return some samples as they are stored; :meth:`finished` makes inputs of them."""
        return self.batch(indices)

    def finished(self, stored: Tensor) -> Tensor:
        """Return the inputs of stored values, computed on their device."""
        return stored


def open_map_style(dataset: Any, form: ItemForm) -> tuple[MapStyle, ItemForm]:
    """Return the map-style data set that a user's data set is, and how its items are read.

    Parameters
    ----------
    dataset
        The data set. A DataLoader is taken apart: its data set is read in its own order, with the
        collate function of the loader.
    form
        How the items are read.

    Raises
    ------
    DatasetError
        Where the data set has no length or no items by index, or a DataLoader cannot be taken
        apart.
    """
    form.check()
    if isinstance(dataset, DataLoader):
        return _take_apart(dataset, form)
    reason = _misfit(dataset)
    if reason:
        raise DatasetError(reason)
    return dataset, form


def _misfit(dataset: Any) -> str:
    """Return why a data set is not map-style, with the remedy; empty where it is."""
    kind = type(dataset).__name__
    if dataset is None:
        return (
            "the data set is None, but must have a length and items (input, target); give for "
            "instance torch.utils.data.TensorDataset(inputs, targets)"
        )
    if isinstance(dataset, IterableDataset | Iterator):
        return (
            f"the data set is a {kind}, which is read once from its start, but must have a length "
            "and items by index; read it into a list, list(dataset)"
        )
    if isinstance(dataset, tuple) and any(isinstance(e, Tensor | np.ndarray) for e in dataset):
        return (
            f"the data set is a tuple of {len(dataset)} arrays, but must have one item a sample; "
            "give torch.utils.data.TensorDataset(inputs, targets), with tensors"
        )
    lacking = [
        what
        for what, method in (
            ("length (__len__)", "__len__"),
            ("items (__getitem__)", "__getitem__"),
        )
        if not hasattr(type(dataset), method)
    ]
    if lacking:
        return (
            f"the data set, a {kind}, has no {' and no '.join(lacking)}, but must have both; add "
            "the method to its class, or give a list of its items"
        )
    if isinstance(dataset, dict | str | bytes):
        return (
            f"the data set is a {kind}, but must have items by index 0, 1, ...; give a list of "
            "items (input, target), or a TensorDataset"
        )
    return ""


def _take_apart(loader: "DataLoader[Any]", form: ItemForm) -> tuple[MapStyle, ItemForm]:
    dataset, sampler = loader.dataset, loader.sampler
    remedy = "give its data set, loader.dataset"
    if isinstance(dataset, IterableDataset):
        raise DatasetError(
            "the data set is a DataLoader of an IterableDataset, which is read once from its "
            "start, but items by index are needed; read the items into a list, list(loader.dataset)"
        )
    if type(loader.batch_sampler) is not BatchSampler:
        raise DatasetError(
            "the data set is a DataLoader with batches of its own (batch_sampler, or batch_size "
            f"None), but single items are needed; {remedy}, and collate_fn where it is needed"
        )
    samples, in_order = len(dataset), type(sampler) is SequentialSampler  # type: ignore[arg-type]
    shuffled = type(sampler) is RandomSampler and not sampler.replacement
    if not in_order and not (shuffled and sampler.num_samples == samples):  # type: ignore[attr-defined]
        raise DatasetError(
            f"the data set is a DataLoader with the sampler {type(sampler).__name__}, which does "
            f"not read each item once; {remedy}, or torch.utils.data.Subset of it"
        )
    if loader.drop_last and samples % (loader.batch_size or 1):
        raise DatasetError(
            f"the data set is a DataLoader with drop_last, which leaves out some of its {samples} "
            f"items; {remedy}"
        )
    collate: Any = loader.collate_fn
    if form.collate_fn is None and collate is not default_collate:
        form = replace(form, collate_fn=collate)
    return open_map_style(dataset, form)


def class_names(dataset: Any) -> tuple[str, ...] | None:
    """Return the names of the classes that a data set states, by label; None where it states none.

    They are its attribute ``classes``, or that of the data set of which it is a subset, or the
    names of the column ``label`` or ``labels`` of a data set of Hugging Face.
    """
    if isinstance(dataset, Subset | DataLoader):
        return class_names(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        stated = {class_names(part) for part in dataset.datasets}
        return stated.pop() if len(stated) == 1 else None
    features = getattr(dataset, "features", None)
    stated_columns = features if isinstance(features, dict) else {}
    columns = [stated_columns.get(key) for key in ("label", "labels")]
    for names in (getattr(dataset, "classes", None), *(getattr(c, "names", None) for c in columns)):
        if isinstance(names, list | tuple) and names and all(isinstance(n, str) for n in names):
            return tuple(map(str, names))
    return None


def probe_rows(samples: int, count: int = PROBES) -> Indices:
    """Return some samples of a data set: the first, the last, and seeded ones, ascending.

    Parameters
    ----------
    samples
        Number of samples of the data set.
    count
        Most samples to return.
    """
    drawn = 1 + seeded(0, "probes").permutation(max(samples - 2, 0))[: count - 2]
    return np.unique([0, *drawn.tolist(), samples - 1])
