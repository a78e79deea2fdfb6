"""The tutorials are notebooks: Jupyter opens their texts, and writes the same texts again."""

import re
from pathlib import Path

import jupytext
import pytest

TUTORIALS = sorted(
    page
    for page in (Path(__file__).parents[3] / "docs/tutorials").glob("*.md")
    if page.stem != "index"
)
VERSIONS = re.compile(r"^    (format|jupytext)_version: .*\n", re.MULTILINE)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorial__opens_as_a_notebook_and_is_written_again(page):
    notebook = jupytext.read(page)

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) == page.read_text().count("```{code-cell}") >= 5
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    written = jupytext.writes(notebook, fmt="md:myst")
    assert VERSIONS.sub("", written) == page.read_text()


def test_tutorials__are_all_in_the_contents():
    contents = (TUTORIALS[0].parent / "index.md").read_text()
    assert sorted(re.findall(r"^([\w-]+)$", contents, re.MULTILINE)) == [
        page.stem for page in TUTORIALS
    ]
