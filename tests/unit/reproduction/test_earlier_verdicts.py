"""The appendix of earlier verdicts, on small tables."""

import csv
from pathlib import Path

import pytest

from unitlens.errors import TableError
from unitlens.reproduction.earlier_verdicts import earlier_section, read_earlier

ROOT = Path(__file__).parents[3]
KEY = {"group": "cifar10_importance", "claim": "all", "figure": "7b", "what": "correlation"}


def row(verdict="agrees", **columns):
    values = {"paper": "-0.428", "ours": "0.1", "low": "0.0", "high": "0.2", "cause": ""}
    more = {"rule": "r", "experiments": "deep", "seeds": "1 2", "networks": "3", "units": "9"}
    return (
        KEY
        | values
        | more
        | {"orders": "", "reduction": "a; b", "notes": ""}
        | {
            "verdict": verdict,
            **columns,
        }
    )


def read(path, *rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return read_earlier(path)


def section(tmp_path, before, now):
    return "\n".join(earlier_section([now], [read(tmp_path / "paper-1.csv", before)]))


def test_verdict_that_differs__is_listed_with_both_results(tmp_path):
    before = row(
        "differs", ours="0.02", low="-0.126", high="0.164", experiments="wide", networks="12"
    )

    text = section(tmp_path, before, row())

    assert "### Against paper-1" in text
    assert 'Verdicts that differ: 1; from "differs" to an agreement or to "compatible": 1.' in text
    line = next(line for line in text.splitlines() if line.startswith("| 7b"))
    assert line == (
        "| 7b | Selectivity and importance, CIFAR-10 | correlation "
        "| 0.02 [-0.126,\N{NO-BREAK SPACE}0.164] **differs** "
        "| 0.1 [0.0,\N{NO-BREAK SPACE}0.2] **agrees** | population; networks 3, before 12 |"
    )
    assert "Selectivity and importance, CIFAR-10: experiments deep, before wide." in text


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({"rule": "other"}, "rule"),
        ({"seeds": "4"}, "seeds"),
        ({"paper": "-0.5"}, "the paper's value, before -0.5"),
        ({"reduction": "a; c"}, "protocol"),
        ({}, "the numbers alone"),
    ],
)
def test_what_changed__is_what_the_columns_say(tmp_path, before, expected):
    text = section(tmp_path, row("undecided", **before), row())

    line = next(line for line in text.splitlines() if line.startswith("| 7b"))
    assert line.endswith(f"| {expected} |")


def test_columns_that_the_earlier_table_lacks__are_not_guessed(tmp_path):
    before = {key: value for key, value in row("differs").items() if key not in ("rule", "seeds")}

    text = section(tmp_path, before, row())

    line = next(line for line in text.splitlines() if line.startswith("| 7b"))
    assert line.endswith("| rule |")  # a table without the column was made by another rule


def test_same_verdict__is_not_listed(tmp_path):
    text = section(tmp_path, row(ours="0.3", rule="other"), row())

    assert "No verdict differs." in text
    assert "| 7b" not in text


def test_claims_of_one_table_alone__are_named(tmp_path):
    text = section(tmp_path, row(claim="gone"), row(claim="new"))

    assert "New here: cifar10\\_importance/new." in text
    assert "No longer here: cifar10\\_importance/gone." in text


def test_suspected_causes__are_left_out(tmp_path):
    table = read(tmp_path / "a.csv", row("differs", cause="width"), row("agrees"))

    assert [one["verdict"] for one in table.rows] == ["agrees"]


def test_other_files__are_refused(tmp_path):
    with pytest.raises(TableError, match=r"no.csv is missing; name a paper.csv of an earlier"):
        read_earlier(tmp_path / "no.csv")
    path = tmp_path / "other.csv"
    path.write_text("group,claims\n")
    with pytest.raises(
        TableError, match=r"other.csv has no column 'claim' .*did you mean 'claims'"
    ):
        read_earlier(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(TableError, match="has no column 'group'"):
        read_earlier(path)


def test_tables_of_former_versions__are_read():
    """Figure 7b went from differs to agrees when the population changed."""
    first, later = (read_earlier(ROOT / f"docs/reproduction-0.{n}.csv") for n in (1, 8))
    verdicts = [
        next(
            row
            for row in table.rows
            if (row["group"], row["claim"]) == ("cifar10_importance", "all")
        )
        for table in (first, later)
    ]

    assert [row["verdict"] for row in verdicts] == ["differs", "agrees"]
    now = [{**row, "rule": "r", "cause": ""} for row in later.rows]
    lines = earlier_section(now, [first])
    line = next(line for line in lines if line.startswith("| 7b"))
    assert "population; networks 4, before 12" in line
