"""The labels of a whole data set, read without its inputs where the data set allows it."""

import logging
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from unitlens.data.batches import iterate_batches
from unitlens.data.map_style import PROBES, probe_rows
from unitlens.data.samples import Samples, open_samples
from unitlens.data.split import SplitDataset
from unitlens.given_arrays import as_array
from unitlens.progress import track

logger = logging.getLogger("unitlens")

BATCH = 256
Labels = NDArray[np.int64]


def read_all_labels(dataset: Any) -> Labels:
    """Return the label of every sample of a data set; zeros where there are no classes.

    Labels are taken from the data sets of unitlens, a TensorDataset, a Subset or a ConcatDataset
    of these, or an attribute ``targets`` or ``labels`` that agrees with the samples of
    :func:`~unitlens.data.samples.probe_rows`. Any other data set is read once, inputs included.

    Parameters
    ----------
    dataset
        The data set, or its samples.
    """
    samples = open_samples(dataset)
    if samples.form.target is None and samples.form.collate_fn is None:
        listed = _listed_labels(samples.dataset)
        if listed is not None:
            return listed[samples.places(np.arange(len(samples)))]
    if samples.no_labels:
        return np.zeros(len(samples), np.int64)
    return _read_all(samples)


def confirm_labels(samples: Samples, labels: Labels, rows: NDArray[np.int64]) -> Labels:
    """Return the labels of a data set, read from all its samples where its list is wrong.

    Parameters
    ----------
    samples
        The samples.
    labels
        What :func:`read_all_labels` returned.
    rows
        Samples at which the list may be wrong.
    """
    if samples.no_labels or _agrees(samples, labels, rows[:PROBES]):
        return labels
    return _read_all(samples)


def _read_all(samples: Samples) -> Labels:
    count = len(samples)
    logger.info("reading all %d samples of the data set, for it has no list of labels", count)
    batches = track(iterate_batches(samples, BATCH), "labels", total=ceil(count / BATCH))
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
    if open_samples(dataset).no_labels:
        return None
    for name in ("targets", "labels"):
        labels = _as_labels(getattr(dataset, name, None), len(dataset))
        if labels is not None and _agrees(dataset, labels, probe_rows(len(labels))):
            return labels
    return None


def _as_labels(values: Any, samples: int) -> Labels | None:
    """Return a sequence of whole numbers as labels, None where it is no such sequence."""
    try:
        array = as_array(values)
    except (ValueError, TypeError):
        return None
    if array.dtype.kind not in "iub" or array.size != samples:
        return None
    return array.reshape(samples).astype(np.int64)


def _agrees(dataset: Any, labels: Labels, samples: NDArray[np.int64]) -> bool:
    """Tell whether the items of some samples have the labels of a list."""
    _, _, items = next(iterate_batches(dataset, len(samples), indices=samples))
    return np.array_equal(items.numpy(), labels[samples])
