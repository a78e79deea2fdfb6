"""The rows of ``paper.csv`` as texts of a page: cells, counts of verdicts, and remarks."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from unitlens.catalogue.comparisons import COMPARISONS
from unitlens.reproduction.follow_ups import FOLLOW_UP_CLAIMS
from unitlens.reproduction.verdict import AGREEMENTS

CsvRow = Mapping[str, str]  # of paper.csv
COLUMNS = ("figure", "quantity", "paper", "ours", "n", "power", "verdict")
WEAK = "could hardly have failed"


def paper_rows(rows: Sequence[CsvRow]) -> list[CsvRow]:
    """Return the rows of the paper's results, without extra experiments and follow-ups."""
    return [row for row in rows if not row["cause"] and row["group"] not in FOLLOW_UP_CLAIMS]


def verdict_summary(rows: Sequence[CsvRow]) -> str:
    """Return two sentences: the number of rows of each verdict, and of all agreements."""
    agreements = sum(row["verdict"] in AGREEMENTS for row in rows)
    counts = f"Verdicts of {len(rows)} results: {count_verdicts(rows)}."
    return f"{counts} Agreements: {agreements}."


def count_verdicts(rows: Sequence[CsvRow]) -> str:
    """Return the number of rows of each verdict, the most frequent verdict first."""
    counts = Counter(row["verdict"] for row in rows)
    return ", ".join(f"{verdict} ({count})" for verdict, count in counts.most_common())


def experiment_blocks(rows: Sequence[CsvRow]) -> Iterator[tuple[str, list[CsvRow]]]:
    """Yield the main rows of a group, and the rows of each extra experiment, with the cause."""
    for (cause, _), block in groupby(rows, key=lambda row: (row["cause"], row["command"])):
        yield cause, list(block)


def row_cells(row: CsvRow) -> tuple[str, ...]:
    """Return the texts of a row in the order of :data:`COLUMNS`."""
    return (*result_cells(row), row["verdict"] + verdict_detail(row))


def result_cells(row: CsvRow) -> tuple[str, ...]:
    """Return the texts of a row in the order of :data:`COLUMNS`, without the verdict."""
    power = f"{row['power']} against {row['alternative']}" if row["power"] else ""
    return row["figure"], row["what"], paper_cell(row), our_cell(row), sample_sizes(row), power


def paper_cell(row: CsvRow) -> str:
    """Return the paper's result with the letter that says how the result is known."""
    return f"{row['paper']} ({row['known']})" if row["known"] else row["paper"]


def our_cell(row: CsvRow) -> str:
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
    parts = [plural(int(row[column]), word) for column, word in words.items() if row[column]]
    if row["interval_over"] != "networks":
        over = row["interval_over"]
        parts.append(f"interval over {over}" if over else "no interval")
    return ", ".join(parts)


def plural(number: int, word: str) -> str:
    """Return a number with a word, which has an s where the number is not 1.

    Examples
    --------
    >>> plural(1, "pair"), plural(2000, "pair")
    ('1 pair', '2,000 pairs')
    """
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def verdict_detail(row: CsvRow) -> str:
    """Return the p-value of an open question, and the mark of a row that could hardly fail."""
    if row["p"]:
        return f" (p {row['p'] if row['p'].startswith('<') else '= ' + row['p']})"
    return f" ({WEAK})" if could_hardly_fail(row) else ""


def could_hardly_fail(row: CsvRow) -> bool:
    """Return whether a row is compatible only, for its power is too low."""
    return row["verdict"] == "compatible"


def remarks(rows: Sequence[CsvRow]) -> list[str]:
    """Return the remarks below the rows of one experiment.

    Parameters
    ----------
    rows
        Rows of :func:`experiment_blocks`.

    Returns
    -------
    The differences in size from the paper, the alternatives that the powers are against, and the
    notes of rows; rows with the same notes share a remark.
    """
    lines = []
    if rows[0]["group"] not in FOLLOW_UP_CLAIMS:
        lines.append(f"Differences in size from the paper: {rows[0]['reduction'] or 'none known'}.")
    reasons = claims_by_text(rows, "reason")
    if reasons:
        told = "; ".join(f"{', '.join(of)}: {reason}" for reason, of in reasons.items())
        lines.append(f"Alternatives of the column power: {told}.")
    notes = claims_by_text(rows, "notes")
    return [*lines, *(f"{', '.join(of)}: {note}." for note, of in notes.items())]


def claims_by_text(rows: Sequence[CsvRow], column: str) -> dict[str, list[str]]:
    """Return the names of the claims of each text that a column has.

    Parameters
    ----------
    rows
        Rows of ``paper.csv``.
    column
        Name of the column; rows without a text in the column are left out.
    """
    claims: dict[str, list[str]] = {}
    for row in rows:
        if row[column]:
            claims.setdefault(row[column], []).append(row["claim"])
    return claims
