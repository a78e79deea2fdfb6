"""Tables of earlier comparisons: each verdict that differs from now, and what has changed."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unitlens.errors import TableError, nearest
from unitlens.hashed_files import reading
from unitlens.reproduction.markdown_text import escape_markdown, table_head
from unitlens.reproduction.row_texts import CsvRow, our_cell

NEEDED = ("group", "claim", "figure", "what", "paper", "ours", "low", "high", "verdict")
NO_RULE = "the rule (a table without the column rule is of unitlens 0.8 or before)"
EARLIER_COLUMNS = ("figure", "quantity", "earlier", "now", "what changed")
INTRODUCTION = """\
## Appendix: earlier verdicts

Each row whose verdict differs from that of an earlier table. What changed is what the columns of
the two tables say: the rule, the paper's value, the experiments (the population), the seeds, the
numbers of networks, units and orders, and the differences in size from the paper. A column that the
earlier table lacks is not compared.
"""


@dataclass(frozen=True)
class EarlierTable:
    """The table ``paper.csv`` of an earlier comparison.

    Attributes
    ----------
    name
        Name of the file, without its ending.
    rows
        Its rows without suspected cause.
    """

    name: str
    rows: Sequence[CsvRow]


def read_earlier(path: Path) -> EarlierTable:
    """Read the table of an earlier comparison.

    Parameters
    ----------
    path
        A file ``paper.csv``, of this or an earlier version of unitlens.

    Raises
    ------
    TableError
        Where the file is missing, or lacks a column that is needed.
    """
    remedy = "name a paper.csv of an earlier comparison"
    with (
        reading(path, error=TableError, remedy=remedy),
        path.open(newline="", encoding="utf-8") as file,
    ):
        try:
            table = csv.DictReader(file)
            columns, rows = table.fieldnames or (), list(table)
        except (UnicodeDecodeError, csv.Error):
            columns, rows = (), []
    for column in NEEDED:
        if column not in columns:
            found = f" ({nearest(column, columns)})" if columns else ""
            raise TableError(f"{path} has no column '{column}'{found}; {remedy}")
    return EarlierTable(path.stem, [row for row in rows if not row.get("cause")])


def earlier_section(rows: Sequence[CsvRow], tables: Sequence[EarlierTable]) -> list[str]:
    """Return the appendix in Markdown.

    Parameters
    ----------
    rows
        The rows of ``paper.csv``.
    tables
        Earlier tables.

    Returns
    -------
    A table for each earlier table; empty without any.
    """
    if not tables:
        return []
    lines = [INTRODUCTION]
    for table in tables:
        lines.append(f"### Against {escape_markdown(table.name)}\n")
        changed = changed_verdicts(rows, table)
        if changed:
            lines += table_head(EARLIER_COLUMNS)
            lines += ["| " + " | ".join(cells) + " |" for cells in changed]
        else:
            lines.append("No verdict differs.")
        lines += ["", *_other_claims(rows, table)]
    return lines


def changed_verdicts(rows: Sequence[CsvRow], table: EarlierTable) -> list[tuple[str, ...]]:
    """Return the cells of each row whose verdict differs, in the order of EARLIER_COLUMNS."""
    earlier = {_key(row): row for row in table.rows}
    cells = []
    for row in rows:
        before = earlier.get(_key(row))
        if row["cause"] or before is None or before["verdict"] == row["verdict"]:
            continue
        changes = "; ".join(find_changes(before, row)) or "the numbers alone"
        own = (row["figure"], row["what"], _told(before), _told(row), escape_markdown(changes))
        cells.append(own)
    return cells


def find_changes(before: CsvRow, now: CsvRow) -> list[str]:
    """Return what has changed between two rows of a claim, by the columns that both have.

    Examples
    --------
    >>> before = {"rule": "a", "paper": "0.5", "networks": "3", "experiments": "wide"}
    >>> find_changes(before, before | {"networks": "5", "experiments": "deep"})
    ['experiments deep, before wide', 'networks 5, before 3']
    """
    changes = []
    if "rule" not in before:
        changes.append(NO_RULE)
    elif before["rule"] != now["rule"]:
        changes.append("the rule")
    if _numbers(before["paper"]) != _numbers(now["paper"]):
        changes.append(f"the paper's value {now['paper']}, before {before['paper']}")
    for column in ("experiments", "seeds", "networks", "units", "orders"):
        pair = now.get(column, ""), before.get(column, "")
        if column in before and pair[0] != pair[1]:
            changes.append(f"{column} {pair[0] or 'none'}, before {pair[1] or 'none'}")
    return [*changes, *_size_changes(before, now)]


def _size_changes(before: CsvRow, now: CsvRow) -> list[str]:
    """Return the differences in size from the paper that one of the rows has."""
    if "reduction" not in before:
        return []
    new, old = (row.get("reduction", "").split("; ") for row in (now, before))
    texts = {
        "differences in size from the paper that are new": [one for one in new if one not in old],
        "that are gone": [one for one in old if one not in new],
    }
    return [f"{words}: {', '.join(of)}" for words, of in texts.items() if any(of)]


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d[\d.,]*", text)


def _key(row: CsvRow) -> tuple[str, str]:
    return row["group"], row["claim"]


def _told(row: Mapping[str, str]) -> str:
    """Return our result and its verdict."""
    return f"{our_cell(row)} **{row['verdict']}**".strip()


def _other_claims(rows: Sequence[CsvRow], table: EarlierTable) -> list[str]:
    """Name the claims that one of the tables has alone."""
    now = {_key(row) for row in rows if not row["cause"]}
    before = {_key(row) for row in table.rows}
    lines = []
    for words, only in (("New here", now - before), ("No longer here", before - now)):
        if only:
            names = ", ".join(sorted("/".join(key) for key in only))
            lines.append(f"{words}: {escape_markdown(names)}.\n")
    return lines
