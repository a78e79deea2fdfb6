"""Names that look like markup, formulas or commands are shown and do nothing."""

import base64
import csv
import json
import re
import shlex
from html.parser import HTMLParser

import pytest
import yaml
from markdown_it import MarkdownIt

from synthetic_results import MLP, network, write_results
from unitlens.errors import TableError
from unitlens.figures.draw import draw_figures
from unitlens.report.page import write_report
from unitlens.reproduction.compare import compare_with_paper
from unitlens.tables.results import open_results
from unitlens.tables.tabulate import tabulate

ODD = 'a|b`_*<script>alert(1)</script>$x$ `id` "; rm -rf x'
CAUSE = "another <b>seed</b> | *x* `y`"
CLAIMS = {"mnist_ablation": (ODD,), "dropout": ("plain",)}


def networks():
    return [network((ODD,), seed=seed, **MLP) for seed in (0, 1)] + [
        network(("plain",), seed=2, dropout=0.2, **MLP)
    ]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    directory = write_results(tmp_path_factory.mktemp("odd") / "results", networks())
    draw_figures(directory, {"memorisation_ablation": (ODD,)}, directory / "figures")
    causes = {"mnist_ablation": {ODD: CAUSE}}
    compare_with_paper(directory, CLAIMS, directory, causes=causes, command="snakemake --cores 1")
    paper = directory / "paper.csv"
    write_report(directory, directory / "figures", directory / "report.html", paper=paper)
    return directory


class Scripts(HTMLParser):
    """Collects the scripts of a page, and all text outside."""

    def __init__(self):
        super().__init__()
        self.scripts, self.text, self._inside, self.tags = [], "", False, set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append((dict(attributes), ""))

    def handle_endtag(self, _tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        else:
            self.text += data


def read_page(pages):
    parser = Scripts()
    parser.feed((pages / "report.html").read_text())
    return parser


def test_page__runs_no_script_of_a_name(pages):
    page = read_page(pages)

    assert len(page.scripts) == 2  # the provenance and the chart
    assert "b" not in page.tags
    assert ODD in page.text
    assert CAUSE in page.text
    assert not any("alert(1)</" in text for _, text in page.scripts)


def test_page__states_the_tables_that_it_was_made_from(pages):
    page = read_page(pages)
    (values,) = (json.loads(text) for of, text in page.scripts if of.get("id") == "provenance")
    stated = json.loads((pages / "tables.json").read_text())["hash"]

    assert values["inputs"] == {"tables.json": stated}
    assert stated in page.text
    assert open_results(pages).record.hash == stated


def commands_of(pages):
    text = (pages / "paper.md").read_text()
    tokens = (child for token in MarkdownIt().parse(text) for child in token.children or ())
    return [token.content for token in tokens if token.type == "code_inline"]


def test_commands__name_the_experiment_and_nothing_more(pages):
    with (pages / "paper.csv").open(newline="") as file:
        blocks = {(row["group"], row["cause"]): row["command"] for row in csv.DictReader(file)}
    commands = [command for command in blocks.values() if command]

    assert len(commands) == 3
    read = [shlex.split(command) for command in commands]
    assert all(words[:-1] == shlex.split(commands[0])[:-1] for words in read)
    named = [yaml.safe_load(words[-1].removeprefix("only=")) for words in read]
    assert sorted(named) == sorted([[ODD], [ODD], ["plain"]])
    again = "snakemake --cores 1 --config results=again"
    assert commands_of(pages).count(again) == 1  # one command serves all rows
    assert again in read_page(pages).text


def test_paper__shows_names_as_they_are(pages):
    text = (pages / "paper.md").read_text()
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    page = Scripts()
    page.feed(html)

    assert not page.scripts
    assert "b" not in page.tags
    assert CAUSE in page.text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert widths == {4, 7, 9}  # of conclusions and overview, of results without power, of causes


def test_figures__draw_dollar_signs(tmp_path):
    from matplotlib.figure import Figure

    from unitlens.plot.style import save

    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 1000], [1, 1000], label="cost $x_1$ and $\\frac$")
    axes.set(title="cost $x_1$ and $\\frac$", xscale="log")
    axes.legend()
    save(figure, tmp_path, "names")
    shown = re.findall(r"<!-- (.*?) -->", (tmp_path / "names.svg").read_text())
    assert shown.count("cost $x_1$ and $\\frac$") == 2
    assert any("mathdefault{10" in text for text in shown)  # the ticks stay formulas


@pytest.fixture
def own(tmp_path):
    directory = write_results(tmp_path / "results", networks())
    draw_figures(directory, {"memorisation_ablation": (ODD,)}, directory / "figures")
    compare_with_paper(directory, CLAIMS, directory)
    return directory


def report(directory):
    paper = directory / "paper.csv"
    write_report(directory, directory / "figures", directory / "report.html", paper=paper)


@pytest.mark.parametrize(
    "name",
    [
        "figures/figures.json",
        "figures/memorisation_ablation.svg",
        "figures/memorisation_ablation.png",
        "figures/memorisation_ablation.rst",
        "paper.csv",
        "paper.md",
        "beyond.md",
        "paper.json",
    ],
)
def test_damage__of_a_page_s_file_is_refused_and_mended(own, name):
    content = (own / name).read_bytes()
    middle = len(content) // 2
    for damaged in (b"", content[:middle], content[:middle] + b"#" + content[middle + 1 :], None):
        if damaged is None:
            (own / name).unlink()
        else:
            (own / name).write_bytes(damaged)
        with pytest.raises(TableError) as raised:
            report(own)
        assert name.rpartition("/")[2] in str(raised.value)
        assert "\n" not in str(raised.value)

    removed = own / ("figures/figures.json" if "figures" in name else "paper.csv")
    removed.unlink(missing_ok=True)  # as the message says: snakemake makes it again
    draw_figures(own, {"memorisation_ablation": (ODD,)}, own / "figures")
    compare_with_paper(own, CLAIMS, own)
    report(own)


def test_page__takes_no_figures_of_other_tables(own):
    names = [made.name for made in networks()[1:]]
    tabulate(own, dict.fromkeys(names, (ODD, "plain")))

    with pytest.raises(TableError, match=r"figures.json was made from other tables.*remove .*figu"):
        report(own)
    with pytest.raises(TableError, match=r"figures.json was made from other tables.*remove .*figu"):
        compare_with_paper(own, CLAIMS, own)
    draw_figures(own, {"memorisation_ablation": (ODD,)}, own / "figures")
    with pytest.raises(
        TableError, match=r"paper.json was made from other tables.*remove .*paper.c"
    ):
        report(own)
    compare_with_paper(own, CLAIMS, own)
    report(own)


def test_svg__of_a_page_is_the_file(pages):
    text = (pages / "report.html").read_text()
    (kind, data) = re.search(r"data:image/(svg|png)[^,]*;base64,([^\"]+)", text).groups()

    content = (pages / f"figures/memorisation_ablation.{kind}").read_bytes()
    assert base64.b64decode(data) == content
