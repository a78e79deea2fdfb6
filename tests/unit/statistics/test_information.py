import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from activation_trees import activation_tree
from unitlens.errors import ArgumentError, TableError
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.measures.information import (
    default_bins,
    information_bounds,
    merge_bins,
    mutual_information,
    table_information,
    zero_bin,
)


def information(columns, labels, *, bins=None, fine_bins=128, classes=None):
    tree = activation_tree({"x": np.array(columns, float).T}, labels)
    return mutual_information(
        class_statistics(tree, fine_bins=fine_bins, classes=classes), bins=bins
    )


def rectified_information(means):
    """True information, by quadrature, of max(N(mean of the class, 1), 0) and equal classes."""

    def integrand(x):
        density = norm.pdf(x - means)
        return np.mean(density * np.log(density / density.mean()))

    silent = norm.cdf(-means)
    return (
        np.mean(silent * np.log(silent / silent.mean()))
        + quad(integrand, 0, means.max() + 8, limit=200)[0]
    )


def plugin_information(table):
    """Plug-in information of a table of counts, by the definition and a plain loop."""
    p = np.asarray(table) / np.sum(table)
    outer = p.sum(axis=1, keepdims=True) * p.sum(axis=0)
    return sum(a * np.log(a / b) for a, b in zip(p.ravel(), outer.ravel(), strict=True) if a)


def jackknife(table):
    """Bias-corrected information, leaving out sample after sample."""
    samples = np.sum(table)
    without = []
    for cell in np.argwhere(table):
        left = table.copy()
        left[tuple(cell)] -= 1
        without += [plugin_information(left)] * table[tuple(cell)]
    return samples * plugin_information(table) - (samples - 1) * np.mean(without)


def test_mutual_information__by_hand():
    """Zero or not, against two classes: the table of counts is [[4, 1], [1, 4]]."""
    result = information([[0, 0, 0, 0, 2, 2, 2, 2, 2, 0]], [0] * 5 + [1] * 5)
    np.testing.assert_allclose(
        result["mutual_information"], jackknife(np.array([[4, 1], [1, 4]])), rtol=1e-12
    )
    np.testing.assert_allclose(result.attrs["class_entropy"], np.log(2), rtol=1e-15)
    assert result.attrs["bins"] == "by samples"


@pytest.fixture(scope="module")
def tables():
    """Tables of 60 counts, some rows and columns of which are empty."""
    joint = np.random.default_rng(0).integers(0, 4, (5, 3, 7))
    joint[:, :, 3] = 0
    joint[2, 1] = 0
    joint[:, 0, 0] += 60 - joint.sum(axis=(1, 2))
    return joint


def test_table_information__leaves_out_sample_after_sample(tables):
    expected = [jackknife(table) for table in tables]
    np.testing.assert_allclose(table_information(tables, 60)[0], expected, rtol=1e-10)


@pytest.mark.parametrize("classes", [2, 10])
def test_mutual_information__error_is_the_spread(classes):
    """The same unit, drawn 300 times: the mean stated error is the deviation of the estimates."""
    rng = np.random.default_rng(classes)
    means = rng.normal(0, 1.5, classes)
    drawn = rng.integers(0, classes, (300, 1000))
    values = np.maximum(means[drawn] + rng.normal(size=drawn.shape), 0)
    estimates = [information([one], labels) for one, labels in zip(values, drawn, strict=True)]
    spread = np.std([one["mutual_information"].item() for one in estimates])
    stated = np.mean([one["mutual_information_se"].item() for one in estimates])
    np.testing.assert_allclose(stated, spread, rtol=0.15)


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
    error = result["mutual_information_se"].to_numpy()
    assert error[0] > 0  # of the entropy of the drawn classes
    assert 0 < error[1] < 0.05
    assert error[2:].tolist() == [0, 0]


def test_mutual_information__undefined_cases():
    spoilt = information([[np.nan, 1, 2], [0, 1, 1]], [0, 1, 1])["mutual_information"]
    assert np.isnan(spoilt[0])
    assert spoilt[1] > 0
    assert np.isnan(information([[np.nan, 1, 2]], [0, 1, 1])["mutual_information"].item())
    tree = activation_tree({"x": np.empty((0, 1))}, np.empty(0, int), ranges=False)
    assert mutual_information(class_statistics(tree))["mutual_information"].isnull().all()
    assert mutual_information(class_statistics(tree))["mutual_information_se"].isnull().all()
    assert mutual_information(class_statistics(tree))["mutual_information_bound"].isnull().all()
    assert information([[0, 1, 2]], [3, 3, 3])["mutual_information"].item() == 0
    assert information([[7.0]], [3])["mutual_information"].item() == 0


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


@pytest.mark.parametrize(("samples", "classes"), [(300, 2), (1000, 10), (3000, 100)])
def test_mutual_information__correction_takes_most_of_the_bias(samples, classes):
    """Independent of the class: the plug-in estimate is (bins - 1) (classes - 1) / 2N nats."""
    rng = np.random.default_rng(0)
    labels = np.arange(samples) % classes
    tree = activation_tree({"x": rng.random((samples, 200))}, labels)
    stats = class_statistics(tree)
    histogram, zero = stats["histogram"].to_numpy(), zero_bin(stats["bin_edges"].to_numpy())
    bins = round(2 * np.sqrt(samples / classes))
    assert (default_bins(histogram, zero, np.log(classes)) == bins).all()
    corrected, _ = table_information(merge_bins(histogram, zero, bins), samples)
    assert abs(corrected.mean()) < 0.15 * (bins - 1) * (classes - 1) / (2 * samples)
    assert (mutual_information(stats)["mutual_information"] >= 0).all()


def test_default_bins__by_samples_that_are_not_zero_and_classes_of_weight():
    """600 of 1,000 not zero; four equal classes, or two equal classes and a tiny class."""
    histogram = np.zeros((1, 4, 129), int)
    histogram[0, :, 0], histogram[0, :, 5], histogram[0, :, 128] = 100, 50, 100
    zero = np.array([0])
    assert default_bins(histogram, zero, np.log(4)).tolist() == [round(2 * np.sqrt(600 / 4))]
    assert default_bins(histogram, zero, np.log(2.01)).tolist() == [round(2 * np.sqrt(600 / 2.01))]
    assert default_bins(histogram * 10**4, zero, np.log(4)).tolist() == [64]
    assert default_bins(histogram, zero, np.log(2000)).tolist() == [2]
    assert default_bins(histogram[:, :, [0, 5, 128]], zero, np.log(4)).tolist() == [2]


def test_merge_bins__each_unit_its_own_number():
    rng = np.random.default_rng(0)
    histogram, zero = rng.integers(0, 5, (4, 3, 33)), np.array([0, 16, 32, 3])
    bins = np.array([2, 9, 5, 20])
    merged = merge_bins(histogram, zero, bins)
    assert merged.shape == (4, 3, 41)
    for unit, number in enumerate(bins):
        alone = merge_bins(histogram[[unit]], zero[[unit]], int(number))[0]
        filled = merged[unit][:, merged[unit].any(axis=0)]
        np.testing.assert_array_equal(filled, alone[:, alone.any(axis=0)])


def test_mutual_information__of_any_discrete_attribute():
    """Labels far apart, and classes that are renamed to text, leave the estimate as it is."""
    rng = np.random.default_rng(0)
    attribute = rng.choice([3, 40, 700], 500)
    values = 2 * (attribute == 40) + rng.random((4, 500))
    stats = class_statistics(activation_tree({"x": values.T}, attribute))
    renamed = stats.assign_coords({"class": ["blurred", "dark", "plain"]})
    one, other = mutual_information(stats), mutual_information(renamed)
    np.testing.assert_array_equal(one["mutual_information"], other["mutual_information"])
    share = np.bincount(attribute == 40) / 500
    np.testing.assert_allclose(one["mutual_information"], -(share * np.log(share)).sum(), atol=0.03)


def test_mutual_information__in_blocks_of_units(monkeypatch):
    values = np.random.default_rng(0).random((9, 50))
    whole = information(values, np.arange(50) % 3)
    monkeypatch.setattr("unitlens.statistics.measures.information._CELLS_AT_ONCE", 1000)
    parts = information(values, np.arange(50) % 3)
    np.testing.assert_array_equal(whole["mutual_information"], parts["mutual_information"])


def filled_from_single_activations(column, labels, number):
    """Counts (1, classes, coarse bins): each distinct activation by the middle of its ranks."""
    place = np.full(len(column), number)
    active = column[column != 0]
    for x in np.unique(active):
        middle = (2 * (active < x).sum() + (active == x).sum()) * number // (2 * len(active))
        place[column == x] = middle + (number + 1 if x > 0 else 0)
    joint = np.zeros((1, labels.max() + 1, 2 * number + 1), int)
    np.add.at(joint[0], (labels, place), 1)
    return joint


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("number", [2, 3, 7])
@pytest.mark.parametrize("fine_bins", [2, 5, 12])
def test_mutual_information_bound__holds_in_any_order_within_the_bins(fine_bins, number, seed):
    """Samples of a fine bin in random order, and sorted by class: the bound is of the worst."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 60)
    values = np.round(rng.normal(size=60) + labels, 1) * rng.integers(0, 2, 60)
    stats = class_statistics(activation_tree({"x": values[:, None]}, labels), fine_bins=fine_bins)
    edges, histogram = stats["bin_edges"].to_numpy(), stats["histogram"].to_numpy()
    merged = merge_bins(histogram, zero_bin(edges), number)
    own = table_information(merged, 60)[0].item()
    bound = information_bounds(histogram, edges, number, merged, 60).item()
    changes = [
        abs(table_information(filled_from_single_activations(values, labels, number), 60)[0] - own)
    ]
    zero = zero_bin(edges).item()
    bins = np.searchsorted(edges[0, 1:-1], values, side="left")
    bins = np.where(values < 0, np.searchsorted(edges[0, 1:-1], values, side="right"), bins)
    bins = np.where(
        values == 0,
        zero,
        np.where(values > 0, np.maximum(bins, zero + 1), np.minimum(bins, zero - 1)),
    )
    for trial in range(40):
        inside = labels / 3 if trial == 0 else (rng.permutation(3)[labels] + rng.random(60)) / 4
        inside = rng.random(60) if trial > 20 else inside
        order = np.where(values == 0, 0, bins - zero + np.where(values > 0, inside, -inside) * 0.9)
        table = filled_from_single_activations(order, labels, number)
        changes.append(abs(table_information(table, 60)[0].item() - own))
    assert max(changes) <= bound + 1e-12


def test_mutual_information_bound__is_zero_where_bins_leave_nothing_open():
    labels = np.random.default_rng(0).integers(0, 2, 200)
    silent, constant, switch = np.zeros(200), np.full(200, 3.0), np.arange(200) % 2
    result = information([silent, constant, switch], labels, bins=1)
    np.testing.assert_allclose(result["mutual_information_bound"], 0, atol=1e-12)


def test_mutual_information_bound__falls_with_more_fine_bins_and_tells_crowded_ones():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 4000)
    values = rng.normal(size=(5, 4000)) + 2 * labels
    bounds = [
        information(values, labels, fine_bins=fine, bins=10)["mutual_information_bound"].mean()
        for fine in (4, 128, 2048)
    ]
    assert bounds[0] > 0.5
    assert 0.02 < bounds[1] < 0.1
    assert 0 < bounds[2] < 0.01
    values[:, 0] = 1e6  # eight bins do not adapt
    spoilt = information(values, labels, fine_bins=8, bins=10)
    truth = information(values, labels, fine_bins=2048, bins=10)["mutual_information"]
    lost = truth - spoilt["mutual_information"]
    assert (lost > 0.5).all()
    assert (lost <= spoilt["mutual_information_bound"]).all()


def test_mutual_information__refuses_arguments():
    stats = class_statistics(activation_tree({"x": np.ones((2, 1))}, [0, 1]))
    with pytest.raises(ArgumentError, match="bins is 0, but must be at least 1"):
        mutual_information(stats, bins=0)
    assert mutual_information(stats, bins=3).attrs["bins"] == 3
    with pytest.raises(TableError, match="no variable 'histogram'"):
        mutual_information(stats.drop_vars("histogram"))
