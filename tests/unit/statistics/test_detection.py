import numpy as np
import pytest

from activation_trees import activation_tree
from detectors_by_hand import (
    average_precision_by_samples,
    best_over_classes,
    informedness_by_thresholds,
    roc_auc_by_pairs,
)
from unitlens.errors import TableError
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.measures.detection import (
    average_precision,
    informedness,
    roc_auc,
)

MEASURES = {
    "roc_auc": (roc_auc, roc_auc_by_pairs),
    "informedness": (informedness, informedness_by_thresholds),
    "average_precision": (average_precision, average_precision_by_samples),
}


def statistics(columns, labels, **options):
    return class_statistics(activation_tree({"x": np.array(columns).T}, labels), **options)


def both_names(name):
    return MEASURES[name]


every_measure = pytest.mark.parametrize("name", MEASURES)


def test_detection__by_hand():
    """Class 1 has activations 3, 2, 0 and class 0 has 1, 0, 0: the zeros are equal."""
    stats = statistics([[3.0, 2.0, 0.0, 1.0, 0.0, 0.0]], [1, 1, 1, 0, 0, 0])
    auc, best, precision = roc_auc(stats), informedness(stats), average_precision(stats)
    np.testing.assert_allclose(auc["roc_auc"], (3 + 3 + 0.5 + 0.5) / 9)
    np.testing.assert_allclose(best["informedness"], 2 / 3)
    np.testing.assert_allclose(precision["average_precision"], (1 + 1 + 3 / 6) / 3)
    for table, name in (
        (auc, "roc_auc"), (best, "informedness"), (precision, "average_precision")
    ):  # fmt: skip
        assert table[f"{name}_class"].item() == 1
        np.testing.assert_allclose(table[f"{name}_bound"], 0, atol=1e-15)


@every_measure
def test_detection__exact_where_no_bin_holds_two_classes(name):
    """Activations a bin or more apart, and zeros: binning leaves no order open."""
    measure, by_hand = both_names(name)
    rng = np.random.default_rng(0)
    values = np.array([np.append(np.zeros(15), rng.permutation(45) + 1.0) for _ in range(6)])
    labels = rng.integers(0, 4, 60) + 3
    table = measure(statistics(values, labels, fine_bins=90))
    expected = [best_over_classes(by_hand, column, labels) for column in values]
    np.testing.assert_allclose(table[name], expected, rtol=1e-12)
    np.testing.assert_allclose(table[f"{name}_bound"], 0, atol=1e-12)
    for column, best in zip(values, table[f"{name}_class"].values, strict=True):
        np.testing.assert_allclose(by_hand(column, labels == best), max(
            by_hand(column, labels == label) for label in range(3, 7)
        ))  # fmt: skip


@every_measure
@pytest.mark.parametrize("fine_bins", [2, 3, 8, 128])
def test_detection__within_its_bound_of_the_raw_activations(name, fine_bins):
    measure, by_hand = both_names(name)
    rng = np.random.default_rng(fine_bins)
    labels = rng.integers(0, 3, 90)
    means = rng.normal(size=(12, 3))
    values = means[:, labels] + rng.normal(size=(12, 90))
    values[:6] = np.maximum(values[:6], 0)
    values[3] = np.round(values[3])
    table = measure(statistics(values, labels, fine_bins=fine_bins))
    expected = np.array([best_over_classes(by_hand, column, labels) for column in values])
    error, bound = np.abs(table[name] - expected), table[f"{name}_bound"]
    assert (error <= bound + 1e-12).all()
    assert (bound >= 0).all()
    if fine_bins == 2:
        assert (bound > 0.05).any()  # it says that two bins are too few
    if fine_bins == 128:
        assert bound.mean() < 0.05


@pytest.mark.parametrize(("own", "others"), [(1, 1), (3, 5), (40, 7), (5, 300)])
def test_average_precision__of_a_bin_is_the_mean_over_its_orders(own, others):
    """Two samples in bins of their own, and many samples of unknown order in one bin."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 1, 0], [1, 1, own, others])
    values = np.repeat([4.0, 2.0, 1.0], [1, 1, own + others])
    table = average_precision(statistics([values], labels, fine_bins=4))
    best = labels == table["average_precision_class"].item()
    tied = np.where(values == 1, rng.random((400, len(values))), 0.0)
    drawn = [average_precision_by_samples(values - jitter, best) for jitter in tied]
    np.testing.assert_allclose(table["average_precision"].item(), np.mean(drawn), atol=0.02)
    assert np.ptp(drawn) < 2 * table["average_precision_bound"].item()


@every_measure
def test_detection__undefined_cases(name):
    measure, _ = both_names(name)
    columns = [[np.nan, 1, 2, 3], [0, 0, 0, 0], [5, 5, 5, 5], [np.inf, 0, 1, 2], [0, 1, 2, 3]]
    table = measure(statistics(np.array(columns, float), [4, 4, 7, 7]))
    nothing = {"roc_auc": 0.5, "informedness": 0.0, "average_precision": 0.5}[name]
    np.testing.assert_allclose(table[name], [np.nan, nothing, nothing, np.nan, 1.0])
    assert table[f"{name}_class"].values.tolist() == [-1, -1, -1, -1, 7]
    np.testing.assert_allclose(table[f"{name}_bound"], [np.nan, 0, 0, np.nan, 0], atol=1e-15)
    assert table[f"{name}_class"].dtype == np.int64


@every_measure
def test_detection__needs_two_classes_with_samples(name):
    measure, _ = both_names(name)
    for classes in (None, 5):
        table = measure(statistics([[0.0, 1.0, 2.0]], [3, 3, 3], classes=classes))
        assert np.isnan(table[name].item())
        assert np.isnan(table[f"{name}_bound"].item())
        assert table[f"{name}_class"].item() == -1
    empty = class_statistics(
        activation_tree({"x": np.empty((0, 2))}, np.empty(0, int), ranges=False)
    )
    assert measure(empty)[name].isnull().all()


@every_measure
def test_detection__class_without_samples_changes_nothing(name):
    measure, _ = both_names(name)
    values, labels = np.random.default_rng(0).random((3, 50)), np.arange(50) % 3 * 2
    one, other = (measure(statistics(values, labels, classes=number)) for number in (None, 9))
    for column in one:
        np.testing.assert_allclose(one[column], other[column], rtol=1e-12)


@every_measure
def test_detection__in_blocks_of_units(name, monkeypatch):
    measure, _ = both_names(name)
    values = np.random.default_rng(0).random((9, 50))
    values[4, 3] = np.nan
    stats = statistics(values, np.arange(50) % 3)
    whole = measure(stats)
    monkeypatch.setattr("unitlens.statistics.measures.detection._CELLS_AT_ONCE", 1000)
    assert measure(stats).equals(whole)


@every_measure
def test_detection__refuses_other_tables(name):
    measure, _ = both_names(name)
    stats = statistics([[0.0, 1.0]], [0, 1])
    with pytest.raises(TableError, match="no variable 'histogram'"):
        measure(stats.drop_vars("histogram"))
