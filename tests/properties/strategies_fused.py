"""Strategies for the arguments of the fused kernels."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ablated_by_hand import naive_score

# Few values, so that logits tie, changes are zero and ReLUs are met exactly.
TIED = st.sampled_from([0.0, 0.0, 1.0, -1.0, 0.5, -2.0])
SMOOTH = st.floats(-4, 4, width=16)
ODD = st.sampled_from([0.0, 1.0, -1.0, np.nan, np.inf, -np.inf])


@st.composite
def cases(draw, *, odd=False):
    """Draw sizes, and a function that draws an array of a shape."""
    elements = ODD if odd else draw(st.sampled_from([TIED, SMOOTH]))
    dtype = np.float64 if odd else draw(st.sampled_from([np.float64, np.float64, np.float32]))
    sizes = {
        "samples": draw(st.integers(1, 12)),
        "units": draw(st.integers(1, 40)),
        "classes": draw(st.integers(2, 40)),
        "width": draw(st.integers(1, 40)),
    }

    def array(*shape):
        return draw(hnp.arrays(np.float64, shape, elements=elements)).astype(dtype)

    return sizes, array


def of_samples(draw, logits, top):
    """Draw labels, and score the logits of the network as it is: labels, losses, hits."""
    drawn = st.integers(0, logits.shape[1] - 1)
    labels = draw(hnp.arrays(np.int64, len(logits), elements=drawn))
    scores = [naive_score(*pair, top) for pair in zip(logits, labels, strict=True)]
    losses, hits = np.array(scores).T
    return labels, losses, hits


@st.composite
def output_layers(draw, *, odd=False):
    """Draw arguments of `score_output_layer`."""
    sizes, array = draw(cases(odd=odd))
    coefficients = array(sizes["samples"], sizes["units"])
    columns = array(sizes["units"], sizes["classes"])
    logits = array(sizes["samples"], sizes["classes"])
    top = draw(st.sampled_from([1, 5]))
    return coefficients, columns, logits, *of_samples(draw, logits.astype(np.float64), top), top


@st.composite
def hidden_layers(draw, *, odd=False):
    """Draw arguments of `score_hidden_layer`."""
    sizes, array = draw(cases(odd=odd))
    coefficients = array(sizes["samples"], sizes["units"])
    columns = array(sizes["units"], sizes["width"])
    hidden = array(sizes["samples"], sizes["width"])
    weight, bias = array(sizes["classes"], sizes["width"]), array(sizes["classes"])
    top = draw(st.sampled_from([1, 5]))
    with np.errstate(invalid="ignore"):
        logits = np.where(hidden < 0, 0, hidden).astype(np.float64) @ weight.T + bias
    of_each = of_samples(draw, logits, top)
    return coefficients, columns, hidden, weight, bias, *of_each, top
