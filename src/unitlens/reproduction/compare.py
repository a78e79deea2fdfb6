"""The paper's results, and later questions, beside ours: a row a claim, a table and a page."""

import csv
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

from unitlens.analysis.run_groups import members_of
from unitlens.errors import TableError, nearest
from unitlens.progress import track
from unitlens.reproduction import evidence_curves as curves
from unitlens.reproduction import evidence_later as later
from unitlens.reproduction import evidence_training as training
from unitlens.reproduction import evidence_units as units
from unitlens.reproduction.claims import DATASETS
from unitlens.reproduction.evidence import Evidence, NotMeasuredError, Runs
from unitlens.reproduction.kinds import (
    Claim,
    Direction,
    Number,
    Sign,
)
from unitlens.reproduction.later import GROUPS
from unitlens.reproduction.markdown_page import write_page
from unitlens.reproduction.protocol import reductions
from unitlens.reproduction.times import times_of
from unitlens.reproduction.verdict import judge, moved
from unitlens.tables.results import Results, open_results

logger = logging.getLogger("unitlens")

Found = Iterator[tuple[str, Callable[[], Evidence]]]
EVIDENCE: dict[str, Callable[[Runs], Found]] = {
    "mnist_ablation": curves.mnist_ablation,
    "cifar10_ablation": curves.robustness,
    "imagenet_ablation": curves.robustness,
    "mnist_noise": curves.noise(0.2, 1.0),
    "cifar10_noise": curves.noise(0.0, 1.0),
    "same_data": curves.same_data,
    "early_stopping": training.early_stopping,
    "hyperparameter_selection": training.hyperparameter_selection,
    "dropout": curves.dropout,
    "batch_norm_ablation": curves.batch_norm_ablation,
    "batch_norm_selectivity": units.batch_norm_selectivity,
    "batch_norm_information": units.batch_norm_information,
    "mnist_importance": units.mnist_importance,
    "cifar10_importance": units.cifar10_importance,
    "imagenet_importance": units.imagenet_importance,
    "clamping": curves.clamping,
    **{f"{name}_l1_norm": units.l1_norm for name in DATASETS},
    **{f"{name}_information": units.information_importance for name in DATASETS},
    "random_directions": later.random_directions,
    "mnist_measure_orders": later.measure_orders,
    "cifar10_measure_orders": later.measure_orders,
    "mnist_class_damage": later.class_damage,
    "cifar10_class_damage": later.class_damage,
    "mnist_measure_agreement": later.measure_agreement,
    "cifar10_measure_agreement": later.measure_agreement,
    **{f"{name}_l1_importance": later.l1_importance for name in DATASETS},
    "regulariser": later.regulariser,
    "selectivity_over_training": later.selectivity_over_training,
}


@dataclass(frozen=True)
class ComparisonRow:
    """One claim, the paper's and ours; all of it text, as it stands in the table.

    `cause`, `moved` and `was` are empty, but for rows of an extra experiment that tests a
    suspected cause of a difference: whether a number is nearer to the paper's than that of the
    row above, and what that was; or the verdict that was another.
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
    experiments: str = ""


def compare_with_paper(
    results: str | Path,
    claims: Mapping[str, Sequence[str]],
    directory: str | Path,
    *,
    causes: Mapping[str, Mapping[str, str]] | None = None,
    command: str = "snakemake --cores all",
) -> None:
    """Set the results of the paper beside ours, each with a verdict by a stated rule.

    Parameters
    ----------
    results
        A results directory with its tables.
    claims
        Group of claims (a key of :data:`unitlens.reproduction.later.GROUPS`) to the
        experiments that it is shown by.
    directory
        Where ``paper.csv``, one row a claim of the paper, and ``paper.md``, the page, are
        written. Claims for which no experiment is named stand there as not measured.
    causes
        Group of claims to extra experiments, each with the cause of a difference that it tests,
        in words: the same claims are measured on it.
    command
        How these results were made; the command of a row makes the networks of its experiments
        alone, and the rest, again in another directory.

    Raises
    ------
    TableError
        Where a group or an experiment does not exist.
    """
    opened, directory, causes = open_results(results), Path(directory), causes or {}
    chosen = {group: _runs(opened, group, names) for group, names in claims.items()}
    tested = {
        group: {name: _runs(opened, group, [name]) for name in of} for group, of in causes.items()
    }
    rows = []
    for group in track(GROUPS, "compare with the paper", total=len(GROUPS)):
        again = _again(command, claims[group]) if group in claims else ""
        ours = _measured(group, chosen.get(group))
        own = " ".join(claims.get(group, ()))
        rows += [replace(row, experiments=own) for row in _rows(group, ours, again)]
        for name, runs in tested.get(group, {}).items():
            with_it = _tested(group, ours, _measured(group, runs), _again(command, [name]))
            cause = causes[group][name]
            rows += [replace(row, cause=cause, experiments=name) for row in with_it]
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "paper.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, [field.name for field in fields(ComparisonRow)], lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    write_page([asdict(row) for row in rows], times_of(opened), directory)
    logger.info("%d claims of the paper, %d measured", len(rows), sum(bool(r.ours) for r in rows))


def _runs(results: Results, group: str, experiments: Sequence[str]) -> Runs:
    if group not in GROUPS:
        raise TableError(f"the paper has no results called '{group}'; {nearest(group, GROUPS)}")
    return Runs(results, members_of(results.runs, experiments, f"paper.{group} names"))


def _again(command: str, experiments: Sequence[str]) -> str:
    return f"{command} --config results=again 'only=[{','.join(experiments)}]'"


class _Measured(NamedTuple):
    """What we have of each claim of a group, and by how much its experiments are smaller."""

    of: dict[str, Evidence]
    reduced: tuple[str, ...] = ()


def _measured(group: str, runs: Runs | None) -> _Measured:
    if runs is None:
        nothing = Evidence(missing="no experiment is named for it")
        return _Measured({claim.name: nothing for claim in GROUPS[group].claims})
    measures = dict(EVIDENCE[group](runs))
    of = {claim.name: _evidence(measures[claim.name]) for claim in GROUPS[group].claims}
    return _Measured(of, reductions(group, runs))


def _rows(group: str, ours: _Measured, command: str) -> list[ComparisonRow]:
    return [
        _row(group, claim, ours.of[claim.name], ours.reduced, command)
        for claim in GROUPS[group].claims
    ]


def _tested(group: str, before: _Measured, after: _Measured, command: str) -> list[ComparisonRow]:
    """Return the rows of an extra experiment, of the claims that it measures."""
    rows = []
    for claim, row in zip(GROUPS[group].claims, _rows(group, after, command), strict=True):
        found = moved(claim.paper, before.of[claim.name], after.of[claim.name])
        way = f"surely {found.way}" if found.sure else found.way or ""
        rows.append(replace(row, moved=way, was=found.was))
    return [row for row in rows if row.ours]


def _evidence(measure: Callable[[], Evidence]) -> Evidence:
    try:
        return measure()
    except (NotMeasuredError, TableError) as reason:
        return Evidence(missing=str(reason))


def _row(
    group: str, claim: Claim, ours: Evidence, reduced: Sequence[str], command: str
) -> ComparisonRow:
    known = not ours.missing
    counts = {name: getattr(ours, name) for name in ("networks", "units", "orders")}
    return ComparisonRow(
        group=group,
        cause="",
        claim=claim.name,
        figure=claim.figure,
        what=claim.what,
        paper=paper_text(claim),
        known=claim.known,
        ours=_ours_text(ours) if known else "",
        low=_number(ours.low) if known and ours.over and not ours.values else "",
        high=_number(ours.high) if known and ours.over and not ours.values else "",
        interval_over=ours.over if known else "",
        **{name: str(count) if known and count else "" for name, count in counts.items()},
        verdict=judge(claim.paper, ours),
        moved="",
        was="",
        reduction="; ".join(reduced),
        notes="; ".join(ours.notes) if known else ours.missing,
        command=command,
    )


def paper_text(claim: Claim) -> str:
    """Write what the paper has."""
    paper = claim.paper
    if isinstance(paper, Direction):
        return paper.text
    if isinstance(paper, Sign):
        return "asked here"
    if isinstance(paper, Number):
        over = f" (n = {paper.n:,})" if paper.n else ""
        value = paper.text or f"{paper.value:g}"
        return f"{value} \N{PLUS-MINUS SIGN} {paper.error:.2g}{over}"
    if not paper.strict:
        return "in no strict order"
    return " > ".join(f"{value:g}" for value in paper.values)


def _ours_text(ours: Evidence) -> str:
    if not ours.values:
        return _number(ours.value)
    told = ", ".join(map(_number, ours.values))
    return f"{told} (falling in {100 * ours.ordered:.0f} % of resamples)"


def _number(value: float) -> str:
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text
