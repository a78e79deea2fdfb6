"""The explorer's benchmark at tiny size: its folder is a results folder, its steps are timed."""

from pathlib import Path

import panel as pn
import pytest

import explorer
import unitlens as ul
from large_results import RECORDED, RUNS, SPLIT, Size, make_folder
from unitlens.explorer.unit_page import unit_page

TINY = Size(2000, 0.002)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("large") / "results", TINY, tell=str)


def test_folder__has_the_units_and_the_bytes_that_were_asked_for(folder):
    results = ul.open_results(folder)
    runs = [str(run) for run in results.runs["run"].values]
    stores = list(folder.glob(f"*/{SPLIT}/activations.zarr"))

    assert (len(runs), len(stores)) == (RUNS, RECORDED)
    assert results.units.sizes["unit"] == TINY.units
    total = 0
    for store in stores:
        ul.verify_activations(store)
        tree = ul.open_activations(store)
        total += sum(node["activation"].nbytes for node in tree.children.values())
    assert total == pytest.approx(TINY.gigabytes * 1e9)
    results.verify()
    assert make_folder(folder, TINY, tell=pytest.fail) == folder  # is not made twice


def test_folder__has_images_for_the_page_of_a_unit(folder):
    results = ul.open_results(folder)
    run = next(place.parents[1].name for place in folder.glob(f"*/{SPLIT}/activations.zarr"))

    page = unit_page(results, run, "relu8", 3)

    words = " ".join(str(pane.object) for pane in page.select(pn.pane.HTML))
    assert words.count("data:image/png") >= 16
    assert "left out" not in words


def test_measure__times_every_step(folder):
    if not Path(explorer.CHROMIUM).exists():
        pytest.skip(f"there is no {explorer.CHROMIUM}: apt-get install chromium")

    rows, memory = explorer.measure(folder)

    assert min(row.seconds for row in rows) > 0
    assert 100 < memory < 4096
    shown = explorer.table(rows, memory)
    assert shown.count("\n") == 2 + len(rows)
