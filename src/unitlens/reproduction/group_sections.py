"""The sections of the page, one for each group of claims: table, figure, and remarks."""

import re
from collections.abc import Mapping, Sequence

from unitlens.reproduction.follow_ups import CLAIM_GROUPS
from unitlens.reproduction.markdown_text import escape_markdown, table_head
from unitlens.reproduction.row_texts import (
    COLUMNS,
    CsvRow,
    count_verdicts,
    remarks,
    result_cells,
    verdict_detail,
)

DrawnFigures = Mapping[str, set[str]]  # figure to the experiments that it shows


def overview_table(groups: Mapping[str, Sequence[CsvRow]]) -> list[str]:
    """Tabulate the verdicts of each group, with links to the sections."""
    lines = table_head(("figure", "results", "verdicts"))
    for name, rows in groups.items():
        main = [row for row in rows if not row["cause"]]
        figures = ", ".join(dict.fromkeys(row["figure"] for row in main))
        title = CLAIM_GROUPS[name].title
        lines.append(
            f"| {figures} | [{title}](#{heading_anchor(title)}) | {count_verdicts(main)} |"
        )
    return [*lines, ""]


def heading_anchor(title: str) -> str:
    """Return the anchor that a heading of Markdown gets.

    Examples
    --------
    >>> heading_anchor("Batch norm and ablation, CIFAR-10")
    'batch-norm-and-ablation-cifar-10'
    """
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def group_section(
    name: str, rows: Sequence[CsvRow], drawn: DrawnFigures, shown: dict[str, str]
) -> list[str]:
    """Write a group of claims in Markdown, without its extra experiments.

    Parameters
    ----------
    name
        Name of the group.
    rows
        Its rows.
    drawn
        All figures.
    shown
        Figures that the page shows already, each with the heading above it; the figures of the
        group are added.
    """
    group = CLAIM_GROUPS[name]
    main = [row for row in rows if not row["cause"]]
    lines = [f"## {group.title}\n", *_markdown_table(main), ""]
    lines += _figures(group.figures, main[0]["experiments"].split(), drawn, shown, group.title)
    if not main[0]["command"]:
        return [*lines, f"Not measured: {main[0]['notes']}.\n"]
    told = [f"* {escape_markdown(remark)}" for remark in remarks(main)]
    return [*lines, *told, ""] if told else lines


def _markdown_table(rows: Sequence[CsvRow]) -> list[str]:
    """Return the table of a group, without the column "power" where no row has one."""
    table = [(*result_cells(row), f"**{row['verdict']}**{verdict_detail(row)}") for row in rows]
    kept = [
        place
        for place, column in enumerate(COLUMNS)
        if column != "power" or any(cells[place] for cells in table)
    ]
    lines = table_head([COLUMNS[place] for place in kept])
    return lines + [f"| {' | '.join(cells[place] for place in kept)} |" for cells in table]


def _figures(
    names: Sequence[str],
    experiments: Sequence[str],
    drawn: DrawnFigures,
    shown: dict[str, str],
    title: str,
) -> list[str]:
    """Show the figures of a group that draw its experiments, each figure once on the page."""
    lines = []
    for name in names:
        if not draws(drawn, name, experiments):
            continue
        if name in shown:
            link = f"[{shown[name]}](#{heading_anchor(shown[name])})"
            lines.append(f"The figure {name.replace('_', ' ')} stands under {link}.\n")
        else:
            shown[name] = title
            lines.append(figure_line(name))
    return lines


def draws(drawn: DrawnFigures, name: str, experiments: Sequence[str]) -> bool:
    """Return whether a figure was drawn with some of the experiments."""
    return bool(drawn.get(name, set()) & set(experiments))


def figure_line(name: str) -> str:
    """Return the line of Markdown that shows a figure."""
    return f"![{name.replace('_', ' ')}](figures/{name}.svg)\n"
