"""Names and commands of users in Markdown: shown as they are, never read as markup."""

import re
from collections.abc import Sequence


def escape_markdown(text: str) -> str:
    r"""Return a text as one line of Markdown in which no character is markup.

    Examples
    --------
    >>> print(escape_markdown("a|b`_*<i>$x$"))
    a\|b\`\_\*\<i\>\$x\$
    """
    return re.sub(r"([\\`*_\[\]<>#|$~&])", r"\\\1", " ".join(text.split()))


def code_span(text: str) -> str:
    r"""Return a text as code in Markdown, between more backticks than the text has in a row.

    Examples
    --------
    >>> print(code_span("ls"), code_span("echo `id`"))
    `ls` `` echo `id` ``
    """
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def table_head(columns: Sequence[str]) -> list[str]:
    """Return the first two lines of a table in Markdown.

    Examples
    --------
    >>> table_head(["figure", "paper"])
    ['| figure | paper |', '| --- | --- |']
    """
    return ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]
