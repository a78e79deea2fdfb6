"""The page docs/protocol.md: what a comparison with the paper fixes before its run."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from unitlens.catalogue.comparisons import COMPARISONS
from unitlens.config.base import FunctionSettings
from unitlens.config.experiments import Config
from unitlens.reproduction.claim_types import Claim, ReportedNumber, ReportedOrder
from unitlens.reproduction.conclusions import CONCLUSION_RULE, CONCLUSIONS
from unitlens.reproduction.follow_ups import CLAIM_GROUPS, FOLLOW_UP_CLAIMS
from unitlens.reproduction.markdown_text import code_span, escape_markdown, table_head
from unitlens.reproduction.result_texts import paper_text
from unitlens.reproduction.rule import RULE
from unitlens.reproduction.run_protocol import (
    MEASUREMENTS,
    Population,
    populations,
    protocol_hash,
)

INTRODUCTION = """\
# Protocol of the comparison with the paper

What is fixed before the networks are trained: the rule, the claims with what would be seen if they
did not hold, the networks with their seeds, the measurements, and which networks each claim is
measured on. `unitlens protocol` prints this page from the code and a configuration. All of it has
the hash

    {hash}

The page of a run (`paper.md`, in this documentation the comparison with the paper) states the hash
of the protocol that its results were made by. Where the two hashes differ, the results are those of
another protocol. Suspected causes, which are tested by experiments of their own, are no part of the
protocol.
"""
LETTERS = """\
The letter after a result of the paper says how it is known: F read off the paper's own figures, D a
slide deck that paraphrases the paper, R a replication's code or data, M recalled, I inferred, L
said by later work. A number of the paper is that of m networks or settings, one where no m stands
beside it. A row with an alternative counts as an agreement only if its power against the
alternative is at least .8.
"""
POPULATIONS = """\
## Networks

A network is trained for each combination of the swept values, with each seed. Settings that are not
named have their defaults (docs/config.md).
"""


def protocol_page(config: Config) -> str:
    """Return the page of a configuration in Markdown.

    Parameters
    ----------
    config
        A configuration with a section ``paper``.
    """
    of_experiments = populations(config)
    lines = [INTRODUCTION.format(hash=protocol_hash(config)), f"## The rule\n\n{RULE}"]
    lines += [*_conclusions(), *_claims(config), POPULATIONS, *_overview(of_experiments)]
    for name, population in of_experiments.items():
        lines += _population(name, population)
    return "\n".join(lines)


def _conclusions() -> list[str]:
    lines = ["## Conclusions\n", CONCLUSION_RULE]
    lines += table_head(("", "conclusion", "where", "deciding rows", "details"))
    for number, one in enumerate(CONCLUSIONS, 1):
        for part in one.parts:
            deciding, details = (
                ", ".join(map(code_span, patterns)) for patterns in (part.deciding, part.details)
            )
            first = part is one.parts[0]
            shown = (str(number), one.words) if first else ("", "")
            lines.append(f"| {' | '.join((*shown, part.where, deciding, details))} |")
    return [*lines, ""]


def _claims(config: Config) -> list[str]:
    """Tabulate the claims of each group, with the experiments that they are measured on."""
    lines = [
        "## Claims\n",
        LETTERS,
    ]
    for name, group in CLAIM_GROUPS.items():
        beyond = "Beyond the paper: " if name in FOLLOW_UP_CLAIMS else ""
        lines += [f"### {beyond}{group.title}\n", _measured_on(name, config), ""]
        lines += table_head(("claim", "figure", "quantity", "paper", "alternative"))
        lines += [_claim_line(claim) for claim in group.claims]
        lines.append("")
    return lines


def _measured_on(name: str, config: Config) -> str:
    declared = COMPARISONS[name]
    names = ", ".join(map(code_span, config.paper.get(name, ())))
    function = code_span(f"reproduction.{declared.module}.{declared.function}")
    experiments = f"Measured by {function} on {names}" if names else "Not measured"
    return f"{code_span(name)}. {experiments}."


def _claim_line(claim: Claim) -> str:
    known = f" ({claim.source})" if claim.source else ""
    cells = (
        escape_markdown(claim.name),
        claim.figure,
        claim.quantity,
        f"{paper_text(claim)}{known}{_networks_text(claim)}",
        _alternative_text(claim),
    )
    return f"| {' | '.join(cells)} |"


def _networks_text(claim: Claim) -> str:
    """Return the number of networks that a number of the paper is of, if more than one."""
    finding = claim.finding
    if not isinstance(finding, ReportedNumber) or finding.networks == 1:
        return ""
    return f", m = {finding.networks}"


def _alternative_text(claim: Claim) -> str:
    if claim.alternative is None:
        return ""
    values = " or ".join(f"{value:.3g}" for value in claim.alternative.values)
    if isinstance(claim.finding, ReportedOrder) or not values:
        return claim.alternative.reason
    return f"{values}: {claim.alternative.reason}"


def _overview(of_experiments: Mapping[str, Population]) -> list[str]:
    lines = table_head(("experiment", "networks", "seeds", "groups of claims"))
    for name, population in of_experiments.items():
        seeds = ", ".join(map(str, population.family.seeds))
        groups = ", ".join(map(code_span, population.groups))
        count = len(population.networks)
        lines.append(f"| {code_span(name)} | {count} | {seeds} | {groups} |")
    return [*lines, ""]


def _population(name: str, population: Population) -> list[str]:
    """Describe the networks of an experiment and their measurements."""
    family = population.family
    parts = {"data": family.dataset, "model": family.model, "training": family.training}
    lines = [f"### {escape_markdown(name)}\n"]
    lines += [f"* {word}: {_settings(section)}" for word, section in parts.items()]
    swept = "; ".join(f"{key} {_value(list(values))}" for key, values in family.sweep.items())
    lines.append(f"* swept: {code_span(swept) if swept else 'nothing'}")
    if family.exclude:
        lines.append(f"* without: {code_span(_value([*family.exclude]))}")
    lines.append(f"* seeds: {', '.join(map(str, family.seeds))}")
    for section in MEASUREMENTS:
        settings = getattr(population.measurements, section)
        if population.measurements.uses(section):
            lines.append(f"* measurement {section}: {_settings(settings)}")
    return [*lines, ""]


def _settings(section: BaseModel | None) -> str:
    """Return the settings of a section that are not its defaults."""
    if section is None:
        return "none"
    site = set(section.site_keys) if isinstance(section, FunctionSettings) else set()
    values = section.model_dump(mode="json", exclude_defaults=True, exclude=site)
    name = getattr(section, "name", None)
    values = ({"name": name} if name else {}) | values
    told = "; ".join(f"{key} {_value(value)}" for key, value in values.items())
    return code_span(told) if told else "defaults"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
