"""What share of the machine the rules' own work gets, the rest being start-up and waiting.

    python benchmarks/orchestration.py [--configfile config.yaml] [--cores 8]

Runs the whole workflow in a scratch directory and compares the processor time that the logs give as
work with the wall time times the processors of the machine.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"work ([\d.]+) s, ([\d.]+) s of processor; start-up ([\d.]+) s of processor")


def timed_run(directory: Path, configfile: Path, cores: int) -> float:
    """Run the workflow in `directory` and return its wall time in seconds."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(directory), "--cores", str(cores), "--quiet", "all"]
    command += ["--configfile", str(configfile), "--config", "results=results", "--", "all"]
    start = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - start


def accounts(logs: Path) -> dict[str, list[tuple[float, float]]]:
    """Return work and start-up of each job, in seconds of processor, by rule."""
    found = defaultdict(list)
    for path in sorted(logs.rglob("*.log")):
        match = LINE.search(path.read_text())
        if match:
            rule = path.relative_to(logs).parts[0].removesuffix(".log")
            found[rule].append((float(match[2]), float(match[3])))
    return found


def main() -> None:
    """Run, account, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configfile", type=Path, default=ROOT / "config.yaml")
    parser.add_argument("--cores", type=int, default=8)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        wall = timed_run(Path(scratch), arguments.configfile.resolve(), arguments.cores)
        rules = accounts(Path(scratch) / "results/logs")
    print(f"{'rule':22}{'jobs':>6}{'work, s':>10}{'start-up, s':>13}")
    for rule, jobs in sorted(rules.items(), key=lambda row: -sum(job[0] for job in row[1])):
        work, start_up = (sum(column) for column in zip(*jobs, strict=True))
        print(f"{rule:22}{len(jobs):6}{work:10.1f}{start_up:13.1f}")
    work = sum(job[0] for jobs in rules.values() for job in jobs)
    cores = min(arguments.cores, os.cpu_count() or 1)
    share = work / (wall * cores)
    print(f"wall {wall:.1f} s on {cores} processors; own work {work:.1f} s: {share:.0%}")


if __name__ == "__main__":
    main()
