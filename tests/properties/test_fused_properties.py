"""The fused kernels equal a loop over pairs, on any arguments."""

import numpy as np
from hypothesis import given, settings

from ablated_by_hand import naive_hidden, naive_output
from properties.strategies_fused import hidden_layers, output_layers
from unitlens.perturbation.engine.fused import score_hidden_layer, score_output_layer

COMPILING = settings(deadline=None)


def assert_close(sums, expected, dtype):
    """Assert that losses are close; hits are compared where all sums are exact."""
    tolerance = 1e-12 if dtype == np.float64 else 2e-4
    np.testing.assert_allclose(sums[0], expected[0], rtol=tolerance, atol=tolerance * 100)
    np.testing.assert_allclose(sums[1], expected[1], rtol=tolerance, atol=tolerance * 1000)


def exact(arguments):
    """Tell whether all sums of the arguments are exact in any order, so that ties are ties."""
    return all((a[np.isfinite(a)] * 2 % 1 == 0).all() for a in arguments if a.dtype.kind == "f")


@COMPILING
@given(output_layers())
def test_output_layer__equals_a_loop(arguments):
    sums, expected = score_output_layer(*arguments, threads=1), naive_output(*arguments)

    assert_close(sums, expected, arguments[0].dtype)
    if exact(arguments[:3]):
        np.testing.assert_array_equal(sums[2:], expected[2:])


@COMPILING
@given(hidden_layers())
def test_hidden_layer__equals_a_loop(arguments):
    sums, expected = score_hidden_layer(*arguments, threads=1), naive_hidden(*arguments)

    assert_close(sums, expected, arguments[0].dtype)
    if exact(arguments[:5]):
        np.testing.assert_array_equal(sums[2:], expected[2:])


@COMPILING
@given(output_layers(odd=True))
def test_output_layer__with_nan_and_infinities_equals_a_loop(arguments):
    with np.errstate(invalid="ignore"):
        expected = naive_output(*arguments)

    np.testing.assert_allclose(
        score_output_layer(*arguments, threads=1), expected, rtol=1e-12, atol=1e-12
    )


@COMPILING
@given(hidden_layers(odd=True))
def test_hidden_layer__with_nan_and_infinities_equals_a_loop(arguments):
    with np.errstate(invalid="ignore"):
        expected = naive_hidden(*arguments)

    np.testing.assert_allclose(
        score_hidden_layer(*arguments, threads=1), expected, rtol=1e-12, atol=1e-12
    )


@COMPILING
@given(hidden_layers())
def test_hidden_layer__does_not_depend_on_threads(arguments):
    one, two = (score_hidden_layer(*arguments, threads=threads) for threads in (1, 2))

    np.testing.assert_array_equal(one, two)
