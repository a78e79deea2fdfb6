"""The workflow over Slurm: to the results of one machine, through all that ends jobs early."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import one_node_slurm
import pandas as pd
import pytest
import yaml
from workflow_runs import ROOT, environment, run, snakemake

# Each test of this file needs what the first has made; with xdist one process runs all.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

HOOK = Path(__file__).parent / "hook"
SECONDS = 600  # that anything is waited for

CONFIG = {
    "results": "results",
    "experiments": {
        "mlp": {
            "dataset": {"name": "digits"},
            "model": {"name": "mlp", "widths": [24, 16]},
            "training": {"epochs": 4, "learning_rate": 0.05},
            "seeds": [1, 2],
        }
    },
    "measurements": {
        "activations": {"batch_size": 100},
        "unit_ablation": {"samples": 200},
        "cumulative_ablation": None,
        "noise_robustness": None,
    },
    "figures": {},
}


def site_profile(directory, name="slurm", **entries):
    """Write the profile as a site adapts it: nothing here takes hours, or long to be seen."""
    profile = yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
    profile |= {"latency-wait": 10, "slurm-init-seconds-before-status-checks": 2, **entries}
    folder = directory / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(profile))
    return folder


class Driver:
    """Snakemake, started beside the test."""

    def __init__(self, directory, profile, *arguments):
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "tiny.yaml"
        config.write_text(yaml.safe_dump(CONFIG))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        command += ["--directory", str(directory), "--workflow-profile", str(profile)]
        path = os.pathsep.join((str(HOOK), os.environ.get("PYTHONPATH", "")))
        requests = str(directory / "requests")
        self._log = directory / f"driver-{time.monotonic_ns()}.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *arguments, "--configfile", str(config)],
                stdout=log,
                stderr=log,
                env=environment(PYTHONPATH=path, UNITLENS_TEST_REQUESTS=requests),
            )

    @property
    def output(self):
        return self._log.read_text()

    def end(self):
        """Wait for its end, and return its status. It is not left running."""
        try:
            return self.process.wait(SECONDS)
        finally:
            self.process.kill()


def job_states():
    """Return the jobs that Slurm remembers, with rule, state, limits and number."""
    form = "%i|%k|%T|%l|%m|%P"
    told = run(["squeue", "--states=all", "--noheader", f"--format={form}"]).stdout
    names = ("number", "comment", "state", "time", "memory", "partition")
    jobs = pd.DataFrame([line.split("|") for line in told.splitlines()], columns=names)
    jobs["rule"] = jobs["comment"].str.extract(r"^rule_(.*?)(?:_wildcards|$)", expand=False)
    return jobs


def of_rule(jobs, rule):
    return jobs[jobs["rule"] == rule]


def wait_for(path, driver):
    end = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < end, f"waited for {path}\n{driver.output}"
        assert driver.process.poll() is None, driver.output
        time.sleep(0.1)
    return path.read_text()


def cancel_as_they_stop(requests, driver):
    """Cancel a job of each step in its middle; leave another one to its time limit."""
    to_cancel = {f"{step}.seed1" for step in ("train", "record-activations", "unit-ablation")}
    out_of_time = {"unit-ablation.seed2"}
    end = time.monotonic() + SECONDS
    while to_cancel | out_of_time:
        for name in to_cancel | out_of_time:
            stopped = requests / f"{name}.stopped"
            if not stopped.exists():
                continue
            if name in to_cancel:
                assert run(["scancel", stopped.read_text()]).returncode == 0
            else:  # it stands still until its time is over, and so does its next try
                stopped.unlink()
                (requests / name).touch()
            to_cancel.discard(name)
            out_of_time.discard(name)
        assert time.monotonic() < end, f"waited for {to_cancel | out_of_time}\n{driver.output}"
        assert driver.process.poll() is None, driver.output
        time.sleep(0.1)


@pytest.fixture(scope="module")
def told(slurm, tmp_path_factory):
    """Run the workflow over Slurm through all kinds of failures, and return what was seen."""
    directory = tmp_path_factory.mktemp("failures")
    requests = directory / "requests"
    requests.mkdir()
    for step in ("train", "record-activations", "unit-ablation"):
        (requests / f"{step}.seed1").touch()
    (requests / "unit-ablation.seed2").touch()
    if one_node_slurm.limits_memory():
        (requests / "train.seed2.megabytes").write_text("1400")
    profile = site_profile(directory)
    content = yaml.safe_load((profile / "config.yaml").read_text())
    # Ablation of the second network meets this time limit; a minute is Slurm's shortest.
    own = ["unit_ablation:runtime=attempt", "train:mem_mb=1500 * attempt"]
    content["set-resources"] = own
    (profile / "config.yaml").write_text(yaml.safe_dump(content))

    seen = SimpleNamespace(directory=directory, jobs={})
    first = Driver(directory, profile)
    try:
        cancel_as_they_stop(requests, first)
        wait_for(requests / "unit-ablation.seed2.stopped", first)
    finally:
        first.process.send_signal(signal.SIGKILL)
    first.end()
    seen.first, seen.jobs_of_first = first.output, job_states()

    locked = Driver(directory, profile)
    seen.locked_status, seen.locked = locked.end(), locked.output
    unlocking = Driver(directory, profile, "--unlock")
    seen.unlocked_status = unlocking.end()
    # The job of the killed driver still stands in the middle of this ablation.
    network = next((directory / "results").glob("digits-*seed2-*")).name
    target = f"results/{network}/unit_ablation.nc"
    beside = Driver(directory, profile, "--retries", "0", target)
    seen.beside_status, seen.beside = beside.end(), beside.output
    (requests / "unit-ablation.seed2.go").touch()
    end = time.monotonic() + SECONDS
    while run(["squeue", "--noheader"]).stdout:
        assert time.monotonic() < end
        time.sleep(0.2)
    last = Driver(directory, profile)
    seen.last_status, seen.last = last.end(), last.output
    seen.jobs = job_states()
    return seen


def logs(directory, step):
    """Return the texts of the logs of a step, with what Slurm kept of jobs that ended early."""
    return "".join(path.read_text() for path in (directory / "results/logs" / step).rglob("*.log"))


def test_results__are_those_of_one_machine(told, tmp_path):
    assert told.last_status == 0, told.last
    done = snakemake(tmp_path, config=CONFIG)
    assert done.returncode == 0, done.stdout + done.stderr

    ours, theirs = told.directory / "results", tmp_path / "results"
    networks = sorted(path.parent.name for path in theirs.glob("digits-*/checkpoint.json"))
    assert len(networks) == 2
    for network in networks:
        weights = f"{network}/checkpoint.safetensors"
        assert (ours / weights).read_bytes() == (theirs / weights).read_bytes()
        for split in ("train", "test"):
            manifest = f"{network}/{split}/activations.json"
            one, two = (json.loads((base / manifest).read_text()) for base in (ours, theirs))
            assert one["arrays"] == two["arrays"]
    for table in ("units", "runs", "history"):
        one, two = (pd.read_parquet(base / f"{table}.parquet") for base in (ours, theirs))
        pd.testing.assert_frame_equal(one, two)
    assert (ours / "report.html").is_file()


def test_jobs_of_a_rule__are_one_array(told):
    assert re.search(r"Submitted array job .* individual task IDs are 1-2", told.first)


def test_what_takes_seconds__is_not_submitted(told):
    submitted = set(told.jobs["rule"]) | set(told.jobs_of_first["rule"])
    assert {"train", "record_activations", "unit_ablation"} <= submitted
    local = {"write_plan", "prepare_dataset", "tabulate", "draw_figures", "write_report"}
    assert not submitted & local


@pytest.mark.parametrize("rule", ["train", "record_activations", "unit_ablation"])
def test_cancelled_jobs__are_tried_again(told, rule):
    states = of_rule(told.jobs, rule)["state"]
    assert (states == "CANCELLED").any()
    assert (states == "COMPLETED").any()


def test_cancelled_training__goes_on(told):
    assert "resuming after" in logs(told.directory, "train")


def test_cancelled_recording__goes_on(told):
    """The first split was whole when the job was cancelled."""
    text = logs(told.directory, "record_activations")
    assert re.search(r"is recorded already|goes on at sample [1-9]", text)


def test_cancelled_ablation__goes_on(told):
    text = logs(told.directory, "unit_ablation")
    assert re.search(r"goes on after \d+ samples", text)


def test_job_out_of_time__is_given_more(told):
    jobs = of_rule(told.jobs, "unit_ablation")
    assert (jobs["state"] == "TIMEOUT").any()
    assert {"1:00", "2:00"} <= set(jobs["time"])


def test_job_out_of_memory__is_given_more(told):
    if not one_node_slurm.limits_memory():
        pytest.skip("this machine has no control groups of version 1, by which memory is limited")
    jobs = of_rule(told.jobs, "train")
    # Where a step of the job met the limit, the job itself has failed by its exit status.
    ended = jobs[jobs["state"].isin(["OUT_OF_MEMORY", "FAILED"])]
    assert len(ended) == 1
    assert ended["memory"].str.startswith("150").all()
    kept = (told.directory / ".snakemake/slurm_logs").rglob("*.log")
    assert any("oom-kill" in path.read_text() for path in kept)
    assert jobs[jobs["state"] == "COMPLETED"]["memory"].str.startswith("300").any()


def test_driver_that_was_killed__leaves_a_lock(told):
    assert told.locked_status != 0
    assert "--unlock" in told.locked
    assert told.unlocked_status == 0


def test_second_start_beside_old_jobs__is_stopped_by_their_locks(told):
    assert told.beside_status != 0
    assert re.search(r"unit ablation of \S+ is being written by process \d+ on", told.beside)


def test_error_of_a_job__is_told_once(slurm, tmp_path):
    """The node's GPU is none, so that training ends by an error of its own."""
    profile = site_profile(tmp_path, "slurm-gpu")
    run_folder = tmp_path / "run"
    before = set(job_states()["number"])

    driver = Driver(run_folder, profile)
    assert driver.end() != 0

    jobs = job_states()
    jobs = jobs[~jobs["number"].isin(before)]
    assert set(jobs["rule"]) == {"train"}
    assert set(jobs["partition"]) == {"gpu"}
    assert len(jobs) == 2, driver.output  # two networks, each tried once
    assert "is not tried again" in driver.output
    assert "Trying to restart" not in driver.output
    assert re.search(r"unitlens: .*(CUDA|GPU)", driver.output)


def test_limits_with_which_arrays_wait_for_ever__are_refused(slurm, tmp_path):
    profile = site_profile(tmp_path, jobs=5)

    driver = Driver(tmp_path / "run", profile)

    assert driver.end() != 0
    assert re.search(r"^unitlens: jobs is 5, but 10 jobs are to be", driver.output, re.MULTILINE)


def test_key_that_the_executor_does_not_know__is_refused(slurm, tmp_path):
    profile = site_profile(tmp_path, **{"slurm-status-comand": "squeue"})

    driver = Driver(tmp_path / "run", profile)

    assert driver.end() == 2
    last = driver.output.splitlines()[-1]
    assert last.endswith("error: unrecognized arguments: --slurm-status-comand=squeue")
    assert not (tmp_path / "run/results").exists()
