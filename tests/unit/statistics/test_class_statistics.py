import tracemalloc

import dask
import numpy as np
import pytest
import xarray as xr

from activation_trees import activation_tree
from histograms_by_hand import naive_histogram
from unitlens.errors import ArgumentError, TableError
from unitlens.statistics.class_statistics import class_statistics
from unitlens.variables.checks import validate

BY_CLASS = ("class_mean", "class_variance", "class_minimum", "class_maximum", "class_nonzero")


def relu_data(samples=200, units=7, classes=4, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    values = rng.normal(size=(classes, units))[labels] + rng.normal(size=(samples, units))
    return np.maximum(values, 0).astype(dtype), labels


def naive_numbers(values, labels, classes):
    """Count and moments by plain loops over classes and units."""
    shape = (values.shape[1], len(classes))
    table = {name: np.full(shape, np.nan) for name in BY_CLASS}
    for u in range(values.shape[1]):
        for c, label in enumerate(classes):
            column = values[labels == label, u].astype(np.float64)
            if column.size:
                table["class_mean"][u, c] = sum(column) / len(column)
                deviations = [(x - table["class_mean"][u, c]) ** 2 for x in column]
                table["class_variance"][u, c] = sum(deviations) / len(column)
                table["class_minimum"][u, c] = min(column)
                table["class_maximum"][u, c] = max(column)
                table["class_nonzero"][u, c] = np.mean([x != 0 for x in column])
    return table


def assert_same(one, other):
    xr.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(one["histogram"], other["histogram"])


def test_class_statistics__equals_a_naive_loop():
    values, labels = relu_data()
    stats = class_statistics(activation_tree({"relu1": values}, labels, chunks=(33, 3)))
    validate(stats, "class_statistics")
    for name, expected in naive_numbers(values, labels, range(4)).items():
        np.testing.assert_allclose(stats[name], expected, rtol=1e-12, err_msg=name)
    np.testing.assert_array_equal(stats["count"], np.bincount(labels))
    np.testing.assert_array_equal(stats["class"], range(4))
    assert stats.attrs["samples"] == 200


@pytest.mark.parametrize("shift", [-100.0, -2.0, -0.5, 0.0, 0.5, 100.0])
def test_class_statistics__histogram_follows_the_edges(shift):
    values = np.random.default_rng(1).normal(size=(300, 3)) * [1, 10, 0.01] + shift
    values[:20] = np.round(values[:20])
    labels = np.arange(300) % 3
    stats = class_statistics(activation_tree({"x": values}, labels, chunks=(77, 2)), fine_bins=9)
    edges = stats["bin_edges"].to_numpy()
    assert edges.shape == (3, 11)
    assert (np.diff(edges) >= 0).all()
    np.testing.assert_array_equal(np.minimum(values.min(axis=0), 0), np.minimum(edges[:, 0], 0))
    np.testing.assert_array_equal(np.maximum(values.max(axis=0), 0), np.maximum(edges[:, -1], 0))
    expected = naive_histogram(values, labels, range(3), edges)
    np.testing.assert_array_equal(stats["histogram"], expected)


def test_class_statistics__edges_of_a_rectified_a_signed_and_a_lifted_unit():
    values = np.array([[0, -1, 2, -2, 0, 3], [4, 3, 4, -1, 0, 3], [1, 0, 3, -1, 0, 3]], float)
    stats = class_statistics(activation_tree({"x": values}, [0, 0, 1]), fine_bins=4)
    expected = [
        [0, 0, 1, 2, 3, 4],  # zero's bin first, of width 0
        [-1, 0, 0, 1, 2, 3],  # bins shared out in proportion to the reach of each sign
        [0, 2, 2.5, 3, 3.5, 4],  # zero's bin fills the gap
        [-2, -1.75, -1.5, -1.25, -1, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 3, 3, 3, 3, 3],
    ]
    np.testing.assert_allclose(stats["bin_edges"], expected, rtol=1e-15)
    np.testing.assert_array_equal(stats["histogram"].sum("class")[0], [1, 1, 0, 0, 1])
    np.testing.assert_array_equal(stats["histogram"].sum("class")[1], [1, 1, 0, 0, 1])
    np.testing.assert_array_equal(stats["histogram"].sum("class")[2], [0, 1, 1, 0, 1])
    np.testing.assert_array_equal(stats["histogram"].sum("class")[3], [1, 0, 0, 2, 0])
    np.testing.assert_array_equal(stats["histogram"].sum("class")[4], [3, 0, 0, 0, 0])
    np.testing.assert_array_equal(stats["histogram"].sum("class")[5], [0, 3, 0, 0, 0])
    np.testing.assert_array_equal(stats["class_variance"][5], [0, 0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_class_statistics__accumulates_in_float64(dtype):
    values = np.full((5000, 1), 1000.5, dtype)
    values[::2] = 1000
    stats = class_statistics(activation_tree({"x": values}, np.zeros(5000, int), chunks=(900, 1)))
    assert stats["class_mean"].dtype == np.float64
    np.testing.assert_allclose(stats["class_mean"], 1000.25, rtol=1e-14)
    np.testing.assert_allclose(stats["class_variance"], 0.0625, rtol=1e-12)


def test_class_statistics__far_from_zero_keeps_the_variance():
    values = 1e8 + np.random.default_rng(0).normal(size=(1000, 2))
    labels = np.arange(1000) % 2
    stats = class_statistics(activation_tree({"x": values}, labels, chunks=(100, 1)))
    expected = [[values[labels == c, u].var() for c in range(2)] for u in range(2)]
    np.testing.assert_allclose(stats["class_variance"], expected, rtol=1e-7)


def test_class_statistics__without_stored_ranges_reads_them():
    values, labels = relu_data()
    stored = class_statistics(activation_tree({"x": values}, labels, chunks=(50, 7)))
    computed = class_statistics(
        activation_tree({"x": values}, labels, chunks=(50, 7), ranges=False)
    )
    xr.testing.assert_identical(stored, computed)


def test_class_statistics__refuses_a_range_that_does_not_hold():
    values, labels = relu_data()
    tree = activation_tree({"relu1": values}, labels)
    doubled = tree["relu1"].to_dataset().assign(activation=tree["relu1"]["activation"] * 2)
    tree["relu1"] = xr.DataTree(doubled)
    with pytest.raises(TableError, match=r"'relu1' has a unit with activations from 0 to .* drop"):
        class_statistics(tree)


def test_class_statistics__on_a_selection_of_samples():
    values, labels = relu_data()
    tree = activation_tree({"x": values}, labels, chunks=(64, 7))
    stats = class_statistics(tree.isel(sample=slice(20, 90)))
    expected = naive_numbers(values[20:90], labels[20:90], range(4))
    np.testing.assert_allclose(stats["class_mean"], expected["class_mean"], rtol=1e-12)
    assert stats["histogram"].sum() == 70 * 7


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("ranges", [True, False])
def test_class_statistics__non_finite_unit_is_nan_everywhere(bad, ranges):
    values, labels = relu_data()
    spoilt = values.copy()
    spoilt[150, 2] = bad
    clean = class_statistics(activation_tree({"x": values}, labels, chunks=(64, 4)))
    stats = class_statistics(activation_tree({"x": spoilt}, labels, chunks=(64, 4), ranges=ranges))
    for name in (*BY_CLASS, "bin_edges"):
        assert stats[name].isel(unit=2).isnull().all(), name
    assert stats["histogram"].isel(unit=2).sum() == 0
    others = [0, 1, 3, 4, 5, 6]
    assert_same(stats.isel(unit=others), clean.isel(unit=others))


def test_class_statistics__non_finite_unit_that_the_stored_range_hides():
    values, labels = relu_data()
    tree = activation_tree({"x": values}, labels)
    spoilt = tree["x"].to_dataset()
    spoilt["activation"] = spoilt["activation"].copy()
    spoilt["activation"][0, 0] = np.nan
    tree["x"] = xr.DataTree(spoilt)
    assert class_statistics(tree)["class_mean"].isel(unit=0).isnull().all()


def test_class_statistics__classes_asked_for():
    values, labels = relu_data(classes=3)
    labels = labels * 10
    tree = activation_tree({"x": values}, labels, chunks=(50, 7))
    np.testing.assert_array_equal(class_statistics(tree)["class"], [0, 10, 20])
    stats = class_statistics(tree, classes=[20, 0, 10, 4])
    np.testing.assert_array_equal(stats["class"], [0, 4, 10, 20])
    np.testing.assert_array_equal(stats["count"].sel({"class": 4}), 0)
    for name in BY_CLASS:
        assert stats[name].sel({"class": 4}).isnull().all()
    assert class_statistics(tree, classes=25).sizes["class"] == 25


@pytest.mark.parametrize(
    ("classes", "match"),
    [
        (3, r"label 3 of sample 1 is not among the classes asked for \(0 to 2\)"),
        ([0, 5], r"label 3 of sample 1 is not among the classes asked for \(0, 5\)"),
        (0, "classes is 0, but a number of classes must be a whole number from 1"),
        ([0, 0, 3], r"classes is \[0, 0, 3\], but must be a number of classes or distinct labels"),
        ([-1, 0, 3], "distinct labels from 0"),
        ([], "distinct labels from 0"),
    ],
)
def test_class_statistics__refuses_classes(classes, match):
    tree = activation_tree({"x": np.ones((3, 2))}, [0, 3, 0])
    with pytest.raises(ArgumentError, match=match):
        class_statistics(tree, classes=classes)


def test_class_statistics__refuses_labels_out_of_range():
    values = np.ones((3, 2))
    with pytest.raises(TableError, match="label -1 of sample 2 is out of range: labels run from 0"):
        class_statistics(activation_tree({"x": values}, [0, 1, -1]))
    with pytest.raises(TableError, match=r"label 10 of sample 1 .* from 0 to 9, as the attribute"):
        class_statistics(activation_tree({"x": values}, [0, 10, 1], classes=10))
    with pytest.raises(TableError, match=r"dtype float64, but must have .* an integer type"):
        class_statistics(activation_tree({"x": values}, [0.0, 1.0, 1.0]))
    with pytest.raises(TableError, match="no coordinate 'label' at their root"):
        class_statistics(xr.DataTree.from_dict({"/x": xr.Dataset()}))


def test_class_statistics__refuses_other_arguments():
    tree = activation_tree({"x": np.ones((3, 2))}, [0, 1, 1])
    with pytest.raises(ArgumentError, match="fine_bins is 1, but must be at least 2"):
        class_statistics(tree, fine_bins=1)
    with pytest.raises(TableError, match="have no layers: no child of the root holds a variable"):
        class_statistics(activation_tree({}, [0, 1]))
    tree["x"] = xr.DataTree(xr.Dataset({"activation": (("sample", "y"), np.ones((3, 2)))}))
    with pytest.raises(
        TableError, match=r"'activation' of layer 'x' has dimensions .* reduce feature maps"
    ):
        class_statistics(tree)


def test_class_statistics__units_in_the_order_of_the_forward_pass():
    values, labels = relu_data(units=6)
    tree = activation_tree({"layer1.0.relu_2": values[:, :2], "a": values[:, 2:]}, labels)
    shuffled = xr.DataTree.from_dict(
        {"/": tree.to_dataset(), "/a": tree["a"].ds, "/layer1.0.relu_2": tree["layer1.0.relu_2"].ds}
    )
    stats = class_statistics(shuffled)
    assert stats["layer"].values.tolist() == ["layer1.0.relu_2"] * 2 + ["a"] * 4
    assert stats["depth"].values.tolist() == [0, 0, 1, 1, 1, 1]
    assert stats["channel"].values.tolist() == [0, 1, 0, 1, 2, 3]
    np.testing.assert_allclose(
        stats["class_mean"], naive_numbers(values, labels, range(4))["class_mean"], rtol=1e-12
    )


def test_class_statistics__keeps_the_channels_of_selected_units():
    values, labels = relu_data()
    tree = activation_tree({"x": values}, labels, chunks=(64, 7))
    stats = class_statistics(tree.isel(unit=[5, 2]))
    assert stats["channel"].values.tolist() == [5, 2]
    whole = class_statistics(tree)
    np.testing.assert_array_equal(stats["class_mean"], whole["class_mean"].isel(unit=[5, 2]))


def test_class_statistics__one_sample():
    stats = class_statistics(activation_tree({"x": np.array([[2.0, 0.0]])}, [3]))
    np.testing.assert_array_equal(stats["class"], [3])
    np.testing.assert_array_equal(stats["class_mean"], [[2], [0]])
    np.testing.assert_array_equal(stats["class_variance"], [[0], [0]])
    np.testing.assert_array_equal(stats["class_nonzero"], [[1], [0]])


@pytest.mark.parametrize("classes", [None, 3])
def test_class_statistics__no_samples(classes):
    tree = activation_tree({"x": np.empty((0, 2))}, np.empty(0, int), ranges=False)
    stats = class_statistics(tree, classes=classes)
    assert stats.sizes["class"] == (classes or 0)
    assert stats["class_mean"].isnull().all()
    assert stats["count"].sum() == 0
    assert stats["histogram"].sum() == 0


def test_class_statistics__more_classes_than_rows_in_cache():
    """A block of many classes, with few samples of each class in a slab."""
    values, labels = relu_data(samples=3000, units=40, classes=500)
    stats = class_statistics(activation_tree({"x": values}, labels, chunks=(1000, 40)))
    classes = np.unique(labels)
    expected = naive_numbers(values[:, :2], labels, classes)
    np.testing.assert_allclose(stats["class_mean"][:2], expected["class_mean"], rtol=1e-12)
    np.testing.assert_array_equal(
        stats["histogram"].sum("bin"), np.tile(stats["count"].to_numpy(), (40, 1))
    )


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_class_statistics__on_any_scheduler(scheduler):
    values, labels = relu_data()
    whole = class_statistics(activation_tree({"x": values}, labels))
    with dask.config.set(scheduler=scheduler):
        parts = class_statistics(activation_tree({"x": values}, labels, chunks=(13, 2)))
    assert_same(parts, whole)


def test_class_statistics__on_processes():
    values, labels = relu_data()
    whole = class_statistics(activation_tree({"x": values}, labels))
    with dask.config.set(scheduler="processes", num_workers=1):
        parts = class_statistics(activation_tree({"x": values}, labels, chunks=(100, 7)))
    assert_same(parts, whole)


def test_class_statistics__needs_little_memory_beside_the_table(monkeypatch):
    module = "unitlens.statistics.class_statistics"
    rng, labels = np.random.default_rng(0), np.arange(60) % 20
    layers = {f"relu{i}": np.maximum(rng.normal(size=(60, 300)), 0) for i in range(8)}
    tree = activation_tree(layers, labels, chunks=(60, 150))
    at_once = class_statistics(tree)
    monkeypatch.setattr(f"{module}._BYTES_AT_A_TIME", 2**20)

    tracemalloc.start()
    with dask.config.set(scheduler="synchronous"):
        in_turn = class_statistics(tree)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    xr.testing.assert_identical(in_turn, at_once)
    assert at_once.nbytes > 2**24
    assert peak < 1.4 * at_once.nbytes  # all states at once and the table: more than twice


def test_class_statistics__reads_each_block_once():
    values, labels = relu_data()
    reads = []

    def read(block):
        reads.append(block.shape)
        return block

    tree = activation_tree({"x": values}, labels, chunks=(50, 7))
    counted = tree["x"].to_dataset()
    counted["activation"] = counted["activation"].copy(
        data=counted["activation"].data.map_blocks(read, dtype=values.dtype, meta=values[:0])
    )
    tree["x"] = xr.DataTree(counted)
    class_statistics(tree)
    assert reads == [(50, 7)] * 4


def test_class_statistics__survives_netcdf(tmp_path):
    values, labels = relu_data()
    stats = class_statistics(activation_tree({"layer1.0.relu_2": values}, labels))
    stats.to_netcdf(tmp_path / "stats.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "stats.nc", engine="h5netcdf") as read:
        validate(read, "class_statistics")
        xr.testing.assert_equal(read.load(), stats)


def test_class_statistics__keeps_no_strongest_sample_of_a_unit_with_nan():
    values, labels = relu_data()
    values[3, 1] = np.nan
    stats = class_statistics(activation_tree({"x": values}, labels, chunks=(64, 7)), strongest=4)
    assert (stats["top_sample"][1] == -1).all()
    assert (stats["top_class"][1] == -1).all()
    assert stats["top_activation"][1].isnull().all()
    assert (stats["top_sample"].drop_isel(unit=1) >= 0).all()


def test_class_statistics__refuses_to_keep_none():
    values, labels = relu_data()
    with pytest.raises(ArgumentError, match="strongest is 0, but must be at least 1"):
        class_statistics(activation_tree({"x": values}, labels), strongest=0)


def test_class_statistics__of_arrays_that_kernels_do_not_take():
    values, labels = relu_data(samples=3000, units=70)
    expected = class_statistics(activation_tree({"x": values}, labels))
    values.flags.writeable = False
    read_only = activation_tree({"x": values}, labels)
    assert_same(class_statistics(read_only), expected)
    assert_same(
        class_statistics(activation_tree({"x": values.astype(np.float64)}, labels)), expected
    )
    strided = np.repeat(values, 2, axis=1)[:, ::2]
    assert_same(class_statistics(activation_tree({"x": strided}, labels)), expected)


def test_class_statistics__by_another_attribute():
    values, labels = relu_data()
    parity = np.arange(len(labels)) % 2
    tree = activation_tree({"x": values}, labels, chunks=(64, 7), classes=4)
    tree.coords["parity"] = ("sample", parity + 5)
    expected = naive_numbers(values, parity, range(2))

    named, given = class_statistics(tree, by="parity"), class_statistics(tree, by=parity)

    np.testing.assert_array_equal(named["class"], [5, 6])
    for stats in (named, given):
        np.testing.assert_allclose(stats["class_mean"], expected["class_mean"], rtol=1e-12)
        np.testing.assert_array_equal(stats["histogram"], named["histogram"])


@pytest.mark.parametrize("by", [[0, 1], np.full(200, 0.5), np.full(200, -1), 3])
def test_class_statistics__refuses_what_is_no_attribute(by):
    values, labels = relu_data()
    message = "by has shape .* but must be one integer from 0 for each of the 200 samples"
    with pytest.raises(ArgumentError, match=message):
        class_statistics(activation_tree({"x": values}, labels), by=by)


def test_class_statistics__by_texts_that_are_numbered_as_the_error_says():
    values, labels = relu_data()
    colours = np.array(["red", "blue"])[np.arange(len(labels)) % 2]
    tree = activation_tree({"x": values}, labels, chunks=(64, 7), classes=4)
    with pytest.raises(ArgumentError, match=r"by numpy\.unique\(by, return_inverse=True\)\[1\]$"):
        class_statistics(tree, by=colours)

    stats = class_statistics(tree, by=np.unique(colours, return_inverse=True)[1])
    expected = naive_numbers(values, colours == "red", range(2))
    np.testing.assert_allclose(stats["class_mean"], expected["class_mean"], rtol=1e-12)


def test_class_statistics__refuses_an_unknown_coordinate():
    values, labels = relu_data()
    with pytest.raises(TableError, match="have no coordinate 'gender' at their root"):
        class_statistics(activation_tree({"x": values}, labels), by="gender")
