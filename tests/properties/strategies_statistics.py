"""Hypothesis strategies for activations with labels, and for chunks of activations."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

NUMBERS = st.one_of(
    st.just(0.0),
    st.sampled_from([-1.0, 1.0, 0.5]),
    st.floats(-1e4, 1e4, width=16),
)


def values_of(samples, units, *, rectified=False):
    """Arrays (samples, units) with many zeros, ties and constant units."""
    dtypes = st.sampled_from([np.float16, np.float32, np.float64])
    arrays = dtypes.flatmap(
        lambda dtype: hnp.arrays(
            np.float64, (samples, units), elements=NUMBERS, fill=st.just(0.0)
        ).map(lambda array: array.astype(dtype))
    )
    return arrays.map(lambda array: np.maximum(array, 0)) if rectified else arrays


@st.composite
def labelled(draw, *, rectified=False, classes=4, least=1):
    """Draw activations (samples, units) and labels (samples,)."""
    samples, units = draw(st.integers(least, 30)), draw(st.integers(1, 5))
    values = draw(values_of(samples, units, rectified=rectified))
    labels = draw(hnp.arrays(np.int64, samples, elements=st.integers(0, classes - 1)))
    return values, labels


@st.composite
def cut(draw, length):
    """Draw sizes of blocks whose sum is `length`."""
    ends = draw(st.sets(st.integers(1, max(length - 1, 1)), max_size=6)) if length > 1 else set()
    return tuple(np.diff([0, *sorted(ends), length]).tolist())


@st.composite
def labelled_and_cut(draw):
    """Draw activations, labels, and chunks of both dimensions."""
    values, labels = draw(labelled())
    return values, labels, (draw(cut(values.shape[0])), draw(cut(values.shape[1])))
