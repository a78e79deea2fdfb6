import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from activation_trees import activation_tree
from unitlens.errors import ArgumentError, TableError
from unitlens.statistics import class_statistics, mutual_information
from unitlens.statistics.information import corrected_information, merge_bins, zero_bin


def information(columns, labels, *, bins=16, fine_bins=128, classes=None):
    tree = activation_tree({"x": np.array(columns, float).T}, labels)
    return mutual_information(
        class_statistics(tree, fine_bins=fine_bins, classes=classes), bins=bins
    )


def rectified_information(means):
    """Truth, by quadrature, for max(N(mean of the class, 1), 0) and equally likely classes."""

    def integrand(x):
        density = norm.pdf(x - means)
        return np.mean(density * np.log(density / density.mean()))

    silent = norm.cdf(-means)
    return (
        np.mean(silent * np.log(silent / silent.mean()))
        + quad(integrand, 0, means.max() + 8, limit=200)[0]
    )


def test_mutual_information__by_hand():
    """Zero or not, against two classes: the table of counts is [[3, 1], [1, 3]]."""
    result = information([[0, 0, 0, 2, 2, 2, 2, 0]], [0, 0, 0, 0, 1, 1, 1, 1])
    plugin = 2 * (3 / 8 * np.log(3 / 8 / 0.25) + 1 / 8 * np.log(1 / 8 / 0.25))
    np.testing.assert_allclose(
        result["mutual_information"], plugin + (2 + 2 - 4 - 1) / (2 * 8), rtol=1e-12
    )
    np.testing.assert_allclose(result.attrs["class_entropy"], np.log(2), rtol=1e-15)
    assert result.attrs["bins"] == 16


def test_corrected_information__is_the_sum_of_corrected_entropies():
    joint = np.random.default_rng(0).integers(0, 4, (5, 3, 7))
    joint[:, 0, 0] += 60 - joint.sum(axis=(1, 2))
    joint[:, :, 3] = 0
    joint[:, 0, 0] += 60 - joint.sum(axis=(1, 2))
    for table, result in zip(joint, corrected_information(joint, 60), strict=True):
        p = table / 60
        outer = p.sum(axis=1, keepdims=True) * p.sum(axis=0)
        plugin = sum(a * np.log(a / b) for a, b in zip(p.ravel(), outer.ravel(), strict=True) if a)
        cells = [(t > 0).sum() for t in (table.sum(axis=1), table.sum(axis=0), table)]
        expected = plugin + (cells[0] + cells[1] - cells[2] - 1) / 120
        np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_mutual_information__bounds():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 400)
    tells_all, tells_nothing, constant, dead = (
        labels + 1.0,
        rng.random(400),
        np.ones(400),
        np.zeros(400),
    )
    result = information([tells_all, tells_nothing, constant, dead], labels)
    values = result["mutual_information"].to_numpy()
    np.testing.assert_allclose(values[0], result.attrs["class_entropy"], rtol=1e-12)
    assert 0 <= values[1] < 0.05
    assert values[2:].tolist() == [0, 0]


def test_mutual_information__undefined_cases():
    spoilt = information([[np.nan, 1, 2], [0, 1, 1]], [0, 1, 1])["mutual_information"]
    assert np.isnan(spoilt[0])
    assert spoilt[1] > 0
    assert np.isnan(information([[np.nan, 1, 2]], [0, 1, 1])["mutual_information"].item())
    tree = activation_tree({"x": np.empty((0, 1))}, np.empty(0, int), ranges=False)
    assert mutual_information(class_statistics(tree))["mutual_information"].isnull().all()
    assert information([[0, 1, 2]], [3, 3, 3])["mutual_information"].item() == 0


def test_mutual_information__class_without_samples_changes_nothing():
    values, labels = np.random.default_rng(0).random((3, 50)), np.arange(50) % 3
    one, other = information(values, labels), information(values, labels, classes=9)
    np.testing.assert_allclose(one["mutual_information"], other["mutual_information"], rtol=1e-12)


def test_merge_bins__near_equal_counts_zero_apart():
    histogram = np.zeros((1, 2, 9), int)
    histogram[0, 0] = [4, 1, 1, 50, 3, 1, 1, 1, 0]
    histogram[0, 1] = [0, 1, 1, 50, 1, 1, 1, 3, 0]
    merged = merge_bins(histogram, np.array([3]), 2)  # ten samples under zero's bin, ten above
    assert merged.shape == (1, 2, 5)
    assert merged[0].tolist() == [[6, 0, 50, 0, 6], [2, 0, 50, 0, 6]]
    finer = merge_bins(histogram, np.array([3]), 4)[0].sum(axis=0)
    assert finer.tolist() == [4, 4, 0, 0, 100, 0, 0, 6, 6]


def test_merge_bins__quantiles_of_a_rectified_unit():
    values = np.maximum(np.random.default_rng(0).normal(size=(20_000, 1)), 0)
    stats = class_statistics(activation_tree({"x": values}, np.arange(20_000) % 2))
    zero = zero_bin(stats["bin_edges"].to_numpy())
    counts = merge_bins(stats["histogram"].to_numpy(), zero, 8)[0].sum(axis=0)
    assert counts[:8].sum() == 0
    assert counts[8] == (values == 0).sum()
    np.testing.assert_allclose(counts[9:], (values > 0).sum() / 8, rtol=0.15)


@pytest.mark.parametrize(
    ("values", "zero"), [([0, 3], 0), ([-1, 3], 2), ([2, 3], 0), ([-3, -2], 8)]
)
def test_zero_bin__found_from_the_edges(values, zero):
    stats = class_statistics(activation_tree({"x": np.array([values]).T}, [0, 1]), fine_bins=8)
    assert zero_bin(stats["bin_edges"].to_numpy()).tolist() == [zero]


@pytest.mark.parametrize("classes", [2, 10])
def test_mutual_information__against_the_truth(classes):
    """Rectified Gaussian mixtures of known information, 10,000 samples: within .01 nats."""
    rng = np.random.default_rng(classes)
    means = rng.normal(0, 1.5, (40, classes))
    labels = np.arange(10_000) % classes
    columns = np.maximum(means[:, labels] + rng.normal(size=(40, 10_000)), 0)
    error = information(columns, labels)["mutual_information"] - [
        rectified_information(m) for m in means
    ]
    assert abs(error).mean() < 0.01
    assert abs(error.mean()) < 0.006


def test_mutual_information__correction_takes_most_of_the_bias():
    """Nothing to know, 2,000 samples, 10 classes: the plug-in finds 16 x 9 / 2N nats of it."""
    rng = np.random.default_rng(0)
    labels = np.arange(2000) % 10
    stats = class_statistics(activation_tree({"x": rng.random((2000, 200))}, labels))
    joint = merge_bins(stats["histogram"].to_numpy(), zero_bin(stats["bin_edges"].to_numpy()), 16)
    corrected = corrected_information(joint, 2000)
    assert abs(corrected.mean()) < 0.1 * (15 * 9) / 4000
    assert (mutual_information(stats)["mutual_information"] >= 0).all()


def test_mutual_information__in_blocks_of_units(monkeypatch):
    values = np.random.default_rng(0).random((9, 50))
    whole = information(values, np.arange(50) % 3)
    monkeypatch.setattr("unitlens.statistics.information._CELLS_AT_ONCE", 1000)
    parts = information(values, np.arange(50) % 3)
    np.testing.assert_array_equal(whole["mutual_information"], parts["mutual_information"])


def test_mutual_information__refuses_arguments():
    stats = class_statistics(activation_tree({"x": np.ones((2, 1))}, [0, 1]))
    with pytest.raises(ArgumentError, match="bins is 0, but must be at least 1"):
        mutual_information(stats, bins=0)
    with pytest.raises(TableError, match="no variable 'histogram'"):
        mutual_information(stats.drop_vars("histogram"))
