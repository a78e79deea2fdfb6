import numpy as np
import pytest

from activation_trees import activation_tree
from unitlens.errors import TableError
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.measures.sparsity import sparsity


def sparsity_of(columns, labels, **options):
    tree = activation_tree({"x": np.array(columns, float).T}, labels)
    return sparsity(class_statistics(tree, **options))


def test_sparsity__by_hand():
    """Units active on one sample of four, equally active on all, active on half of them."""
    result = sparsity_of([[0, 0, 0, 8], [3, 3, 3, 3], [0, 2, 0, 2], [-1, 1, -1, 1]], [0, 1, 1, 1])
    np.testing.assert_allclose(result["sparsity"], [0.75, 0, 0.5, 1], atol=1e-15)
    np.testing.assert_allclose(result["zero_share"], [0.75, 0, 0.5, 0], atol=1e-15)


def test_sparsity__equals_the_formula_on_raw_activations():
    rng = np.random.default_rng(0)
    values, labels = np.maximum(rng.normal(size=(20, 90)), 0), rng.integers(0, 4, 90)
    result = sparsity_of(values, labels, classes=7)
    expected = [1 - np.mean(column) ** 2 / np.mean(column**2) for column in values]
    np.testing.assert_allclose(result["sparsity"], expected, rtol=1e-12)
    np.testing.assert_allclose(result["zero_share"], (values == 0).mean(axis=1), rtol=1e-12)


def test_sparsity__undefined_cases():
    result = sparsity_of([[np.nan, 1], [0, 0], [0, np.inf]], [0, 1])
    assert result["sparsity"].isnull().all()
    np.testing.assert_array_equal(result["zero_share"], [np.nan, 1, np.nan])
    tree = activation_tree({"x": np.empty((0, 1))}, np.empty(0, int), ranges=False)
    empty = sparsity(class_statistics(tree))
    assert empty["sparsity"].isnull().all()
    assert empty["zero_share"].isnull().all()


def test_sparsity__refuses_other_tables():
    tree = activation_tree({"x": np.ones((2, 1))}, [0, 1])
    with pytest.raises(TableError, match="no variable 'class_nonzero'"):
        sparsity(class_statistics(tree).drop_vars("class_nonzero"))
