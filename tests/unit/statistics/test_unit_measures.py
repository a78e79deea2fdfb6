import numpy as np
import pytest
import xarray as xr

from activation_trees import activation_tree
from unitlens.errors import TableError
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.measures.class_correlation import class_correlation
from unitlens.statistics.measures.class_selectivity import ccmas, class_selectivity
from unitlens.statistics.measures.detection import (
    average_precision,
    informedness,
    roc_auc,
)
from unitlens.statistics.measures.information import mutual_information
from unitlens.statistics.measures.sparsity import sparsity
from unitlens.statistics.measures.top_precision import top_precision
from unitlens.statistics.measures.unit_measures import unit_measures
from unitlens.statistics.measures.variance import empirical_mean, empirical_variance
from unitlens.variables.checks import validate

DETECTORS = (
    ccmas,
    roc_auc,
    informedness,
    average_precision,
    class_correlation,
    sparsity,
    top_precision,
)


def split_statistics(seed, samples=60, units=(3, 2)):
    rng = np.random.default_rng(seed)
    layers = {f"relu{i}": np.maximum(rng.normal(size=(samples, n)), 0) for i, n in enumerate(units)}
    layers["relu0"][:, 1] = 0
    return class_statistics(activation_tree(layers, np.arange(samples) % 3))


def norms(layers, channels, values):
    return xr.DataArray(
        values, dims="unit", coords={"layer": ("unit", layers), "channel": ("unit", channels)}
    )


def test_unit_measures__each_from_its_split():
    test, train = split_statistics(0), split_statistics(1, samples=90)
    l1 = norms(["relu1", "relu0", "relu0", "other"], [1, 2, 0, 0], [4.0, 2.0, 1.0, 9.0])
    table = unit_measures(test, train, l1, rest="samples", bins=5)
    validate(table, "unit_measures")
    selectivity = class_selectivity(test, rest="samples")
    for name in ("selectivity", "preferred_class", "dead", "undefined"):
        xr.testing.assert_equal(table[name], selectivity[name])
    information = mutual_information(test, bins=5)
    for measured in (information, *(measure(test) for measure in DETECTORS)):
        for name in measured:
            xr.testing.assert_equal(table[name], measured[name])
    np.testing.assert_array_equal(table["mean"], empirical_mean(train)["mean"])
    np.testing.assert_array_equal(table["variance"], empirical_variance(train)["variance"])
    np.testing.assert_array_equal(table["class_mean"], test["class_mean"])
    np.testing.assert_array_equal(table["l1_norm"], [1, np.nan, 2, np.nan, 4])
    assert table["dead"].values.tolist() == [False, True, False, False, False]
    assert (table.attrs["rest"], table.attrs["bins"]) == ("samples", 5)
    assert table["selectivity"].attrs["units"] == "1"


def test_unit_measures__survives_netcdf(tmp_path):
    test = split_statistics(0)
    table = unit_measures(test, test, norms(["relu0"], [0], [1.0]))
    table.to_netcdf(tmp_path / "measures.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "measures.nc", engine="h5netcdf") as read:
        validate(read, "unit_measures")
        xr.testing.assert_equal(read.load(), table)


def test_unit_measures__refuses_other_units():
    test, other = split_statistics(0), split_statistics(1, units=(3, 3))
    with pytest.raises(TableError, match=r"different units \(5 and 6, first difference: .*relu1"):
        unit_measures(test, other, norms(["relu0"], [0], [1.0]))
    turned = test.isel(unit=slice(None, None, -1))
    with pytest.raises(TableError, match=r"first difference: .*relu0"):
        unit_measures(test, turned, norms(["relu0"], [0], [1.0]))
    with pytest.raises(TableError, match="no coordinate 'channel', by which units are matched"):
        unit_measures(test, test, norms(["relu0"], [0], [1.0]).drop_vars("channel"))


def test_unit_measures__matches_norms_by_name_and_refuses_two_of_a_unit():
    test = split_statistics(0)
    twice = norms(["relu0", "relu0"], [0, 0], [1.0, 2.0])
    with pytest.raises(TableError, match="unit layer = relu0, channel = 0 more than once"):
        unit_measures(test, test, twice)
