import dataclasses
from itertools import pairwise

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activation_trees import activation_tree
from properties.strategies_statistics import cut, labelled, labelled_and_cut
from unitlens.statistics.subspaces.principal_components import principal_components
from unitlens.statistics.subspaces.scatter_matrix import block_scatter, merge_scatters

checked = settings(deadline=None, max_examples=60, derandomize=True)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def components(values, chunks=None):
    tree = activation_tree({"x": values}, np.zeros(len(values), int), chunks=chunks)
    return principal_components(tree, "x")


def covariance_of(table):
    """Return the decomposed covariance, which is unique where components need not be."""
    rows = table["component"].to_numpy()
    return (rows.T * table["explained_variance"].to_numpy()) @ rows


def tolerance(values):
    return 1e-13 * float(np.abs(values.astype(np.float64)).max(initial=0)) ** 2


@given(labelled_and_cut().filter(lambda drawn: len(drawn[0]) > 1))
@checked
def test_principal_components__any_chunking_equals_numpy(drawn):
    values, _, chunks = drawn
    table = components(values, chunks)
    covariance = np.atleast_2d(np.cov(values.T.astype(np.float64), bias=True))
    np.testing.assert_allclose(covariance_of(table), covariance, 1e-9, 10 * tolerance(values))
    np.testing.assert_allclose(
        table["explained_variance"],
        np.linalg.eigvalsh(covariance)[::-1],
        1e-9,
        10 * tolerance(values),
    )


@given(labelled(least=2))
@checked
def test_principal_components__are_orthonormal_descending_and_signed(drawn):
    table = components(drawn[0])
    rows, variance = table["component"].to_numpy(), table["explained_variance"].to_numpy()
    np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-12)
    assert (np.diff(variance) <= 0).all()
    assert (variance >= 0).all()
    assert (rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)] > 0).all()
    ratio = table["explained_variance_ratio"].to_numpy()
    assert np.isnan(ratio).all() or np.isclose(ratio.sum(), 1, rtol=1e-12)


@given(labelled(), st.data())
@checked
def test_merge_scatters__is_associative_and_commutative(drawn, data):
    values, labels = drawn
    ends = np.cumsum((0, *data.draw(cut(len(labels)))))
    parts = [block_scatter(values[a:b]) for a, b in pairwise(ends)]
    left, right = parts[0], parts[-1]
    for part in parts[1:]:
        left = merge_scatters(left, part)
    for part in parts[-2::-1]:
        right = merge_scatters(right, part)
    whole = block_scatter(values)
    for merged in (left, right):
        assert merged.count == whole.count == len(values)
        np.testing.assert_array_equal(merged.scatter, merged.scatter.T)
        np.testing.assert_allclose(
            merged.mean, values.astype(np.float64).mean(axis=0), 1e-12, tolerance(values) ** 0.5
        )
        np.testing.assert_allclose(
            merged.scatter, whole.scatter, 1e-9, len(values) * tolerance(values)
        )


@given(labelled())
@checked
def test_merge_scatters__with_no_samples_changes_nothing(drawn):
    state, nothing = block_scatter(drawn[0]), block_scatter(drawn[0][:0])
    for merged in (merge_scatters(state, nothing), merge_scatters(nothing, state)):
        for field in dataclasses.fields(state):
            np.testing.assert_array_equal(getattr(merged, field.name), getattr(state, field.name))
