"""The page on which the paper's results stand beside ours, in Markdown."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from unitlens.reproduction.claims import GROUPS
from unitlens.reproduction.verdict import RULE

Row = Mapping[str, str]
COLUMNS = ("figure", "what", "paper", "ours", "n", "verdict")
INTRO = """\
# The paper and us

Morcos, Barrett, Rabinowitz & Botvinick, "On the importance of single directions for
generalization" (ICLR 2018, arXiv 1803.06959), result by result: what the paper has, what unitlens
finds, and whether they agree. This page is written by `unitlens compare-with-paper` from the
tables of the results; `paper.csv` beside it has the same rows.

How a value of the paper is known: F read off its own figures, D a slide deck that paraphrases it,
R a replication's code or data, M recalled, I inferred. Ours has a 95 % interval in brackets: a
seeded bootstrap (expanded percentiles) over networks where there are at least three, else over
what is named beside n. Importance is the increase of the loss when a unit alone is ablated;
correlations of units are of ranks, within each network, and then averaged.

## The rule

"""


def write_page(rows: Sequence[Row], directory: Path) -> None:
    """Write ``paper.md``.

    Parameters
    ----------
    rows
        The rows of ``paper.csv``.
    directory
        Where to. Figures are shown that lie in its folder ``figures`` as SVG.
    """
    groups = {name: [row for row in rows if row["group"] == name] for name in GROUPS}
    parts = [INTRO + RULE, "## In short\n", told(rows) + "\n", *_overview(groups), ""]
    for name, own in groups.items():
        parts += _section(name, own, directory)
    (directory / "paper.md").write_text("\n".join(parts), encoding="utf-8")


def _overview(groups: Mapping[str, Sequence[Row]]) -> list[str]:
    """List how the results of each group compare."""
    lines = ["| figure | results | verdicts |", "| --- | --- | --- |"]
    for name, rows in groups.items():
        figures = ", ".join(dict.fromkeys(row["figure"] for row in rows))
        lines.append(f"| {figures} | {GROUPS[name].title} | {_verdicts(rows)} |")
    return lines


def told(rows: Sequence[Row]) -> str:
    """Say how many rows have each verdict."""
    return f"Of {len(rows)} results: {_verdicts(rows)}."


def _verdicts(rows: Sequence[Row]) -> str:
    counts = Counter(row["verdict"] for row in rows)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def cells(row: Row) -> tuple[str, ...]:
    """Return what a row shows: :data:`COLUMNS`."""
    paper = f"{row['paper']} ({row['known']})"
    return row["figure"], row["what"], paper, ours(row), count(row), row["verdict"]


def remarks(rows: Sequence[Row]) -> list[str]:
    """Return in what an experiment is smaller than the paper's, and what is noted of its rows."""
    reduction = rows[0]["reduction"] or "nothing that is known differs"
    noted: dict[str, list[str]] = {}
    for row in filter(lambda row: row["notes"], rows):
        noted.setdefault(row["notes"], []).append(row["claim"])
    notes = [f"{', '.join(claims)}: {note}." for note, claims in noted.items()]
    return [f"Beside the paper's size: {reduction}.", *notes]


def _table(rows: Sequence[Row]) -> list[str]:
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- " * len(COLUMNS) + "|"]
    for row in rows:
        *told, verdict = cells(row)
        lines.append("| " + " | ".join([*told, f"**{verdict}**"]) + " |")
    return lines


def ours(row: Row) -> str:
    """Write our value and its interval."""
    # No break within the interval.
    return (
        f"{row['ours']} [{row['low']},\N{NO-BREAK SPACE}{row['high']}]"
        if row["low"]
        else row["ours"]
    )


def count(row: Row) -> str:
    """Write how many networks, units and orders a row is over, and what was resampled."""
    if not row["ours"]:
        return ""
    noisy = "noise" in row["group"]
    words = ("networks", "networks"), ("units", "units"), ("orders", "draws" if noisy else "orders")
    told = [_counted(int(row[name]), word) for name, word in words if row[name]]
    if row["interval_over"] != "networks":
        told.append(f"over {row['interval_over']}" if row["interval_over"] else "no interval")
    return ", ".join(told)


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word if number > 1 else word.removesuffix('s')}"


def _section(name: str, rows: Sequence[Row], directory: Path) -> list[str]:
    group = GROUPS[name]
    lines = [f"## {group.title}\n", *_table(rows), ""]
    for picture in group.pictures:
        if (directory / "figures" / f"{picture}.svg").exists():
            lines.append(f"![{picture.replace('_', ' ')}](figures/{picture}.svg)\n")  # noqa: PERF401
    if not rows[0]["command"]:
        return [*lines, "Not measured: no experiment is named for it.\n"]
    listed = [f"* {remark}" for remark in remarks(rows)]
    return [*lines, *listed, "", f"Again: `{rows[0]['command']}`\n"]
