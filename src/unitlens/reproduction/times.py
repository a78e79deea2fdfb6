"""How long the experiments took, and how much of it was training."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from unitlens.tables.results import Results

TRAIN = "train"


class Time(NamedTuple):
    """Times of the jobs of an experiment, in seconds, added up.

    Attributes
    ----------
    experiment
        Its name.
    networks, jobs
        How many it has.
    seconds
        Wall time of all its jobs, each by itself.
    processor
        The same, of processors: what it takes where nothing else runs.
    training
        Of those that train.
    most, most_seconds
        The rule that takes most beside training, and what its jobs take.
    """

    experiment: str
    networks: int
    jobs: int
    seconds: float
    processor: float
    training: float
    most: str
    most_seconds: float


def times_of(results: Results) -> list[Time]:
    """Add up what the workflow's benchmarks say of the jobs of each experiment.

    Parameters
    ----------
    results
        A results directory that the workflow has made.

    Returns
    -------
    One row an experiment, in the order of the table of runs, and last one of all; empty where
    nothing was timed. A network that belongs to several experiments counts in each, and once in
    all.
    """
    of_runs = _by_run(results.directory / "benchmarks")
    members = results.runs["member"]
    names = members["run"].values
    parts = [
        (str(name), names[members.sel(experiment=name).values])
        for name in members["experiment"].values
    ]
    rows = []
    for experiment, runs in (*parts, ("all", names)):
        jobs = [job for run in runs for job in of_runs.get(run, ())]
        if jobs:
            rows.append(_added(experiment, len(runs), jobs))
    return rows


class _Job(NamedTuple):
    rule: str
    seconds: float
    processor: float


def _added(experiment: str, networks: int, jobs: list[_Job]) -> Time:
    seconds: dict[str, float] = {TRAIN: 0.0}
    for job in jobs:
        seconds[job.rule] = seconds.get(job.rule, 0.0) + job.seconds
    others = {rule: value for rule, value in seconds.items() if rule != TRAIN}
    most = max(others, key=lambda rule: others[rule], default="")
    return Time(
        experiment=experiment,
        networks=networks,
        jobs=len(jobs),
        seconds=sum(seconds.values()),
        processor=sum(job.processor for job in jobs),
        training=seconds[TRAIN],
        most=most,
        most_seconds=others.get(most, 0.0),
    )


def _by_run(directory: Path) -> dict[str, list[_Job]]:
    """Return each job by the run that it belongs to."""
    found: dict[str, list[_Job]] = {}
    for rule in sorted(path for path in directory.glob("*") if path.is_dir()):
        for path in sorted(rule.rglob("*.tsv")):
            # The run is the first part, of files such as RUN.tsv and RUN/epoch-0001.tsv.
            name = path.relative_to(rule).parts[0].removesuffix(".tsv")
            with path.open(newline="") as file:
                for row in csv.DictReader(file, delimiter="\t"):
                    job = _Job(rule.name, float(row["s"]), _processor(row))
                    found.setdefault(name, []).append(job)
    return found


def _processor(row: Mapping[str, str]) -> float:
    """Return processor seconds; the wall time of a job too short for Snakemake to see."""
    try:
        return float(row["cpu_time"])
    except ValueError:
        return float(row["s"])
