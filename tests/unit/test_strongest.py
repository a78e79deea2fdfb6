import numpy as np
import pytest

from activation_trees import activation_tree
from detectors_by_hand import precision_by_counter, with_strongest
from unitlens.errors import TableError
from unitlens.statistics import class_statistics, top_precision
from unitlens.variables import validate


def strongest_statistics(values, labels, **options):
    stats = class_statistics(activation_tree({"x": values}, labels))
    return with_strongest(stats, values, labels, **options)


def test_top_precision__equals_a_count_by_hand():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 400) * 3
    values = np.maximum(rng.normal(0, 2, (20, 20))[labels] + rng.normal(size=(400, 20)), 0)
    stats = strongest_statistics(values, labels)
    validate(stats, "class_statistics")
    result = top_precision(stats)
    for top in (60, 100):
        expected = [precision_by_counter(column, labels, top) for column in values.T]
        np.testing.assert_allclose(result[f"precision_{top}"], expected, rtol=1e-15)


def test_top_precision__fewer_samples_than_that():
    values, labels = np.random.default_rng(0).random((80, 3)), np.arange(80) % 2
    result = top_precision(strongest_statistics(values, labels))
    assert (result["precision_60"] >= 0.5).all()
    assert result["precision_100"].isnull().all()
    fewer_ranks = top_precision(strongest_statistics(values, labels, ranks=60))
    np.testing.assert_array_equal(fewer_ranks["precision_60"], result["precision_60"])
    assert fewer_ranks["precision_100"].isnull().all()


def test_top_precision__undefined_cases():
    values = np.random.default_rng(0).random((200, 4))
    values[7, 0], values[:, 1], values[:, 2] = np.nan, 0, 5
    result = top_precision(strongest_statistics(values, np.arange(200) % 2))
    np.testing.assert_array_equal(np.isnan(result["precision_60"]), [True, True, True, False])
    one_class = top_precision(strongest_statistics(values, np.full(200, 3)))
    assert one_class["precision_100"][3] == 1


def test_top_precision__needs_the_strongest_samples():
    stats = class_statistics(activation_tree({"x": np.ones((2, 1))}, [0, 1]))
    with pytest.raises(TableError, match=r"have no 'top_class', .* compute them again"):
        top_precision(stats.drop_vars("top_class", errors="ignore"))
