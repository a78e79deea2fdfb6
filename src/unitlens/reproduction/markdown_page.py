"""The page ``paper.md``: the paper's results and ours, in Markdown."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from unitlens.catalogue.comparisons import COMPARISONS
from unitlens.local_files import write_whole
from unitlens.reproduction.follow_ups import CLAIM_GROUPS, FOLLOW_UP_CLAIMS
from unitlens.reproduction.markdown_text import code_span, escape_markdown, table_head
from unitlens.reproduction.rule import RULE
from unitlens.reproduction.times import ExperimentTime, times_table
from unitlens.reproduction.verdict import AGREEMENTS

CsvRow = Mapping[str, str]  # of paper.csv
DrawnFigures = Mapping[str, set[str]]  # figure to the experiments that it shows
COLUMNS = ("figure", "quantity", "paper", "ours", "n", "power", "verdict")
INTRODUCTION = """\
# Comparison with the paper

The results of Morcos, Barrett, Rabinowitz & Botvinick, "On the importance of single directions for
generalization" (ICLR 2018, arXiv 1803.06959), one by one: the paper's result, the result of
unitlens, and whether the two agree. `unitlens compare-with-paper` writes this page from the tables
of the results; `paper.csv` beside it has the same rows.

A letter says how a result of the paper is known: F read off the paper's own figures, D a slide deck
that paraphrases the paper, R a replication's code or data, M recalled, I inferred, L said by later
work. The 95 % interval of our result stands in brackets; it is over networks unless the column n
names something else. The column "power" has the probability that the row would have come out
against the paper if the number beside it were true. Importance is the increase of the loss when a
unit alone is ablated. Correlations of units are rank correlations within each network, averaged
over networks.

## The rule

"""
BEYOND = """\
# Beyond the paper

Claims of later work and open questions, on the same networks.
"""


def write_page(
    rows: Sequence[CsvRow],
    times: Sequence[ExperimentTime],
    directory: Path,
    drawn: DrawnFigures,
    failed: Mapping[str, str],
) -> None:
    """Write ``paper.md``.

    Parameters
    ----------
    rows
        The rows of ``paper.csv``.
    times
        Times of the experiments.
    directory
        Directory of the page. The page shows figures of the directory's folder ``figures``.
    drawn
        The figures in that folder, each to the experiments that it shows.
    failed
        Each network that the results leave out, to the reason.
    """
    groups = {name: [row for row in rows if row["group"] == name] for name in CLAIM_GROUPS}
    summary = verdict_summary(paper_rows(rows))
    parts = [INTRODUCTION + RULE, f"## Summary\n\n{summary}\n", *_left_out(failed)]
    parts += [*_overview(groups), ""]
    shown: set[str] = set()
    for name, of_group in groups.items():
        if name == next(iter(FOLLOW_UP_CLAIMS)):
            parts.append(BEYOND)
        parts += _section(name, of_group, drawn, shown)
    if times:
        parts += times_table(times)
    write_whole(directory / "paper.md", "\n".join(parts).encode())


def _left_out(failed: Mapping[str, str]) -> list[str]:
    lines = [
        f"* left out: {escape_markdown(run)} ({escape_markdown(reason)})"
        for run, reason in failed.items()
    ]
    return [*lines, ""] if lines else []


def paper_rows(rows: Sequence[CsvRow]) -> list[CsvRow]:
    """Return the rows of the paper's results, without extra experiments and follow-ups."""
    return [row for row in rows if not row["cause"] and row["group"] not in FOLLOW_UP_CLAIMS]


def _overview(groups: Mapping[str, Sequence[CsvRow]]) -> list[str]:
    """Tabulate the verdicts of each group and the effects of suspected causes."""
    lines = table_head(("figure", "results", "verdicts", "suspected causes"))
    for name, rows in groups.items():
        figures = ", ".join(dict.fromkeys(row["figure"] for row in rows))
        verdicts = _count_verdicts([row for row in rows if not row["cause"]])
        causes = "; ".join(
            f"{escape_markdown(block[0]['experiments'])}: {_cause_effect(block)}"
            for cause, block in experiment_blocks(rows)
            if cause
        )
        lines.append(f"| {figures} | {CLAIM_GROUPS[name].title} | {verdicts} | {causes} |")
    return lines


def verdict_summary(rows: Sequence[CsvRow]) -> str:
    """Return two sentences: the number of rows of each verdict, and of agreements."""
    agreements = sum(row["verdict"] in AGREEMENTS for row in rows)
    counts = f"Verdicts of {len(rows)} results: {_count_verdicts(rows)}."
    return f"{counts} Agreements, each of which could have failed: {agreements}."


def _count_verdicts(rows: Sequence[CsvRow]) -> str:
    counts = Counter(row["verdict"] for row in rows)
    return ", ".join(f"{verdict} ({count})" for verdict, count in counts.most_common())


def experiment_blocks(rows: Sequence[CsvRow]) -> Iterator[tuple[str, list[CsvRow]]]:
    """Yield the main rows of a group, and the rows of each extra experiment, with the cause."""
    for (cause, _), block in groupby(rows, key=lambda row: (row["cause"], row["command"])):
        yield cause, list(block)


def row_cells(row: CsvRow) -> tuple[str, ...]:
    """Return the texts of a row in the order of :data:`COLUMNS`."""
    return (*_result_cells(row), row["verdict"] + _verdict_detail(row))


def _result_cells(row: CsvRow) -> tuple[str, ...]:
    paper = f"{row['paper']} ({row['known']})" if row["known"] else row["paper"]
    power = f"{row['power']} against {row['alternative']}" if row["power"] else ""
    return row["figure"], row["what"], paper, _our_cell(row), sample_sizes(row), power


def _our_cell(row: CsvRow) -> str:
    """Return our result with its interval, which has no line break."""
    if not row["low"]:
        return row["ours"]
    return f"{row['ours']} [{row['low']},\N{NO-BREAK SPACE}{row['high']}]"


def sample_sizes(row: CsvRow) -> str:
    """Return the numbers of networks, units and orders of a row, and what its interval is over."""
    if not row["ours"]:
        return ""
    noise = "noise_robustness" in COMPARISONS[row["group"]].needs
    words = {"networks": "network", "units": "unit", "orders": "draw" if noise else "order"}
    parts = [_plural(int(row[column]), word) for column, word in words.items() if row[column]]
    if row["interval_over"] != "networks":
        over = row["interval_over"]
        parts.append(f"interval over {over}" if over else "no interval")
    return ", ".join(parts)


def _plural(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _verdict_detail(row: CsvRow) -> str:
    """Return the p-value of an open question, and the effect of a suspected cause on a result."""
    p_value = f" (p {_equals(row['p'])})" if row["p"] else ""
    if row["moved"]:
        pairs = _plural(int(row["pairs"]), "pair") if row["pairs"] else "not paired"
        return f"{p_value}; {row['moved']}: was {row['was']} ({pairs})"
    return f"{p_value}; was {row['was']}" if row["was"] else p_value


def _equals(p_value: str) -> str:
    return p_value if p_value.startswith("<") else f"= {p_value}"


def remarks(rows: Sequence[CsvRow]) -> list[str]:
    """Return the remarks below the rows of one experiment.

    Parameters
    ----------
    rows
        Rows of :func:`experiment_blocks`.

    Returns
    -------
    The effect of a suspected cause, the differences in size from the paper, the alternatives that
    the powers are against, and the notes of rows; rows with the same notes share a remark.
    """
    lines = _cause_remarks(rows)
    if rows[0]["group"] not in FOLLOW_UP_CLAIMS:
        lines.append(f"Differences in size from the paper: {rows[0]['reduction'] or 'none known'}.")
    reasons = _claims_by_text(rows, "reason")
    if reasons:
        told = "; ".join(f"{', '.join(of)}: {reason}" for reason, of in reasons.items())
        lines.append(f"Alternatives of the column power: {told}.")
    notes = _claims_by_text(rows, "notes")
    return [*lines, *(f"{', '.join(of)}: {note}." for note, of in notes.items())]


def _claims_by_text(rows: Sequence[CsvRow], column: str) -> dict[str, list[str]]:
    """Return the claims of each text that a column has."""
    claims: dict[str, list[str]] = {}
    for row in rows:
        if row[column]:
            claims.setdefault(row[column], []).append(row["claim"])
    return claims


def _cause_remarks(rows: Sequence[CsvRow]) -> list[str]:
    """Return the effect of a suspected cause, and the claims that its experiment lacks."""
    if not rows[0]["cause"]:
        return []
    measured = {row["claim"] for row in rows}
    claims = [claim.name for claim in CLAIM_GROUPS[rows[0]["group"]].claims]
    missing = ", ".join(name for name in claims if name not in measured)
    effect = f"Effect of this change: {_cause_effect(rows)}."
    return [effect, f"Not measured with this change: {missing}."] if missing else [effect]


def _cause_effect(rows: Sequence[CsvRow]) -> str:
    """Count the numbers that a suspected cause moves, and list the verdicts that it changes."""
    counts = Counter(row["moved"] for row in rows)
    moved = {way: counts[way] + counts[f"surely {way}"] for way in ("nearer", "farther")}
    effects = [
        f"{count} {way} ({counts[f'surely {way}']} surely)" for way, count in moved.items() if count
    ]
    if counts["as near"]:
        effects.append(f"{counts['as near']} as near")
    effects += [
        f"{row['claim']} {row['verdict']} (was {row['was']})"
        for row in rows
        if row["was"] and not row["moved"]
    ]
    return ", ".join(effects) or "none"


def _section(name: str, rows: Sequence[CsvRow], drawn: DrawnFigures, shown: set[str]) -> list[str]:
    """Write a group of claims.

    Parameters
    ----------
    name
        Name of the group.
    rows
        Its rows.
    drawn
        All figures.
    shown
        Figures that the page shows already; the figures of the group are added.
    """
    group = CLAIM_GROUPS[name]
    lines = [f"## {group.title}\n"]
    for cause, block in experiment_blocks(rows):
        if cause:
            lines.append(f"### Suspected cause: {escape_markdown(cause)}\n")
        lines += [*_markdown_table(block), ""]
        if not cause:
            lines += _figures(group.figures, block[0]["experiments"].split(), drawn, shown)
        if not block[0]["command"]:
            lines.append("Not measured: no experiment is named for this group of results.\n")
            continue
        lines += [f"* {escape_markdown(remark)}" for remark in remarks(block)]
        lines += ["", f"Reproduce with {code_span(block[0]['command'])}\n"]
    return lines


def _markdown_table(rows: Sequence[CsvRow]) -> list[str]:
    lines = table_head(COLUMNS)
    for row in rows:
        cells = (*_result_cells(row), f"**{row['verdict']}**{_verdict_detail(row)}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _figures(
    names: Sequence[str], experiments: Sequence[str], drawn: DrawnFigures, shown: set[str]
) -> list[str]:
    """Show the figures of a group that draw its experiments, each figure once on the page."""
    own = [name for name in names if drawn.get(name, set()) & set(experiments)]
    above = [name.replace("_", " ") for name in own if name in shown]
    new = [name for name in own if name not in shown]
    shown.update(new)
    lines = [f"![{name.replace('_', ' ')}](figures/{name}.svg)\n" for name in new]
    return [*lines, f"See also the figure above: {', '.join(above)}.\n"] if above else lines
