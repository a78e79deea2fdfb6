import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from unitlens.data.labels import corrupt_labels, stratified_subset

labels = hnp.arrays(np.int64, st.integers(1, 200), elements=st.integers(0, 5))
fractions = st.floats(0, 1)
seeds = st.integers(0, 2**32)


@given(labels, fractions, seeds)
def test_corrupt_labels__class_counts_stay_exactly_equal(labels, fraction, seed):
    corrupted = corrupt_labels(labels, fraction, seed=seed)

    assert np.array_equal(np.bincount(corrupted, minlength=6), np.bincount(labels, minlength=6))


@given(labels, fractions, seeds)
def test_corrupt_labels__no_more_than_the_fraction_changes(labels, fraction, seed):
    changed = (corrupt_labels(labels, fraction, seed=seed) != labels).sum()

    assert changed <= round(fraction * len(labels))


@given(labels, fractions, seeds)
def test_corrupt_labels__equal_seeds_give_equal_labels(labels, fraction, seed):
    first = corrupt_labels(labels, fraction, seed=seed)

    assert np.array_equal(first, corrupt_labels(labels, fraction, seed=seed))


@given(labels, st.data())
def test_stratified_subset__every_class_keeps_its_share_within_one(labels, data):
    samples = data.draw(st.integers(1, len(labels)))
    chosen = stratified_subset(labels, samples, name="it")
    share = np.bincount(labels, minlength=6) * samples / len(labels)

    assert len(np.unique(chosen)) == len(chosen) == samples
    assert np.array_equal(chosen, np.sort(chosen))
    assert (np.abs(np.bincount(labels[chosen], minlength=6) - share) < 1).all()
