"""Where a unit's page takes its numbers from, what it reads, and what it says of missing parts."""

import json
import shutil
from math import ceil

import numpy as np
import pytest
import xarray as xr

import unitlens as ul
from small_stores import SMALL, make_columns, make_contents, write_store
from synthetic_results import default_networks, write_results
from unitlens.errors import ArgumentError, DatasetError, LayerError, TableError
from unitlens.explorer.given_source import source_of_activations
from unitlens.explorer.unit_source import _same_dataset, source_of_run
from unitlens.store.format import decoding

WIDE = {"relu1": 24, "relu2": 700}


@pytest.fixture
def wide(tmp_path):
    contents = make_contents(samples=400, layers=WIDE)
    columns = make_columns(contents)
    write_store(tmp_path / "acts.zarr", contents, columns, layout=SMALL)
    return tmp_path / "acts.zarr", columns


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("units") / "results", default_networks()[:1])


def test_column__reads_only_the_chunks_of_its_unit(wide, monkeypatch):
    path, columns = wide
    decoded = []
    real = decoding.decompress
    monkeypatch.setattr(
        decoding, "decompress", lambda *given: decoded.append(given) or real(*given)
    )
    source = source_of_activations(ul.open_activations(path))
    decoded.clear()

    column = source.column("relu2", 333)

    described = json.loads((path / "relu2/activation/zarr.json").read_text())
    (sharding,) = [c for c in described["codecs"] if c["name"] == "sharding_indexed"]
    rows, units = sharding["configuration"]["chunk_shape"]
    shard_rows = described["chunk_grid"]["configuration"]["chunk_shape"][0]
    full, rest = divmod(400, shard_rows)
    in_column = full * ceil(shard_rows / rows) + ceil(rest / rows)
    assert units < 700
    assert len(decoded) == in_column
    np.testing.assert_array_equal(column.values, columns["relu2/activation"][:, 333])
    np.testing.assert_array_equal(column["label"].values, columns["label"])
    np.testing.assert_array_equal(column["index"].values, columns["index"])


def test_neighbours__are_the_units_before_and_after_in_the_layer(wide):
    source = source_of_activations(ul.open_activations(wide[0]))

    assert source.neighbours("relu1", 0) == (None, 1)
    assert source.neighbours("relu1", 12) == (11, 13)
    assert source.neighbours("relu1", 23) == (22, None)


def test_neighbours__follow_the_channels_of_the_table_where_there_is_no_store():
    importance = xr.Dataset(
        {"loss_increase": ("unit", [0.1, 0.2, 0.3])},
        coords={"layer": ("unit", ["a", "a", "b"]), "channel": ("unit", [2, 7, 0])},
    )
    source = source_of_activations(importance=importance)

    assert source.neighbours("a", 2) == (None, 7)
    assert source.neighbours("b", 0) == (None, None)
    assert source.column("a", 2) is None


def test_check__names_the_layer_or_the_unit_that_is_not_there(wide):
    source = source_of_activations(ul.open_activations(wide[0]))

    with pytest.raises(LayerError, match=r"layer = 'relu3': there is none .*relu2"):
        source.check("relu3", 0)
    with pytest.raises(ArgumentError, match=r"channel = 24: the layer 'relu1' .* from 0 to 23"):
        source.check("relu1", 24)


def test_source_of_activations__refuses_nothing_and_tables_that_name_no_units():
    with pytest.raises(ArgumentError, match="there are no units to show"):
        source_of_activations()
    with pytest.raises(ArgumentError, match="no coordinates 'layer' and 'channel'"):
        source_of_activations(importance=xr.Dataset({"loss_increase": ("unit", [0.1])}))


def test_column__has_no_labels_where_targets_were_no_classes(wide):
    acts = ul.open_activations(wide[0])
    acts.attrs["no_classes"] = "targets are floats"
    source = source_of_activations(acts)

    assert "label" not in source.column("relu1", 0).coords
    assert source.profile("relu1", 0) is None


def test_class_names__are_those_of_the_data_set_the_store_or_the_table(wide):
    acts = ul.open_activations(wide[0])
    named = type("Named", (), {"classes": ["cat", "dog"]})()
    table = xr.Dataset(
        coords={
            "layer": ("unit", ["relu1"]),
            "channel": ("unit", [0]),
            "class": [0, 2],
            "class_name": ("class", ["ape", "bee"]),
        }
    )

    assert source_of_activations(acts).class_names == ()
    assert source_of_activations(acts, dataset=named).class_names == ("cat", "dog")
    assert source_of_activations(acts, table).class_names == ("ape", "", "bee")
    acts.attrs["class_names"] = '["x", "y"]'
    assert source_of_activations(acts, table).class_names == ("x", "y")


def test_source_of_run__says_in_a_line_each_what_is_missing(folder):
    results = ul.open_results(folder)
    run = str(results.runs["run"].values[0])

    source = source_of_run(results, run)

    assert source.activations is None
    assert source.dataset is None
    assert "activations are left out" in source.missing["activations"]
    assert "the samples themselves are left out" in source.missing["dataset"]
    rows = source.layer_units("relu2")
    own = results.units.sel(run=run, layer="relu2")
    np.testing.assert_array_equal(rows["loss_increase"].values, own["loss_increase"].values)


def test_source_of_run__takes_the_split_that_was_recorded(folder, tmp_path, wide):
    shutil.copytree(folder, tmp_path / "copy")
    results = ul.open_results(tmp_path / "copy")
    run = str(results.runs["run"].values[0])
    contents = make_contents(samples=50, layers={"relu1": 24, "relu2": 24})
    (tmp_path / "copy" / run / "train").mkdir()
    write_store(tmp_path / "copy" / run / "train" / "activations.zarr", contents)

    source = source_of_run(results, run)

    assert source.split == "train"
    assert source.activations.sizes["sample"] == 50
    assert "activations" not in source.missing


def test_source_of_run__refuses_a_run_that_is_not_there(folder):
    with pytest.raises(TableError, match="run = 'nobody'"):
        source_of_run(ul.open_results(folder), "nobody")


def test_data_set__of_another_identity_is_refused(wide):
    acts = ul.open_activations(wide[0])
    same, other = (type("Split", (), {"identity": name})() for name in ("b1", "c2"))

    assert acts.attrs["dataset_identity"] == "b1"
    assert _same_dataset(same, acts) is same
    with pytest.raises(DatasetError, match="identity c2, the activations are of b1"):
        _same_dataset(other, acts)
