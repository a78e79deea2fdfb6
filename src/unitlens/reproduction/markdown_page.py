"""The page on which the paper's results stand beside ours, in Markdown."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from unitlens.reproduction.later import GROUPS, LATER
from unitlens.reproduction.times import Time
from unitlens.reproduction.verdict import RULE

ComparisonRow = Mapping[str, str]
Drawn = Mapping[str, set[str]]  # figure to the experiments that it draws
COLUMNS = ("figure", "what", "paper", "ours", "n", "verdict")
INTRO = """\
# The paper and us

Morcos, Barrett, Rabinowitz & Botvinick, "On the importance of single directions for
generalization" (ICLR 2018, arXiv 1803.06959), result by result: what the paper has, what unitlens
finds, and whether they agree. This page is written by `unitlens compare-with-paper` from the
tables of the results; `paper.csv` beside it has the same rows.

How a value of the paper is known: F read off its own figures, D a slide deck that paraphrases it,
R a replication's code or data, M recalled, I inferred, L said by later work. Ours has a 95 %
interval in brackets: a seeded bootstrap (expanded percentiles) over networks where there are at
least three, else over what is named beside n. Importance is the increase of the loss when a unit
alone is ablated; correlations of units are of ranks, within each network, and then averaged.

## The rule

"""
BEYOND = """\
# Beyond the paper

Questions of later work and of the paper's readers, on the same networks.
"""
TIMES = """\
## Time

Wall time of the jobs of each experiment, one after another, their start included, and beside it
the time of processors as Snakemake samples it, which misses the last seconds of a job: wall time is
longer where other work ran on the machine. Training is a share of wall time. A network of several
experiments counts in each, and once in all.
"""


def write_page(rows: Sequence[ComparisonRow], times: Sequence[Time], directory: Path) -> None:
    """Write ``paper.md``.

    Parameters
    ----------
    rows
        The rows of ``paper.csv``.
    times
        What the experiments took.
    directory
        Where to. The figures of its folder ``figures`` are shown.
    """
    groups = {name: [row for row in rows if row["group"] == name] for name in GROUPS}
    parts = [INTRO + RULE, "## In short\n", told(of_paper(rows)) + "\n", *_overview(groups), ""]
    drawn = _drawn(directory / "figures/figures.json")
    shown: set[str] = set()
    for name, own in groups.items():
        if name == next(iter(LATER)):
            parts.append(BEYOND)
        parts += _section(name, own, drawn, shown)
    if times:
        parts += _times(times)
    (directory / "paper.md").write_text("\n".join(parts), encoding="utf-8")


def of_paper(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    """Return the rows of the paper's results, without extra experiments and later questions."""
    return [row for row in rows if not row["cause"] and row["group"] not in LATER]


def _overview(groups: Mapping[str, Sequence[ComparisonRow]]) -> list[str]:
    """List how the results of each group compare, and what extra experiments change."""
    lines = ["| figure | results | verdicts | causes tested |", "| --- | --- | --- | --- |"]
    for name, rows in groups.items():
        figures = ", ".join(dict.fromkeys(row["figure"] for row in rows))
        main = [row for row in rows if not row["cause"]]
        tested = "; ".join(
            f"{own[0]['experiments']}: {_moved(own)}" for cause, own in blocks(rows) if cause
        )
        lines.append(f"| {figures} | {GROUPS[name].title} | {_verdicts(main)} | {tested} |")
    return lines


def told(rows: Sequence[ComparisonRow]) -> str:
    """Say how many rows have each verdict."""
    return f"Of {len(rows)} results: {_verdicts(rows)}."


def _verdicts(rows: Sequence[ComparisonRow]) -> str:
    counts = Counter(row["verdict"] for row in rows)
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def cells(row: ComparisonRow) -> tuple[str, ...]:
    """Return what a row shows: :data:`COLUMNS`."""
    return (*_facts(row), row["verdict"] + _since(row))


def _facts(row: ComparisonRow) -> tuple[str, ...]:
    paper = f"{row['paper']} ({row['known']})" if row["known"] else row["paper"]
    return row["figure"], row["what"], paper, ours(row), count(row)


def _since(row: ComparisonRow) -> str:
    """Write what a tested cause has changed."""
    if row["moved"]:
        return f"; {row['moved']}: was {row['was']}"
    return f"; was {row['was']}" if row["was"] else ""


def remarks(rows: Sequence[ComparisonRow]) -> list[str]:
    """Return in what an experiment is smaller than the paper's, and what is noted of its rows."""
    reduced = () if rows[0]["group"] in LATER else (_reduced(rows[0]["reduction"]),)
    noted: dict[str, list[str]] = {}
    for row in filter(lambda row: row["notes"], rows):
        noted.setdefault(row["notes"], []).append(row["claim"])
    notes = [f"{', '.join(claims)}: {note}." for note, claims in noted.items()]
    return [*_changes(rows), *reduced, *notes]


def _changes(rows: Sequence[ComparisonRow]) -> list[str]:
    """Say what a tested cause changes, and which results the experiment does not measure."""
    if not rows[0]["cause"]:
        return []
    measured = {row["claim"] for row in rows}
    claims = [claim.name for claim in GROUPS[rows[0]["group"]].claims]
    lacking = ", ".join(name for name in claims if name not in measured)
    told = f"With this change: {_moved(rows)}."
    return [told, f"Not measured with this change: {lacking}."] if lacking else [told]


def _moved(rows: Sequence[ComparisonRow]) -> str:
    """Say how many numbers a tested cause brings nearer to the paper's, and what verdicts."""
    ways = Counter(row["moved"] for row in rows)
    told = [
        f"{ways[way] + ways[f'surely {way}']} {way} ({ways[f'surely {way}']} surely)"
        for way in ("nearer", "farther")
        if ways[way] + ways[f"surely {way}"]
    ]
    told += [f"{ways['as near']} as near"] if ways["as near"] else []
    changed = [
        f"{row['claim']} {row['verdict']} (was {row['was']})"
        for row in rows
        if row["was"] and not row["moved"]
    ]
    return ", ".join([*told, *changed]) or "no change"


def _reduced(text: str) -> str:
    return f"Beside the paper's size: {text or 'nothing that is known differs'}."


def blocks(rows: Sequence[ComparisonRow]) -> Iterator[tuple[str, list[ComparisonRow]]]:
    """Return the rows of a group, and those of each extra experiment with what it tests."""
    for (cause, _), of_cause in groupby(rows, key=lambda row: (row["cause"], row["command"])):
        yield cause, list(of_cause)


def _table(rows: Sequence[ComparisonRow]) -> list[str]:
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- " * len(COLUMNS) + "|"]
    bold = ((*_facts(row), f"**{row['verdict']}**{_since(row)}") for row in rows)
    return [*lines, *("| " + " | ".join(row) + " |" for row in bold)]


def ours(row: ComparisonRow) -> str:
    """Write our value and its interval."""
    # No break within the interval.
    return (
        f"{row['ours']} [{row['low']},\N{NO-BREAK SPACE}{row['high']}]"
        if row["low"]
        else row["ours"]
    )


def count(row: ComparisonRow) -> str:
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


def _section(name: str, rows: Sequence[ComparisonRow], drawn: Drawn, shown: set[str]) -> list[str]:
    """Write a group: its rows, the pictures that no group before it has shown, and how again."""
    group = GROUPS[name]
    lines = [f"## {group.title}\n"]
    for cause, own in blocks(rows):
        if cause:
            lines.append(f"### Tested as a cause: {cause}\n")
        lines += [*_table(own), ""]
        if not cause:
            lines += _pictures(group.pictures, own[0]["experiments"].split(), drawn, shown)
        if not own[0]["command"]:
            lines.append("Not measured: no experiment is named for it.\n")
            continue
        listed = [f"* {remark}" for remark in remarks(own)]
        lines += [*listed, "", f"Again: `{own[0]['command']}`\n"]
    return lines


def _drawn(listed: Path) -> Drawn:
    if not listed.exists():
        return {}
    figures = json.loads(listed.read_text("utf-8"))
    return {figure["name"]: set(figure["experiments"]) for figure in figures}


def _pictures(
    names: Sequence[str], experiments: Sequence[str], drawn: Drawn, shown: set[str]
) -> list[str]:
    """Show the figures of a group that draw its experiments."""
    there = [name for name in names if drawn.get(name, set()) & set(experiments)]
    again = [name.replace("_", " ") for name in there if name in shown]
    new = [name for name in there if name not in shown]
    shown.update(new)
    lines = [f"![{name.replace('_', ' ')}](figures/{name}.svg)\n" for name in new]
    return [*lines, f"Also in the figure above: {', '.join(again)}.\n"] if again else lines


def _times(times: Sequence[Time]) -> list[str]:
    """Write how long each experiment took."""
    lines = [
        TIMES,
        "| experiment | networks | jobs | minutes | of processors | training | most of the rest |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for time in times:
        most = f"{time.most.replace('_', ' ')} {time.most_seconds / time.seconds:.0%}"
        lines.append(
            f"| {time.experiment} | {time.networks} | {time.jobs} | {time.seconds / 60:.1f} "
            f"| {time.processor / 60:.1f} | {time.training / time.seconds:.0%} "
            f"| {most if time.most else ''} |"
        )
    return [*lines, ""]
