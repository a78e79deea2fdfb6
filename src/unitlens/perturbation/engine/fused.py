"""Fused CPU kernels that score perturbations of a layer behind which a small dense head remains.

The kernels compute all of it for every pair of a perturbation and a sample, from the perturbed
logits to the sums by class, without writing anything of a pair to memory. Losses are computed in
float64, from logits in the dtype of the arguments, all float32 or all float64. Batches of some
hundred samples are fastest, since their arrays stay in the second-level cache.

Threads are Python's, and run compiled code without the interpreter's lock. Nothing is shared with
torch's OpenMP, which idles meanwhile, so a process may fork, or call from several threads. One
thread sums each perturbation in the order of the samples, so that results do not depend on the
number of threads.

numba is imported at the first call, and then compiles (some seconds for each dtype), or reads the
code that an earlier process has compiled.
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
_PERTURBATIONS = 32  # that a thread takes at a time: two cache lines of a row of coefficients


class FusedChanges(NamedTuple):
    """Changes of loss and hits and their squares, summed over samples, each (K, classes)."""

    loss: Floats
    loss_squares: Floats
    hits: Floats
    hits_squares: Floats


def score_output_layer(
    coefficients: Array,
    columns: Array,
    logits: Array,
    labels: Array,
    losses: Array,
    hits: Array,
    top: int = 1,
    *,
    threads: int | None = None,
) -> FusedChanges:
    """Score perturbations of a layer that only the last dense operation reads.

    The logits of sample `s` under perturbation `k` are
    ``logits[s] - coefficients[s, k] * columns[k]``.

    Parameters
    ----------
    coefficients
        Coefficient with which each of K perturbations subtracts its direction, (samples, K). Pairs
        whose coefficient is 0 are not computed, and change nothing; NaN counts as a coefficient.
    columns
        Change of the logits per unit of each direction, (K, classes).
    logits
        Logits of the unperturbed network, (samples, classes).
    labels
        Class of each sample, integers (samples,).
    losses, hits
        Loss and hit of each sample under the unperturbed network, (samples,).
    top
        Number of largest logits: a sample is a hit where its label is among them. Of equal logits
        the one of the smaller class is larger; NaN is larger than any number.
    threads
        Number of threads; as many as torch has if None.

    Returns
    -------
    Sums over samples of the changes of loss and hits, by perturbation and label.

    Raises
    ------
    ArgumentError
        Where shapes or dtypes do not fit, or a label is not a class.
    """
    from unitlens.perturbation.engine import fused_kernels as kernels

    coefficients, columns, logits = _like(
        coefficients, coefficients=coefficients, columns=columns, logits=logits
    )
    samples, classes = logits.shape
    _check_shapes(coefficients, columns, (samples, classes))
    of_samples = _of_samples(samples, classes, labels, losses, hits)

    def run(first: int, last: int, scratch: Any, sums: Floats) -> None:
        kernels.output_layer(
            first, last, coefficients, columns, logits, *of_samples, top, scratch, sums
        )

    return _over_perturbations(run, coefficients, classes, classes, threads)


def score_hidden_layer(
    coefficients: Array,
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
    """Score perturbations of a layer that one dense operation reads, before ReLU and the last.

    The logits of sample `s` under perturbation `k` are
    ``bias + weight @ relu(hidden[s] - coefficients[s, k] * columns[k])``.

    Parameters
    ----------
    coefficients
        Coefficient with which each of K perturbations subtracts its direction, (samples, K). Pairs
        whose coefficient is 0 are not computed, and change nothing; NaN counts as a coefficient.
    columns
        Change of the dense operation's output per unit of each direction, (K, H).
    hidden
        Output of the dense operation in the unperturbed network, before the ReLU, (samples, H).
    weight, bias
        Weight and bias of the last operation, (classes, H) and (classes,).
    labels
        Class of each sample, integers (samples,).
    losses, hits
        Loss and hit of each sample under the unperturbed network, (samples,).
    top
        Number of largest logits: a sample is a hit where its label is among them. Of equal logits
        the one of the smaller class is larger; NaN is larger than any number.
    threads
        Number of threads; as many as torch has if None.

    Returns
    -------
    Sums over samples of the changes of loss and hits, by perturbation and label.

    Raises
    ------
    ArgumentError
        Where shapes or dtypes do not fit, or a label is not a class.
    """
    from unitlens.perturbation.engine import fused_kernels as kernels

    coefficients, columns, hidden, weight, bias = _like(
        coefficients,
        coefficients=coefficients,
        columns=columns,
        hidden=hidden,
        weight=weight,
        bias=bias,
    )
    _check_shapes(coefficients, columns, hidden.shape)
    classes = len(bias)
    of_samples = _of_samples(len(hidden), classes, labels, losses, hits)
    padded, offsets = _padded(weight, bias, hidden.shape[1])

    def run(first: int, last: int, scratch: Any, sums: Floats) -> None:
        kernels.hidden_layer(
            first,
            last,
            coefficients,
            columns,
            hidden,
            padded,
            offsets,
            *of_samples,
            top,
            scratch,
            sums,
        )

    return _over_perturbations(run, coefficients, len(offsets), classes, threads)


def _padded(weight: Array, bias: Array, width: int) -> tuple[Array, Array]:
    """Return weight and bias padded by zeros to multiples of the kernels' steps."""
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
    """Return contiguous arrays, if all have one dtype for which there is a kernel."""
    for name, array in arrays.items():
        if array.dtype != first.dtype or array.dtype not in (np.float32, np.float64):
            raise ArgumentError(
                f"{name} is {array.dtype} and coefficients {first.dtype}, but both must be float32 "
                "or both float64: convert them"
            )
    return [np.ascontiguousarray(array) for array in arrays.values()]


def _check_shapes(coefficients: Array, columns: Array, outputs: tuple[int, ...]) -> None:
    expected = (len(columns), outputs[1])
    if coefficients.shape != (outputs[0], len(columns)) or columns.shape != expected:
        raise ArgumentError(
            f"coefficients has the shape {coefficients.shape} and columns {columns.shape}, but "
            f"they must be (samples, K) and (K, width) where the outputs (samples, width) are "
            f"{outputs}"
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
    coefficients: Array,
    rows: int,
    classes: int,
    threads: int | None,
) -> FusedChanges:
    """Run a kernel for ranges of perturbations; each thread takes the next open range."""
    count = coefficients.shape[1]
    sums = np.zeros((4, count, classes))
    starts = iter(range(0, count, _PERTURBATIONS))

    def work() -> None:
        scratch = _scratch(rows, coefficients.dtype)
        for first in starts:
            run(first, min(first + _PERTURBATIONS, count), scratch, sums)

    limit = torch.get_num_threads() if threads is None else threads
    workers = max(1, min(limit, -(-count // _PERTURBATIONS)))
    with ThreadPoolExecutor(max(1, workers - 1)) as pool:  # starts threads only on submit
        others = [pool.submit(work) for _ in range(workers - 1)]
        work()
        for other in others:
            other.result()
    return FusedChanges(*sums)


def _scratch(rows: int, dtype: np.dtype[Any]) -> tuple[Array, Array, Floats, Array]:
    """Return a thread's arrays: sums of two pairs, logits, scores, and the queue of pairs."""
    from unitlens.perturbation.engine.fused_kernels import CLASSES, PAIRS

    return (
        _zeros((2 * CLASSES + _CACHE_LINE // dtype.itemsize,), dtype),
        _zeros((rows, PAIRS), np.float64),
        _zeros((4, PAIRS), np.float64),
        np.zeros((3, PAIRS + 1), np.int64),
    )


def _zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return zeros that begin at a cache line, so that no load touches two cache lines."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    buffer = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -buffer.ctypes.data % _CACHE_LINE
    return buffer[start : start + size].view(dtype).reshape(shape)
