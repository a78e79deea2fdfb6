"""What the explorer reads, and when: a tab when it is opened, a unit's own column, a table once."""

import json
from math import ceil

import numpy as np
import pytest

import unitlens as ul
from small_stores import SMALL, make_columns, make_contents, write_store
from synthetic_results import default_networks, write_results
from unitlens.explorer import closest_part
from unitlens.explorer.given_source import source_of_activations
from unitlens.explorer.run_tab import RunTab
from unitlens.explorer.sample_tab import SampleTab
from unitlens.explorer.unit_page import page_of_source
from unitlens.explorer.unit_source import source_of_run
from unitlens.store.format import decoding
from unitlens.tables.checked_store import CheckedTableStore

pn = pytest.importorskip("panel")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("units") / "results", default_networks()[:2])


def test_page__reads_only_the_chunks_of_its_unit(tmp_path, monkeypatch):
    contents = make_contents(samples=400, layers={"relu1": 24, "relu2": 700})
    columns, path = make_columns(contents), tmp_path / "acts.zarr"
    write_store(path, contents, columns, layout=SMALL)
    monkeypatch.setattr(closest_part, "AT_ONCE", 0)  # as in a large layer: a button asks first
    decoded = []
    real = decoding.decompress
    monkeypatch.setattr(
        decoding, "decompress", lambda *given: decoded.append(given) or real(*given)
    )
    source = source_of_activations(ul.open_activations(path))
    decoded.clear()

    page_of_source(source, "relu2", 333)

    described = json.loads((path / "relu2/activation/zarr.json").read_text())
    (sharding,) = [c for c in described["codecs"] if c["name"] == "sharding_indexed"]
    rows, units = sharding["configuration"]["chunk_shape"]
    shard_rows = described["chunk_grid"]["configuration"]["chunk_shape"][0]
    full, rest = divmod(400, shard_rows)
    assert units < 700
    assert len(decoded) == full * ceil(shard_rows / rows) + ceil(rest / rows)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of pandas, that Panel uses
def test_tabs__are_drawn_when_they_are_first_opened(folder, monkeypatch):
    drawn = []
    for tab in (RunTab, SampleTab):
        real = tab.view
        monkeypatch.setattr(
            tab, "view", lambda self, real=real: drawn.append(type(self)) or real(self)
        )
    shown = ul.explore(folder)
    (views,) = (
        one for one in shown.select(pn.widgets.RadioButtonGroup) if "Overview" in one.options
    )
    assert drawn == []

    for view in ("Layers and runs", "Overview", "Sample", "Layers and runs"):
        views.value = view

    assert drawn == [RunTab, SampleTab]


def test_layer_units__are_read_once_for_all_units_of_the_layer(folder, monkeypatch):
    results = ul.open_results(folder)
    run = str(results.runs["run"].values[1])
    source = source_of_run(results, run)
    rows = source.layer_units("relu2")
    read = []
    real = CheckedTableStore.get

    async def get(self, key, *given, **named):
        read.append(key)
        return await real(self, key, *given, **named)

    monkeypatch.setattr(CheckedTableStore, "get", get)
    expected = ul.open_results(folder).units.sel(run=run, layer="relu2").load()
    assert read  # the other results read them from their files
    read.clear()

    again = source.layer_units("relu2")

    np.testing.assert_array_equal(again["selectivity"], expected["selectivity"])
    np.testing.assert_array_equal(again["class_loss_increase"], expected["class_loss_increase"])
    assert again is rows
    assert read == []
    assert source.layer_units("relu1")["layer"].values[0] == "relu1"
