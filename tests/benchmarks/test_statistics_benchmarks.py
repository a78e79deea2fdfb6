"""The benchmark of the statistics at tiny size: it works, and both sides give the same numbers."""

import json
import sys

import pytest

import statistics_pass
from statistics_pass import ALONE, GROWTH, RUNS, SHAPES, Shape, compare, draw_growth, main

TINY = Shape(400, (30, 20), 4)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    for name in SHAPES:
        monkeypatch.setitem(SHAPES, name, TINY)
    for name in ("information", "information-1-job"):
        monkeypatch.setitem(SHAPES, name, Shape(2000, (30,), 4))
    for name in GROWTH:
        monkeypatch.setitem(GROWTH, name, [Shape(100, (8,), 2), Shape(200, (16,), 4)])


@pytest.mark.parametrize("name", RUNS)
def test_case__gives_the_numbers_of_its_peer(name, tmp_path):
    row = compare(name, tmp_path, 1.0, 1)

    assert row["equal"]
    assert row["reached"] > 0
    assert json.loads(json.dumps(row)) == row
    assert not any(tmp_path.iterdir())  # stores may be large


@pytest.mark.parametrize("name", ALONE)
def test_case__alone(name, tmp_path):
    row = ALONE[name](tmp_path, 1.0)

    assert json.loads(json.dumps(row))["case"] == name
    assert not any(tmp_path.iterdir())


def test_draw_growth__has_a_panel_for_each_size(tmp_path):
    figure = draw_growth(ALONE["growth"](tmp_path, 1.0))

    assert [axes.get_xlabel() for axes in figure.axes] == list(GROWTH)


def test_main__fails_where_numbers_differ(tmp_path, monkeypatch):
    def wrong(*given):
        return *RUNS["means"](*given)[:3], False

    monkeypatch.setattr(statistics_pass, "RUNS", {"pass": wrong})
    written = tmp_path / "rows.json"
    arguments = ["--scratch", str(tmp_path / "s"), "--only", "pass", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["statistics_pass.py", *arguments, "--json", str(written)])

    with pytest.raises(SystemExit, match="1"):
        main()

    assert not json.loads(written.read_text())[0]["equal"]
