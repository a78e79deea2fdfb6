"""Pages that show a text from the top of the repository: the change log, sections of the README.

A line `<!-- text: README.md, Install -->` stands for the section of that heading, and a line
`<!-- text: CHANGELOG.md -->` for the whole file without its title. Links are made to hold from the
page.
"""

import re
from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

_REQUEST = re.compile(r"^<!-- text: (?P<file>[^,\s]+)(?:, (?P<heading>.+))? -->$", re.MULTILINE)


def section(text: str, heading: str | None) -> str:
    """Return what stands under a heading of level two, or under the title."""
    opening = rf"^## {re.escape(heading)}\n" if heading else r"\A# .*\n"
    end = r"(?=^## )|\Z" if heading else r"\Z"
    found = re.search(rf"{opening}(.*?)(?:{end})", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ExtensionError(f"there is no heading {heading!r}: name one that the file has")
    return found[1]


def with_links(text: str, docname: str) -> str:
    """Return a text of the top of the repository, its relative links as they hold from a page."""
    up = "../" * (len(PurePosixPath(docname).parts))
    moved = re.sub(r"\]\((?![a-z]+:|#)", f"]({up}", text)
    return moved.replace(f"]({up}docs/", f"]({up.removesuffix('../')}")


def _fill_in(app: Sphinx, docname: str, source: list[str]) -> None:
    def text(request: re.Match[str]) -> str:
        path = Path(app.srcdir).parent / request["file"]
        app.env.note_dependency(path)
        return with_links(section(path.read_text(), request["heading"]), docname)

    source[0] = _REQUEST.sub(text, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the filling in with Sphinx."""
    app.connect("source-read", _fill_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
