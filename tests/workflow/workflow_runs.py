"""Runs of the workflow and of the command line, as a user starts them."""

import copy
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]

# Principal components are asked for, so that each step is a job of its own; one job measures a
# network of SMALL.
TINY = {
    "results": "results",
    "experiments": {
        "memo": {
            "dataset": {"name": "digits"},
            "model": {"name": "mlp", "widths": [24, 16]},
            "training": {"epochs": 4, "learning_rate": 0.05, "checkpoints": [1]},
            "sweep": {"dataset.corruption": [0, 1]},
            "seeds": [1],
        }
    },
    "measurements": {
        "activations": {"batch_size": 100},
        "principal_components": {},
        "unit_ablation": {"samples": 200},
        "cumulative_ablation": {"samples": 200, "orders": 2, "points": 5, "checkpoints": True},
        "noise_robustness": {
            "samples": 200,
            "draws": 2,
            "scales": {"minimum": 0.1, "maximum": 4, "points": 3},
        },
    },
    "figures": {"memorisation_ablation": ["memo"], "auc_over_training": ["memo"]},
    "paper": {"mnist_ablation": ["memo"]},
}


SMALL = copy.deepcopy(TINY)
del SMALL["measurements"]["principal_components"]


def environment(**more):
    """Return the environment in which the interpreter of the tests comes first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **more}


def run(command, **options):
    """Run a command and return it done, its output as text."""
    options = {"env": environment(), **options}
    return subprocess.run(command, check=False, capture_output=True, text=True, **options)


def snakemake(directory, *arguments, config=TINY, root=ROOT, **options):
    """Run the workflow under `root` in `directory`, with a configuration of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile")]
    command += ["--directory", str(directory), "--cores", "2", *arguments]
    return run([*command, "--configfile", str(path)], **options)


def planned_jobs(done):
    """Return the number of jobs of each rule that a dry run names, beside that of the plan."""
    table = done.stdout.partition("Job stats:")[2].partition("\n\n")[0]
    found = re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)
    counts = {rule: int(count) for rule, count in found}
    if counts.pop("write_plan", 0):
        counts["total"] -= 1
    return counts
