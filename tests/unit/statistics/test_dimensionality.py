import dask
import numpy as np
import pytest
import xarray as xr

from activation_trees import activation_tree
from small_stores import make_columns, make_contents, write_store
from unitlens.errors import LayerError, TableError
from unitlens.statistics.subspaces.dimensionality import layer_dimensionality
from unitlens.store.reader import open_activations
from unitlens.variables.checks import validate


def tree_of(layers, **options):
    samples = len(next(iter(layers.values())))
    return activation_tree(layers, np.zeros(samples, int), **options)


def by_eigenvalues(values):
    """Both measures from NumPy's eigenvalues of the covariance."""
    eigenvalues = np.linalg.eigvalsh(np.cov(values.T.astype(np.float64), bias=True).reshape(
        values.shape[1], values.shape[1]))[::-1]  # fmt: skip
    share = np.cumsum(eigenvalues) / eigenvalues.sum()
    components = next(k + 1 for k, held in enumerate(share) if held >= 0.95)
    return eigenvalues.sum() ** 2 / (eigenvalues**2).sum(), components


def test_layer_dimensionality__equals_the_eigenvalues_in_memory():
    rng = np.random.default_rng(0)
    layers = {
        f"relu{units}": np.maximum(rng.normal(size=(300, 6)) @ rng.normal(size=(6, units)), 0)
        for units in (1, 5, 40)
    }
    table = layer_dimensionality(tree_of(layers, chunks=(70, 3)))
    validate(table, "layer_dimensionality")
    assert table["layer"].values.tolist() == ["relu1", "relu5", "relu40"]
    assert table["depth"].values.tolist() == [0, 1, 2]
    for values, ratio, number in zip(
        layers.values(), table["participation_ratio"], table["components_95"], strict=True
    ):
        expected = by_eigenvalues(values)
        np.testing.assert_allclose(ratio, expected[0], rtol=1e-9)
        assert number == expected[1]


def test_layer_dimensionality__by_hand():
    """Four uncorrelated units of equal variance; the same with one unit three times as wide."""
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * 4)).reshape(4, 16).T
    table = layer_dimensionality(tree_of({"even": signs, "uneven": signs * [3, 1, 1, 1]}))
    np.testing.assert_allclose(table["participation_ratio"], [4, (9 + 3) ** 2 / (81 + 3)])
    assert table["components_95"].values.tolist() == [4, 4]


def test_layer_dimensionality__of_one_direction():
    values = np.outer(np.arange(10.0), [1, 2, 3])
    table = layer_dimensionality(tree_of({"line": values, "dead too": values * [0, 1, 0]}))
    np.testing.assert_allclose(table["participation_ratio"], 1)
    assert table["components_95"].values.tolist() == [1, 1]


def test_layer_dimensionality__turning_and_scaling_keep_it():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 12)) * 1.5 ** -np.arange(12)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    layers = {"one": values, "turned": values @ turn, "scaled": 1e6 * values + 7}
    table = layer_dimensionality(tree_of(layers))
    np.testing.assert_allclose(
        table["participation_ratio"], table["participation_ratio"][0], rtol=1e-9
    )
    assert len(set(table["components_95"].values.tolist())) == 1


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_layer_dimensionality__of_a_store(tmp_path, scheduler):
    contents = make_contents()
    columns = make_columns(contents)
    write_store(tmp_path / "a.zarr", contents, columns)
    acts = open_activations(tmp_path / "a.zarr")
    with dask.config.set(scheduler=scheduler):
        table = layer_dimensionality(acts)
    for layer in table["layer"].values:
        ratio, components = by_eigenvalues(columns[f"{layer}/activation"])
        of_layer = table.sel(layer=layer)
        np.testing.assert_allclose(of_layer["participation_ratio"], ratio, rtol=1e-9)
        assert of_layer["components_95"] == components


def test_layer_dimensionality__undefined_cases():
    values = np.random.default_rng(0).random((20, 3))
    spoilt, endless = values.copy(), values.copy()
    spoilt[4, 1], endless[19, 2] = np.nan, np.inf
    layers = {"nan": spoilt, "inf": endless, "same": values * 0 + 0.1, "fine": values}
    table = layer_dimensionality(tree_of(layers, chunks=(6, 2), ranges=False))
    np.testing.assert_array_equal(table["participation_ratio"].isnull(), [1, 1, 1, 0])
    assert table["components_95"].values.tolist()[:3] == [-1, -1, -1]
    assert table["components_95"][3] > 1
    for samples in (0, 1):
        few = layer_dimensionality(tree_of({"x": values[:samples]}, ranges=False))
        assert np.isnan(few["participation_ratio"].item())
        assert few["components_95"].item() == -1


def test_layer_dimensionality__survives_netcdf(tmp_path):
    table = layer_dimensionality(tree_of({"x": np.random.default_rng(0).random((9, 3))}))
    table.to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    assert (tmp_path / "d.nc").stat().st_size


def test_layer_dimensionality__refuses_what_has_no_layers():
    tree = tree_of({"x": np.ones((3, 1))})
    del tree["x"]
    with pytest.raises(TableError, match="the activations have no layers"):
        layer_dimensionality(tree)


def test_layer_dimensionality__of_one_layer_is_its_row_of_all():
    rng = np.random.default_rng(0)
    tree = tree_of({"a": rng.random((20, 3)), "b": rng.random((20, 5))}, chunks=(6, 2))

    one = layer_dimensionality(tree, "b")

    xr.testing.assert_identical(one, layer_dimensionality(tree).sel(layer=["b"]))
    with pytest.raises(LayerError, match="the activations have no layer 'c'; known: a, b"):
        layer_dimensionality(tree, "c")
