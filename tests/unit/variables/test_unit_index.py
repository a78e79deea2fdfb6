"""Units are selected and aligned by what names them, never by their position."""

import numpy as np
import pytest
import xarray as xr

import unitlens as ul
from networks_by_hand import mlp, random_pairs
from unitlens.errors import TableError
from unitlens.variables.unit_index import index_units, unit_coordinates

FIRST = [("relu1", 0, 2), ("relu2", 1, 3)]


def units(layers=FIRST, start=0.0):
    table = xr.Dataset(coords=unit_coordinates(layers))
    values = start + np.arange(table.sizes["unit"], dtype=float)
    return index_units(table.assign(value=("unit", values)))


def named(table):
    """Return the value of each unit by its name."""
    names = zip(table["layer"].values, table["channel"].values.tolist(), strict=True)
    return dict(zip(names, table.values.tolist(), strict=True))


def test_difference__is_of_equal_units_in_whatever_order():
    all_units = units()
    some, others = all_units.isel(unit=[4, 0, 2]), all_units.isel(unit=[3, 0, 4]) * 10

    assert named(some["value"] - others["value"]) == {("relu2", 2): -36.0, ("relu1", 0): 0.0}


def test_merge__keeps_the_units_of_either_table():
    one, other = units().isel(unit=[0, 1, 3]), units().isel(unit=[4, 1]).rename(value="other")

    both = xr.merge([one, other], join="outer", compat="no_conflicts")
    inner = xr.merge([one, other], join="inner", compat="no_conflicts")

    assert list(named(both["value"])) == [("relu1", 0), ("relu1", 1), ("relu2", 1), ("relu2", 2)]
    np.testing.assert_array_equal(both["other"], [np.nan, 1, np.nan, 4])
    assert named(inner["other"]) == {("relu1", 1): 1.0}


def test_align__with_other_channels_of_a_layer():
    """The channels of a sample of a layer are not 0, 1, 2 ..."""
    sample = units([("relu2", 1, np.array([2, 0]))], start=100.0)

    total = units()["value"] + sample["value"]

    assert named(total) == {("relu2", 0): 2 + 101.0, ("relu2", 2): 4 + 100.0}


def test_selection__by_any_name_keeps_the_dimension():
    assert units().sel(layer="relu2", channel=[2, 0])["value"].values.tolist() == [2, 4]
    assert units().sel(channel=0).sizes["unit"] == 2
    with pytest.raises(TableError, match="no unit has layer = 'relu3'; did you mean 'relu"):
        units().sel(layer="relu3")


def test_index__survives_a_file(tmp_path):
    from unitlens.store.backend.netcdf import read_netcdf, write_netcdf

    write_netcdf(units(), tmp_path / "units.nc")

    assert named(read_netcdf(tmp_path / "units.nc")["value"] - units()["value"])[("relu1", 1)] == 0


def test_selection__of_one_network_is_combined_with_a_table_of_that_network():
    names = {"run": ("unit", ["a"] * 5 + ["b"] * 5), "epoch": ("unit", [3] * 5 + [4] * 5)}
    coordinates = unit_coordinates([*FIRST, *FIRST])
    runs = index_units(xr.Dataset({"value": ("unit", np.arange(10.0))}, coordinates | names))

    chosen = runs.sel(run="b")
    assert chosen["run"].values.tolist() == ["b"] * 5
    assert list(named(chosen["value"] - units()["value"]).values()) == [5.0] * 5
    assert set(runs.sel(run=["b"]).xindexes) == {"run", "epoch", "layer", "channel"}
    assert chosen.sel(layer="relu1", channel=1)["value"].item() == 6.0


def test_data_frame__has_the_names_of_units_where_the_index_is_dropped():
    """As the docstring of `Results.units` says; xarray leaves out the coordinates of the index."""
    names = {"run": ("unit", ["a"] * 5), "epoch": ("unit", [3] * 5)}
    runs = xr.Dataset({"value": ("unit", np.arange(5.0))}, unit_coordinates(FIRST) | names)
    runs = index_units(runs.assign_coords({"class": [0, 1]}))
    for table in (runs, runs.sel(run="a")):
        own = table[["value"]].drop_indexes(table.xindexes, errors="ignore")
        frame = own.to_dataframe()

        assert len(frame) == 5
        assert frame["layer"].tolist() == ["relu1"] * 2 + ["relu2"] * 3
        assert frame["channel"].tolist() == [0, 1, 0, 1, 2]
        assert frame["run"].tolist() == ["a"] * 5
    single = units()[["value"]].drop_indexes(["layer", "channel"]).to_dataframe()
    assert set(single.columns) == {"value", "layer", "depth", "channel"}


def test_units__that_are_there_twice_or_named_otherwise_are_refused():
    twice = xr.concat([units(), units()], "unit")
    with pytest.raises(TableError, match="unit layer = relu1, channel = 0 more than once"):
        _ = units()["value"].isel(unit=[0]) + twice["value"]
    runs = index_units(
        xr.Dataset(
            {"value": ("unit", [1.0])},
            unit_coordinates([("relu1", 0, 1)]) | {"run": ("unit", ["a"]), "epoch": ("unit", [3])},
        )
    )
    with pytest.raises(xr.AlignmentError, match="conflicting indexes"):
        _ = runs["value"] + units()["value"]


def test_results__of_different_samples_of_units_are_combined_by_name():
    model, data = mlp(), random_pairs(40, 6)
    one, other = (ul.unit_ablation(model, data, units=5, seed=seed) for seed in (0, 3))
    every = ul.unit_ablation(model, data)
    common = set(named(one["loss_increase"])) & set(named(other["loss_increase"]))

    difference = one["loss_increase"] - other["loss_increase"]
    assert set(named(difference)) == common
    np.testing.assert_allclose(difference, 0, atol=1e-12)
    assert (
        named(every["loss_increase"] - one["loss_increase"]).keys()
        == named(one["loss_increase"]).keys()
    )


def test_results__all_bear_the_index(tmp_path):
    model, data = mlp(), random_pairs(40, 6)
    ul.record_activations(model, data, tmp_path / "acts.zarr")
    acts = ul.open_activations(tmp_path / "acts.zarr")
    stats = ul.class_statistics(acts)
    measures = (
        ul.class_selectivity,
        ul.ccmas,
        ul.mutual_information,
        ul.roc_auc,
        ul.informedness,
        ul.average_precision,
        ul.class_correlation,
        ul.sparsity,
        ul.top_precision,
        ul.empirical_variance,
    )
    tables = [stats, ul.class_means(acts), ul.network_statistics(model, data)]
    tables += [ul.unit_ablation(model, data), *(measure(stats) for measure in measures)]

    for table in tables:
        assert {"layer", "channel"} <= set(table.xindexes)
        assert table.sel(channel=1).sizes["unit"] == len(set(stats["layer"].values))
    for table in ul.principal_components(acts).values():
        rows = ul.random_directions(table, directions=1)
        assert table.sel(channel=1).sizes["unit"] == rows.sel(channel=1).sizes["unit"] == 1
