"""The page holds everything that it shows and needs nothing from outside."""

import csv
import re
from html.parser import HTMLParser

import pytest

from synthetic_results import default_networks, network, write_networks, write_results
from unitlens.catalogue.figures import FIGURES
from unitlens.errors import TableError
from unitlens.figures.draw import draw_figures
from unitlens.report.page import write_report
from unitlens.report.paper_results import IN_THE_PAPER
from unitlens.report.words import PAPER_TEMPLATES
from unitlens.reproduction.compare import compare_with_paper
from unitlens.reproduction.follow_ups import FOLLOW_UP_CLAIMS
from unitlens.tables.results import open_results
from unitlens.tables.tabulate import tabulate

SHOWN = {
    "memorisation_ablation": ("memorisation",),
    "selectivity_importance": ("memorisation",),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    directory = write_results(tmp_path_factory.mktemp("report"))
    draw_figures(directory, SHOWN, directory / "figures")
    write_report(directory, directory / "figures", directory / "report.html")
    return directory


class Outside(HTMLParser):
    """Collects what a page would fetch, and checks that its tags are closed."""

    def __init__(self):
        super().__init__()
        self.fetched = []
        self.open = []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.fetched += [values[key] for key in ("src", "href") if values.get(key)]
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page__fetches_nothing(page):
    parser = Outside()
    parser.feed((page / "report.html").read_text())

    assert parser.open == []
    assert parser.fetched
    assert all(link.startswith(("data:", "#")) for link in parser.fetched)
    assert (page / "report.html").stat().st_size < 4e6


def test_page__shows_runs_findings_and_the_paper(page):
    text = (page / "report.html").read_text()
    results = open_results(page)

    for made in default_networks():
        assert made.name in text
    assert f"{float(results.runs['auc'][0]):.3f}" in text
    assert f"{float(results.runs['test_accuracy'][0]):.3f}" in text
    assert "Over the whole range of ablation the networks keep" in text
    assert IN_THE_PAPER["memorisation_ablation"] in text
    assert ">first-order loss increase</td>" in text
    assert text.count("data:image/") == 2
    assert "vegaEmbed(&#34;" not in text
    assert re.search(r'vegaEmbed\("#unit-chart", \{"\$schema"', text)


def test_page__tells_networks_of_a_sweep_apart(tmp_path):
    rates = [network(("sweep",), training={"learning_rate": rate}) for rate in (0.05, 0.2)]
    directory = write_results(tmp_path, [*rates, network(("sweep",), dataset="digits")])
    draw_figures(directory, {}, directory / "figures")
    write_report(directory, directory / "figures", directory / "report.html")

    rows = re.findall(r"<tr>(.*?)</tr>", (directory / "report.html").read_text(), re.DOTALL)
    cells = {
        made.name: re.findall(
            r"<td.*?>(.*?)</td>", next(r for r in rows if made.name in r), re.DOTALL
        )
        for made in rates
    }
    assert [of[8] for of in cells.values()] == ["rate 0.05", "rate 0.2"]


def test_page__links_lead_to_what_is_on_it(page):
    text = (page / "report.html").read_text()

    for target in re.findall(r'<a href="#(.+?)"', text):
        assert f'id="{target}"' in text


def test_page__same_results_give_the_same_bytes(page, tmp_path):
    write_report(page, page / "figures", tmp_path / "again.html")

    assert (tmp_path / "again.html").read_bytes() == (page / "report.html").read_bytes()


def test_page__leaves_out_what_was_not_measured(tmp_path):
    without = ("unit_ablation", "noise_robustness")
    write_results(tmp_path, [network(("a",))], without=without)
    draw_figures(tmp_path, {"selectivity_depth": ("a",)}, tmp_path / "figures")

    write_report(tmp_path, tmp_path / "figures", tmp_path / "report.html")

    text = (tmp_path / "report.html").read_text()
    assert "unit-chart" not in text
    assert 'id="correlations"' not in text
    assert ">nan<" not in text


def test_page__leaves_out_correlations_of_no_units(tmp_path):
    ablated, other = network(("a",)), network(("b",), seed=1)
    write_networks(tmp_path, [ablated, other])
    (tmp_path / other.name / "unit_ablation.nc").unlink()
    tabulate(tmp_path, {ablated.name: ("a",), other.name: ("b",)})
    draw_figures(tmp_path, {}, tmp_path / "figures")

    write_report(tmp_path, tmp_path / "figures", tmp_path / "report.html")

    section = (tmp_path / "report.html").read_text().split('id="correlations"')[1]
    assert ">all of a<" in section
    assert ">all of b<" not in section
    assert f">{other.name}<" not in section


def test_page__sets_the_paper_beside_its_results(page, tmp_path):
    claims = {"mnist_ablation": ("memorisation",), "dropout": ("dropout",)}
    compare_with_paper(page, claims, tmp_path, command="snakemake --configfile a.yaml")
    path = tmp_path / "report.html"

    write_report(page, page / "figures", path, paper=tmp_path / "paper.csv")

    text = path.read_text()
    parser = Outside()
    parser.feed(text)
    assert parser.open == []
    with (tmp_path / "paper.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shown = [row for row in rows if row["group"] in claims]
    section = text[text.index('id="compared"') : text.index('id="correlations"')]
    assert section.count("<tr><td") == len(shown)
    papers = [row for row in rows if row["group"] not in FOLLOW_UP_CLAIMS]
    assert f"Verdicts of {len(papers)} results: " in section
    assert all(row["ours"] in section and row["reduction"] in section for row in shown)
    assert "snakemake --configfile a.yaml --config results=again" in section
    conclusions = section.split("<ol")[1].split("</ol>")[0]
    assert conclusions.count("<li>") == 10
    assert "Could not be tested here on CIFAR-10" in conclusions
    first = next(row["ours"] for row in shown if row["claim"] == "order")
    assert first in conclusions
    assert '<a href="#memorisation_ablation">' in conclusions
    assert 'id="compared"' not in (page / "report.html").read_text()
    with pytest.raises(TableError, match=r"there is no .*nowhere.csv; make it"):
        write_report(page, page / "figures", path, paper=tmp_path / "nowhere.csv")


def test_page__needs_figures(page, tmp_path):
    with pytest.raises(TableError, match="there are no figures in"):
        write_report(page, tmp_path, tmp_path / "report.html")


def test_paper__is_quoted_for_known_figures_only():
    assert set(IN_THE_PAPER) <= set(FIGURES)


def test_paper__is_quoted_with_the_numbers_of_the_claims():
    assert (
        ".8, .55, .44, .42, .36 and .34 for corruption 0, .2, "
        in (IN_THE_PAPER["memorisation_ablation"])
    )
    assert (
        "400, 800 and 1,200 of 1,536 maps is .98, .87 and .52 with batch norm"
        in (IN_THE_PAPER["batch_norm_ablation"])
    )
    assert ".095 (p = .288) on MNIST, -.428 on CIFAR-10" in IN_THE_PAPER["selectivity_importance"]
    assert "Of 200 networks" in IN_THE_PAPER["same_data_curves"]
    numbers = re.findall(r"\d*\.\d+", " ".join(PAPER_TEMPLATES.values()))
    assert set(numbers) <= {".2", "0.1", "0.2"}  # levels of corruption and dropout
