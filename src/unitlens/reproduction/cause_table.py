"""The table of suspected causes: what each extra experiment changes in our results."""

from collections.abc import Sequence

from unitlens.reproduction.follow_ups import CLAIM_GROUPS
from unitlens.reproduction.markdown_text import escape_markdown, table_head
from unitlens.reproduction.row_texts import (
    CsvRow,
    claims_by_text,
    experiment_blocks,
    our_cell,
    paper_cell,
    plural,
    sample_sizes,
)

CAUSE_COLUMNS = (
    "suspected cause",
    "figure",
    "quantity",
    "paper",
    "without the change",
    "with the change",
    "n",
    "effect",
)
INTRODUCTION = """\
## Suspected causes

Each extra experiment changes one thing that may be why a result differs; the first column has the
experiment and what it changes. "Without the change" is the number of the networks that are compared
by pairs, or of all networks where there are no pairs. A row whose effect is "none" has the same
verdict with the change as without.
"""


def cause_section(rows: Sequence[CsvRow]) -> list[str]:
    """Return the section on suspected causes in Markdown.

    Parameters
    ----------
    rows
        Rows of ``paper.csv``; those without a cause are left out.

    Returns
    -------
    The heading and one table, and below it the claims that an extra experiment did not measure;
    empty without extra experiments.
    """
    tested = [row for row in rows if row["cause"]]
    if not tested:
        return []
    lines = [INTRODUCTION, *table_head(CAUSE_COLUMNS)]
    for cause, *cells in cause_cells(tested):
        lines.append("| " + " | ".join((escape_markdown(cause), *cells)) + " |")
    return [*lines, "", *(f"* {escape_markdown(text)}" for text in cause_remarks(tested)), ""]


def cause_cells(rows: Sequence[CsvRow]) -> list[tuple[str, ...]]:
    """Return the cells of the table, in the order of :data:`CAUSE_COLUMNS`.

    The cause stands in the first row of its experiment and group only.
    """
    cells: list[tuple[str, ...]] = []
    for cause, block in _blocks(rows):
        for place, row in enumerate(block):
            first = "" if place else f"{row['experiments']}: {cause}"
            before = row["was"] if row["moved"] else ""
            shown = (row["figure"], row["what"], paper_cell(row), before, our_cell(row))
            own = (first, *shown, sample_sizes(row), cause_effect(row))
            cells.append(own)
    return cells


def _blocks(rows: Sequence[CsvRow]) -> list[tuple[str, list[CsvRow]]]:
    """Return the rows of each group and extra experiment, in the order of the rows."""
    of_group: dict[str, list[CsvRow]] = {}
    for row in rows:
        of_group.setdefault(row["group"], []).append(row)
    return [block for own in of_group.values() for block in experiment_blocks(own)]


def cause_effect(row: CsvRow) -> str:
    """Return the effect of a suspected cause on a result: a movement, or a change of verdict.

    Examples
    --------
    >>> cause_effect({"moved": "nearer", "pairs": "3", "was": "0.5", "verdict": "agrees"})
    'nearer (3 pairs), agrees'
    >>> cause_effect({"moved": "", "pairs": "", "was": "undecided", "verdict": "differs"})
    'differs, was undecided'
    """
    if row["moved"]:
        pairs = plural(int(row["pairs"]), "pair") if row["pairs"] else "not paired"
        return f"{row['moved']} ({pairs}), {row['verdict']}"
    return f"{row['verdict']}, was {row['was']}" if row["was"] else f"none, {row['verdict']}"


def cause_remarks(rows: Sequence[CsvRow]) -> list[str]:
    """Return what extra experiments did not measure, and the notes of their rows."""
    lines = []
    for _, block in _blocks(rows):
        group, experiments = block[0]["group"], block[0]["experiments"]
        measured = {row["claim"] for row in block}
        claims = [claim.name for claim in CLAIM_GROUPS[group].claims]
        missing = ", ".join(name for name in claims if name not in measured)
        if missing:
            title = CLAIM_GROUPS[group].title
            lines.append(f"{experiments}, {title}: not measured with this change: {missing}.")
        notes = claims_by_text(block, "notes")
        lines += [f"{experiments}, {', '.join(of)}: {note}." for note, of in notes.items()]
    return lines
