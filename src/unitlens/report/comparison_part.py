"""The part of the report page on the paper: conclusions, results, suspected causes."""

import csv
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from unitlens.reproduction.cause_table import CAUSE_COLUMNS, cause_cells, cause_remarks
from unitlens.reproduction.conclusion_verdicts import count_conclusions, judge_conclusions
from unitlens.reproduction.follow_ups import CLAIM_GROUPS
from unitlens.reproduction.page_files import read_paper_record
from unitlens.reproduction.row_texts import (
    COLUMNS,
    paper_rows,
    remarks,
    row_cells,
    verdict_summary,
)
from unitlens.tables.results import Results


def read_comparison(
    path: Path, results: Results, figures: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what the report page shows of a comparison with the paper.

    Parameters
    ----------
    path
        The file ``paper.csv``.
    results
        The results that the comparison must be of.
    figures
        The figures of the page, each with ``name``, which conclusions link.

    Returns
    -------
    Texts for the template of the page: the conclusions, the rows that have an experiment by their
    groups, and those of suspected causes.

    Raises
    ------
    TableError
        Where a file is missing, damaged, or was made from other tables.
    """
    record = read_paper_record(path, results.record)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    measured = [row for row in rows if row["command"] and not row["cause"]]
    judged = judge_conclusions(rows)
    names = {figure["name"] for figure in figures}
    tested = [row for row in rows if row["cause"]]
    return {
        "conclusion_count": count_conclusions(judged),
        "conclusions": [
            {
                "words": one.conclusion.words,
                "verdict": one.told[0].upper() + one.told[1:],
                "reason": one.reason,
                "figure": one.conclusion.figure if one.conclusion.figure in names else "",
            }
            for one in judged
        ],
        "summary": verdict_summary(paper_rows(rows)),
        "columns": COLUMNS,
        "groups": [
            {
                "title": CLAIM_GROUPS[name].title,
                "rows": [row_cells(row) for row in block],
                "remarks": remarks(block),
            }
            for name, block in (
                (name, list(of_group))
                for name, of_group in groupby(measured, key=lambda row: row["group"])
            )
        ],
        "cause_columns": CAUSE_COLUMNS,
        "causes": cause_cells(tested),
        "cause_remarks": cause_remarks(tested),
        "command": record["command"],
        "protocol": record["protocol"],
    }
