"""The rows of ``paper.csv``: a claim, the paper's result, ours and the verdict, as text."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from unitlens.reproduction.causes import BaseNetwork, effect_of_cause
from unitlens.reproduction.claim_types import Claim, ReportedOrder
from unitlens.reproduction.evidence import Evidence
from unitlens.reproduction.follow_ups import CLAIM_GROUPS
from unitlens.reproduction.result_texts import number_text, p_text, paper_text
from unitlens.reproduction.rule import RULE_HASH
from unitlens.reproduction.several_tests import fall_p, rise_p
from unitlens.reproduction.verdict import alternative_values, judge, power


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
        What the interval is over: networks, pairs of networks of one seed, settings, or the rows
        within one or two networks.
    networks
        Number of networks.
    units
        Number of units.
    orders
        Number of random orders, or of draws of noise.
    alternative
        What would be seen if the finding did not hold: numbers.
    reason
        The alternative in words.
    power
        Probability that the verdict would have been "differs" had the alternative been true.
    p
        For an open question: the p-value, adjusted for the number of open questions.
    verdict
        Verdict by the rule.
    moved
        With a cause: whether a number is nearer to the paper's than in the main experiment.
    was
        With a cause: the number of the paired networks of the main experiment (of all its networks
        where there are no pairs), or the verdict of the main row if that was another.
    pairs
        With a cause: number of pairs of networks behind the movement.
    reduction
        Differences in size between our experiments and the paper's.
    notes
        Remarks on our result, or the reason why there is none.
    command
        Command that makes the networks of the experiments again.
    experiments
        Names of the experiments, separated by blanks.
    seeds
        Seeds of the networks of the experiments, separated by blanks.
    rule
        Hash of the rule.
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
    alternative: str
    reason: str
    power: str
    p: str
    verdict: str
    moved: str
    was: str
    pairs: str
    reduction: str
    notes: str
    command: str
    experiments: str
    seeds: str
    rule: str


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
    seeds
        Seeds of the networks of the experiments.
    """

    by_claim: Mapping[str, Evidence]
    differences: Sequence[str] = ()
    command: str = ""
    experiments: Sequence[str] = ()
    seeds: Sequence[int] = ()


def group_rows(group: str, ours: GroupEvidence) -> list[ComparisonRow]:
    """Return a row for each claim of a group."""
    return [_row(group, claim, ours) for claim in CLAIM_GROUPS[group].claims]


def cause_rows(
    group: str,
    cause: str,
    main: GroupEvidence,
    changed: GroupEvidence,
    pairs: Mapping[str, BaseNetwork],
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
    pairs
        For each network with the change the network without it, of
        :func:`unitlens.reproduction.causes.pair_networks`.
    """
    rows = []
    for claim, row in zip(CLAIM_GROUPS[group].claims, group_rows(group, changed), strict=True):
        effect = effect_of_cause(
            claim, main.by_claim[claim.name], changed.by_claim[claim.name], pairs
        )
        rows.append(
            replace(
                row,
                cause=cause,
                moved=f"surely {effect.movement}" if effect.sure else effect.movement or "",
                was=_before_text(effect.before),
                pairs=str(effect.pairs or ""),
                notes="; ".join(filter(None, (row.notes, effect.note))),
            )
        )
    return [row for row in rows if row.ours]


def _before_text(before: float | str | None) -> str:
    if before is None:
        return ""
    return before if isinstance(before, str) else number_text(before)


def _row(group: str, claim: Claim, ours: GroupEvidence) -> ComparisonRow:
    evidence = ours.by_claim[claim.name]
    if evidence.missing:
        return ComparisonRow(**_claim_columns(group, claim, ours), notes=evidence.missing)
    counts = {name: getattr(evidence, name) for name in ("networks", "units", "orders")}
    columns = _claim_columns(group, claim, ours)
    columns |= {name: str(count or "") for name, count in counts.items()}
    columns |= _result_columns(evidence) | _power_columns(claim, evidence)
    columns["verdict"] = judge(claim, evidence)
    columns["p"] = p_text(evidence.adjusted_p)
    return ComparisonRow(**columns, notes="; ".join(evidence.notes))


def _claim_columns(group: str, claim: Claim, ours: GroupEvidence) -> dict[str, str]:
    """Return all columns of a row but its notes, as for a claim that was not measured."""
    columns = dict.fromkeys((field.name for field in fields(ComparisonRow)), "")
    del columns["notes"]
    return columns | {
        "group": group,
        "claim": claim.name,
        "figure": claim.figure,
        "what": claim.quantity,
        "paper": paper_text(claim),
        "known": claim.source,
        "verdict": "not measured",
        "reduction": "; ".join(ours.differences),
        "command": ours.command,
        "experiments": " ".join(ours.experiments),
        "seeds": " ".join(map(str, ours.seeds)),
        "rule": RULE_HASH,
    }


def _result_columns(evidence: Evidence) -> dict[str, str]:
    """Return our number with its interval, or the numbers of an order with its tests."""
    estimate = evidence.estimate
    if estimate is None:
        values = ", ".join(map(number_text, evidence.levels))
        overs = dict.fromkeys(step.over for step in evidence.steps)
        over = " or ".join(filter(None, overs))
        if evidence.over_networks:
            falls, rises = fall_p(evidence.steps), rise_p(evidence.steps)
            values += f" (strict fall: p {p_text(falls, '= ')}; a rise: p {p_text(rises, '= ')})"
        return {"ours": values, "interval_over": over}
    columns = {"ours": number_text(estimate.value), "interval_over": estimate.over}
    if not estimate.over:
        return columns
    low, high = map(number_text, estimate.interval())
    return columns | {"low": low, "high": high}


def _power_columns(claim: Claim, evidence: Evidence) -> dict[str, str]:
    chance = power(claim, evidence)
    if claim.alternative is None or math.isnan(chance):
        return {}
    values = alternative_values(claim.alternative, evidence)
    finding, told = claim.finding, " or ".join(f"{value:.3g}" for value in values)
    if isinstance(finding, ReportedOrder):
        told = f"{'a rise' if finding.strict else 'falls'} by {told}"
    return {
        "alternative": told,
        "reason": claim.alternative.reason,
        "power": f"{chance:.2f}",
    }
