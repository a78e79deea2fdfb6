import dask
import numpy as np
import pytest
import xarray as xr

import unitlens as ul
from activation_trees import activation_tree
from unitlens.errors import ArgumentError
from unitlens.variables.checks import validate


def data(samples=300, units=600, classes=7, dtype=np.float32):
    rng = np.random.default_rng(0)
    return rng.normal(3, 2, (samples, units)).astype(dtype), rng.integers(0, classes, samples)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
def test_class_means__equal_numpy(dtype):
    values, labels = data(dtype=dtype)
    tree = activation_tree({"a": values, "b": values[:, :3]}, labels, chunks=(77, 250))

    table = ul.class_means(tree)

    validate(table, "class_means")
    expected = np.stack([values[labels == c].mean(axis=0, dtype=np.float64) for c in range(7)], 1)
    np.testing.assert_allclose(table["class_mean"][:600], expected, rtol=1e-12)
    np.testing.assert_allclose(table["class_mean"][600:], expected[:3], rtol=1e-12)
    np.testing.assert_array_equal(table["count"], np.bincount(labels))


def test_class_means__equal_those_of_the_statistics():
    values, labels = data()
    tree = activation_tree({"x": values}, labels, chunks=(50, 600))

    means, stats = ul.class_means(tree, classes=9), ul.class_statistics(tree, classes=9)

    xr.testing.assert_allclose(means["class_mean"], stats["class_mean"], rtol=1e-12)
    assert means["class_mean"][:, 7:].isnull().all()


def test_class_means__of_a_nan_are_nan_in_its_class_alone():
    values, labels = data()
    values[4, 2] = np.nan

    means = ul.class_means(activation_tree({"x": values}, labels))["class_mean"]

    bad = means.isnull().to_numpy()
    assert bad.sum() == 1
    assert bad[2, labels[4]]


def test_class_means__on_any_scheduler():
    values, labels = data()
    tree = activation_tree({"x": values}, labels, chunks=(40, 100))
    with dask.config.set(scheduler="synchronous"):
        expected = ul.class_means(tree)
    with dask.config.set(scheduler="threads", num_workers=2):
        xr.testing.assert_identical(ul.class_means(tree), expected)


def test_class_means__refuses_other_classes():
    values, labels = data()
    with pytest.raises(ArgumentError, match="is not among the classes asked for"):
        ul.class_means(activation_tree({"x": values}, labels), classes=3)
