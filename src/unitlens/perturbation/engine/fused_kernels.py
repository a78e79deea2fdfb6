"""The compiled inner loops of :mod:`unitlens.perturbation.engine.fused`.

Importing this module imports numba. All compiled functions stand here together, because numba's
cache of one source file does not notice a change in another.

Each function does the (perturbation, sample) pairs of a range of perturbations, queues the pairs
that change anything, and works on PAIRS of them at a time, whatever perturbations they belong to.
"""

# mypy: disable-error-code="no-untyped-def"

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

PAIRS = 32  # pairs whose logits are scored together, the classes one after the other
CLASSES = 5  # classes that one loop of `_logits_of_two` does: twice five sums fill the FMA units
SAMPLES = 4  # rows of `hidden` that stay in the first cache while the columns stream by

# What reordering may do; NaN and infinities keep their meaning.
REORDERED = {"reassoc", "contract", "arcp", "nsz"}
_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_ROUNDING = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, in the low bits


def _compiled(**options: Any) -> Callable[[Any], Any]:
    """Return numba's decorator, without a cache where no directory for one can be written."""

    def compiled(function: Any) -> Any:
        try:
            return numba.njit(cache=True, nogil=True, **options)(function)
        except RuntimeError:
            return numba.njit(nogil=True, **options)(function)

    return compiled


@_compiled(fastmath={"contract"})
def _exp(x):
    """Return e**x for x <= 0, to 1e-15 of it, in arithmetic that vectorises; NaN stays NaN."""
    x = max(x, -708.0)
    shifted = x * _LOG2_E + _ROUNDING
    power = shifted - _ROUNDING
    r = (x - power * _LN2_HIGH) - power * _LN2_LOW
    y = r * (1 / 6227020800) + 1 / 479001600
    y = y * r + 1 / 39916800
    y = y * r + 1 / 3628800
    y = y * r + 1 / 362880
    y = y * r + 1 / 40320
    y = y * r + 1 / 5040
    y = y * r + 1 / 720
    y = y * r + 1 / 120
    y = y * r + 1 / 24
    y = y * r + 1 / 6
    y = y * r + 0.5
    y = y * r + 1.0
    y = y * r + 1.0
    bits = np.float64(y).view(np.int64) + (np.float64(shifted).view(np.int64) << 52)
    return np.int64(bits).view(np.float64)


@_compiled()
def _hit_with_nan(logits, label, top):
    """Tell whether the label is among the largest, where NaN is larger than any number."""
    own = logits[label]
    larger = 0
    for c in range(len(logits)):
        x = logits[c]
        if math.isnan(own):
            larger += math.isnan(x) and c < label
        else:
            larger += math.isnan(x) or x > own or (x == own and c < label)
    return 1.0 if larger < top else 0.0


@_compiled(fastmath={"contract"})
def _score(logits, pairs, labels, top, work):
    """Score the first `pairs` columns of logits (classes, PAIRS): loss into work[0], hit into [1].

    The inner loops run over pairs, so that they vectorise whatever the number of classes.
    """
    total, larger, own, largest = work[0], work[1], work[2], work[3]
    for p in range(pairs):
        own[p] = logits[labels[p], p]
        largest[p] = logits[0, p]
        total[p] = 0.0
        larger[p] = 0.0
    for c in range(1, len(logits)):
        for p in range(pairs):
            x = logits[c, p]
            largest[p] = max(largest[p], x)
    for c in range(len(logits)):
        for p in range(pairs):
            x = logits[c, p]
            total[p] += _exp(x - largest[p])
            larger[p] += (x > own[p]) | ((x == own[p]) & (c < labels[p]))
    for p in range(pairs):
        total[p] = math.log(total[p]) - (own[p] - largest[p])
        larger[p] = 1.0 if larger[p] < top else 0.0
    for p in range(pairs):
        if math.isnan(total[p]):
            larger[p] = _hit_with_nan(logits[:, p], labels[p], top)


@_compiled()
def _score_and_add(logits, pairs, queue, labels, losses, hits, top, work, sums):
    """Score the logits of the queued pairs and add their changes to the sums."""
    samples, rows, labels_of = queue[0], queue[1], queue[2]
    for p in range(pairs):
        labels_of[p] = labels[samples[p]]
    _score(logits, pairs, labels_of, top, work)
    for p in range(pairs):
        s, k, c = samples[p], rows[p], labels_of[p]
        loss = work[0, p] - losses[s]
        hit = work[1, p] - hits[s]
        sums[0, k, c] += loss
        sums[1, k, c] += loss * loss
        sums[2, k, c] += hit
        sums[3, k, c] += hit * hit


@_compiled(fastmath=REORDERED)
def _rectified(hidden, change, column, out):
    zero = out.dtype.type(0)
    for j in range(len(column)):
        x = hidden[j] - change * column[j]
        out[j] = max(x, zero)


@_compiled(fastmath=REORDERED)
def _logits_of_two(hidden, weight, bias, logits, p):
    """Put the logits of two rows of hidden activations into the columns p and p + 1."""
    u, v = hidden[0], hidden[1]
    for c in range(0, len(bias), CLASSES):
        w0, w1, w2, w3, w4 = weight[c], weight[c + 1], weight[c + 2], weight[c + 3], weight[c + 4]
        a0 = a1 = a2 = a3 = a4 = b0 = b1 = b2 = b3 = b4 = hidden.dtype.type(0)
        for j in range(len(u)):
            x, y = u[j], v[j]
            a0 += x * w0[j]
            b0 += y * w0[j]
            a1 += x * w1[j]
            b1 += y * w1[j]
            a2 += x * w2[j]
            b2 += y * w2[j]
            a3 += x * w3[j]
            b3 += y * w3[j]
            a4 += x * w4[j]
            b4 += y * w4[j]
        logits[c, p], logits[c, p + 1] = a0 + bias[c], b0 + bias[c]
        logits[c + 1, p], logits[c + 1, p + 1] = a1 + bias[c + 1], b1 + bias[c + 1]
        logits[c + 2, p], logits[c + 2, p + 1] = a2 + bias[c + 2], b2 + bias[c + 2]
        logits[c + 3, p], logits[c + 3, p + 1] = a3 + bias[c + 3], b3 + bias[c + 3]
        logits[c + 4, p], logits[c + 4, p + 1] = a4 + bias[c + 4], b4 + bias[c + 4]


@_compiled()
def _hidden_logits(pairs, queue, change, columns, hidden, weight, bias, tile, logits):
    samples, rows = queue[0], queue[1]
    samples[pairs], rows[pairs] = samples[pairs - 1], rows[pairs - 1]  # fills an odd last two
    for p in range(0, pairs, 2):
        for i in range(2):
            s, k = samples[p + i], rows[p + i]
            _rectified(hidden[s], change[s, k], columns[k], tile[i])
        _logits_of_two(tile, weight, bias, logits, p)


@_compiled()
def hidden_layer(
    first, last, change, columns, hidden, weight, bias, labels, losses, hits, top, scratch, sums
):
    """Add to `sums` (4, K, classes) what the perturbations from `first` to `last` change.

    Weight, bias and scratch are padded: zeros, rows to a multiple of CLASSES.
    """
    tile, logits, work, queue = scratch
    classes = sums.shape[2]
    pairs = 0
    for start in range(0, len(change), SAMPLES):
        for k in range(first, last):
            for s in range(start, min(start + SAMPLES, len(change))):
                queue[0, pairs], queue[1, pairs] = s, k
                pairs += change[s, k] != 0
                if pairs == PAIRS:
                    _hidden_logits(
                        pairs, queue, change, columns, hidden, weight, bias, tile, logits
                    )
                    _score_and_add(
                        logits[:classes], pairs, queue, labels, losses, hits, top, work, sums
                    )
                    pairs = 0
    if pairs:
        _hidden_logits(pairs, queue, change, columns, hidden, weight, bias, tile, logits)
        _score_and_add(logits[:classes], pairs, queue, labels, losses, hits, top, work, sums)


@_compiled(fastmath={"contract"})
def _output_logits(pairs, queue, change, columns, logits, out):
    for p in range(pairs):
        s, k = queue[0, p], queue[1, p]
        x = change[s, k]
        for c in range(logits.shape[1]):
            out[c, p] = logits[s, c] - x * columns[k, c]


@_compiled()
def output_layer(first, last, change, columns, logits, labels, losses, hits, top, scratch, sums):
    """Add to `sums` (4, K, classes) what the perturbations from `first` to `last` change."""
    _, changed, work, queue = scratch
    pairs = 0
    for s in range(len(change)):
        for k in range(first, last):
            queue[0, pairs], queue[1, pairs] = s, k
            pairs += change[s, k] != 0
            if pairs == PAIRS:
                _output_logits(pairs, queue, change, columns, logits, changed)
                _score_and_add(changed, pairs, queue, labels, losses, hits, top, work, sums)
                pairs = 0
    if pairs:
        _output_logits(pairs, queue, change, columns, logits, changed)
        _score_and_add(changed, pairs, queue, labels, losses, hits, top, work, sums)
