"""How long the experiments took, and how much of it was training."""

import csv
from pathlib import Path
from typing import NamedTuple

from unitlens.tables import Results

TRAIN = "train"


class Time(NamedTuple):
    """Wall times of the jobs of an experiment, in seconds, added up.

    Attributes
    ----------
    experiment
        Its name.
    networks, jobs
        How many it has.
    seconds
        Of all its jobs, each by itself.
    training
        Of those that train.
    most, most_seconds
        The rule that takes most beside training, and what its jobs take.
    """

    experiment: str
    networks: int
    jobs: int
    seconds: float
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
    One row an experiment, in the order of the table of runs; empty where nothing was timed. A
    network that belongs to several experiments counts in each.
    """
    of_runs = _by_run(results.directory / "benchmarks")
    members = results.runs["member"]
    rows = []
    for name in members["experiment"].values.tolist():
        runs = members["run"].values[members.sel(experiment=name).values]
        timed = [job for run in runs for job in of_runs.get(run, ())]
        if not timed:
            continue
        seconds: dict[str, float] = {TRAIN: 0.0}
        for rule, value in timed:
            seconds[rule] = seconds.get(rule, 0.0) + value
        others = {rule: value for rule, value in seconds.items() if rule != TRAIN}
        most = max(others, key=lambda rule: others[rule], default="")
        rows.append(
            Time(
                experiment=str(name),
                networks=len(runs),
                jobs=len(timed),
                seconds=sum(seconds.values()),
                training=seconds[TRAIN],
                most=most,
                most_seconds=others.get(most, 0.0),
            )
        )
    return rows


def _by_run(directory: Path) -> dict[str, list[tuple[str, float]]]:
    """Return rule and seconds of each job, by the run that it belongs to."""
    found: dict[str, list[tuple[str, float]]] = {}
    for rule in sorted(path for path in directory.glob("*") if path.is_dir()):
        for path in sorted(rule.rglob("*.tsv")):
            # The run is the first part, of files such as RUN.tsv and RUN/epoch-0001.tsv.
            name = path.relative_to(rule).parts[0].removesuffix(".tsv")
            with path.open(newline="") as file:
                for row in csv.DictReader(file, delimiter="\t"):
                    found.setdefault(name, []).append((rule.name, float(row["s"])))
    return found
