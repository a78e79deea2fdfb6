import numpy as np
import pytest
import xarray as xr
from scipy import stats

from unitlens.errors import ArgumentError, TableError
from unitlens.seeds import seeded
from unitlens.statistics.subspaces.random_directions import random_directions
from unitlens.variables.declarations import VARIABLES
from unitlens.variables.unit_index import RUN_UNIT_NAMES, UnitIndex, unit_coordinates


def units_of(*layers):
    return xr.Dataset(coords=unit_coordinates(layers))


def drawn(units, seed, directions=None):
    return random_directions(units_of(("x", 0, units)), directions=directions, seed=seed).to_numpy()


def test_random_directions__are_orthonormal():
    for units in (1, 2, 40, 300):
        rows = drawn(units, 0)
        np.testing.assert_allclose(rows @ rows.T, np.eye(units), atol=1e-12)


def test_random_directions__carry_the_units_and_what_they_are():
    units = units_of(("layer1.relu", 3, 5)).isel(unit=[0, 2, 4])
    result = random_directions(units, directions=2, seed=7)

    assert result.dims == ("direction", "unit")
    np.testing.assert_array_equal(result["direction"], [0, 1])
    np.testing.assert_array_equal(result["layer"], ["layer1.relu"] * 3)
    np.testing.assert_array_equal(result["depth"], [3, 3, 3])
    np.testing.assert_array_equal(result["channel"], [0, 2, 4])
    assert result.name == "component"
    assert result.attrs["description"] == VARIABLES["component"].description
    assert result.attrs["seed"] == 7


def test_random_directions__equal_gram_schmidt():
    """Another decomposition gives the same rows: the one with positive diagonal is unique."""
    gaussian = seeded(3, "directions", 20).standard_normal((20, 20))
    expected = np.zeros((0, 20))
    for row in gaussian:
        for _ in range(2):  # twice is enough (Kahan)
            row = row - expected.T @ (expected @ row)
        expected = np.vstack([expected, row / np.linalg.norm(row)])

    np.testing.assert_allclose(drawn(20, 3), expected, atol=1e-12)


def test_random_directions__depend_on_seed_and_number_of_units_alone():
    one, other = (
        random_directions(units_of((name, depth, 9)), seed=5)
        for name, depth in [("a", 0), ("b", 4)]
    )
    np.testing.assert_array_equal(one, other)
    assert not np.allclose(drawn(9, 5), drawn(9, 6))
    assert not np.allclose(drawn(9, 5), drawn(10, 5)[:9, :9])


def test_random_directions__the_first_do_not_depend_on_how_many():
    every = drawn(200, 1)
    for directions in (1, 30, 150):
        np.testing.assert_allclose(drawn(200, 1, directions), every[:directions], atol=1e-12)


@pytest.mark.parametrize("directions", [1, 3, None])
def test_random_directions__are_uniform_on_the_sphere(directions):
    """A coordinate of such a vector, squared, has a beta distribution; its sign is fair."""
    units = 6
    rows = np.array([drawn(units, seed, directions) for seed in range(2000)])
    beta = stats.beta(1 / 2, (units - 1) / 2)
    for direction in {0, rows.shape[1] - 1}:
        for unit in (0, units - 1):
            values = rows[:, direction, unit]
            assert stats.kstest(values**2, beta.cdf).pvalue > 1e-3
            assert stats.binomtest(int((values > 0).sum()), len(values)).pvalue > 1e-3


def test_random_directions__matrices_have_the_traces_of_haar():
    """E[tr O] = 0, E[(tr O)^2] = 1, both determinants equally likely, for any Haar matrix O."""
    matrices = np.array([drawn(5, seed) for seed in range(3000)])
    traces = np.trace(matrices, axis1=1, axis2=2)
    positive = int((np.linalg.det(matrices) > 0).sum())

    assert abs(traces.mean()) < 4 / np.sqrt(3000)
    assert abs((traces**2).mean() - 1) < 4 * np.std(traces**2) / np.sqrt(3000)
    assert stats.binomtest(positive, 3000).pvalue > 1e-3


def test_random_directions__take_the_units_of_results():
    units = xr.concat([units_of(("a", 0, 3), ("b", 1, 4))] * 2, "unit")
    units = units.assign_coords(
        run=("unit", np.repeat(["one", "two"], 7)), epoch=("unit", [9] * 14)
    )
    units = units.set_xindex(RUN_UNIT_NAMES, UnitIndex)
    result = random_directions(units.sel(run="two", layer="b"))

    assert result.shape == (4, 4)
    np.testing.assert_array_equal(result["layer"], ["b"] * 4)
    with pytest.raises(TableError, match=r"channel of layer 'b' more than once, .* sel\(run="):
        random_directions(units.sel(layer="b"))


def test_random_directions__refuse_units_of_several_layers():
    match = r"units are of 2 layers, 'a', 'b' among them, .*; select a layer with sel\(layer="
    with pytest.raises(TableError, match=match):
        random_directions(units_of(("a", 0, 3), ("b", 1, 4)))


def test_random_directions__refuse_what_has_no_units():
    with pytest.raises(TableError, match="units has no coordinate 'channel' on the dimension"):
        random_directions(units_of(("a", 0, 3)).drop_vars("channel"))
    with pytest.raises(TableError, match="units has no units, but directions need at least one"):
        random_directions(units_of(("a", 0, 0)))


@pytest.mark.parametrize("directions", [0, -2, 4])
def test_random_directions__refuse_a_number_of_directions(directions):
    match = f"directions is {directions}, but must be from 1 to 3, the units"
    with pytest.raises(ArgumentError, match=match):
        drawn(3, 0, directions)


def test_random_directions__refuse_a_negative_seed():
    with pytest.raises(ArgumentError, match="seed is -1, but must be at least 0"):
        drawn(3, -1)


def test_random_directions__bear_the_index_of_the_units():
    rows = random_directions(units_of(("a", 0, 3)), directions=2)

    assert rows.sel(channel=[2, 0]).shape == (2, 2)
    assert set(rows.xindexes) == {"direction", "layer", "channel"}
