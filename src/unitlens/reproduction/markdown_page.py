"""The pages ``paper.md`` and ``beyond.md``: the paper's results and ours, in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unitlens.local_files import write_whole
from unitlens.reproduction.cause_table import cause_section
from unitlens.reproduction.conclusion_section import conclusion_section
from unitlens.reproduction.conclusion_verdicts import judge_conclusions
from unitlens.reproduction.earlier_verdicts import EarlierTable, earlier_section
from unitlens.reproduction.follow_ups import CLAIM_GROUPS, FOLLOW_UP_CLAIMS
from unitlens.reproduction.group_sections import DrawnFigures, group_section, overview_table
from unitlens.reproduction.markdown_text import code_span, escape_markdown
from unitlens.reproduction.row_texts import CsvRow, paper_rows, verdict_summary
from unitlens.reproduction.rule import REMARKS, RULE
from unitlens.reproduction.times import ExperimentTime, times_table

PAPER_PAGE, BEYOND_PAGE = "paper.md", "beyond.md"
INTRODUCTION = """\
# Comparison with the paper

The results of Morcos, Barrett, Rabinowitz & Botvinick, "On the importance of single directions for
generalization" (ICLR 2018, arXiv 1803.06959), beside those of unitlens: first the conclusions of
the paper, then each result by itself. `unitlens compare-with-paper` writes this page from the
tables of the results; [paper.csv](paper.csv) has its rows. Claims of later work and open
questions on the same networks have a page of their own, [beyond.md](beyond.md).
"""
BEYOND = """\
# Beyond the paper

Claims of later work and open questions, measured on the networks of the comparison with Morcos et
al. (ICLR 2018, arXiv 1803.06959). `unitlens compare-with-paper` writes this page beside
[paper.md](paper.md), which has the rule behind the verdicts; [paper.csv](paper.csv) has the rows of
both pages. An open question is answered
**above 0** or **below 0** by a p-value that is adjusted, by Holm's method, for all open questions
of this page.
"""
READING = """\
## How to read the tables

A letter says how a result of the paper is known: F read off the paper's own figures, D a slide deck
that paraphrases the paper, R a replication's code or data, M recalled, I inferred, L said by later
work. The 95 % interval of our result stands in brackets; it is over networks unless the column n
names something else. The column "power" has the probability that the row would have come out
against the paper if the number beside it were true; with a power under .8 a row could hardly have
failed, and never agrees. Agreements are the verdicts "agrees", "same direction" and "same order".
Importance is the increase of the loss when a unit alone is ablated. Correlations of units are rank
correlations within each network, averaged over networks.
"""
AGAIN = """\
 makes all results again, in the directory `again`. For some experiments only, add
`'only=[NAME,NAME]'`; the column `experiments` of `paper.csv` has their names.
"""
PROTOCOL = """\
The protocol of these results (rule, claims, networks, seeds and measurements) has the hash
`{hash}`. The protocol that was fixed before the run states its own hash (docs/protocol.md in the
repository of unitlens): the results are those of the fixed protocol where both are the same.
"""
NO_PROTOCOL = """\
The protocol of these results has no hash: the comparison was not made by the workflow.
"""


@dataclass(frozen=True)
class PageContent:
    """What the pages are written from.

    Attributes
    ----------
    rows
        The rows of ``paper.csv``.
    times
        Times of the experiments.
    drawn
        The figures in the folder ``figures`` beside the pages, each to its experiments.
    failed
        Each network that the results leave out, to the reason.
    command
        Command that makes all results again, in another directory.
    protocol
        Hash of the protocol of the results; empty where it is not known.
    earlier
        Tables of earlier comparisons.
    """

    rows: Sequence[CsvRow]
    times: Sequence[ExperimentTime] = ()
    drawn: DrawnFigures = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    protocol: str = ""
    earlier: Sequence[EarlierTable] = ()


def write_pages(content: PageContent, directory: Path) -> None:
    """Write ``paper.md`` and ``beyond.md``.

    Parameters
    ----------
    content
        What the pages are written from.
    directory
        Directory of the pages. The pages show figures of the directory's folder ``figures``.
    """
    for name, lines in ((PAPER_PAGE, _paper_page(content)), (BEYOND_PAGE, _beyond_page(content))):
        write_whole(directory / name, "\n".join(lines).encode())


def _paper_page(content: PageContent) -> list[str]:
    groups = _groups(content.rows, beyond=False)
    rows = [row for of_group in groups.values() for row in of_group]
    shown: dict[str, str] = {}
    lines = [INTRODUCTION]
    lines += conclusion_section(judge_conclusions(rows), content.drawn, shown)
    lines += [*_origin(content), READING, "## Summary of the results\n"]
    lines += [f"{verdict_summary(paper_rows(rows))}\n", *_left_out(content.failed)]
    lines += [
        *overview_table(groups),
        f"## The rule\n\n{RULE}",
        f"### Remarks on the rule\n\n{REMARKS}",
    ]
    for name, of_group in groups.items():
        lines += group_section(name, of_group, content.drawn, shown)
    lines += cause_section(rows)
    if content.times:
        lines += times_table(content.times)
    return [*lines, *earlier_section(content.rows, content.earlier)]


def _beyond_page(content: PageContent) -> list[str]:
    groups = _groups(content.rows, beyond=True)
    shown: dict[str, str] = {}
    lines = [BEYOND, *_origin(content), READING, "## Summary of the results\n"]
    lines += overview_table(groups)
    for name, of_group in groups.items():
        lines += group_section(name, of_group, content.drawn, shown)
    return [*lines, *cause_section([row for of_group in groups.values() for row in of_group])]


def _groups(rows: Sequence[CsvRow], *, beyond: bool) -> dict[str, list[CsvRow]]:
    """Return the rows of each group, of the paper's groups or of those beyond the paper."""
    return {
        name: [row for row in rows if row["group"] == name]
        for name in CLAIM_GROUPS
        if (name in FOLLOW_UP_CLAIMS) == beyond
    }


def _origin(content: PageContent) -> list[str]:
    """Return the command that makes all results, and the hash of their protocol."""
    stated = PROTOCOL.format(hash=content.protocol) if content.protocol else NO_PROTOCOL
    return [f"## How to reproduce this page\n\n{code_span(content.command)}{AGAIN}", stated]


def _left_out(failed: Mapping[str, str]) -> list[str]:
    lines = [
        f"* left out: {escape_markdown(run)} ({escape_markdown(reason)})"
        for run, reason in failed.items()
    ]
    return [*lines, ""] if lines else []
