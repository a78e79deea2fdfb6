"""Class statistics and measures against flox, NumPy, scipy and scikit-learn."""

import flox
import numpy as np
import pytest
from scipy import stats as scipy_stats
from sklearn.decomposition import PCA
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import (
    average_precision_score,
    mutual_info_score,
    roc_auc_score,
    roc_curve,
)

from activation_trees import activation_tree
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.measures.class_correlation import class_correlation
from unitlens.statistics.measures.class_selectivity import ccmas, class_selectivity
from unitlens.statistics.measures.detection import (
    average_precision,
    informedness,
    roc_auc,
)
from unitlens.statistics.measures.information import (
    merge_bins,
    mutual_information,
    zero_bin,
)
from unitlens.statistics.measures.sparsity import sparsity
from unitlens.statistics.subspaces.principal_components import principal_components


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 3000)
    means = rng.normal(0, 1.5, (7, 30))
    values = np.maximum(means[labels] + rng.normal(size=(3000, 30)), 0).astype(np.float32)
    return values, labels


@pytest.fixture(scope="module")
def stats(data):
    values, labels = data
    return class_statistics(activation_tree({"relu1": values}, labels, chunks=(700, 11)))


@pytest.mark.parametrize(
    ("name", "reduction"),
    [
        ("class_mean", "mean"),
        ("class_variance", "var"),
        ("class_minimum", "min"),
        ("class_maximum", "max"),
    ],
)
def test_class_statistics__equals_flox(data, stats, name, reduction):
    values, labels = data
    expected, classes = flox.groupby_reduce(values.T.astype(np.float64), labels, func=reduction)
    np.testing.assert_array_equal(stats["class"], classes)
    np.testing.assert_allclose(stats[name], expected, rtol=1e-9)


def test_class_statistics__share_of_non_zero_equals_flox(data, stats):
    values, labels = data
    expected, _ = flox.groupby_reduce((values.T != 0).astype(float), labels, func="mean")
    np.testing.assert_allclose(stats["class_nonzero"], expected, rtol=1e-12)


def test_class_statistics__histogram_equals_numpy(data, stats):
    """Above zero, bins of NumPy hold the lower edge and ours the upper: mirror the values."""
    values, labels = data
    for unit in range(30):
        edges = stats["bin_edges"].to_numpy()[unit]
        for label in range(7):
            column = values[labels == label, unit].astype(np.float64)
            above, _ = np.histogram(-column[column > 0], -edges[1:][::-1])
            expected = [(column == 0).sum(), *above[::-1]]
            np.testing.assert_array_equal(stats["histogram"][unit, label], expected)


def test_class_selectivity__equals_a_plain_loop(data, stats):
    values, labels = data
    result = class_selectivity(stats)
    for unit in range(30):
        means = [values[labels == label, unit].astype(float).mean() for label in range(7)]
        largest = max(means)
        rest = np.mean([mean for mean in means if mean is not largest])
        np.testing.assert_allclose(
            result["selectivity"][unit], (largest - rest) / (largest + rest), rtol=1e-9
        )
        assert result["preferred_class"][unit] == np.argmax(means)


def test_ccmas__equals_a_plain_loop(data, stats):
    values, labels = data
    result = ccmas(stats)["ccmas"]
    for unit, column in enumerate(values.T.astype(np.float64)):
        best = max(range(7), key=lambda label: column[labels == label].mean())
        one, other = column[labels == best].mean(), column[labels != best].mean()
        np.testing.assert_allclose(result[unit], (one - other) / (one + other), rtol=1e-9)


def youden_of_scikit_learn(own, values):
    alarms, hits, _ = roc_curve(own, values, drop_intermediate=False)
    return (hits - alarms).max()


@pytest.mark.parametrize(
    ("measure", "peer", "error"),
    [
        (roc_auc, roc_auc_score, 5e-4),
        (informedness, youden_of_scikit_learn, 6e-3),
        (average_precision, average_precision_score, 2e-3),
    ],
)
def test_detection__near_scikit_learn_on_the_raw_activations(data, stats, measure, peer, error):
    """Within the bound that the table states, and far nearer on average."""
    values, labels = data
    table, name = measure(stats), measure.__name__
    by_class = np.array([[peer(labels == c, column) for c in range(7)] for column in values.T])
    differences = np.abs(table[name].to_numpy() - by_class.max(axis=1))
    assert (differences <= table[f"{name}_bound"]).all()
    assert differences.mean() < error
    of_class = by_class[np.arange(30), table[f"{name}_class"].to_numpy()]
    assert (by_class.max(axis=1) - of_class <= 2 * table[f"{name}_bound"]).all()


def test_class_correlation__equals_scipy(data, stats):
    values, labels = data
    result = class_correlation(stats)
    for unit, column in enumerate(values.T.astype(np.float64)):
        correlations = [scipy_stats.pointbiserialr(labels == c, column).statistic for c in range(7)]
        np.testing.assert_allclose(result["class_correlation"][unit], max(correlations), rtol=1e-9)
        assert result["correlated_class"][unit] == np.argmax(correlations)


def test_sparsity__equals_a_plain_loop(data, stats):
    values, _ = data
    result = sparsity(stats)
    for unit, column in enumerate(values.T.astype(np.float64)):
        expected = 1 - column.mean() ** 2 / (column**2).mean()
        np.testing.assert_allclose(result["sparsity"][unit], expected, rtol=1e-9)


def test_mutual_information__equals_scikit_learn_on_the_binned_data(stats):
    """The jackknife corrects the plug-in estimate, mutual_info_score of the same bins."""
    joint = merge_bins(stats["histogram"].to_numpy(), zero_bin(stats["bin_edges"].to_numpy()), 5)
    result = mutual_information(stats, bins=5)["mutual_information"]
    for unit, table in enumerate(joint):
        cells = np.argwhere(table)
        rows, columns = np.repeat(cells, table[tuple(cells.T)], axis=0).T
        plugin = mutual_info_score(rows, columns)
        without = []
        for cell in map(tuple, cells):
            left = table.copy()
            left[cell] -= 1
            without.append(mutual_info_score(None, None, contingency=left))
        mean = np.average(without, weights=table[tuple(cells.T)])
        np.testing.assert_allclose(result[unit], max(3000 * plugin - 2999 * mean, 0), rtol=1e-6)
    expected = scipy_stats.entropy(stats["count"])
    np.testing.assert_allclose(mutual_information(stats).attrs["class_entropy"], expected)


def test_mutual_information__near_scikit_learn_without_bins(data, stats):
    """The nearest-neighbour estimator, without bins, estimates the same quantity."""
    values, labels = data
    neighbours = mutual_info_classif(values[:, :10], labels, random_state=0)
    ours = mutual_information(stats)["mutual_information"].to_numpy()[:10]
    assert np.abs(ours - neighbours).mean() < 0.03
    assert scipy_stats.spearmanr(ours, neighbours).statistic > 0.95


def test_principal_components__equal_scikit_learn(data):
    """scikit-learn divides by one sample less, and gives its components other signs."""
    values, labels = data
    tree = activation_tree({"relu1": values}, labels, chunks=(700, 11))
    table = principal_components(tree, "relu1", components=10)
    peer = PCA(10, svd_solver="full").fit(values.astype(np.float64))
    np.testing.assert_allclose(table["mean"], peer.mean_, rtol=1e-12)
    np.testing.assert_allclose(
        table["explained_variance"], peer.explained_variance_ * 2999 / 3000, rtol=1e-9
    )
    np.testing.assert_allclose(
        table["explained_variance_ratio"], peer.explained_variance_ratio_, rtol=1e-9
    )
    cosines = (table["component"].to_numpy() * peer.components_).sum(axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1, rtol=1e-9)
