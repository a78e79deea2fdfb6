"""The compiled inner loops of :mod:`unitlens.perturbation.engine.fused`.

Importing this module imports numba. All compiled functions stand in one file, because numba's
cache of one source file does not notice an edit of another.

Each kernel goes through the pairs of a sample and a perturbation of a range, queues the pairs whose
coefficient is not 0, and computes PAIRS of them at a time, whatever perturbations they belong to.
"""

import math

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from unitlens.compilation import compiled

# `_products` writes out vectors of the whole width: LLVM by itself takes half the width on many
# CPUs, and checks at each call whether arrays overlap, which takes twice the time. numba's cache
# tells CPUs apart by the same features, so that cached code and CLASSES agree.
_WIDE = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2]
VECTOR_BYTES = 64 if _WIDE else 32
CLASSES = 10 if _WIDE else 5  # per call of `_products`: twice as many sums stay in registers
PAIRS = 64  # pairs whose logits are scored together, class after class
SAMPLES = 4  # rows of `hidden` that stay in the first-level cache while columns stream through

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_ROUNDING = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, in the low bits


@compiled(fastmath={"contract"})
def _exp(x):
    """Return e**x for x <= 0 to a relative 1e-15, in arithmetic that vectorises; NaN stays NaN."""
    x = -708.0 if x < -708.0 else x
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


@compiled()
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


@compiled(fastmath={"contract"})
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
            largest[p] = x if x > largest[p] else largest[p]
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


@compiled()
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


class _Vectors:
    """Instructions on vectors of one type of number, for :func:`_products`."""

    def __init__(self, builder, scalar, size):
        self.builder = builder
        self.lanes = VECTOR_BYTES // size
        self.size = size
        self.type = ir.VectorType(scalar, self.lanes)
        self.zero = ir.Constant(self.type, [0.0] * self.lanes)

    def _shuffled(self, a, b, order):
        indices = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), list(order))
        return self.builder.shuffle_vector(a, b, indices)

    def _place(self, start, index):
        return self.builder.bitcast(self.builder.gep(start, [index]), self.type.as_pointer())

    def load(self, start, index):
        return self.builder.load(self._place(start, index), align=self.size)

    def store(self, vector, start, index):
        self.builder.store(vector, self._place(start, index), align=self.size)

    def everywhere(self, value):
        lane = ir.Constant(ir.IntType(32), 0)
        one = self.builder.insert_element(self.zero, value, lane)
        return self._shuffled(one, one, [0] * self.lanes)

    def product_and_sum(self, a, b, c):
        product = self.builder.fmul(a, b, flags=("contract",))
        return self.builder.fadd(product, c, flags=("contract",))

    def rectified(self, vector):
        negative = self.builder.fcmp_ordered("<", vector, self.zero)  # not NaN, which stays
        return self.builder.select(negative, self.zero, vector)

    def folded(self, vectors):
        """Return the sum of each vector's lanes, in order, as lanes of as few vectors as fit."""
        for _ in range(self.lanes.bit_length() - 1):
            vectors = vectors + vectors[-1:] * (len(vectors) % 2)
            vectors = [
                self.builder.fadd(
                    *(self._shuffled(a, b, range(i, 2 * self.lanes, 2)) for i in (0, 1))
                )
                for a, b in zip(vectors[::2], vectors[1::2], strict=True)
            ]
        return vectors


@intrinsic
def _products(_typing, hidden, samples, columns, rows, negated, weight, first, whole, out):
    """Write ``weight @ relu(hidden + negated * column)`` of two pairs to `out`, one after another.

    Each pair is a sample, a row of `columns`, and the negated coefficient. The product is over
    CLASSES rows of weight from `first` on, and the first `whole` entries of each row, a multiple
    of the lanes. `out` has room for whole vectors. Arrays are passed whole, since slicing costs
    numba two atomic operations.
    """

    def generate(context, builder, signature, values):
        dtype = signature.args[-1].dtype
        vectors = _Vectors(builder, context.get_data_type(dtype), dtype.bitwidth // 8)

        def array(place):
            return context.make_array(signature.args[place])(context, builder, values[place])

        def row(place, number):
            length = builder.extract_value(array(place).shape, 1)
            return builder.gep(array(place).data, [builder.mul(number, length)])

        def two(place):
            return (builder.extract_value(values[place], i) for i in range(2))

        hiddens = [row(0, number) for number in two(1)]
        starts = [row(2, number) for number in two(3)]
        factors = [vectors.everywhere(coefficient) for coefficient in two(4)]
        number = values[6].type
        weights = [row(5, builder.add(values[6], number(i))) for i in range(CLASSES)]
        sums = [cgutils.alloca_once_value(builder, vectors.zero) for _ in range(2 * CLASSES)]
        lanes = number(vectors.lanes)
        with cgutils.for_range_slice(builder, number(0), values[7], lanes) as (j, _):
            outputs = [
                vectors.rectified(
                    vectors.product_and_sum(factor, vectors.load(start, j), vectors.load(before, j))
                )
                for before, factor, start in zip(hiddens, factors, starts, strict=True)
            ]
            for i, start in enumerate(weights):
                factor = vectors.load(start, j)
                for output, total in zip(outputs, (sums[i], sums[CLASSES + i]), strict=True):
                    added = vectors.product_and_sum(output, factor, builder.load(total))
                    builder.store(added, total)
        for i, vector in enumerate(vectors.folded([builder.load(total) for total in sums])):
            vectors.store(vector, array(8).data, number(i * vectors.lanes))
        return context.get_dummy_value()

    return types.void(hidden, samples, columns, rows, negated, weight, first, whole, out), generate


@compiled(fastmath={"contract"})
def _add_rest(hidden, s, columns, k, coefficient, weight, first, whole, out, start):
    """Add the products of the entries after the `whole` ones to `out`, from `start` on."""
    for j in range(whole, hidden.shape[1]):
        output = hidden[s, j] - coefficient * columns[k, j]
        output = hidden.dtype.type(0) if output < 0 else output
        for i in range(CLASSES):
            out[start + i] += weight[first + i, j] * output


@compiled()
def _hidden_logits(pairs, queue, coefficients, columns, hidden, weight, bias, out, logits):
    """Write the logits of the queued pairs to the columns of `logits`."""
    queue[:2, pairs] = queue[:2, pairs - 1]  # completes an odd last pair
    lanes = VECTOR_BYTES // hidden.itemsize
    whole = hidden.shape[1] // lanes * lanes
    for p in range(0, pairs, 2):
        s, t = queue[0, p], queue[0, p + 1]
        k, m = queue[1, p], queue[1, p + 1]
        x, y = coefficients[s, k], coefficients[t, m]
        for c in range(0, len(bias), CLASSES):
            _products(hidden, (s, t), columns, (k, m), (-x, -y), weight, c, whole, out)
            if whole < hidden.shape[1]:
                _add_rest(hidden, s, columns, k, x, weight, c, whole, out, 0)
                _add_rest(hidden, t, columns, m, y, weight, c, whole, out, CLASSES)
            for i in range(CLASSES):
                logits[c + i, p] = out[i] + bias[c + i]
                logits[c + i, p + 1] = out[CLASSES + i] + bias[c + i]


@compiled()
def hidden_layer(
    first,
    last,
    coefficients,
    columns,
    hidden,
    weight,
    bias,
    labels,
    losses,
    hits,
    top,
    scratch,
    sums,
):
    """Add the changes by the perturbations from `first` to `last` to `sums`, (4, K, classes).

    Weight, bias and scratch are padded: zeros, rows to a multiple of CLASSES.
    """
    out, logits, work, queue = scratch
    classes = sums.shape[2]
    pairs = 0
    for start in range(0, len(coefficients), SAMPLES):
        for k in range(first, last):
            for s in range(start, min(start + SAMPLES, len(coefficients))):
                queue[0, pairs], queue[1, pairs] = s, k
                pairs += coefficients[s, k] != 0
                if pairs == PAIRS:
                    _hidden_logits(
                        pairs, queue, coefficients, columns, hidden, weight, bias, out, logits
                    )
                    _score_and_add(
                        logits[:classes], pairs, queue, labels, losses, hits, top, work, sums
                    )
                    pairs = 0
    if pairs:
        _hidden_logits(pairs, queue, coefficients, columns, hidden, weight, bias, out, logits)
        _score_and_add(logits[:classes], pairs, queue, labels, losses, hits, top, work, sums)


@compiled(fastmath={"contract"})
def _output_logits(pairs, queue, coefficients, columns, logits, out):
    for p in range(pairs):
        s, k = queue[0, p], queue[1, p]
        x = coefficients[s, k]
        for c in range(logits.shape[1]):
            out[c, p] = logits[s, c] - x * columns[k, c]


@compiled()
def output_layer(
    first, last, coefficients, columns, logits, labels, losses, hits, top, scratch, sums
):
    """Add the changes by the perturbations from `first` to `last` to `sums`, (4, K, classes)."""
    _, changed, work, queue = scratch
    pairs = 0
    for s in range(len(coefficients)):
        for k in range(first, last):
            queue[0, pairs], queue[1, pairs] = s, k
            pairs += coefficients[s, k] != 0
            if pairs == PAIRS:
                _output_logits(pairs, queue, coefficients, columns, logits, changed)
                _score_and_add(changed, pairs, queue, labels, losses, hits, top, work, sums)
                pairs = 0
    if pairs:
        _output_logits(pairs, queue, coefficients, columns, logits, changed)
        _score_and_add(changed, pairs, queue, labels, losses, hits, top, work, sums)
