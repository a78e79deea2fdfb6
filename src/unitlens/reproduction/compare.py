"""Compare our results with the paper's, and with later work's: a table and a page."""

import csv
import json
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from importlib import import_module
from pathlib import Path
from shlex import quote, split

from unitlens.analysis.run_groups import members_of
from unitlens.catalogue.comparisons import COMPARISONS
from unitlens.errors import MissingTableError
from unitlens.hashed_files import hash_file, write_json
from unitlens.local_files import replacing
from unitlens.progress import track
from unitlens.provenance.file_provenance import FileProvenance
from unitlens.reproduction.causes import pair_networks
from unitlens.reproduction.claim_types import OpenQuestion
from unitlens.reproduction.comparison_rows import (
    ComparisonRow,
    GroupEvidence,
    cause_rows,
    group_rows,
)
from unitlens.reproduction.earlier_verdicts import read_earlier
from unitlens.reproduction.evidence import Evidence, Measurements
from unitlens.reproduction.experiment_runs import NotMeasuredError, Runs, check_group
from unitlens.reproduction.follow_ups import CLAIM_GROUPS
from unitlens.reproduction.markdown_page import (
    BEYOND_PAGE,
    PAPER_PAGE,
    PageContent,
    write_pages,
)
from unitlens.reproduction.page_files import PAPER_RECORD, drawn_figures, writing_pages
from unitlens.reproduction.several_tests import holm
from unitlens.reproduction.size_differences import size_differences
from unitlens.reproduction.times import experiment_times
from unitlens.tables.results import Results, open_results
from unitlens.tables.tables_record import RECORD

_YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # no text in YAML

logger = logging.getLogger("unitlens")


def compare_with_paper(
    results: str | Path,
    claims: Mapping[str, Sequence[str]],
    directory: str | Path,
    *,
    causes: Mapping[str, Mapping[str, str]] | None = None,
    command: str = "snakemake --cores all",
    earlier: Sequence[str | Path] = (),
    protocol: str = "",
    code: str = "",
) -> None:
    """Compare our results with the paper's, each with a verdict by a stated rule.

    Parameters
    ----------
    results
        A results directory with its tables.
    claims
        Group of claims (a key of :data:`unitlens.catalogue.comparisons.COMPARISONS`) to the
        experiments whose networks the claims are measured on.
    directory
        Directory for ``paper.csv``, one row a claim, the pages ``paper.md`` and ``beyond.md``, and
        ``paper.json``, written last: the hashes of these, the tables that they come from, and the
        hash of the protocol. Claims of groups without experiments are listed as not measured.
    causes
        Group of claims to extra experiments, each with the suspected cause of a difference that
        the experiment changes, in words. The claims of the group are measured on each.
    command
        Command that made these results, quoted for the shell; ``--config`` stands last, if at all.
        With it the pages say how to make the results again, in another directory.
    earlier
        Files ``paper.csv`` of earlier comparisons: the page has an appendix of the verdicts that
        differ from theirs.
    protocol
        Hash of the protocol, of :func:`unitlens.reproduction.run_protocol.protocol_hash`; empty
        where it is not known.
    code
        Digest of the code that compares, for ``paper.json``.

    Raises
    ------
    TableError
        Where a group or an experiment does not exist, a file is damaged, the figures in the
        folder ``figures`` of `directory` were drawn from other tables, a file of `earlier` is
        missing or no such table, or the disk is full.
    """
    tables = [read_earlier(Path(path)) for path in earlier]
    opened, directory, causes = open_results(results), Path(directory), causes or {}
    main_runs = {group: _select_runs(opened, group, names) for group, names in claims.items()}
    changed_runs = {
        group: {name: _select_runs(opened, group, [name]) for name in of_group}
        for group, of_group in causes.items()
    }
    measured: dict[tuple[str, str], GroupEvidence] = {}
    for group in track(CLAIM_GROUPS, "compare with the paper", total=len(CLAIM_GROUPS)):
        names = claims.get(group, ())
        measured[group, ""] = _measure_group(group, main_runs.get(group), names, command)
        for experiment, runs in changed_runs.get(group, {}).items():
            measured[group, experiment] = _measure_group(group, runs, [experiment], command)
    measured = _adjust_questions(measured)
    rows: list[ComparisonRow] = []
    for (group, experiment), ours in measured.items():
        if not experiment:
            rows += group_rows(group, ours)
            continue
        main = main_runs.get(group)
        pairs = pair_networks(main, changed_runs[group][experiment]) if main else {}
        cause = causes[group][experiment]
        rows += cause_rows(group, cause, measured[group, ""], ours, pairs)
    again = _in_another_directory(command)
    content = PageContent(
        [asdict(row) for row in rows],
        experiment_times(opened),
        drawn_figures(directory / "figures", opened.record),
        opened.failed,
        again,
        protocol,
        tables,
    )
    with writing_pages(directory):
        _write_table(rows, directory / "paper.csv")
        write_pages(content, directory)
        settings = {"claims": {name: list(of) for name, of in claims.items()}, "causes": causes}
        inputs = {RECORD: opened.record.hash}
        files = ("paper.csv", PAPER_PAGE, BEYOND_PAGE)
        values = {
            "files": {name: hash_file(directory / name) for name in files},
            "protocol": protocol,
            "command": again,
            "provenance": FileProvenance("compare_with_paper", settings, code, inputs).to_values(),
        }
        write_json(directory / PAPER_RECORD, values)
    logger.info("%d claims, %d of them measured", len(rows), sum(bool(row.ours) for row in rows))


def _select_runs(results: Results, group: str, experiments: Sequence[str]) -> Runs:
    check_group(group)
    return Runs(results, members_of(results.runs, experiments, f"paper.{group} names"))


def _measure_group(
    group: str, runs: Runs | None, experiments: Sequence[str], command: str
) -> GroupEvidence:
    """Measure the claims of a group; without runs, no claim is measured."""
    declared = CLAIM_GROUPS[group]
    if runs is None or not runs.names:
        reason = (
            "no experiment is named for this group of results"
            if runs is None
            else f"the training of each network of {', '.join(experiments)} failed"
        )
        missing = Evidence(missing=reason)
        return GroupEvidence({claim.name: missing for claim in declared.claims})
    measurements = dict(evidence_function(group)(runs))
    by_claim = {claim.name: _measure(measurements[claim.name]) for claim in declared.claims}
    again = f"{_in_another_directory(command)} {quote(_only(experiments))}"
    differences = size_differences(declared.protocol, runs)
    seeds = sorted(set(runs.table["seed"].values.tolist()))
    return GroupEvidence(by_claim, differences, again, experiments, seeds)


def _adjust_questions(
    measured: Mapping[tuple[str, str], GroupEvidence],
) -> dict[tuple[str, str], GroupEvidence]:
    """Adjust the p-values of all open questions together, those of extra experiments included."""
    p_values = {
        (key, claim.name): estimate.p_value()
        for key, ours in measured.items()
        for claim in CLAIM_GROUPS[key[0]].claims
        if isinstance(claim.finding, OpenQuestion)
        if (estimate := ours.by_claim[claim.name].estimate) and estimate.over_networks
    }
    known = {question: p for question, p in p_values.items() if not math.isnan(p)}
    adjusted = dict(zip(known, holm(list(known.values())), strict=True))
    return {
        key: ours._replace(
            by_claim={
                name: replace(evidence, adjusted_p=adjusted.get((key, name), math.nan))
                for name, evidence in ours.by_claim.items()
            }
        )
        for key, ours in measured.items()
    }


def _in_another_directory(command: str) -> str:
    """Return the command that makes the results in the directory ``again``.

    Examples
    --------
    >>> _in_another_directory("snakemake --cores all --config device=cpu")
    'snakemake --cores all --config device=cpu results=again'
    """
    option = "" if "--config" in split(command) else " --config"
    return f"{command}{option} results=again"


def _only(experiments: Sequence[str]) -> str:
    """Return the setting that restricts a configuration to experiments, in YAML.

    Examples
    --------
    >>> _only(["sweep", "a, b"])
    'only=[sweep,"a, b"]'
    """
    names = (
        name
        if re.fullmatch(r"[A-Za-z]\w*(-\w+)*", name, re.ASCII) and name.lower() not in _YAML_WORDS
        else json.dumps(name)
        for name in experiments
    )
    return f"only=[{','.join(names)}]"


def evidence_function(group: str) -> Callable[[Runs], Measurements]:
    """Return the function that measures the claims of a group.

    Examples
    --------
    >>> evidence_function("cifar10_ablation").__name__
    'robustness'
    """
    declared = COMPARISONS[group]
    module = import_module(f"unitlens.reproduction.{declared.module}")
    function: Callable[[Runs], Measurements] = getattr(module, declared.function)
    return function


def _measure(measurement: Callable[[], Evidence]) -> Evidence:
    try:
        return measurement()
    except (NotMeasuredError, MissingTableError) as reason:
        return Evidence(missing=str(reason))


def _write_table(rows: Sequence[ComparisonRow], path: Path) -> None:
    names = [field.name for field in fields(ComparisonRow)]
    with (
        replacing(path) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
