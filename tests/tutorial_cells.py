"""The code of the tutorials, which are MyST notebooks."""

import re
from pathlib import Path

TUTORIALS = Path(__file__).parents[1] / "docs" / "tutorials"
_CELL = re.compile(r"^```\{code-cell\} ipython3\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OWN = "this-experiment"  # tags cells that need what only the page's own experiment measures


def code_cells(text, *, without=None):
    """Return the code of the cells of a page, without magics and without cells of a tag."""
    cells = []
    for cell in _CELL.findall(text):
        tags = re.match(r":tags: \[(.*?)\]\n", cell)
        if cell.startswith("%%") or (tags and without in tags[1].split(", ")):
            continue
        cells.append(re.sub(r"\A(:.*\n)+\n", "", cell))
    return cells
