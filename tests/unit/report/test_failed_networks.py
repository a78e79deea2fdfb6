"""Networks that are left out, for their training failed, are told of and stop no page."""

import csv
import re

import pytest

from synthetic_results import MLP, network, write_results
from unitlens.errors import TableError
from unitlens.figures.draw import draw_figures
from unitlens.hashed_files import read_json, write_json
from unitlens.report.page import write_report
from unitlens.reproduction.compare import compare_with_paper
from unitlens.tables.results import open_results
from unitlens.tables.tabulate import tabulate

REASON = "the loss is <nan>"
CLAIMS = {"mnist_ablation": ("sweep",), "dropout": ("other",)}
CAUSES = {"dropout": {"sweep": "another dropout"}, "mnist_ablation": {"other": "dropout"}}
NETWORKS = [network(("sweep",), seed=seed, **MLP) for seed in (0, 1)] + [
    network(("other",), seed=2, dropout=0.2, **MLP)
]


@pytest.fixture
def results(tmp_path):
    return write_results(tmp_path / "results", NETWORKS)


def fail(results, networks):
    """Let networks have failed, and join the others."""
    for made in networks:
        path = results / made.name / "checkpoint.json"
        write_json(path, read_json(path, error=TableError, remedy="") | {"failed": REASON})
    tabulate(results, {made.name: made.experiments for made in NETWORKS})


def write_pages(results, figures):
    draw_figures(results, figures, results / "figures")
    compare_with_paper(results, CLAIMS, results, causes=CAUSES)
    page = results / "report.html"
    write_report(results, results / "figures", page, paper=results / "paper.csv")
    return re.sub(r"<[^>]+>", "", page.read_text()), (results / "paper.md").read_text()


def test_failed_networks__stand_on_both_pages(results):
    fail(results, NETWORKS[:1])
    page, paper = write_pages(results, {"memorisation_ablation": ("sweep",)})

    assert f"left out: {NETWORKS[0].name} (the loss is &lt;nan&gt;)" in page
    assert f"left out: {NETWORKS[0].name} (the loss is \\<nan\\>)" in paper


def test_failed_experiment__leaves_a_note_in_place_of_a_figure_and_a_result(results, caplog):
    fail(results, NETWORKS[:2])
    page, _ = write_pages(results, {"memorisation_ablation": ("sweep",)})

    note = (
        "Not drawn: the figure memorisation_ablation has no run to show; name an experiment with "
        "runs; 2 networks are left out, for their training failed."
    )
    assert note in page
    assert note in caplog.text
    assert (results / "figures" / "memorisation_ablation.svg").stat().st_size > 1000
    with (results / "paper.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["group"] == "mnist_ablation"]
    assert rows
    for row in rows:
        if not row["cause"]:
            assert row["ours"] == ""
            assert "the training of each network of sweep failed" in ",".join(row.values())
    assert open_results(results).runs["member"].sel(experiment="sweep").sum() == 0


def test_experiment_without_failure__still_stops_a_figure_that_needs_more(results):
    with pytest.raises(TableError, match="the figure regulariser "):
        draw_figures(results, {"regulariser": ("other",)}, results / "figures")
