"""Times that experiments took, and the share of training in them."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from unitlens.reproduction.markdown_text import escape_markdown, table_head
from unitlens.tables.results import Results

TIMES = """\
## Time

Wall time is the sum over all jobs of an experiment, each with its start. Processor time is what
Snakemake samples, which misses the last seconds of a job. Wall time is longer where other work ran
on the machine. The share of training is that of wall time. A network of several experiments counts
in each of these, and once in all.
"""
TRAIN = "train"
ALL = "all"


class ExperimentTime(NamedTuple):
    """Times of the jobs of an experiment, added up.

    Attributes
    ----------
    experiment
        Name of the experiment, or ``all``.
    networks
        Number of its networks.
    jobs
        Number of their jobs.
    seconds
        Wall time of all jobs, one after another.
    processor_seconds
        Processor time of all jobs.
    training_seconds
        Wall time of the jobs that train.
    longest_rule
        The rule that takes most wall time beside training; empty if there is none.
    longest_rule_seconds
        Wall time of the jobs of that rule.
    """

    experiment: str
    networks: int
    jobs: int
    seconds: float
    processor_seconds: float
    training_seconds: float
    longest_rule: str
    longest_rule_seconds: float


def experiment_times(results: Results) -> list[ExperimentTime]:
    """Add up the times of the jobs of each experiment, from the workflow's benchmark files.

    Parameters
    ----------
    results
        A results directory that the workflow has made.

    Returns
    -------
    A row for each experiment, in the order of the table of runs, and a last row for all; empty
    where no job was timed. A network of several experiments counts in each of these, and once in
    the last row.
    """
    jobs_of_run = _read_jobs(results.directory / "benchmarks")
    member = results.runs["member"]
    runs = member["run"].values
    runs_of_experiment = {
        str(name): runs[member.sel(experiment=name).values] for name in member["experiment"].values
    }
    rows = []
    for experiment, names in (*runs_of_experiment.items(), (ALL, runs)):
        jobs = [job for run in names for job in jobs_of_run.get(run, ())]
        if jobs:
            rows.append(_add_up(experiment, len(names), jobs))
    return rows


class _Job(NamedTuple):
    rule: str
    seconds: float
    processor_seconds: float


def _add_up(experiment: str, networks: int, jobs: Sequence[_Job]) -> ExperimentTime:
    seconds: dict[str, float] = {TRAIN: 0.0}
    for job in jobs:
        seconds[job.rule] = seconds.get(job.rule, 0.0) + job.seconds
    others = {rule: value for rule, value in seconds.items() if rule != TRAIN}
    longest = max(others, key=lambda rule: others[rule], default="")
    return ExperimentTime(
        experiment=experiment,
        networks=networks,
        jobs=len(jobs),
        seconds=sum(seconds.values()),
        processor_seconds=sum(job.processor_seconds for job in jobs),
        training_seconds=seconds[TRAIN],
        longest_rule=longest,
        longest_rule_seconds=others.get(longest, 0.0),
    )


def _read_jobs(directory: Path) -> dict[str, list[_Job]]:
    """Return the jobs of each run."""
    jobs: dict[str, list[_Job]] = {}
    for rule in sorted(path for path in directory.glob("*") if path.is_dir()):
        for path in sorted(rule.rglob("*.tsv")):
            # The first part of a path such as RUN.tsv or RUN/epoch-0001.tsv is the run.
            run = path.relative_to(rule).parts[0].removesuffix(".tsv")
            with path.open(newline="") as file:
                for row in csv.DictReader(file, delimiter="\t"):
                    job = _Job(rule.name, float(row["s"]), _processor_seconds(row))
                    jobs.setdefault(run, []).append(job)
    return jobs


def _processor_seconds(row: Mapping[str, str]) -> float:
    """Return the processor time, or the wall time of a job too short for Snakemake to sample."""
    try:
        return float(row["cpu_time"])
    except ValueError:
        return float(row["s"])


def times_table(times: Sequence[ExperimentTime]) -> list[str]:
    """Return a table of times in Markdown, with its heading."""
    columns = (
        "experiment",
        "networks",
        "jobs",
        "minutes",
        "processor minutes",
        "training",
        "longest other rule",
    )
    lines = [TIMES, *table_head(columns)]
    for time in times:
        share = time.longest_rule_seconds / time.seconds
        longest = f"{time.longest_rule.replace('_', ' ')} {share:.0%}" if time.longest_rule else ""
        lines.append(
            f"| {escape_markdown(time.experiment)} | {time.networks} | {time.jobs} "
            f"| {time.seconds / 60:.1f} | {time.processor_seconds / 60:.1f} "
            f"| {time.training_seconds / time.seconds:.0%} | {longest} |"
        )
    return [*lines, ""]
