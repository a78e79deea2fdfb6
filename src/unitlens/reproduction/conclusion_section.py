"""The beginning of the page: the ten conclusions of the paper, each with verdict and figure."""

from collections.abc import Sequence

from unitlens.reproduction.conclusion_verdicts import JudgedConclusion, count_conclusions
from unitlens.reproduction.conclusions import CONCLUSION_RULE, ConclusionPart
from unitlens.reproduction.follow_ups import CLAIM_GROUPS
from unitlens.reproduction.group_sections import DrawnFigures, draws, figure_line, heading_anchor
from unitlens.reproduction.markdown_text import escape_markdown, table_head


def conclusion_section(
    judged: Sequence[JudgedConclusion], drawn: DrawnFigures, shown: dict[str, str]
) -> list[str]:
    """Write the conclusions in Markdown: a table of the verdicts, then each with its figure.

    Parameters
    ----------
    judged
        The conclusions with their verdicts.
    drawn
        All figures.
    shown
        Figures that the page shows, each with the heading above it; those shown here are added.
    """
    lines = ["## The conclusions of the paper\n", f"{count_conclusions(judged)}\n"]
    lines += table_head(("", "conclusion of the paper", "here"))
    for number, one in enumerate(judged, 1):
        link = f"[{number}](#{heading_anchor(_heading(number, one))})"
        lines.append(f"| {link} | {one.conclusion.words} | {_bold_verdict(one)} |")
    lines += ["", CONCLUSION_RULE]
    for number, one in enumerate(judged, 1):
        heading = _heading(number, one)
        lines += [f"### {heading}\n", f"{one.conclusion.words}\n"]
        for part in one.parts:
            told = f"**{_capital(part.told)} {part.where}**: {escape_markdown(part.reason)}."
            lines.append(f"* {told}")
        lines += ["", f"{_deciding_text(one)}\n"]
        figure = one.conclusion.figure
        if draws(drawn, figure, one.experiments):
            shown.setdefault(figure, heading)
            lines.append(figure_line(figure))
    return lines


def _heading(number: int, judged: JudgedConclusion) -> str:
    return f"Conclusion {number}: {judged.conclusion.title}"


def _bold_verdict(judged: JudgedConclusion) -> str:
    """Return the verdicts in bold, each with its data sets."""
    told = ", ".join(f"**{verdict}** {where}" for verdict, where in judged.verdicts)
    return f"**mixed**: {told}" if judged.verdict == "mixed" else told


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _deciding_text(judged: JudgedConclusion) -> str:
    """Name the deciding rows, with links to their sections."""
    links = [_link(group, names) for part in judged.conclusion.parts for group, names in _own(part)]
    return f"Deciding rows: {'; '.join(links)}."


def _own(part: ConclusionPart) -> list[tuple[str, list[str]]]:
    """Return the deciding claims of a part by their groups."""
    groups: dict[str, list[str]] = {}
    for (group, claim), decides in part.claims():
        if decides:
            groups.setdefault(group, []).append(claim)
    return list(groups.items())


def _link(group: str, claims: Sequence[str]) -> str:
    title = CLAIM_GROUPS[group].title
    return f"[{title}](#{heading_anchor(title)}) ({', '.join(claims)})"
