"""The report links the explorer's page where there is one, of the same tables."""

import re

import pytest

from synthetic_results import network, write_results
from unitlens.errors import TableError
from unitlens.figures.draw import draw_figures
from unitlens.report.page import write_report
from unitlens.report.script_data import PROVENANCE, script_json
from unitlens.tables.results import open_results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    directory = write_results(tmp_path_factory.mktemp("link"), [network(("a",))])
    draw_figures(directory, {}, directory / "figures")
    return directory


def links(page):
    return re.findall(r'<a href="([^#].*?)"', page.read_text())


def explorer_page(path, tables):
    stated = PROVENANCE.format(script_json({"inputs": {"tables.json": tables}}))
    path.write_text(f"<html></html>\n{stated}\n")
    return path


def test_report__has_no_link_without_a_page(results, tmp_path):
    write_report(results, results / "figures", tmp_path / "report.html")

    assert links(tmp_path / "report.html") == []


def test_report__links_the_page_from_where_it_stands(results, tmp_path):
    explorer = tmp_path / "a folder"
    explorer.mkdir()
    explorer = explorer_page(explorer / "explorer.html", open_results(results).record.hash)
    write_report(results, results / "figures", tmp_path / "report.html", explorer=explorer)

    assert set(links(tmp_path / "report.html")) == {"a%20folder/explorer.html"}


def test_report__refuses_a_page_that_is_missing_damaged_or_of_other_tables(results, tmp_path):
    path, page = tmp_path / "explorer.html", tmp_path / "report.html"
    with pytest.raises(TableError, match=r"no .*explorer.html; make it: unitlens save-explorer"):
        write_report(results, results / "figures", page, explorer=path)
    explorer_page(path, "another")
    with pytest.raises(TableError, match=r"made from other tables .*; remove .*explorer.html"):
        write_report(results, results / "figures", page, explorer=path)
    path.write_text("<html>")
    with pytest.raises(TableError, match=r"made from other tables .* or is damaged"):
        write_report(results, results / "figures", page, explorer=path)
    assert not page.exists()
