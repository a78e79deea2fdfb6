"""The page of a unit of a results folder."""

import numpy as np
import pytest

import unitlens as ul
from small_stores import make_columns, make_contents, write_store
from synthetic_results import default_networks, write_results

pn = pytest.importorskip("panel")

from unitlens.explorer.unit_page import unit_page  # noqa: E402

LAYERS = {"relu1": 24, "relu2": 24}


@pytest.fixture
def results(tmp_path):
    folder = write_results(tmp_path / "results", default_networks()[:1])
    run = str(ul.open_results(folder).runs["run"].values[0])
    for split, samples in (("test", 40), ("train", 70)):
        (folder / run / split).mkdir()
        contents = make_contents(samples=samples, layers=LAYERS)
        columns = make_columns(contents, seed=samples)
        write_store(folder / run / split / "activations.zarr", contents, columns)
    return ul.open_results(folder), run


def words_of(view):
    return " ".join(pane.object for pane in view.select(pn.pane.HTML))


def test_page__shows_the_test_split_until_the_other_is_chosen(results):
    view = unit_page(*results, "relu2", 3)

    assert "40 samples of split test" in words_of(view)
    (choice,) = view.select(pn.widgets.RadioButtonGroup)
    choice.value = "train"
    assert "70 samples of split train" in words_of(view)
    assert "relu2 · unit 3<" in words_of(view)
    largest = results[0].activations(results[1], "train")["relu2"].activation.values[:, 3].max()
    assert f"<b>{np.float64(largest):.4g}</b>" in words_of(view)


def test_page__has_measures_and_damage_of_the_tables_and_says_that_there_are_no_images(results):
    words = words_of(unit_page(*results, "relu2", 3))

    opened, run = results
    selectivity = opened.units.sel(run=run, layer="relu2", channel=3)["selectivity"].item()
    assert "class selectivity" in words
    assert f"{selectivity:.4g}" in words
    assert "Loss increase by class without the unit" in words
    assert "the samples themselves are left out" in words


def test_page__of_a_split_has_no_choice_of_it(results):
    assert not unit_page(*results, "relu2", 3, split="train").select(pn.widgets.RadioButtonGroup)
    assert not unit_page(*results, "relu2", 3, live=False).select(pn.widgets.RadioButtonGroup)
