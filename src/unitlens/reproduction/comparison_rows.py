"""The rows of ``paper.csv``: a claim, the paper's result, ours and the verdict, as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from unitlens.reproduction.claim_types import (
    Claim,
    OpenQuestion,
    ReportedNumber,
    ReportedSign,
)
from unitlens.reproduction.evidence import Evidence
from unitlens.reproduction.follow_ups import CLAIM_GROUPS
from unitlens.reproduction.verdict import effect_of_cause, judge


@dataclass(frozen=True)
class ComparisonRow:
    """One claim, the paper's result and ours.

    Attributes
    ----------
    group
        Group of claims.
    cause
        The suspected cause that an extra experiment tests, in words; empty for the main rows.
    claim
        Name of the claim within its group.
    figure
        Figure of the paper, or the later work.
    what
        The quantity that is measured.
    paper
        The paper's result.
    known
        Letter that says how the paper's result is known.
    ours
        Our result; empty where there is none.
    low
        Lower end of our 95 % interval.
    high
        Upper end of our 95 % interval.
    interval_over
        What was resampled.
    networks
        Number of networks.
    units
        Number of units.
    orders
        Number of random orders, or of draws of noise.
    verdict
        Verdict by the rule.
    moved
        With a cause: whether a number is nearer to the paper's than in the main row.
    was
        With a cause: the number of the main row, or its verdict if that was another.
    reduction
        Differences in size between our experiments and the paper's.
    notes
        Remarks on our result, or the reason why there is none.
    command
        Command that makes the networks of the experiments again.
    experiments
        Names of the experiments, separated by blanks.
    """

    group: str
    cause: str
    claim: str
    figure: str
    what: str
    paper: str
    known: str
    ours: str
    low: str
    high: str
    interval_over: str
    networks: str
    units: str
    orders: str
    verdict: str
    moved: str
    was: str
    reduction: str
    notes: str
    command: str
    experiments: str


class GroupEvidence(NamedTuple):
    """Our results for the claims of a group, from the same experiments.

    Attributes
    ----------
    by_claim
        Our result for each claim.
    differences
        Differences in size between the experiments and the paper's.
    command
        Command that makes the networks of the experiments again.
    experiments
        Names of the experiments.
    """

    by_claim: Mapping[str, Evidence]
    differences: Sequence[str] = ()
    command: str = ""
    experiments: Sequence[str] = ()


def group_rows(group: str, ours: GroupEvidence) -> list[ComparisonRow]:
    """Return a row for each claim of a group."""
    return [_row(group, claim, ours) for claim in CLAIM_GROUPS[group].claims]


def cause_rows(
    group: str, cause: str, main: GroupEvidence, changed: GroupEvidence
) -> list[ComparisonRow]:
    """Return the rows of an extra experiment, one for each claim that was measured on it.

    Parameters
    ----------
    group
        Group of claims.
    cause
        The suspected cause that the experiment changes, in words.
    main
        Our results without the change.
    changed
        Our results with the change.
    """
    rows = []
    for claim, row in zip(CLAIM_GROUPS[group].claims, group_rows(group, changed), strict=True):
        effect = effect_of_cause(
            claim.finding, main.by_claim[claim.name], changed.by_claim[claim.name]
        )
        moved = f"surely {effect.movement}" if effect.sure else effect.movement or ""
        was = _before_text(effect.before)
        rows.append(replace(row, cause=cause, moved=moved, was=was))
    return [row for row in rows if row.ours]


def _before_text(before: float | str | None) -> str:
    if before is None:
        return ""
    return before if isinstance(before, str) else number_text(before)


def _row(group: str, claim: Claim, ours: GroupEvidence) -> ComparisonRow:
    evidence = ours.by_claim[claim.name]
    measured = not evidence.missing
    has_interval = measured and evidence.over and not evidence.values
    counts = {name: getattr(evidence, name) for name in ("networks", "units", "orders")}
    return ComparisonRow(
        group=group,
        cause="",
        claim=claim.name,
        figure=claim.figure,
        what=claim.quantity,
        paper=paper_text(claim),
        known=claim.source,
        ours=_our_text(evidence) if measured else "",
        low=number_text(evidence.low) if has_interval else "",
        high=number_text(evidence.high) if has_interval else "",
        interval_over=evidence.over if measured else "",
        **{name: str(count) if measured and count else "" for name, count in counts.items()},
        verdict=judge(claim.finding, evidence),
        moved="",
        was="",
        reduction="; ".join(ours.differences),
        notes="; ".join(evidence.notes) if measured else evidence.missing,
        command=ours.command,
        experiments=" ".join(ours.experiments),
    )


def paper_text(claim: Claim) -> str:
    """Return the reported result of a claim as text.

    Examples
    --------
    >>> from unitlens.reproduction.claims import PAPER_CLAIMS
    >>> claim = PAPER_CLAIMS["mnist_noise"].claims[0]
    >>> claim.quantity, paper_text(claim)
    ('noise scale at which train accuracy is one half, corruption 0.2', '1.9 ± 0.1')
    """
    finding = claim.finding
    if isinstance(finding, ReportedSign):
        return finding.text
    if isinstance(finding, OpenQuestion):
        return "an open question"
    if isinstance(finding, ReportedNumber):
        over = f" (n = {finding.n:,})" if finding.n else ""
        value = finding.text or f"{finding.value:g}"
        return f"{value} \N{PLUS-MINUS SIGN} {finding.error:.2g}{over}"
    if not finding.strict:
        return "in no strict order"
    return " > ".join(f"{value:g}" for value in finding.values)


def _our_text(evidence: Evidence) -> str:
    if not evidence.values:
        return number_text(evidence.value)
    values = ", ".join(map(number_text, evidence.values))
    return f"{values} (falling in {100 * evidence.ordered:.0f} % of resamples)"


def number_text(value: float) -> str:
    """Return a number with three decimals, without a minus before zero.

    Examples
    --------
    >>> number_text(-0.0001)
    '0.000'
    """
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text
