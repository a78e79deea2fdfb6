"""The fused kernels: numbers by hand and at the sizes of a real layer, threads, caches, errors."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from math import exp, log

import numpy as np
import pytest
import torch

from ablated_by_hand import naive_hidden, naive_output, naive_score
from unitlens.errors import ArgumentError
from unitlens.perturbation.engine.fused import score_hidden_layer, score_output_layer

FIRST_CALL = """
import sys
import numpy as np
from unitlens.perturbation.engine.fused import score_output_layer
before = "numba" in sys.modules
one = np.ones((1, 2), np.float32)
sums = score_output_layer(one[:, :1], one, one, np.zeros(1, int), np.ones(1), np.ones(1), 1)
print(before, round(float(sums.loss[0, 0] + 1), 6))
"""


def scored(logits, labels, top):
    """Losses and hits of the network as it is."""
    pairs = zip(logits.astype(np.float64), labels, strict=True)
    return np.array([naive_score(*pair, top) for pair in pairs]).T


def output_case(samples, units, classes, *, dtype=np.float64, top=1):
    """Random arguments of `score_output_layer`; about half of the changes are zero."""
    draw = np.random.default_rng(samples)
    coefficients = np.maximum(draw.normal(size=(samples, units)), 0).astype(dtype)
    columns = draw.normal(size=(units, classes)).astype(dtype)
    logits = draw.normal(size=(samples, classes)).astype(dtype) * 3
    labels = draw.integers(0, classes, samples)
    return coefficients, columns, logits, labels, *scored(logits, labels, top), top


def hidden_case(samples, units, classes, width, *, dtype=np.float64, top=1):
    """Random arguments of `score_hidden_layer`; about half of the changes are zero."""
    draw = np.random.default_rng(samples)
    coefficients = np.maximum(draw.normal(size=(samples, units)), 0).astype(dtype)
    columns = draw.normal(size=(units, width)).astype(dtype)
    hidden = draw.normal(size=(samples, width)).astype(dtype)
    weight = (draw.normal(size=(classes, width)) / width**0.5).astype(dtype)
    bias = draw.normal(size=classes).astype(dtype)
    labels = draw.integers(0, classes, samples)
    logits = np.maximum(hidden, 0) @ weight.T + bias
    return coefficients, columns, hidden, weight, bias, labels, *scored(logits, labels, top), top


def test_output_layer__by_hand():
    # logits (1, 0) and label 0; without the unit, which gives (1, 0) twice, they are (-1, 0)
    coefficients, columns, logits = (
        np.array([[2.0, 0.0]]),
        np.array([[1.0, 0.0]] * 2),
        np.eye(2)[:1],
    )
    before, after = log(1 + exp(-1)), log(1 + exp(1))

    sums = score_output_layer(
        coefficients, columns, logits, np.array([0]), np.array([before]), np.ones(1), 1
    )

    np.testing.assert_allclose(sums.loss, [[after - before, 0], [0, 0]], rtol=1e-15)
    np.testing.assert_allclose(sums.loss_squares, [[(after - before) ** 2, 0], [0, 0]], rtol=1e-15)
    np.testing.assert_array_equal(sums.hits, [[-1, 0], [0, 0]])
    np.testing.assert_array_equal(sums.hits_squares, [[1, 0], [0, 0]])


def test_hidden_layer__by_hand():
    # outputs (2, -1), the second off; taking (1, -2) away turns it on: logits (2, 0), then (1, 1)
    coefficients, columns, hidden = (
        np.ones((1, 1)),
        np.array([[1.0, -2.0]]),
        np.array([[2.0, -1.0]]),
    )
    before, after = log(1 + exp(2)), log(2)

    sums = score_hidden_layer(
        coefficients,
        columns,
        hidden,
        np.eye(2),
        np.zeros(2),
        np.array([1]),
        np.array([before]),
        np.zeros(1),
        1,
    )

    np.testing.assert_allclose(sums.loss, [[0, after - before]], rtol=1e-15)
    np.testing.assert_array_equal(sums.hits, [[0, 0]])  # of the tie the first class is taken


@pytest.mark.parametrize("top", [1, 5])
@pytest.mark.parametrize(("samples", "units", "classes"), [(70, 65, 10), (33, 3, 40), (1, 1, 2)])
def test_output_layer__equals_a_loop(samples, units, classes, top):
    case = output_case(samples, units, classes, top=top)

    np.testing.assert_allclose(
        score_output_layer(*case), naive_output(*case), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("top", [1, 5])
@pytest.mark.parametrize(
    ("samples", "units", "classes", "width"), [(50, 65, 10, 37), (33, 3, 40, 64), (1, 1, 2, 1)]
)
def test_hidden_layer__equals_a_loop(samples, units, classes, width, top):
    case = hidden_case(samples, units, classes, width, top=top)

    sums, expected = score_hidden_layer(*case), naive_hidden(*case)

    np.testing.assert_allclose(sums, expected, rtol=1e-12, atol=1e-12)


def test_single_precision__is_as_good_as_its_logits():
    for score, naive, case in (
        (score_output_layer, naive_output, output_case(60, 40, 10, dtype=np.float32)),
        (score_hidden_layer, naive_hidden, hidden_case(60, 40, 10, 100, dtype=np.float32)),
    ):
        np.testing.assert_allclose(score(*case)[:2], naive(*case)[:2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("top", [1, 5])
def test_losses__are_those_of_torch_from_tiny_to_huge(top):
    scales = 10.0 ** np.arange(-8, 4)
    logits = np.random.default_rng(0).normal(size=(12, 7)) * scales[:, None]
    labels = np.arange(12) % 7
    # each sample is a perturbation of its own, of logits that were zero
    coefficients, zeros = np.eye(12), np.zeros((12, 7))

    sums = score_output_layer(coefficients, -logits, zeros, labels, np.zeros(12), np.zeros(12), top)

    tensor = torch.from_numpy(logits)
    losses = torch.nn.functional.cross_entropy(tensor, torch.from_numpy(labels), reduction="none")
    hits = (tensor.topk(top).indices == torch.from_numpy(labels)[:, None]).any(1)
    np.testing.assert_allclose(sums.loss.sum(1), losses, rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(sums.hits.sum(1), hits)


def test_hits__with_nan_and_ties_are_those_of_argmax():
    draw = np.random.default_rng(1)
    logits = draw.choice(
        [0.0, 1.0, np.nan, -np.inf, np.inf], size=(200, 4), p=[0.3, 0.3, 0.2, 0.1, 0.1]
    )
    labels = draw.integers(0, 4, 200)
    nothing = np.zeros(200)

    sums = score_output_layer(
        np.ones((200, 1)), np.zeros((1, 4)), logits, labels, nothing, nothing, 1
    )

    hits = (torch.from_numpy(logits).argmax(1) == torch.from_numpy(labels)).numpy()
    np.testing.assert_array_equal(sums.hits[0], np.bincount(labels, hits, 4))


def test_changes__of_zero_add_nothing_and_nan_counts():
    coefficients, columns, logits, labels, losses, hits, top = output_case(20, 3, 4)
    coefficients[:, 0], coefficients[:, 1] = 0.0, -0.0
    coefficients[7, 2] = np.nan

    sums = score_output_layer(coefficients, columns, logits, labels, losses, hits, top)

    assert not np.any([array[:2] for array in sums])
    np.testing.assert_array_equal(np.isnan(sums.loss[2]), np.arange(4) == labels[7])
    assert np.isfinite(sums.hits).all()


def test_no_samples__change_nothing():
    case = hidden_case(3, 5, 4, 6)
    empty = [array[:0] for array in case[5:8]]

    sums = score_hidden_layer(case[0][:0], case[1], case[2][:0], *case[3:5], *empty, 1)

    np.testing.assert_array_equal(sums, np.zeros((4, 5, 4)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums__depend_neither_on_threads_nor_on_concurrent_calls(dtype):
    cases = [hidden_case(90, 200, 10, 30, dtype=dtype), hidden_case(91, 130, 7, 20, dtype=dtype)]
    alone = [score_hidden_layer(*case, threads=1) for case in cases]

    with ThreadPoolExecutor(4) as pool:
        calls = [
            (pool.submit(score_hidden_layer, *cases[i % 2], threads=1 + i % 3), i % 2)
            for i in range(12)
        ]
        for call, which in calls:
            np.testing.assert_array_equal(call.result(), alone[which])

    torch_threads = output_case(90, 200, 10, dtype=dtype)
    np.testing.assert_array_equal(
        score_output_layer(*torch_threads), score_output_layer(*torch_threads, threads=3)
    )


def test_arrays__may_be_read_only_and_strided():
    case = hidden_case(20, 6, 4, 8)
    odd = [np.asfortranarray(array) if getattr(array, "ndim", 0) == 2 else array for array in case]
    for array in odd[:-1]:
        array.flags.writeable = False

    np.testing.assert_array_equal(score_hidden_layer(*odd), score_hidden_layer(*case))


def run_first_call(code=FIRST_CALL, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout.split()


def test_numba__is_imported_at_the_first_call():
    # logits (0, 0), which were (1, 1), of a loss taken to be 1
    assert run_first_call() == ["False", f"{log(2):.6f}"]


def test_no_cache__where_no_directory_can_be_written(tmp_path):
    """Numba finds none: its own setting, the module's and the user's are all refused."""
    refuse = (
        "import numba.core.caching as c\n"
        "def refuse(self): raise PermissionError\n"
        "c._CacheLocator.ensure_cache_path = refuse\n"
    )

    assert run_first_call(refuse + FIRST_CALL) == ["True", f"{log(2):.6f}"]


def test_fork__after_a_threaded_call_works():
    fork = (
        "import multiprocessing, torch\n"
        "scored = np.zeros(1, int), np.ones(1), np.ones(1)\n"
        "case = one[:, :1].repeat(99, 1), one.repeat(99, 0), one, *scored\n"
        "def again(_): return float(score_output_layer(*case, 1, threads=2).loss[98, 0])\n"
        "torch.ones(500, 500) @ torch.ones(500, 500)\n"
        "mine = again(0)\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    print(set(pool.map(again, range(4))) == {mine})\n"
    )

    assert run_first_call(FIRST_CALL + fork)[-1] == "True"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (1, np.zeros((5, 4), np.float32), "columns is float32 and coefficients float64"),
        (1, np.zeros((4, 4)), r"coefficients has the shape \(3, 5\) and columns \(4, 4\)"),
        (3, np.array([0, 4, 1]), "labels run from 0 to 4, but must be classes from 0 to 3"),
        (4, np.zeros(2), r"losses has the shape \(2,\), but must have \(3,\)"),
    ],
)
def test_output_layer__refuses_what_does_not_fit(place, value, message):
    case = list(output_case(3, 5, 4))
    case[place] = value

    with pytest.raises(ArgumentError, match=message):
        score_output_layer(*case)


def test_hidden_layer__refuses_a_weight_of_another_width():
    case = list(hidden_case(3, 5, 4, 6))
    case[3] = case[3][:, :5]

    with pytest.raises(
        ArgumentError, match=r"weight has the shape \(4, 5\), but must have \(4, 6\)"
    ):
        score_hidden_layer(*case)
