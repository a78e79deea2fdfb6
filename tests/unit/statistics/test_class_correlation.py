import numpy as np
import pytest

from activation_trees import activation_tree
from unitlens.errors import TableError
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.measures.class_correlation import class_correlation


def correlation(columns, labels, **options):
    tree = activation_tree({"x": np.array(columns, float).T}, labels)
    return class_correlation(class_statistics(tree, **options))


def test_class_correlation__by_hand():
    """Activations 1, 1, 0, 0 of classes 4, 4, 7, 7, and the reverse."""
    result = correlation([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0]], [4, 4, 7, 7])
    np.testing.assert_allclose(result["class_correlation"], [1, 1, 0], atol=1e-15)
    assert result["correlated_class"].values.tolist() == [4, 7, 4]


def test_class_correlation__equals_numpy():
    rng = np.random.default_rng(0)
    labels = rng.choice([2, 3, 5, 9], 300, p=[0.6, 0.2, 0.15, 0.05])
    values = np.maximum(rng.normal(size=(20, 10))[:, labels] + rng.normal(size=(20, 300)), 0)
    result = correlation(values, labels)
    for unit, column in enumerate(values):
        by_class = {c: np.corrcoef(column, labels == c)[0, 1] for c in (2, 3, 5, 9)}
        best = max(by_class, key=by_class.get)
        np.testing.assert_allclose(result["class_correlation"][unit], by_class[best], rtol=1e-9)
        assert result["correlated_class"][unit] == best


def test_class_correlation__undefined_cases():
    columns = [[np.nan, 1, 2, 3], [0, 0, 0, 0], [0.1, 0.1, 0.1, 0.1], [0, 1, 2, np.inf]]
    result = correlation(columns, [0, 0, 0, 1])
    assert result["class_correlation"].isnull().all()
    assert (result["correlated_class"] == -1).all()
    one = correlation([[1, 2, 3]], [5, 5, 5])
    assert np.isnan(one["class_correlation"].item())
    assert one["correlated_class"].item() == -1
    tree = activation_tree({"x": np.empty((0, 1))}, np.empty(0, int), ranges=False)
    assert class_correlation(class_statistics(tree))["class_correlation"].isnull().all()


def test_class_correlation__class_without_samples_changes_nothing():
    values, labels = np.random.default_rng(0).random((3, 50)), np.arange(50) % 3 * 2
    one, other = (correlation(values, labels, classes=number) for number in (None, 9))
    np.testing.assert_allclose(one["class_correlation"], other["class_correlation"], rtol=1e-12)
    np.testing.assert_array_equal(one["correlated_class"], other["correlated_class"])


def test_class_correlation__refuses_other_tables():
    tree = activation_tree({"x": np.ones((2, 1))}, [0, 1])
    with pytest.raises(TableError, match="no variable 'count'"):
        class_correlation(class_statistics(tree).drop_vars("count"))
