import numpy as np
import pytest

from activation_trees import activation_tree
from unitlens.errors import ArgumentError, TableError
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.measures.class_selectivity import class_selectivity


def selectivity(columns, labels, *, classes=None, rest="classes"):
    """Selectivity of units given as columns, one list of activations each."""
    tree = activation_tree({"x": np.array(columns, float).T}, labels)
    return class_selectivity(class_statistics(tree, classes=classes), rest=rest)


def test_class_selectivity__by_hand():
    result = selectivity(
        [
            [0, 0, 4, 4, 1, 1],  # means 0 4 1: (4 - .5) / (4 + .5)
            [0, 0, 0, 0, 0, 3],  # one class only
            [2, 2, 2, 2, 2, 2],  # the same for all
            [1, 3, 0, 0, 1, 1],  # means 2 0 1: (2 - .5) / 2.5
        ],
        [0, 0, 1, 1, 2, 2],
    )
    np.testing.assert_allclose(result["selectivity"], [3.5 / 4.5, 1, 0, 0.6], rtol=1e-15)
    assert result["preferred_class"].values.tolist() == [1, 2, 0, 0]
    assert result["dead"].values.tolist() == [False] * 4
    assert result["undefined"].values.tolist() == [""] * 4
    assert set(result.coords) == {"layer", "depth", "channel"}


def test_class_selectivity__rest_pooled_over_samples():
    columns, labels = [[6, 6, 4, 4, 4, 0]], [0, 0, 1, 1, 1, 2]  # means 6 4 0
    np.testing.assert_allclose(selectivity(columns, labels)["selectivity"], (6 - 2) / (6 + 2))
    pooled = selectivity(columns, labels, rest="samples")
    np.testing.assert_allclose(pooled["selectivity"], (6 - 3) / (6 + 3))
    assert pooled.attrs["rest"] == "samples"


def test_class_selectivity__rests_agree_on_balanced_classes():
    values = np.random.default_rng(0).random((20, 60))
    labels = np.arange(60) % 5
    one, other = (selectivity(values, labels, rest=rest) for rest in ("classes", "samples"))
    np.testing.assert_allclose(one["selectivity"], other["selectivity"], rtol=1e-12)


def test_class_selectivity__dead_unit_is_zero_and_flagged():
    result = selectivity([[0, 0, 0], [-0.0, 0, 0], [0, 0, 1e-30]], [0, 1, 1])
    assert result["dead"].values.tolist() == [True, True, False]
    assert result["selectivity"].values.tolist() == [0, 0, 1]
    assert result["preferred_class"].values.tolist() == [-1, -1, 1]
    assert result["undefined"].values.tolist() == ["", "", ""]


def test_class_selectivity__undefined_cases_are_nan_with_the_reason():
    result = selectivity(
        [[-3, 1, 2], [np.nan, 1, 2], [np.inf, 1, 2], [0, 1, -1], [0, 0, 1], [-1, 0, 0]], [0, 1, 1]
    )
    assert result["undefined"].values.tolist() == [
        "negative class mean",
        "non-finite activations",
        "non-finite activations",
        "all class means are zero",
        "",
        "negative class mean",
    ]
    np.testing.assert_array_equal(np.isnan(result["selectivity"]), [1, 1, 1, 1, 0, 1])
    assert result["preferred_class"].values.tolist() == [-1, -1, -1, -1, 1, -1]
    assert not result["dead"].any()


def test_class_selectivity__class_without_samples():
    columns, labels = [[1, 2], [0, 0], [np.nan, 1]], [0, 2]
    result = selectivity(columns, labels, classes=4)
    assert result["undefined"].values.tolist() == [
        "class 1 has no samples",
        "",
        "non-finite activations",
    ]
    np.testing.assert_array_equal(result["selectivity"], [np.nan, 0, np.nan])
    defined = selectivity(columns, labels)
    np.testing.assert_allclose(defined["selectivity"][0], 1 / 3)
    assert defined["preferred_class"][0] == 2


def test_class_selectivity__preferred_class_is_the_label():
    result = selectivity([[1, 5, 2]], [7, 70, 700])
    assert result["preferred_class"].item() == 70


def test_class_selectivity__one_class_and_no_samples():
    one = selectivity([[1, 2, 3], [0, 0, 0]], [5, 5, 5])
    assert one["undefined"].values.tolist() == ["only one class", ""]
    np.testing.assert_array_equal(one["selectivity"], [np.nan, 0])
    tree = activation_tree({"x": np.empty((0, 1))}, np.empty(0, int), ranges=False)
    none = class_selectivity(class_statistics(tree))
    assert none["undefined"].values.tolist() == ["no samples"]
    assert not none["dead"].any()


def test_class_selectivity__refuses_arguments():
    stats = class_statistics(activation_tree({"x": np.ones((2, 1))}, [0, 1]))
    with pytest.raises(
        ArgumentError, match=r"rest is 'sample', but must be .* did you mean 'samples'"
    ):
        class_selectivity(stats, rest="sample")
    with pytest.raises(TableError, match="no variable 'class_mean'"):
        class_selectivity(stats.drop_vars("class_mean"))
