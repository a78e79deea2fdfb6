"""Tables of earlier comparisons: each verdict that differs from now, and what has changed."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unitlens.errors import TableError, nearest
from unitlens.hashed_files import reading
from unitlens.reproduction.follow_ups import CLAIM_GROUPS
from unitlens.reproduction.markdown_text import escape_markdown, table_head
from unitlens.reproduction.row_texts import CsvRow, our_cell
from unitlens.reproduction.verdict import AGREEMENTS

NEEDED = ("group", "claim", "figure", "what", "paper", "ours", "low", "high", "verdict")
SIZES = ("networks", "units", "orders")
EARLIER_COLUMNS = ("figure", "result", "quantity", "earlier", "now", "what changed")
INTRODUCTION = """\
## Appendix: earlier verdicts

Each row whose verdict differs from that of an earlier table; rows that went from "differs" to an
agreement or to "compatible" stand first. What changed is what the columns of the two tables say:
the rule (a table without the column `rule` is of unitlens 0.8 or before, whose rule was another),
the paper's value, the population (the experiments), the seeds, the numbers of networks, units and
orders, and the protocol (the differences in size from the paper). The lists below each table have
the details. A column that the earlier table lacks is not compared.
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
        pairs = _changed_pairs(rows, table)
        lines += [f"### Against {escape_markdown(table.name)}\n", _count_changes(pairs), ""]
        if pairs:
            lines += table_head(EARLIER_COLUMNS)
            lines += [f"| {' | '.join(_cells(*pair))} |" for pair in pairs]
            lines.append("")
        details = dict.fromkeys(text for pair in pairs if (text := _details(*pair)))
        lines += [*(f"* {escape_markdown(text)}" for text in details), ""]
        lines += _other_claims(rows, table)
    return lines


def _changed_pairs(rows: Sequence[CsvRow], table: EarlierTable) -> list[tuple[CsvRow, CsvRow]]:
    """Return earlier and present row of each claim whose verdict differs, new agreements first."""
    earlier = {_key(row): row for row in table.rows}
    pairs = [
        (earlier[_key(row)], row)
        for row in rows
        if not row["cause"]
        and _key(row) in earlier
        and earlier[_key(row)]["verdict"] != row["verdict"]
    ]
    return sorted(pairs, key=lambda pair: not _is_new_agreement(*pair))


def _is_new_agreement(before: CsvRow, now: CsvRow) -> bool:
    return before["verdict"] == "differs" and now["verdict"] in (*AGREEMENTS, "compatible")


def _count_changes(pairs: Sequence[tuple[CsvRow, CsvRow]]) -> str:
    if not pairs:
        return "No verdict differs."
    agreements = sum(_is_new_agreement(*pair) for pair in pairs)
    told = 'from "differs" to an agreement or to "compatible"'
    return f"Verdicts that differ: {len(pairs)}; {told}: {agreements}."


def _cells(before: CsvRow, now: CsvRow) -> tuple[str, ...]:
    """Return the cells of a row, in the order of :data:`EARLIER_COLUMNS`."""
    changes = (
        f"not measured now: {now['notes']}"
        if not now["ours"]
        else ("; ".join(find_changes(before, now)) or "the numbers alone")
    )
    title = CLAIM_GROUPS[now["group"]].title
    told = _told(before), _told(now), escape_markdown(changes)
    return now["figure"], title, now["what"], *told


def find_changes(before: CsvRow, now: CsvRow) -> list[str]:
    """Return what has changed between two rows of a claim, by the columns that both have.

    Examples
    --------
    >>> before = {"rule": "a", "paper": "0.5", "networks": "3", "experiments": "wide"}
    >>> find_changes(before, before | {"networks": "5", "experiments": "deep"})
    ['population', 'networks 5, before 3']
    """
    changes = ["rule"] if before.get("rule") != now["rule"] else []
    if _numbers(before["paper"]) != _numbers(now["paper"]):
        changes.append(f"the paper's value, before {before['paper']}")
    changes += [
        word
        for column, word in (("experiments", "population"), ("seeds", "seeds"))
        if column in before and before[column] != now[column]
    ]
    changes += [
        f"{column} {now[column] or 'none'}, before {before[column] or 'none'}"
        for column in SIZES
        if column in before and before[column] != now[column]
    ]
    return [*changes, *(["protocol"] if any(_size_changes(before, now)) else [])]


def _size_changes(before: CsvRow, now: CsvRow) -> tuple[list[str], list[str]]:
    """Return the differences in size from the paper that are new, and those that are gone."""
    if "reduction" not in before:
        return [], []
    new, old = (row["reduction"].split("; ") for row in (now, before))
    return [one for one in new if one not in old], [one for one in old if one not in new]


def _details(before: CsvRow, now: CsvRow) -> str:
    """Return how population, seeds and protocol of a group changed; the rows of it share that."""
    if not now["ours"]:
        return ""
    parts = [
        f"{column} {now[column] or 'none'}, before {before[column] or 'none'}"
        for column in ("experiments", "seeds")
        if column in before and before[column] != now[column]
    ]
    new, old = (", ".join(filter(None, of)) for of in _size_changes(before, now))
    parts += [f"new differences in size from the paper: {new}"] if new else []
    parts += [f"differences in size that are gone: {old}"] if old else []
    title = CLAIM_GROUPS[now["group"]].title
    return f"{title}: {'; '.join(parts)}." if parts else ""


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
