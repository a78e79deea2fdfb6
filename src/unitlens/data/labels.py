"""Label corruption, and subsets that keep the share of each class."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from unitlens.data.items import NO_TARGET
from unitlens.errors import ArgumentError, DatasetError
from unitlens.given_arrays import as_array
from unitlens.seeds import seeded


def corrupt_labels(
    labels: npt.NDArray[np.int64], fraction: float, *, seed: int
) -> npt.NDArray[np.int64]:
    """Permute a fraction of the labels among the samples that have them.

    Parameters
    ----------
    labels
        Labels of the training set, of shape (samples,).
    fraction
        Share of the samples whose labels are permuted, from 0 to 1. Some of these samples get
        their own label again: with k balanced classes about ``fraction * (1 - 1 / k)`` of the
        labels change.
    seed
        The run's seed; equal seeds give equal labels.

    Returns
    -------
    New labels of shape (samples,). The number of samples of each class stays the same.

    Raises
    ------
    ArgumentError
        Where the fraction lies outside 0..1.

    References
    ----------
    Morcos et al. 2018 (arXiv 1803.06959), after Zhang et al. 2017 (arXiv 1611.03530).

    Examples
    --------
    >>> corrupt_labels(np.array([0, 1, 2, 3]), 0.0, seed=1)
    array([0, 1, 2, 3])
    """
    if not 0 <= fraction <= 1:
        raise ArgumentError(f"the fraction of corrupted labels is {fraction}, but must be in 0..1")
    random = seeded(seed, "corruption")
    permuted = random.permutation(len(labels))[: round(fraction * len(labels))]
    corrupted = labels.copy()
    corrupted[permuted] = labels[random.permutation(permuted)]
    return corrupted


def whole_label(label: Any) -> int:
    """Return a label as a whole number.

    Parameters
    ----------
    label
        A number, or an array or a tensor with one entry.

    Raises
    ------
    ValueError, TypeError
        Where it is no whole number, or has several entries.

    Examples
    --------
    >>> whole_label(np.array([[3]])), whole_label(2.0)
    (3, 2)
    """
    shape = getattr(label, "shape", ())
    if len(shape) and math.prod(shape) == 1:
        label = label.reshape(())
    number = int(label)
    if number != label:
        raise ValueError(f"{label!r} is not a whole number")
    return number


def one_hot_place(label: Any) -> int | None:
    """Return the place of the one in a one-hot vector; None where a label is no such vector.

    Examples
    --------
    >>> one_hot_place(np.array([0.0, 1.0, 0.0])), one_hot_place(np.array([1, 1]))
    (1, None)
    """
    values = as_array(label)
    if values.ndim != 1 or values.size < 2 or values.dtype.kind not in "biuf":
        return None
    ones = values == 1
    return int(ones.argmax()) if ones.sum() == 1 and ((values == 0) | ones).all() else None


def label_remedy(label: int) -> str:
    """Return what to do about a label that is none of the classes, for the end of a message."""
    if label < 0:
        return f"fit one to the other, or leave such samples out, ignore_index={label}"
    return "fit one to the other (labels that start at 1 need 1 less)"


def is_plain_label(target: Any) -> bool:
    """Tell whether a target can be nothing but a label: a text or one integer."""
    if isinstance(target, str | int):
        return True
    if not isinstance(target, Tensor | np.ndarray | np.integer):
        return False
    value = as_array(target)
    return value.size == 1 and value.dtype.kind in "biu"


def classless_reason(targets: Sequence[Any]) -> str:
    """Return why targets are no classes, in words; empty where they are, or where one is faulty.

    Parameters
    ----------
    targets
        Targets of some samples.

    Examples
    --------
    >>> classless_reason([0, 2, np.array([1])]), classless_reason([0.5, 1.0])
    ('', 'the targets are no whole numbers')
    """
    if all(target is NO_TARGET for target in targets):
        return "the items have no target"
    for target in targets:
        if target is NO_TARGET or isinstance(target, str | bytes):
            continue
        values = as_array(target)
        if values.dtype.kind not in "biuf":
            continue
        if values.size > 1 and one_hot_place(target) is None:
            return f"the targets have the shape {values.shape}"
        if values.size == 1 and np.isfinite(values).all() and (values % 1).any():
            return "the targets are no whole numbers"
    return ""


SUBSET_SEED = 0  # all runs share a prepared data set, so their seeds do not count


def stratified_subset(
    labels: npt.NDArray[np.int64], samples: int | None, *, name: str
) -> npt.NDArray[np.int64]:
    """Draw a subset in which each class keeps its share of the samples.

    Parameters
    ----------
    labels
        Labels of all samples, of shape (available,).
    samples
        Size of the subset; all samples if None.
    name
        Name of the data set and split, for the message of an error.

    Returns
    -------
    Ascending indices of shape (samples,). The number of samples of a class is its share rounded
    down, or rounded up for the classes with the largest remainders.

    Raises
    ------
    DatasetError
        Where more samples are asked for than there are.

    Examples
    --------
    >>> labels = np.repeat([0, 1], [30, 10])
    >>> np.bincount(labels[stratified_subset(labels, 20, name="train")]).tolist()
    [15, 5]
    """
    if samples is None:
        return np.arange(len(labels))
    if samples > len(labels):
        raise DatasetError(
            f"{name} has {len(labels)} samples, but {samples} are asked for; "
            "ask for fewer or for all"
        )
    random = seeded(SUBSET_SEED, "subset")
    by_class = [
        random.permutation(np.flatnonzero(labels == label))[:count]
        for label, count in enumerate(_quotas(np.bincount(labels), samples))
    ]
    return np.sort(np.concatenate(by_class))


def _quotas(counts: npt.NDArray[np.int64], samples: int) -> npt.NDArray[np.int64]:
    """Return the number of samples of each class, by the method of the largest remainders."""
    exact = counts * samples / counts.sum()
    quotas: npt.NDArray[np.int64] = np.floor(exact).astype(np.int64)
    order = np.argsort(quotas - exact, kind="stable")
    quotas[order[: samples - quotas.sum()]] += 1
    return quotas
