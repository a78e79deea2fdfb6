import numpy as np
import pytest

from unitlens.data.labels import corrupt_labels
from unitlens.errors import ArgumentError

LABELS = np.repeat(np.arange(10), 400)


def test_corrupt_labels__changes_about_nine_tenths_of_the_fraction():
    changed = (corrupt_labels(LABELS, 0.5, seed=3) != LABELS).mean()

    assert changed == pytest.approx(0.5 * 0.9, abs=0.02)


def test_corrupt_labels__none_are_changed_at_zero():
    assert np.array_equal(corrupt_labels(LABELS, 0.0, seed=3), LABELS)


def test_corrupt_labels__all_take_part_at_one():
    corrupted = corrupt_labels(np.arange(1000), 1.0, seed=0)

    assert (corrupted == np.arange(1000)).sum() < 10  # a permutation has one fixed point on average


def test_corrupt_labels__leaves_its_input_alone():
    labels = LABELS.copy()
    corrupt_labels(labels, 1.0, seed=0)

    assert np.array_equal(labels, LABELS)


@pytest.mark.parametrize("fraction", [-0.1, 1.2, float("nan")])
def test_corrupt_labels__refuses_what_is_no_fraction(fraction):
    with pytest.raises(ArgumentError, match=rf"fraction of corrupted labels is {fraction}.*0\.\.1"):
        corrupt_labels(LABELS, fraction, seed=0)
