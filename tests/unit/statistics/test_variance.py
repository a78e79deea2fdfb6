import numpy as np
import pytest

from activation_trees import activation_tree
from unitlens.errors import TableError
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.measures.variance import empirical_mean, empirical_variance


def test_empirical_variance__equals_numpy_over_all_samples():
    rng = np.random.default_rng(0)
    values, labels = rng.normal(5, 2, (300, 6)), rng.choice([0, 0, 0, 1, 7], 300)
    stats = class_statistics(activation_tree({"x": values}, labels, chunks=(70, 4)))
    variance = empirical_variance(stats)["variance"]
    mean = empirical_mean(stats)["mean"]
    np.testing.assert_allclose(variance, values.var(axis=0), rtol=1e-12)
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-12)
    assert (variance.name, mean.name) == ("variance", "mean")
    assert variance.dims == mean.dims == ("unit",)
    assert set(variance.coords) == {"layer", "depth", "channel"}
    assert variance.attrs["units"] == "activation^2"


def test_empirical_variance__ignores_classes_without_samples():
    values = np.random.default_rng(0).random((20, 3))
    stats = class_statistics(activation_tree({"x": values}, np.arange(20) % 2), classes=5)
    np.testing.assert_allclose(
        empirical_variance(stats)["variance"], values.var(axis=0), rtol=1e-12
    )
    np.testing.assert_allclose(empirical_mean(stats)["mean"], values.mean(axis=0), rtol=1e-12)


def test_empirical_variance__constant_and_non_finite_units():
    values = np.array([[3, np.nan], [3, 1], [3, 2]], np.float32)
    stats = class_statistics(activation_tree({"x": values}, [0, 1, 1]))
    np.testing.assert_array_equal(empirical_variance(stats)["variance"], [0, np.nan])
    np.testing.assert_array_equal(empirical_mean(stats)["mean"], [3, np.nan])


@pytest.mark.parametrize("classes", [None, 2])
def test_empirical_variance__no_samples(classes):
    tree = activation_tree({"x": np.empty((0, 2))}, np.empty(0, int), ranges=False)
    stats = class_statistics(tree, classes=classes)
    assert empirical_variance(stats)["variance"].isnull().all()
    assert empirical_mean(stats)["mean"].isnull().all()


def test_empirical_variance__refuses_another_table():
    stats = class_statistics(activation_tree({"x": np.ones((2, 1))}, [0, 1]))
    with pytest.raises(TableError, match="follows schema units version 2"):
        empirical_variance(stats.assign_attrs(schema="units"))
