"""Fused CPU kernels for single-unit ablation where a small dense end of the network is left.

They do all of it for every (perturbation, sample) pair, from the changed logits to the sums by
class, without writing anything of a pair to memory. Both take

change
    What each of K perturbations takes away from its activation, (samples, K). Where it is 0
    nothing is computed or added; NaN counts as a change.
labels, losses, hits
    Class of each sample, and how the network as it is scores on it, (samples,).
top
    A label among so many of the largest logits is a hit. Of equal logits that of the smaller class
    is larger, and NaN is larger than any number.
threads
    As many as torch has if None.

and return :class:`FusedChanges`. Losses are computed in float64, from logits in the dtype of the
arguments: all float32 or all float64. Pass batches of some hundred samples, so that the arrays of
a batch stay in the second cache.

Threads are Python's, running compiled code without the interpreter's lock: nothing is shared with
torch's OpenMP, which idles meanwhile, so a process may fork, or call from several threads. Each
perturbation is summed by one thread in the order of the samples, so that numbers do not depend on
how many threads there are.

numba is imported at the first call. It compiles then (some seconds for each dtype), or reads what
an earlier process has compiled.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from unitlens.errors import ArgumentError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_CACHE_LINE = 64
_PERTURBATIONS = 32  # that a thread takes at a time: two cache lines of a row of `change`


class FusedChanges(NamedTuple):
    """Sums over samples, by perturbation and label: (K, classes) each."""

    loss: Floats
    loss_squares: Floats
    hits: Floats
    hits_squares: Floats


def score_output_layer(
    change: Array,
    columns: Array,
    logits: Array,
    labels: Array,
    losses: Array,
    hits: Array,
    top: int = 1,
    *,
    threads: int | None = None,
) -> FusedChanges:
    """Score perturbations of a layer that the last dense layer alone reads.

    The logits of sample `s` under perturbation `k` are ``logits[s] - change[s, k] * columns[k]``.

    Parameters
    ----------
    change, labels, losses, hits, top, threads
        As :mod:`unitlens.perturbation.engine.fused` says.
    columns
        What one unit of change does to the logits, (K, classes).
    logits
        Of the network as it is, (samples, classes).

    Raises
    ------
    ArgumentError
        Where shapes or dtypes do not fit, or a label is no class.
    """
    from unitlens.perturbation.engine import fused_kernels as kernels

    change, columns, logits = _like(change, change=change, columns=columns, logits=logits)
    samples, classes = logits.shape
    _check_shapes(change, columns, (samples, classes))
    of_samples = _of_samples(samples, classes, labels, losses, hits)

    def run(first: int, last: int, scratch: Any, sums: Floats) -> None:
        kernels.output_layer(first, last, change, columns, logits, *of_samples, top, scratch, sums)

    return _over_perturbations(run, change, classes, classes, threads)


def score_hidden_layer(
    change: Array,
    columns: Array,
    hidden: Array,
    weight: Array,
    bias: Array,
    labels: Array,
    losses: Array,
    hits: Array,
    top: int = 1,
    *,
    threads: int | None = None,
) -> FusedChanges:
    """Score perturbations of a layer read by a dense layer alone, then ReLU, then the last one.

    The logits of sample `s` under perturbation `k` are
    ``bias + weight @ relu(hidden[s] - change[s, k] * columns[k])``.

    Parameters
    ----------
    change, labels, losses, hits, top, threads
        As :mod:`unitlens.perturbation.engine.fused` says.
    columns
        What one unit of change does to the dense layer's outputs, (K, H).
    hidden
        Outputs of the dense layer in the network as it is, before the ReLU, (samples, H).
    weight, bias
        Of the last layer, (classes, H) and (classes,).

    Raises
    ------
    ArgumentError
        Where shapes or dtypes do not fit, or a label is no class.
    """
    from unitlens.perturbation.engine import fused_kernels as kernels

    change, columns, hidden, weight, bias = _like(
        change, change=change, columns=columns, hidden=hidden, weight=weight, bias=bias
    )
    _check_shapes(change, columns, hidden.shape)
    classes = len(bias)
    of_samples = _of_samples(len(hidden), classes, labels, losses, hits)
    padded, offsets = _padded(weight, bias, hidden.shape[1])

    def run(first: int, last: int, scratch: Any, sums: Floats) -> None:
        kernels.hidden_layer(
            first, last, change, columns, hidden, padded, offsets, *of_samples, top, scratch, sums
        )

    return _over_perturbations(run, change, len(offsets), classes, threads)


def _padded(weight: Array, bias: Array, width: int) -> tuple[Array, Array]:
    """Return the last layer with rows and columns of zeros, so that no loop over it has a rest."""
    from unitlens.perturbation.engine.fused_kernels import CLASSES

    classes, lanes = len(bias), _CACHE_LINE // weight.itemsize
    if weight.shape != (classes, width):
        raise ArgumentError(
            f"weight has the shape {weight.shape}, but must have {(classes, width)}: classes of "
            "bias, width of hidden"
        )
    rows = -(-classes // CLASSES) * CLASSES
    padded = _zeros((rows, -(-width // lanes) * lanes), weight.dtype)
    padded[:classes, :width] = weight
    offsets = _zeros((rows,), weight.dtype)
    offsets[:classes] = bias
    return padded, offsets


def _like(first: Array, **arrays: Array) -> list[Array]:
    """Return the arrays contiguous, and refuse dtypes that differ or have no kernel."""
    for name, array in arrays.items():
        if array.dtype != first.dtype or array.dtype not in (np.float32, np.float64):
            raise ArgumentError(
                f"{name} is {array.dtype} and change {first.dtype}, but both must be float32 or "
                "both float64: convert them"
            )
    return [np.ascontiguousarray(array) for array in arrays.values()]


def _check_shapes(change: Array, columns: Array, outputs: tuple[int, ...]) -> None:
    expected = (len(columns), outputs[1])
    if change.shape != (outputs[0], len(columns)) or columns.shape != expected:
        raise ArgumentError(
            f"change has the shape {change.shape} and columns {columns.shape}, but they must be "
            f"(samples, K) and (K, width) where the outputs (samples, width) are {outputs}"
        )


def _of_samples(
    samples: int, classes: int, labels: Array, losses: Array, hits: Array
) -> tuple[Array, Floats, Floats]:
    for name, array in {"labels": labels, "losses": losses, "hits": hits}.items():
        if array.shape != (samples,):
            raise ArgumentError(
                f"{name} has the shape {array.shape}, but must have ({samples},): one a sample"
            )
    if samples and not (labels.min() >= 0 and labels.max() < classes):
        raise ArgumentError(
            f"labels run from {labels.min()} to {labels.max()}, but must be classes from 0 to "
            f"{classes - 1}"
        )
    return (
        np.ascontiguousarray(labels, np.int64),
        np.ascontiguousarray(losses, np.float64),
        np.ascontiguousarray(hits, np.float64),
    )


def _over_perturbations(
    run: Callable[[int, int, Any, Floats], None],
    change: Array,
    rows: int,
    classes: int,
    threads: int | None,
) -> FusedChanges:
    """Run `run` for ranges of perturbations, each thread taking the next one that is left."""
    count = change.shape[1]
    sums = np.zeros((4, count, classes))
    starts = iter(range(0, count, _PERTURBATIONS))

    def work() -> None:
        scratch = _scratch(rows, change.dtype)
        for first in starts:
            run(first, min(first + _PERTURBATIONS, count), scratch, sums)

    wanted = torch.get_num_threads() if threads is None else threads
    workers = max(1, min(wanted, -(-count // _PERTURBATIONS)))
    with ThreadPoolExecutor(max(1, workers - 1)) as pool:  # starts no thread that is not needed
        others = [pool.submit(work) for _ in range(workers - 1)]
        work()
        for other in others:
            other.result()
    return FusedChanges(*sums)


def _scratch(rows: int, dtype: np.dtype[Any]) -> tuple[Array, Array, Floats, Array]:
    """Return what a thread works on: sums of two pairs, logits, scores, and the queue."""
    from unitlens.perturbation.engine.fused_kernels import CLASSES, PAIRS

    return (
        _zeros((2 * CLASSES + _CACHE_LINE // dtype.itemsize,), dtype),
        _zeros((rows, PAIRS), np.float64),
        _zeros((4, PAIRS), np.float64),
        np.zeros((3, PAIRS + 1), np.int64),
    )


def _zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return zeros that begin at a cache line, for loads that never touch two."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    buffer = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -buffer.ctypes.data % _CACHE_LINE
    return buffer[start : start + size].view(dtype).reshape(shape)
