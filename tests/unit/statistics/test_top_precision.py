import numpy as np

from activation_trees import activation_tree
from detectors_by_hand import precision_by_counter
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.measures.top_precision import top_precision


def statistics_of(values, labels, **options):
    return class_statistics(activation_tree({"x": values}, labels), **options)


def test_top_precision__equals_a_count_by_hand():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 400) * 3
    values = np.maximum(rng.normal(0, 2, (20, 20))[labels] + rng.normal(size=(400, 20)), 0)
    result = top_precision(statistics_of(values, labels))
    for top in (60, 100):
        expected = [precision_by_counter(column, labels, top) for column in values.T]
        np.testing.assert_allclose(result[f"precision_{top}"], expected, rtol=1e-15)


def test_top_precision__fewer_samples_than_that():
    values, labels = np.random.default_rng(0).random((80, 3)), np.arange(80) % 2
    result = top_precision(statistics_of(values, labels))
    assert (result["precision_60"] >= 0.5).all()
    assert result["precision_100"].isnull().all()
    fewer_ranks = top_precision(statistics_of(values, labels, strongest=60))
    np.testing.assert_array_equal(fewer_ranks["precision_60"], result["precision_60"])
    assert fewer_ranks["precision_100"].isnull().all()


def test_top_precision__undefined_cases():
    values = np.random.default_rng(0).random((200, 4))
    values[7, 0], values[:, 1], values[:, 2] = np.nan, 0, 5
    result = top_precision(statistics_of(values, np.arange(200) % 2))
    np.testing.assert_array_equal(np.isnan(result["precision_60"]), [True, True, True, False])
    one_class = top_precision(statistics_of(values, np.full(200, 3)))
    assert one_class["precision_100"][3] == 1
