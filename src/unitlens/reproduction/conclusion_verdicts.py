"""The verdict on each conclusion of the paper, from the rows of ``paper.csv``."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from unitlens.reproduction.claim_types import Claim, ReportedNumber, has_known_sign
from unitlens.reproduction.claims import PAPER_CLAIMS
from unitlens.reproduction.conclusions import CONCLUSIONS, Conclusion, ConclusionPart
from unitlens.reproduction.row_texts import WEAK, CsvRow, could_hardly_fail, our_cell
from unitlens.reproduction.verdict import AGREEMENTS

ConclusionVerdict = Literal[
    "holds",
    "holds in direction",
    "holds in part",
    "mixed",
    "fails",
    "could not be tested here",
]
UNTESTED: ConclusionVerdict = "could not be tested here"
_STRENGTH: tuple[ConclusionVerdict, ...] = ("holds", "holds in direction", "holds in part", "fails")
Stand = Literal["supports", "contradicts", "open"]


class PartVerdict(NamedTuple):
    """The verdict on a conclusion for one data set.

    Attributes
    ----------
    where
        The data set with its preposition.
    verdict
        The verdict.
    reason
        The reason, without the data set and a full stop.
    told
        The verdict in words. Where rows were measured that could say nothing by the rule, these
        words are ``could not be tested here (undecided)``.
    """

    where: str
    verdict: ConclusionVerdict
    reason: str
    told: str


class JudgedConclusion(NamedTuple):
    """The verdict on a conclusion.

    Attributes
    ----------
    conclusion
        The conclusion.
    verdict
        The verdict over all data sets.
    parts
        The verdict for each data set.
    experiments
        Experiments of its rows.
    """

    conclusion: Conclusion
    verdict: ConclusionVerdict
    parts: tuple[PartVerdict, ...]
    experiments: tuple[str, ...]

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        """Each verdict with its data sets."""
        wheres: dict[str, list[str]] = {}
        for part in self.parts:
            wheres.setdefault(part.told, []).append(part.where)
        return [(verdict, _listing(of)) for verdict, of in wheres.items()]

    @property
    def told(self) -> str:
        """The verdicts with their data sets, such as ``holds on MNIST, fails on CIFAR-10``."""
        return ", ".join(map(" ".join, self.verdicts))

    @property
    def reason(self) -> str:
        """The reasons of all data sets, a sentence each."""
        return " ".join(
            f"{part.where[0].upper()}{part.where[1:]}: {part.reason}." for part in self.parts
        )


def judge_conclusions(rows: Iterable[CsvRow]) -> list[JudgedConclusion]:
    """Judge the ten conclusions by :data:`unitlens.reproduction.conclusions.CONCLUSION_RULE`.

    Parameters
    ----------
    rows
        Rows of ``paper.csv``; those of extra experiments do not count.

    Returns
    -------
    The conclusions in the paper's order.
    """
    by_claim = {(row["group"], row["claim"]): row for row in rows if not row["cause"]}
    return [_judge(conclusion, by_claim) for conclusion in CONCLUSIONS]


def count_conclusions(judged: Sequence[JudgedConclusion]) -> str:
    """Return a sentence with the number of conclusions of each verdict."""
    counts = Counter(one.verdict for one in judged)
    ordered: tuple[ConclusionVerdict, ...] = (*_STRENGTH[:3], "mixed", "fails", UNTESTED)
    told = ", ".join(f"{name} ({counts[name]})" for name in ordered if counts[name])
    return f"Verdicts on the {len(judged)} conclusions: {told}."


def _judge(conclusion: Conclusion, by_claim: dict[tuple[str, str], CsvRow]) -> JudgedConclusion:
    parts, experiments = [], []
    for part in conclusion.parts:
        rows = [(by_claim[claim], decides) for claim, decides in part.claims() if claim in by_claim]
        parts.append(_judge_part(part, rows))
        experiments += [name for row, _ in rows for name in row["experiments"].split()]
    return JudgedConclusion(
        conclusion, _overall(parts), tuple(parts), tuple(dict.fromkeys(experiments))
    )


def _overall(parts: Sequence[PartVerdict]) -> ConclusionVerdict:
    tested = {part.verdict for part in parts} - {UNTESTED}
    if not tested:
        return UNTESTED
    if "fails" in tested and len(tested) > 1:
        return "mixed"
    return max(tested, key=_STRENGTH.index)


def _judge_part(part: ConclusionPart, rows: Sequence[tuple[CsvRow, bool]]) -> PartVerdict:
    deciding = [(row, stand_of(row, part.against)) for row, decides in rows if decides]
    stands = Counter(stand for _, stand in deciding)
    numbers = [row for row, decides in rows if not decides or _is_number(row)]
    measured = any(row["verdict"] in ("undecided", "compatible") for row, _ in deciding)
    if stands["contradicts"]:
        verdict: ConclusionVerdict = "fails"
        told = _told_rows(deciding, "contradicts")
    elif not stands["supports"]:
        verdict, told = UNTESTED, _told_rows(deciding, "open")
    else:
        told = _told_rows(deciding, "supports")
        if stands["open"]:
            verdict = "holds in part"
        elif all(row["verdict"] in AGREEMENTS and not _differs_in_size(row) for row in numbers):
            verdict = "holds"
        else:
            verdict = "holds in direction"
    in_words = f"{verdict} (undecided)" if verdict == UNTESTED and measured else verdict
    return PartVerdict(part.where, verdict, told + _told_numbers(numbers), in_words)


def _claim(row: CsvRow) -> Claim:
    claims = PAPER_CLAIMS[row["group"]].claims
    return next(claim for claim in claims if claim.name == row["claim"])


def _is_number(row: CsvRow) -> bool:
    return isinstance(_claim(row).finding, ReportedNumber)


def _differs_in_size(row: CsvRow) -> bool:
    """Return whether a number differs, though its sign may be the paper's."""
    return row["verdict"] == "differs" or (_is_number(row) and row["verdict"] == "same direction")


def stand_of(row: CsvRow, against: int = 0) -> Stand:
    """Return whether a deciding row supports or contradicts a conclusion, or leaves it open.

    Parameters
    ----------
    row
        The row of a claim of the paper.
    against
        As for :class:`unitlens.reproduction.conclusions.ConclusionPart`.

    Returns
    -------
    For a correlation that differs in size from the paper's, the side of 0 on which its interval
    lies decides; a row with another difference contradicts.
    """
    if row["verdict"] in AGREEMENTS:
        return "supports"
    if row["verdict"] != "differs":
        return "open"
    finding = _claim(row).finding
    if not isinstance(finding, ReportedNumber) or not finding.correlation:
        return "contradicts"
    side = 1 if float(row["low"]) > 0 else -1 if float(row["high"]) < 0 else 0
    if against:
        return "contradicts" if side == against else "supports" if side else "open"
    return "contradicts" if has_known_sign(finding) and side * finding.value < 0 else "open"


def _told_rows(deciding: Sequence[tuple[CsvRow, Stand]], stand: Stand) -> str:
    """Tell the first deciding row that stands so, of those with a result, and how many do."""
    own = [row for row, other in deciding if other == stand]
    if not own:
        return "nothing is measured"
    row = next((row for row in own if row["ours"]), own[0])
    if len(deciding) == 1:
        return _told_row(row)
    return f"{_told_row(row)}; deciding rows that {_VERBS[stand]}: {len(own)} of {len(deciding)}"


_VERBS = {"supports": "support it", "contradicts": "contradict it", "open": "are open"}


def _told_row(row: CsvRow) -> str:
    """Tell a row in words, with its numbers."""
    if not row["ours"]:
        return f"nothing is measured ({row['notes']})"
    setting, _, quantity = row["what"].rpartition(": ")
    at_setting = setting[-1:].isdigit()  # such as "dropout 0.2"
    start = f"at {setting}, the {quantity}" if at_setting else f"the {row['what']}"
    told = f"{start}{',' if ',' in start else ''} is {our_cell(row)}"
    paper = f"in the paper: {row['paper']}"
    weak = f"; the row {WEAK}" if could_hardly_fail(row) else ""
    return f"{told} ({row['verdict']}; {paper}{weak})"


def _told_numbers(rows: Sequence[CsvRow]) -> str:
    """Count the numbers that agree, differ, and could not be tested."""
    if not rows:
        return ""
    differing = sum(_differs_in_size(row) for row in rows)
    agreeing = sum(row["verdict"] in AGREEMENTS and not _differs_in_size(row) for row in rows)
    counts = {
        "agree": agreeing,
        "differ": differing,
        "could not be tested": len(rows) - agreeing - differing,
    }
    told = ", ".join(f"{verb} ({count})" for verb, count in counts.items() if count)
    return f"; numbers and details that {told}"


def _listing(words: Sequence[str]) -> str:
    """Return data sets with commas and a last "and"; "on" stands once where all begin with it.

    Examples
    --------
    >>> _listing(["on MNIST", "on CIFAR-10", "on ImageNet"])
    'on MNIST, CIFAR-10 and ImageNet'
    """
    if all(word.startswith("on ") for word in words):
        words = [words[0], *(word.removeprefix("on ") for word in words[1:])]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
