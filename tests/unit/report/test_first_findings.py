"""The page tells first what was found, and where that contradicts the paper."""

import re

import pytest
from scipy.stats import t

from synthetic_results import network, write_results
from unitlens.figures.draw import draw_figures
from unitlens.report import contradictions as of_paper
from unitlens.report.contradictions import contradictions
from unitlens.report.first_findings import first_findings
from unitlens.report.page import write_report
from unitlens.reproduction.claim_types import ReportedNumber
from unitlens.reproduction.claims import PAPER_CLAIMS
from unitlens.reproduction.estimates import Estimate
from unitlens.reproduction.evidence import Evidence
from unitlens.tables.results import open_results

FIGURES = {
    "selectivity_depth": ("memorisation",),
    "early_stopping": ("memorisation",),
    "selectivity_importance": ("memorisation",),
    "memorisation_ablation": ("memorisation",),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    directory = write_results(tmp_path_factory.mktemp("findings"))
    draw_figures(directory, FIGURES, directory / "figures")
    write_report(directory, directory / "figures", directory / "report.html")
    return directory


def test_page__begins_with_three_sentences_with_numbers(page):
    text = (page / "report.html").read_text()
    begin = text[text.index("<h1>") : text.index("<nav>")]

    items = re.findall(r"<li>(.*?) <a href=\"#(.*?)\"", begin)
    names = [name for _, name in items]
    assert names == ["memorisation_ablation", "selectivity_importance", "early_stopping"]
    assert all(re.search(r"\d", sentence) and sentence.endswith(".") for sentence, _ in items)
    assert begin.index("<li>") < begin.index("unitlens trains")


def test_first_findings__leave_out_figures_that_were_not_drawn():
    base = {"title": "t", "contradictions": []}
    figures = [
        base | {"name": "memorisation_ablation", "finding": "Not drawn: needs 1 run."},
        base | {"name": "other", "finding": "It is 0.5 (p < .001). More."},
    ]
    (told,) = first_findings(figures)
    assert (told["name"], told["sentence"]) == ("other", "It is 0.5 (p < .001).")


def test_contradiction__is_told_where_auc_rises_to_the_end(page):
    """The made-up networks are less robust at the end, as the paper's; then the kept epochs are."""
    results = open_results(page)
    assert contradictions(results, "early_stopping", ["memorisation"]) == []

    rising = open_results(page)
    for part in (rising, rising.checkpoints):
        table = part.curves.load()
        factor = 1.0 if part is rising else 0.5
        part.__dict__["curves"] = table.assign(accuracy=factor * table["accuracy"])
    (told,) = contradictions(rising, "early_stopping", ["memorisation"])

    assert told.startswith("AUC at the end of training minus AUC at the least test loss is 0.")
    assert "over orders within one network), of 1 network, too few to tell of others." in told
    assert told.endswith("The paper finds on MNIST: AUC falls when train and test loss diverge.")


def test_contradiction__stands_beside_its_figure_and_in_the_first_sentences(page, monkeypatch):
    monkeypatch.setattr("unitlens.report.page.contradictions", lambda *_: ["Ours is <0>."])
    write_report(page, page / "figures", page / "contrary.html")

    text = (page / "contrary.html").read_text()
    assert text.count("<strong>Contrary to the paper.</strong> Ours is &lt;0&gt;.") == len(FIGURES)
    assert text.count("(contrary to the paper)") == 3


@pytest.mark.parametrize(
    ("value", "n", "ours", "contrary"),
    [
        (-0.7, 0, (0.2, 0.4), True),
        (-0.7, 0, (-0.1, 0.4), False),  # our sign is not known
        (0.095, 127, (-0.3, -0.2), False),  # the paper's sign is not known
    ],
)
def test_correlation__contradicts_where_both_signs_are_known(value, n, ours, contrary):
    claim = PAPER_CLAIMS["early_stopping"].claims[1]
    finding = ReportedNumber(value, correlation=True, n=n)
    claim = type(claim)(claim.name, claim.figure, claim.quantity, finding)
    middle, half = sum(ours) / 2, (ours[1] - ours[0]) / 2
    evidence = Evidence(Estimate(middle, half / t.ppf(0.975, 3), 3, 4, "networks"))

    assert of_paper._contradicts(claim, evidence) is contrary


def test_contradiction__is_of_the_paper_s_data_set_only(tmp_path):
    """Findings on CIFAR-10 and ImageNet say nothing of networks on another data set."""
    results = open_results(write_results(tmp_path, [network(("a",), dataset="digits")]))
    assert contradictions(results, "information_importance", ["a"]) == []


def test_networks__are_all_in_sight_or_their_number_is_told(page, tmp_path):
    text = (page / "report.html").read_text()
    assert 'class="long wide whole"' in text

    many = [network(("a",), seed=seed) for seed in range(41)]
    write_results(tmp_path, many, without=("unit_ablation", "noise_robustness"))
    draw_figures(tmp_path, {}, tmp_path / "figures")
    write_report(tmp_path, tmp_path / "figures", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "The box has 41 rows" in text
    assert 'class="long wide"' in text


def test_contradiction__needs_no_measurement_that_the_figure_does_without(tmp_path):
    """The figure of selectivity by depth has findings on importance, which was not measured."""
    write_results(tmp_path, [network(("a",), dataset="cifar10")], without=("unit_ablation",))
    assert contradictions(open_results(tmp_path), "selectivity_depth", ["a"]) == []
