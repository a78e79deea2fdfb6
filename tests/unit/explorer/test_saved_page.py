"""The saved page: which units it holds, what it refuses, what it leaves out with a line."""

import json
import re
from html import unescape

import numpy as np
import pytest

import unitlens as ul
from synthetic_results import default_networks, network, write_results
from unitlens.errors import ArgumentError, TableError
from unitlens.explorer.unit_columns import UnitColumns, UnitName
from unitlens.explorer.unit_link import unit_of_words

pytest.importorskip("panel")

from unitlens.explorer import saved_page
from unitlens.explorer.chosen_units import (
    most_important_units,
    titles_of_units,
    units_of_largest_values,
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved") / "results"
    return ul.open_results(write_results(directory, default_networks()[:3]))


def page_text(path):
    """Return the text of a page's JSON and of what follows, without escapes."""
    text = path.read_text()
    return unescape(unescape(unescape(text[text.index('<script type="application/json"') :])))


def test_most_important_units__are_those_of_largest_loss_increase_of_each_run(results):
    units = results.units
    expected = []
    for run in dict.fromkeys(units["run"].values.tolist()):
        mine = units.isel(unit=np.flatnonzero(units["run"].values == run))
        at = int(mine["loss_increase"].argmax("unit"))
        expected.append(
            UnitName(run, str(mine["layer"].values[at]), int(mine["channel"].values[at]))
        )

    assert most_important_units(UnitColumns(units)) == expected


def test_units_of_largest_values__are_those_of_each_measure_once(results):
    keys = [results.units[key].values.tolist() for key in ("run", "layer", "channel")]
    names = [UnitName(*name) for name in zip(*keys, strict=True)]
    measures = ("loss_increase", "accuracy_drop", "selectivity", "mutual_information")
    places = [np.argsort(-results.units[name].values, kind="stable")[:3] for name in measures]
    wanted = [names[place] for place in np.concatenate(places)]

    assert units_of_largest_values(UnitColumns(results.units), 3) == list(dict.fromkeys(wanted))


def test_titles__tell_what_a_unit_is_chosen_for(results):
    columns = UnitColumns(results.units)
    best = int(np.nanargmax(results.units["loss_increase"].values))
    least = int(np.nanargmin(results.units["loss_increase"].values))
    first, other = titles_of_units(columns, [best, least])

    assert ": most important unit of its network, number 1 in loss increase (nats)" in first
    assert first.startswith(
        f"{columns.name_of(best).layer}, channel {columns.name_of(best).channel}"
    )
    assert "most important" not in other
    assert "in loss increase" not in other


def test_units_table__names_what_there_is_in_place_of_a_wrong_name(results):
    columns = UnitColumns(results.units)
    run = columns.runs[0]

    with pytest.raises(TableError, match=rf"no such unit; of its runs: did you mean '{run}'"):
        columns.row_of(UnitName(run[:-1], "relu1", 0))
    with pytest.raises(TableError, match=r"of the layers of the run: did you mean 'relu"):
        columns.row_of(UnitName(run, "relu9", 0))
    with pytest.raises(TableError, match="the layer has channels from 0 to 23"):
        columns.row_of(UnitName(run, "relu1", 24))


@pytest.mark.parametrize("words", ["", "run", "run/layer", "run/layer/-1", "run//3", "/layer/3"])
def test_unit_of_words__refuses_what_is_no_unit(words):
    with pytest.raises(ArgumentError, match="must be RUN/LAYER/CHANNEL"):
        unit_of_words(words)


def test_unit_of_words__lets_a_layer_have_slashes():
    assert unit_of_words("run/a/b/12") == UnitName("run", "a/b", 12)


def test_save_explorer__refuses_a_wrong_unit_and_leaves_no_file(results, tmp_path):
    with pytest.raises(TableError, match="no such unit"):
        saved_page.save_explorer(results, tmp_path / "page.html", [UnitName("a", "b", 1)])

    assert list(tmp_path.iterdir()) == []


def test_save_explorer__says_why_parts_are_missing_and_what_it_was_made_from(results, tmp_path):
    """The synthetic results have neither stores nor data sets."""
    path = tmp_path / "page.html"
    unit = most_important_units(UnitColumns(results.units))[2]
    saved_page.save_explorer(results, path, [unit], code="abc")
    text = page_text(path)

    assert f"{unit.layer}, channel {unit.channel} of" in text
    assert f"activations are left out: the activations of {unit.run} over split" in text
    stated = json.loads(re.findall(r'id="provenance">(.*?)</script>', text)[-1])
    assert (stated["code"], stated["inputs"]) == ("abc", {"tables.json": results.record.hash})


def test_save_explorer__leaves_out_the_last_pages_of_a_page_that_is_too_large(
    results, tmp_path, monkeypatch
):
    units = most_important_units(UnitColumns(results.units))
    few, path = tmp_path / "few.html", tmp_path / "page.html"
    saved_page.save_explorer(results, few, units[:1])
    monkeypatch.setattr(saved_page, "MOST_BYTES", few.stat().st_size + 20_000)
    saved_page.save_explorer(results, path, units)
    text = page_text(path)

    assert path.stat().st_size < few.stat().st_size + 21_000
    told = text.partition("Left out, for the page would be larger than 10 MB")[2]
    assert f"{units[2].layer}, channel {units[2].channel} of" in told
    assert f"{units[0].layer}, channel {units[0].channel} of" not in told[:500]


def test_save_explorer__builds_few_more_pages_than_fit(results, tmp_path, monkeypatch):
    built, page_of = [], saved_page.page_of
    monkeypatch.setattr(saved_page, "page_of", lambda *of: built.append(of) or page_of(*of))
    monkeypatch.setattr(saved_page, "MOST_BYTES", 0)
    monkeypatch.setattr(saved_page, "AT_ONCE", 2)
    monkeypatch.setattr(saved_page, "NAMED", 1)
    units = UnitColumns(results.units)
    names = [units.name_of(row) for row in range(40)]
    saved_page.save_explorer(results, tmp_path / "page.html", names)

    assert len(built) == 2
    told = page_text(tmp_path / "page.html").partition("larger than 10 MB: ")[2]
    assert told.startswith(f"{names[0].layer}, channel 0 of ")
    assert "39 more units." in told[:400]


def test_save_explorer__without_a_table_of_units_has_a_line(tmp_path):
    without = ("unit_ablation", "unit_measures")
    made = write_results(tmp_path / "results", [network(("a",))], without=without)
    opened = ul.open_results(made)
    assert not opened.has_table("units")
    saved_page.save_explorer(opened, tmp_path / "page.html")

    assert "there is no table 'units'" in page_text(tmp_path / "page.html")
    with pytest.raises(TableError, match="there is no table 'units'"):
        saved_page.save_explorer(opened, tmp_path / "page.html", [UnitName("a", "b", 1)])
