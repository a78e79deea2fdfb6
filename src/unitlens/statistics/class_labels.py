"""The classes of the statistics, and the class of each sample."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.delayed import delayed

from unitlens.errors import ArgumentError, TableError
from unitlens.statistics.block_states import Integers

_CLASSES = ("label", "true_label", "prediction")
By = str | npt.ArrayLike


def sample_labels(acts: xr.DataTree, by: By = "label") -> Integers:
    """Return the class label of each sample of `acts`, shape (samples,), checked.

    Parameters
    ----------
    acts
        The activations.
    by
        Name of a coordinate on ``sample``, or one integer from 0 for each sample.

    Raises
    ------
    TableError
        Where there is no such coordinate on ``sample``, or the coordinate holds values that are
        not integers from 0, or a label beyond the number of classes in the root's attributes.
    ArgumentError
        Where an array is not one integer from 0 for each sample.
    """
    if not isinstance(by, str):
        return _checked_array(by, acts.sizes["sample"])
    if by not in acts.variables:
        raise TableError(
            f"the activations have no coordinate '{by}' at their root, but class statistics need "
            "the class of each sample; assign a coordinate with dimension 'sample'"
        )
    label = acts[by]
    if label.dims != ("sample",) or label.dtype.kind not in "iu":
        raise TableError(
            f"'{by}' of the activations has dimensions {label.dims} and dtype {label.dtype}, but "
            "must have ('sample',) and an integer type; cast or rename the coordinate"
        )
    labels = label.to_numpy().astype(np.int64)
    known = acts.attrs.get("classes") if by in _CLASSES else None
    allowed = known if isinstance(known, Integral) else None
    wrong = labels < 0 if allowed is None else (labels < 0) | (labels >= allowed)
    if wrong.any():
        upper = "on" if allowed is None else f"to {allowed - 1}, as the attribute 'classes' says"
        raise TableError(
            f"{by} {labels[wrong][0]} of sample {np.flatnonzero(wrong)[0]} is out of range: "
            f"labels run from 0 {upper}; correct the labels or leave the sample out"
        )
    return labels


def _checked_array(by: npt.ArrayLike, samples: int) -> Integers:
    values = np.asarray(by)
    if values.shape == (samples,) and values.dtype.kind not in "iu":
        raise ArgumentError(
            f"by has shape {values.shape} and dtype {values.dtype}, but must be one integer from 0 "
            f"for each of the {samples} samples; number the values by numpy.unique(by, "
            "return_inverse=True)[1]"
        )
    if values.shape != (samples,) or values.dtype.kind not in "iu" or (values < 0).any():
        raise ArgumentError(
            f"by has shape {values.shape} and dtype {values.dtype}, but must be one integer from 0 "
            f"for each of the {samples} samples, or the name of a coordinate"
        )
    return values.astype(np.int64)


def choose_classes(labels: Integers, classes: int | Sequence[int] | None) -> Integers:
    """Return the labels of the classes, ascending, shape (classes,).

    Parameters
    ----------
    labels
        Label of each sample.
    classes
        Number of classes, or the labels of the classes. None: the labels that occur.

    Raises
    ------
    ArgumentError
        Where `classes` is neither a whole number from 1 nor a sequence of distinct labels from 0,
        or a sample has a label that is not among the labels of the classes.
    """
    if classes is None:
        return np.unique(labels)
    class_labels = _labels_of(classes)
    foreign = ~np.isin(labels, class_labels)
    if foreign.any():
        raise ArgumentError(
            f"label {labels[foreign][0]} of sample {np.flatnonzero(foreign)[0]} is not among the "
            f"classes asked for ({_shown(class_labels)}), but each sample must belong to one; ask "
            "for more classes or select the samples first"
        )
    return class_labels


def shared_index(labels: Integers, class_labels: Integers) -> Any:
    """Return the delayed position of each sample's class, in the smallest type that holds it.

    All blocks take the one array by its key, so that a graph holds the array once: a slice of it
    in every task would be sent to a cluster once for every column of blocks.
    """
    index = np.searchsorted(class_labels, labels)
    return delayed(index.astype(np.min_scalar_type(len(class_labels))))


def _labels_of(classes: int | Sequence[int]) -> Integers:
    if not isinstance(classes, Sequence | np.ndarray):
        if classes < 1 or classes != int(classes):
            raise ArgumentError(
                f"classes is {classes}, but a number of classes must be a whole number from 1; "
                "leave the argument out to distinguish the labels that occur"
            )
        return np.arange(classes, dtype=np.int64)
    class_labels: Integers = np.unique(np.asarray(classes))
    whole = class_labels.dtype.kind in "iu" and class_labels[0] >= 0
    if not whole or len(class_labels) != len(classes):
        raise ArgumentError(
            f"classes is {list(classes)!r}, but must be a number of classes or distinct labels "
            "from 0; leave the argument out to distinguish the labels that occur"
        )
    return class_labels.astype(np.int64)


def _shown(class_labels: Integers) -> str:
    if len(class_labels) == class_labels[-1] + 1:
        return f"0 to {class_labels[-1]}"
    return ", ".join(map(str, class_labels[:12])) + (", ..." if len(class_labels) > 12 else "")
