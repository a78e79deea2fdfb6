"""A page that is open while the files of its results change: a line in the page, no traceback."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn

import unitlens as ul
from synthetic_results import default_networks, write_results

pn = pytest.importorskip("panel")

# Bokeh 3.9 calls pandas with an argument that pandas 4 will lack.
pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")


def button(page, start):
    return next(one for one in page.select(pn.widgets.Button) if one.label.startswith(start))


def words_of(page):
    shown = list(page.select(pn.pane.HTML) + page.select(pn.pane.Str))
    return " ".join(str(pane.object) for pane in shown)


@pytest.fixture
def folder(tmp_path):
    return write_results(tmp_path / "results", default_networks()[:2])


def test_tables__that_are_made_anew_while_the_page_is_open_are_told(folder):
    shown = ul.explore(folder)
    shutil.rmtree(folder)
    write_results(folder, default_networks()[2:4])

    button(shown, "Next").clicks += 1

    told = words_of(shown)
    assert "differs, remove tables.json of the results and run" in told
    assert "Place in its layer" not in told


def test_tables__that_are_removed_while_the_page_is_open_are_told(folder):
    shown = ul.explore(folder)
    shutil.rmtree(folder)

    button(shown, "Next").clicks += 1

    told = words_of(shown)
    assert "missing, remove tables.json of the results and run" in told
    assert "Place in its layer" not in told


def test_store__whose_chunk_is_damaged_while_the_page_is_open_is_told(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    rng = np.random.default_rng(0)
    data = [(torch.from_numpy(rng.normal(size=6)).float(), int(k % 2)) for k in range(40)]
    ul.record_activations(model, data, tmp_path / "acts.zarr")
    shown = ul.explore(ul.open_activations(tmp_path / "acts.zarr"))
    assert "are left out: the shard" not in words_of(shown)
    for path in (tmp_path / "acts.zarr/1/activation").rglob("*"):
        if path.is_file() and path.parent.name == "0":
            path.write_bytes(bytes(path.stat().st_size))

    (channel,) = (one for one in shown.select(pn.widgets.IntInput) if one.label == "channel")
    channel.value = 3

    assert "activations are left out: the shard" in words_of(shown)
