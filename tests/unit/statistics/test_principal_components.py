import dask
import numpy as np
import pytest
import xarray as xr

from activation_trees import activation_tree
from small_stores import make_columns, make_contents, write_store
from unitlens.errors import ArgumentError, LayerError, TableError
from unitlens.statistics.subspaces.principal_components import principal_components
from unitlens.store.reader import open_activations
from unitlens.variables.checks import validate


def separated(samples=400, units=8, seed=0):
    """Activations whose components are far apart in variance, so that they are well defined."""
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.normal(size=(units, units)))[0]
    return rng.normal(size=(samples, units)) * 2.0 ** -np.arange(units) @ turned + rng.normal(
        size=units
    )


def tree_of(values, **options):
    return activation_tree({"x": values}, np.zeros(len(values), int), **options)


def assert_orthonormal(rows):
    np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-12)


def test_principal_components__equals_the_singular_values_in_memory():
    values = separated()
    table = principal_components(tree_of(values, chunks=(90, 3)), "x")

    mean = values.mean(axis=0)
    _, singular, rows = np.linalg.svd(values - mean, full_matrices=False)
    rows *= np.sign(rows[range(8), np.abs(rows).argmax(axis=1)])[:, None]
    np.testing.assert_allclose(table["mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(table["explained_variance"], singular**2 / 400, rtol=1e-9)
    np.testing.assert_allclose(
        table["explained_variance_ratio"], singular**2 / (singular**2).sum(), rtol=1e-9
    )
    np.testing.assert_allclose(table["component"], rows, atol=1e-9)
    assert_orthonormal(table["component"].to_numpy())


def test_principal_components__of_two_units_by_hand():
    """Points on the line y = -2 x + 5 at x = -1, 0, 1: the variance is 5 times that of x."""
    table = principal_components(tree_of(np.array([[-1, 7], [0, 5], [1, 3]])), "x")

    np.testing.assert_allclose(table["mean"], [0, 5], atol=1e-15)
    np.testing.assert_allclose(
        table["component"], np.array([[-1, 2], [2, 1]]) / np.sqrt(5), atol=1e-15
    )
    np.testing.assert_allclose(table["explained_variance"], [5 * 2 / 3, 0], atol=1e-15)
    np.testing.assert_allclose(table["explained_variance_ratio"], [1, 0], atol=1e-15)


def test_principal_components__is_a_table_of_its_schema():
    values = separated()
    tree = activation_tree({"a": values[:, :3], "b": values}, np.zeros(400, int), chunks=(70, 8))
    table = principal_components(tree, "b", components=2)

    validate(table, "principal_components")
    assert dict(table.sizes) == {"direction": 2, "unit": 8}
    np.testing.assert_array_equal(table["direction"], [0, 1])
    np.testing.assert_array_equal(table["layer"], ["b"] * 8)
    np.testing.assert_array_equal(table["depth"], [1] * 8)
    np.testing.assert_array_equal(table["channel"], range(8))
    assert table.attrs["samples"] == 400
    assert table["explained_variance"].attrs["units"] == "activation^2"
    assert "vectors over its units" in table["direction"].attrs["description"]


def test_principal_components__fewer_are_the_first_of_all():
    tree = tree_of(separated(), chunks=(70, 8))
    every, some = (principal_components(tree, "x", components=n) for n in (None, 3))

    for name in ("component", "explained_variance", "explained_variance_ratio"):
        np.testing.assert_array_equal(some[name], every[name][:3])


@pytest.mark.parametrize("chunks", [(1, 8), (7, 8), (50, 1), (399, 5), (400, 8)])
def test_principal_components__any_chunking_gives_the_same(chunks):
    values = separated().astype(np.float32)
    whole = principal_components(tree_of(values), "x")
    cut = principal_components(tree_of(values, chunks=chunks), "x")

    for name in ("component", "explained_variance", "explained_variance_ratio", "mean"):
        np.testing.assert_allclose(cut[name], whole[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_principal_components__of_a_store(tmp_path, scheduler):
    contents = make_contents()
    columns = make_columns(contents)
    write_store(tmp_path / "a.zarr", contents, columns)
    acts = open_activations(tmp_path / "a.zarr")
    assert acts["relu1"]["activation"].data.numblocks[0] > 4
    with dask.config.set(scheduler=scheduler):
        table = principal_components(acts, "relu1")

    covariance = np.cov(columns["relu1/activation"].T.astype(np.float64), bias=True)
    rows, variance = table["component"].to_numpy(), table["explained_variance"].to_numpy()
    np.testing.assert_allclose((rows.T * variance) @ rows, covariance, atol=1e-12)
    assert (np.diff(variance) <= 0).all()
    assert_orthonormal(rows)


def test_principal_components__turn_with_the_activations():
    values = separated()
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(8, 8)))[0]
    one, other = (principal_components(tree_of(v), "x") for v in (values, values @ turn))

    np.testing.assert_allclose(other["explained_variance"], one["explained_variance"], rtol=1e-9)
    cosines = (one["component"].to_numpy() @ turn * other["component"].to_numpy()).sum(axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int16])
def test_principal_components__accumulates_in_float64(dtype):
    values = np.random.default_rng(0).integers(1000, 1010, (3000, 4)).astype(dtype)
    table = principal_components(tree_of(values, chunks=(700, 4)), "x")

    expected = np.linalg.eigvalsh(np.cov(values.T.astype(np.float64), bias=True))[::-1]
    np.testing.assert_allclose(table["explained_variance"], expected, rtol=1e-12)
    np.testing.assert_allclose(table["mean"], values.astype(np.float64).mean(axis=0), rtol=1e-14)


def test_principal_components__far_from_zero_keeps_the_variance():
    values = separated()
    near, far = (
        principal_components(tree_of(v, chunks=(60, 8)), "x") for v in (values, values + 2.0**20)
    )

    np.testing.assert_allclose(
        far["explained_variance"][:4], near["explained_variance"][:4], rtol=1e-8
    )


def test_principal_components__constant_units_have_no_part_in_them():
    values = separated()
    values[:, 2], values[:, 5] = 0.1, -3e7  # 0.1 has no exact sum
    table = principal_components(tree_of(values, chunks=(70, 8)), "x")

    np.testing.assert_array_equal(table["mean"][[2, 5]], [0.1, -3e7])
    np.testing.assert_allclose(table["explained_variance"][6:], 0, atol=1e-15)
    np.testing.assert_allclose(table["component"][:6, [2, 5]], 0, atol=1e-12)
    assert_orthonormal(table["component"].to_numpy())


def test_principal_components__of_a_layer_that_never_changes():
    table = principal_components(tree_of(np.full((9, 4), 0.3), chunks=(2, 4)), "x")

    np.testing.assert_array_equal(table["explained_variance"], 0)
    assert table["explained_variance_ratio"].isnull().all()
    assert_orthonormal(table["component"].to_numpy())


def test_principal_components__fewer_samples_than_units():
    values = np.random.default_rng(0).normal(size=(5, 60))
    table = principal_components(tree_of(values, chunks=(2, 60)), "x")

    variance = table["explained_variance"].to_numpy()
    assert (variance[:4] > 0.1).all()
    np.testing.assert_allclose(variance[4:], 0, atol=1e-12)
    assert (variance >= 0).all()
    assert_orthonormal(table["component"].to_numpy())


def test_principal_components__keep_the_channels_of_the_units_left():
    tree = tree_of(separated(), chunks=(70, 8))
    tree["x"] = tree["x"].isel(unit=[1, 4, 6])
    table = principal_components(tree, "x")

    np.testing.assert_array_equal(table["channel"], [1, 4, 6])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
def test_principal_components__refuses_what_is_not_finite(bad):
    values = separated()
    values[333, 5] = bad
    with pytest.raises(
        TableError,
        match=r"layer 'x' has activations that are NaN, infinite or too large to be squared "
        r"\(channel 5\), but .*; leave these units out of the layer's 'activation' with isel",
    ):
        principal_components(tree_of(values, chunks=(70, 4)), "x")


def test_principal_components__refuses_means_too_far_apart_between_blocks():
    values = np.repeat([[1.0], [1e200]], 4, axis=0) + np.zeros((8, 7))
    with pytest.raises(TableError, match=r"\(channel 0, 1, 2, 3, 4 and others\)"):
        principal_components(tree_of(values, chunks=(4, 7)), "x")


@pytest.mark.parametrize("samples", [0, 1])
def test_principal_components__refuses_too_few_samples(samples):
    tree = tree_of(separated()[:samples], ranges=False)
    with pytest.raises(TableError, match=f"layer 'x' has .* of {samples} samples, but .* least 2"):
        principal_components(tree, "x")


def test_principal_components__refuses_an_unknown_layer():
    tree = activation_tree({"relu1": np.eye(3), "relu2": np.eye(3)}, range(3))
    with pytest.raises(LayerError, match="the activations have no layer 'relu'; did you mean"):
        principal_components(tree, "relu")


@pytest.mark.parametrize("components", [0, -1, 9])
def test_principal_components__refuses_a_number_of_components(components):
    match = f"components is {components}, but must be from 1 to 8, the units of layer 'x'"
    with pytest.raises(ArgumentError, match=match):
        principal_components(tree_of(separated()), "x", components=components)


def test_principal_components__of_all_layers_are_those_of_each():
    layers = {"a": separated(units=3), "b": separated(units=6, seed=1)}
    tree = activation_tree(layers, np.zeros(400, int), chunks=(70, 2))

    tables = principal_components(tree)
    most = principal_components(tree, components=4)

    assert list(tables) == list(most) == ["a", "b"]
    for layer, table in tables.items():
        xr.testing.assert_identical(table, principal_components(tree, layer))
    assert [table.sizes["direction"] for table in most.values()] == [3, 4]
    xr.testing.assert_identical(most["b"], principal_components(tree, "b", components=4))


def test_principal_components__of_all_layers_check_every_size_first():
    tree = activation_tree({"a": np.eye(3), "b": np.eye(3)}, range(3))
    with pytest.raises(ArgumentError, match="components is 0, but must be from 1 to 3"):
        principal_components(tree, components=0)
