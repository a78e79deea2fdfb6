import dataclasses
from itertools import pairwise

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from activation_trees import activation_tree
from detectors_by_hand import (
    average_precision_by_samples,
    best_over_classes,
    informedness_by_thresholds,
    roc_auc_by_pairs,
)
from properties.strategies_statistics import cut, labelled, labelled_and_cut
from unitlens.statistics.blocks import block_statistics, merge_statistics
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.histograms import make_bins
from unitlens.statistics.measures.class_correlation import class_correlation
from unitlens.statistics.measures.class_selectivity import class_selectivity
from unitlens.statistics.measures.detection import (
    average_precision,
    informedness,
    roc_auc,
)
from unitlens.statistics.measures.information import mutual_information
from unitlens.statistics.measures.sparsity import sparsity
from unitlens.statistics.measures.variance import empirical_mean, empirical_variance

checked = settings(deadline=None, max_examples=60, derandomize=True)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def statistics(values, labels, chunks=None, **options):
    return class_statistics(activation_tree({"x": values}, labels, chunks=chunks), **options)


def assert_close(one, other, scale):
    """Assert equality except for rounding in float64 of activations of size `scale`."""
    same = ("count", "histogram", "class_minimum", "class_maximum", "class_nonzero")
    for name in (*same, "top_activation", "top_sample", "top_class"):
        xr.testing.assert_equal(one[name], other[name])
    np.testing.assert_allclose(one["bin_edges"], other["bin_edges"], rtol=0)
    np.testing.assert_allclose(one["class_mean"], other["class_mean"], 1e-12, 1e-13 * scale)
    np.testing.assert_allclose(
        one["class_variance"], other["class_variance"], 1e-9, 1e-13 * scale**2
    )


def size(values):
    return float(np.abs(values.astype(np.float64)).max(initial=0))


@given(labelled_and_cut())
@checked
def test_class_statistics__any_chunking_equals_in_memory(drawn):
    values, labels, chunks = drawn
    assert_close(statistics(values, labels, chunks), statistics(values, labels), size(values))


@given(labelled(), st.data())
@checked
def test_merge_statistics__is_associative(drawn, data):
    values, labels = drawn
    wide = values.astype(np.float64)
    bins = make_bins(wide.min(axis=0), wide.max(axis=0), 7)
    ends = np.cumsum((0, *data.draw(cut(len(labels)))))
    parts = [block_statistics(values[a:b], labels[a:b], 4, bins, 5, a) for a, b in pairwise(ends)]
    left, right = parts[0], parts[-1]
    for part in parts[1:]:
        left = merge_statistics(left, part)
    for part in parts[-2::-1]:
        right = merge_statistics(part, right)
    whole = block_statistics(values, labels, 4, bins, 5, 0)
    scale = size(values)
    for merged in (left, right):
        np.testing.assert_array_equal(merged.histogram, whole.histogram)
        np.testing.assert_array_equal(merged.strongest.values, whole.strongest.values)
        np.testing.assert_array_equal(merged.strongest.samples, whole.strongest.samples)
        for field in dataclasses.fields(whole.moments):
            tolerance = {"mean": 1e-13 * scale, "squares": 1e-12 * scale**2}.get(field.name, 0)
            one, other = (getattr(state.moments, field.name) for state in (merged, whole))
            np.testing.assert_allclose(one, other, 1e-9, tolerance)


@given(labelled_and_cut(), st.integers(1, 6))
@checked
def test_class_statistics__strongest_are_the_first_of_a_stable_sort(drawn, ranks):
    values, labels, chunks = drawn
    stats = statistics(values, labels, chunks, strongest=ranks)
    order = np.argsort(-values.astype(np.float64), axis=0, kind="stable")[:ranks].T
    kept = order.shape[1]
    np.testing.assert_array_equal(stats["top_sample"][:, :kept], order)
    np.testing.assert_array_equal(stats["top_class"][:, :kept], labels[order])
    strongest = np.take_along_axis(values.T, order, axis=1)
    np.testing.assert_array_equal(stats["top_activation"][:, :kept], strongest)
    assert (stats["top_sample"][:, kept:] == -1).all()
    assert (stats["top_class"][:, kept:] == -1).all()
    assert stats["top_activation"][:, kept:].isnull().all()


@given(labelled(), st.permutations(range(4)))
@checked
def test_class_statistics__relabelling_classes_permutes(drawn, order):
    values, labels = drawn
    relabelled = np.array(order)[labels]
    one = statistics(values, labels, classes=4)
    other = statistics(values, relabelled, classes=4)
    inverse = other.isel({"class": list(order)}).assign_coords({"class": range(4)})
    strongest = np.argsort(order)[other["top_class"]]
    kept = other["top_sample"] >= 0
    inverse["top_class"] = other["top_class"].copy(data=np.where(kept, strongest, -1))
    assert_close(one, inverse, size(values))
    np.testing.assert_allclose(
        mutual_information(one)["mutual_information"],
        mutual_information(other)["mutual_information"],
        atol=1e-12,
    )
    ours, theirs = (class_selectivity(statistics(values, y)) for y in (labels, relabelled))
    np.testing.assert_allclose(ours["selectivity"], theirs["selectivity"], atol=1e-9)


@given(labelled(rectified=True, least=2), st.sampled_from([0.001, 0.3, 2.0, 7.0, 1e6]))
@checked
def test_class_selectivity__scaling_keeps_it(drawn, factor):
    values, labels = drawn
    values = values.astype(np.float64)
    one = class_selectivity(statistics(values, labels))
    other = class_selectivity(statistics(values * factor, labels))
    np.testing.assert_allclose(one["selectivity"], other["selectivity"], atol=1e-9)
    for name in ("dead", "undefined"):
        xr.testing.assert_equal(one[name], other[name])


@given(labelled(), st.sampled_from(["classes", "samples"]))
@checked
def test_class_selectivity__is_within_its_bounds_or_has_a_reason(drawn, rest):
    values, labels = drawn
    result = class_selectivity(statistics(values, labels), rest=rest)
    selectivity = result["selectivity"].to_numpy()
    defined = result["undefined"].to_numpy() == ""
    np.testing.assert_array_equal(np.isnan(selectivity), ~defined)
    assert ((selectivity[defined] >= 0) & (selectivity[defined] <= 1)).all()
    np.testing.assert_array_equal(result["dead"], (values == 0).all(axis=0))
    assert (selectivity[result["dead"]] == 0).all()
    preferred = result["preferred_class"].to_numpy()
    assert set(preferred.tolist()) <= {-1, *labels.tolist()}
    np.testing.assert_array_equal(preferred == -1, ~defined | result["dead"])


@given(labelled(), st.none() | st.integers(1, 40), st.integers(2, 40))
@checked
def test_mutual_information__is_within_its_bounds(drawn, bins, fine_bins):
    values, labels = drawn
    result = mutual_information(statistics(values, labels, fine_bins=fine_bins), bins=bins)
    information = result["mutual_information"]
    share = np.unique(labels, return_counts=True)[1] / len(labels)
    entropy = -(share * np.log(share)).sum()
    np.testing.assert_allclose(result.attrs["class_entropy"], entropy, atol=1e-12)
    assert ((information >= 0) & (information <= result.attrs["class_entropy"])).all()


@given(labelled_and_cut(), st.integers(2, 40))
@checked
def test_class_statistics__histogram_sums_to_the_counts(drawn, fine_bins):
    values, labels, chunks = drawn
    stats = statistics(values, labels, chunks, fine_bins=fine_bins)
    sums = stats["histogram"].sum("bin")
    np.testing.assert_array_equal(sums, np.broadcast_to(stats["count"], sums.shape))
    assert (np.diff(stats["bin_edges"], axis=1) >= 0).all()
    ends = stats["bin_edges"].to_numpy()[:, [0, -1]]
    assert (ends[:, 0] <= values.min(axis=0)).all()
    assert (ends[:, 1] >= values.max(axis=0)).all()


@given(labelled_and_cut())
@checked
def test_empirical_variance__equals_numpy_whatever_the_labels(drawn):
    values, labels, chunks = drawn
    stats = statistics(values, labels, chunks)
    wide, scale = values.astype(np.float64), size(values)
    mean, variance = empirical_mean(stats)["mean"], empirical_variance(stats)["variance"]
    np.testing.assert_allclose(mean, wide.mean(axis=0), 1e-12, 1e-13 * scale)
    np.testing.assert_allclose(variance, wide.var(axis=0), 1e-9, 1e-13 * scale**2)


DETECTORS = {
    "roc_auc": (roc_auc, roc_auc_by_pairs),
    "informedness": (informedness, informedness_by_thresholds),
    "average_precision": (average_precision, average_precision_by_samples),
}


@pytest.mark.parametrize("name", DETECTORS)
@given(labelled(least=2), st.integers(2, 40))
@checked
def test_detection__within_its_bound_of_the_raw_activations(name, drawn, fine_bins):
    values, labels = drawn
    measure, by_hand = DETECTORS[name]
    table = measure(statistics(values, labels, fine_bins=fine_bins))
    score, bound = table[name].to_numpy(), table[f"{name}_bound"].to_numpy()
    if len(np.unique(labels)) == 1:
        assert np.isnan(score).all()
        return
    expected = [best_over_classes(by_hand, column, labels) for column in values.T]
    assert (np.abs(score - expected) <= bound + 1e-12).all()
    assert ((score >= 0) & (score <= 1 + 1e-12)).all()
    constant = (values == values[0]).all(axis=0)
    np.testing.assert_array_equal(table[f"{name}_class"] == -1, constant)


@pytest.mark.parametrize("measure", [roc_auc, informedness, average_precision])
@given(labelled(least=2), st.permutations(range(4)))
@checked
def test_detection__relabelling_classes_keeps_it(measure, drawn, order):
    values, labels = drawn
    one, other = (
        measure(statistics(values, y, classes=4)) for y in (labels, np.array(order)[labels])
    )
    for column in (measure.__name__, f"{measure.__name__}_bound"):
        np.testing.assert_allclose(one[column], other[column], atol=1e-12)


@given(labelled(least=2), st.sampled_from([0.001, 0.3, 7.0, 1e6]))
@checked
def test_class_correlation_and_sparsity__scaling_keeps_them(drawn, factor):
    values, labels = drawn
    values = values.astype(np.float64)
    one, other = (statistics(scaled, labels) for scaled in (values, values * factor))
    for measure, name in ((class_correlation, "class_correlation"), (sparsity, "sparsity")):
        ours, theirs = measure(one)[name], measure(other)[name]
        np.testing.assert_allclose(ours, theirs, atol=1e-7)
        assert ((ours >= 0) & (ours <= 1)).values[~np.isnan(ours)].all()
