"""The labels of a whole data set, read without its inputs where the data set allows it."""

import logging
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from unitlens.data.batches import iterate_batches
from unitlens.data.split import SplitDataset
from unitlens.progress import track
from unitlens.seeds import seeded

logger = logging.getLogger("unitlens")

CHECKED = 64  # items that are compared with a list of labels
BATCH = 256
Labels = NDArray[np.int64]


def probe_rows(samples: int, count: int = CHECKED) -> NDArray[np.int64]:
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


def read_all_labels(dataset: Any) -> Labels:
    """Return the label of every sample of a data set.

    Labels are taken from the data sets of unitlens, a TensorDataset, a Subset or a ConcatDataset
    of these, or an attribute ``targets`` or ``labels`` that agrees with the samples of
    :func:`probe_rows`. Any other data set is read once, inputs included.

    Parameters
    ----------
    dataset
        A map-style data set of (input, label).
    """
    listed = _listed_labels(dataset)
    if listed is not None:
        return listed
    return _read_all(dataset)


def confirm_labels(dataset: Any, labels: Labels, samples: NDArray[np.int64]) -> Labels:
    """Return the labels of a data set, read from all its samples where its list is wrong.

    Parameters
    ----------
    dataset
        The data set.
    labels
        What :func:`read_all_labels` returned.
    samples
        Samples at which the list may be wrong.
    """
    return labels if _agrees(dataset, labels, samples[:CHECKED]) else _read_all(dataset)


def _read_all(dataset: Any) -> Labels:
    samples = len(dataset)
    logger.info("reading all %d samples of the data set, for it has no list of labels", samples)
    batches = track(iterate_batches(dataset, BATCH), "labels", total=ceil(samples / BATCH))
    return np.concatenate([labels.numpy() for _, _, labels in batches])


def _listed_labels(dataset: Any) -> Labels | None:
    """Return the labels that a data set lists, None where it lists none that can be believed."""
    if isinstance(dataset, SplitDataset):
        return np.asarray(dataset.labels, np.int64)
    if type(dataset) is TensorDataset:
        return _as_labels(dataset.tensors[1], len(dataset)) if len(dataset.tensors) > 1 else None
    if type(dataset) is Subset:
        labels = _listed_labels(dataset.dataset)
        return None if labels is None else labels[np.asarray(dataset.indices, np.int64)]
    if type(dataset) is ConcatDataset:
        parts = [_listed_labels(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if len(known) == len(parts) else None
    for name in ("targets", "labels"):
        labels = _as_labels(getattr(dataset, name, None), len(dataset))
        if labels is not None and _agrees(dataset, labels, probe_rows(len(labels))):
            return labels
    return None


def _as_labels(values: Any, samples: int) -> Labels | None:
    """Return a sequence of whole numbers as labels, None where it is no such sequence."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):
        return None
    if array.dtype.kind not in "iub" or array.size != samples:
        return None
    return array.reshape(samples).astype(np.int64)


def _agrees(dataset: Any, labels: Labels, samples: NDArray[np.int64]) -> bool:
    """Tell whether the items of some samples have the labels of a list."""
    _, _, items = next(iterate_batches(dataset, len(samples), indices=samples))
    return np.array_equal(items.numpy(), labels[samples])
