"""Which classes are told apart, and to which of them each sample belongs."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np
import numpy.typing as npt
import xarray as xr

from unitlens.errors import ArgumentError, TableError
from unitlens.statistics.block_states import Integers

_CLASSES = ("label", "true_label", "prediction")
By = str | npt.ArrayLike


def sample_labels(acts: xr.DataTree, by: By = "label") -> Integers:
    """Return what the samples of `acts` are told apart by, shape (samples,), checked.

    Parameters
    ----------
    acts
        The activations.
    by
        Name of a coordinate on ``sample``, or one integer from 0 for each sample.

    Raises
    ------
    TableError
        Where there is no such coordinate on ``sample``, or it holds anything but integers from 0,
        or a label beyond the number of classes that the root's attributes give.
    ArgumentError
        Where an array is not one integer from 0 for each sample.
    """
    if not isinstance(by, str):
        return _given(by, acts.sizes["sample"])
    if by not in acts.variables:
        raise TableError(
            f"the activations have no coordinate '{by}' at their root, but class statistics need "
            "the class of each sample; assign one with dimension 'sample'"
        )
    label = acts[by]
    if label.dims != ("sample",) or label.dtype.kind not in "iu":
        raise TableError(
            f"'{by}' of the activations has dimensions {label.dims} and dtype {label.dtype}, but "
            "must have ('sample',) and an integer type; cast or rename it"
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


def _given(by: npt.ArrayLike, samples: int) -> Integers:
    values = np.asarray(by)
    if values.shape != (samples,) or values.dtype.kind not in "iu" or (values < 0).any():
        raise ArgumentError(
            f"by has shape {values.shape} and dtype {values.dtype}, but must be one integer from 0 "
            f"for each of the {samples} samples, or the name of a coordinate"
        )
    return values.astype(np.int64)


def choose_classes(labels: Integers, classes: int | Sequence[int] | None) -> Integers:
    """Return the labels of the classes that are told apart, ascending, shape (classes,).

    Raises
    ------
    ArgumentError
        Where `classes` is no number above 0 and no sequence of distinct labels from 0, or a
        sample has a label that is not among them.
    """
    if classes is None:
        return np.unique(labels)
    chosen = _asked_classes(classes)
    foreign = ~np.isin(labels, chosen)
    if foreign.any():
        raise ArgumentError(
            f"label {labels[foreign][0]} of sample {np.flatnonzero(foreign)[0]} is not among the "
            f"classes asked for ({_shown(chosen)}): each sample must belong to one; ask for more "
            "classes or select the samples first"
        )
    return chosen


def _asked_classes(classes: int | Sequence[int]) -> Integers:
    if not isinstance(classes, Sequence | np.ndarray):
        if classes < 1 or classes != int(classes):
            raise ArgumentError(
                f"classes is {classes}, but a number of classes must be a whole one from 1; leave "
                "it out to tell apart the labels that occur"
            )
        return np.arange(classes, dtype=np.int64)
    chosen: Integers = np.unique(np.asarray(classes))
    whole = chosen.dtype.kind in "iu" and chosen[0] >= 0
    if not whole or len(chosen) != len(classes):
        raise ArgumentError(
            f"classes is {list(classes)!r}, but must be a number of classes or distinct labels "
            "from 0; leave it out to tell apart the labels that occur"
        )
    return chosen.astype(np.int64)


def _shown(chosen: Integers) -> str:
    if len(chosen) == chosen[-1] + 1:
        return f"0 to {chosen[-1]}"
    return ", ".join(map(str, chosen[:12])) + (", ..." if len(chosen) > 12 else "")
