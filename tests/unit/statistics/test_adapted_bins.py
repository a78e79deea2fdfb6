"""Units whose largest activations lie far from the rest: bins, and the measures that need them."""

import dask
import numpy as np
import pytest
from sklearn.metrics import mutual_info_score, roc_auc_score

from activation_trees import activation_tree
from histograms_by_hand import naive_histogram
from unitlens.statistics.adapted_bins import sampled_rows
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.measures.detection import roc_auc
from unitlens.statistics.measures.information import mutual_information

SAMPLES, CLASSES = 6000, 5


def drawn(tail, units=4, samples=SAMPLES):
    """Return activations (samples, units) that depend on the class, and the labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, samples)
    place = rng.normal(0, 1.5, (CLASSES, units))[labels]
    noise = rng.normal(size=(samples, units))
    values = {
        "gauss": place + noise,
        "relu": np.maximum(place + noise, 0),
        "rare": np.maximum(place + noise - 2.5, 0),
        "exponential": np.exp(place / 3) * rng.exponential(size=noise.shape),
        "lognormal": np.exp(2 * (place + noise)),
        "student": place + rng.standard_t(2, noise.shape),
        "lifted": 100 + place + noise,
        "integers": np.round(2 * (place + noise)),
        "uniform": place + rng.random(noise.shape),
        "constant": np.full(noise.shape, 3.0),
    }
    return values[tail].astype(np.float32), labels


def with_outlier(values, times):
    """Return the activations with one that is so many times as far from zero as the next."""
    spoilt = values.copy()
    spoilt[SAMPLES // 3] = times * np.abs(values).max(axis=0)
    return spoilt


def statistics(values, labels, chunks=None, **options):
    return class_statistics(activation_tree({"x": values}, labels, chunks=chunks), **options)


def has_equal_widths(stats):
    """Return of which units the bins on either side of zero have equal widths."""
    equal = []
    for edges in stats["bin_edges"].to_numpy():
        sides = np.diff(edges[edges <= 0]), np.diff(edges[edges >= 0])
        widths = [side[side > 0] for side in sides]
        equal.append(all(np.ptp(side) <= 1e-3 * side.max() for side in widths if side.size))
    return np.array(equal)


@pytest.mark.parametrize("samples", [0, 1, 700, 1024])
def test_sampled_rows__are_all_of_few_samples(samples):
    np.testing.assert_array_equal(sampled_rows(samples), np.arange(samples))


@pytest.mark.parametrize("samples", [1025, 4099, 60_000, 1_281_167])
def test_sampled_rows__are_equally_many_of_each_quarter(samples):
    rows = sampled_rows(samples)
    assert len(rows) == 1024
    assert (np.diff(rows) > 0).all()
    assert rows[0] >= 0
    assert rows[-1] < samples
    np.testing.assert_allclose(np.bincount(rows * 4 // samples, minlength=4), 256, atol=4)
    np.testing.assert_array_equal(rows, sampled_rows(samples))


@pytest.mark.parametrize("tail", ["gauss", "integers", "relu", "uniform"])
def test_bins__keep_equal_widths_without_outliers(tail):
    assert has_equal_widths(statistics(*drawn(tail))).all()


@pytest.mark.parametrize("tail", ["gauss", "lifted", "lognormal", "relu"])
def test_bins__adapt_to_an_outlier_and_are_about_equally_filled(tail):
    values, labels = drawn(tail)
    values = with_outlier(values, 100)
    stats = statistics(values, labels)
    assert not has_equal_widths(stats).any()
    edges, counts = stats["bin_edges"].to_numpy(), stats["histogram"].sum("class").to_numpy()
    for unit, zero in enumerate(np.minimum((edges < 0).sum(axis=1), 128)):
        active = np.delete(counts[unit], zero)
        assert active.max() < 0.06 * active.sum()
        assert counts[unit, zero] == (values[:, unit] == 0).sum()


def test_bins__of_equal_activations_and_of_few_bins_do_not_adapt():
    values, labels = drawn("integers")
    assert has_equal_widths(statistics(with_outlier(values, 10), labels, fine_bins=512)).all()
    assert has_equal_widths(statistics(with_outlier(values, 100), labels, fine_bins=8)).all()
    assert has_equal_widths(statistics(*drawn("constant"))).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("fine_bins", [16, 31, 128])
@pytest.mark.parametrize("shift", [-1e4, -3.0, 0.0, 50.0])
def test_adapted_histogram__follows_the_edges_whatever_the_chunks(shift, fine_bins, dtype):
    rng = np.random.default_rng(0)
    values = np.exp(3 * rng.normal(size=(300, 3))) * rng.choice([-1, 1], (300, 3))
    values[:, 1], values[:, 2] = np.abs(values[:, 1]), -np.abs(values[:, 2])
    values[::3] = np.round(values[::3])
    values[5:15] = 0
    values, labels = (values + shift).clip(-6e4, 6e4).astype(dtype), np.arange(300) % 3
    with dask.config.set(scheduler="synchronous"):
        stats = statistics(values, labels, (77, 2), fine_bins=fine_bins)
        whole = statistics(values, labels, fine_bins=fine_bins)
    assert not has_equal_widths(stats).all()
    edges = stats["bin_edges"].to_numpy()
    assert (np.diff(edges) >= 0).all()
    np.testing.assert_array_equal(
        stats["histogram"], naive_histogram(values, labels, range(3), edges)
    )
    for name in ("bin_edges", "histogram", "class_nonzero", "top_activation", "top_sample"):
        np.testing.assert_array_equal(stats[name], whole[name])


def test_adapted_bins__leave_moments_and_strongest_samples_as_they_are():
    values, labels = drawn("lognormal")
    stats = statistics(values, labels, (1000, 4), strongest=30)
    order = np.argsort(-values, axis=0, kind="stable")[:30].T
    np.testing.assert_array_equal(stats["top_sample"], order)
    means = [values[labels == label].astype(float).mean(axis=0) for label in range(CLASSES)]
    np.testing.assert_allclose(stats["class_mean"].T, means, rtol=1e-12)


def equally_filled(column, number):
    """Return the bins of activations filled equally, as the ranks of all that are not zero say."""
    bins = np.zeros(len(column), int)
    active = np.flatnonzero(column)
    ranks = np.searchsorted(np.sort(column[active]), column[active], side="left")
    bins[active] = 1 + ranks * number // max(len(active), 1)
    return np.where(column < 0, -bins, bins)


def plugin(column, labels, number):
    return mutual_info_score(labels, equally_filled(column, number))


TAILS = ("exponential", "gauss", "lognormal", "rare", "relu", "student")


@pytest.mark.parametrize("tail", [*TAILS, "constant", "integers", "lifted"])
@pytest.mark.parametrize("times", [1, 100, 1e6])
def test_measures__near_those_of_single_activations_whatever_the_outlier(tail, times):
    """20 bins: the bias of either estimate is (bins - 1) (classes - 1) / 2N = .006 nats."""
    values, labels = drawn(tail)
    spoilt = values if times == 1 else with_outlier(values, times)
    stats = statistics(spoilt, labels)
    information, area = mutual_information(stats, bins=20), roc_auc(stats)
    for unit, column in enumerate(spoilt.T.astype(float)):
        expected = plugin(column, labels, 20)
        found = information["mutual_information"][unit].item()
        assert abs(found - expected) < 0.02
        best = max(roc_auc_score(labels == label, column) for label in range(CLASSES))
        error = abs(area["roc_auc"][unit].item() - best)
        assert error <= area["roc_auc_bound"][unit].item() + 1e-12
        assert error < 0.001


@pytest.mark.parametrize("tail", TAILS)
def test_measures__one_outlier_changes_no_more_than_the_bounds_say(tail):
    values, labels = drawn(tail)
    for measure, name in ((mutual_information, "mutual_information"), (roc_auc, "roc_auc")):
        without, with_one = (
            measure(statistics(x, labels)) for x in (values, with_outlier(values, 100))
        )
        change = np.abs(with_one[name] - without[name])
        assert (change <= with_one[f"{name}_bound"] + 1e-3).all()  # one sample in 6,000 is another
        assert (change < 0.02).all()
