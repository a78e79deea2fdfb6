"""The workflow as a user meets it: from configuration to report, again, and after a kill."""

import copy
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
from workflow_runs import ROOT, TINY, environment, planned_jobs, run, snakemake

import unitlens as ul

pytestmark = pytest.mark.slow


def changed(**measurements):
    config = copy.deepcopy(TINY)
    config["measurements"].update(measurements)
    return config


def test_workflow__ends_in_report_and_tables(finished):
    results = ul.open_results(finished / "results")

    assert (finished / "results/report.html").stat().st_size > 10_000
    assert results.units.sizes["unit"] == 2 * (24 + 16)
    assert results.checkpoints.runs.sizes["run"] == 2
    assert not np.isnan(results.units.loss_increase).any()


def test_workflow__does_nothing_the_second_time(finished):
    done = snakemake(finished, "--dry-run", "all")

    assert "Nothing to be done" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("section", "jobs"),
    [
        ({"unit_ablation": {"samples": 300}}, {"unit_ablation": 2}),
        ({"measures": {"bins": 8}}, {"unit_measures": 2, "noise_robustness": 2}),
        ({"statistics": {"fine_bins": 64}}, {"class_statistics": 2, "unit_measures": 2}),
    ],
)
def test_workflow__reruns_only_what_hangs_on_a_setting(finished, section, jobs):
    done = snakemake(finished, "--dry-run", "all", config=changed(**section))
    planned = planned_jobs(done)

    assert {rule: planned.get(rule) for rule in jobs} == jobs
    assert {"tabulate", "draw_figures", "write_report"} <= set(planned)
    assert not {"prepare_dataset", "train", "record_activations"} & set(planned)


def test_workflow__resumes_a_recording_that_was_killed(finished, tmp_path):
    """A job killed with SIGKILL is resumed by the next call, with the undisturbed result."""
    target = "results/{}/test/activations.json"
    network = next((finished / "results").glob("digits-mlp-seed1-*")).name
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED_WHILE_RECORDING, str(ROOT), str(finished), str(tmp_path)],
        env=environment(),
    )
    assert process.wait(timeout=120) == -signal.SIGKILL
    assert not (tmp_path / target.format(network)).exists()

    done = snakemake(tmp_path, target.format(network), config=TINY)
    assert done.returncode == 0, done.stdout + done.stderr

    for split in ("train", "test"):
        path = f"results/{network}/{split}/activations"
        ours, theirs = (
            json.loads((base / f"{path}.json").read_text()) for base in (tmp_path, finished)
        )
        assert ours == theirs
        one, two = (ul.open_activations(base / f"{path}.zarr") for base in (tmp_path, finished))
        xr.testing.assert_identical(one.load(), two.load())


def test_snakemake_report__holds_the_figures(finished):
    done = snakemake(finished, "--report", "snakemake-report.html", "all")

    assert done.returncode == 0, done.stdout + done.stderr
    text = (finished / "snakemake-report.html").read_text()
    assert "memorisation_ablation.svg" in text


def test_workflow__refuses_a_bad_configuration_in_one_line(tmp_path):
    config = copy.deepcopy(TINY)
    config["experiments"]["memo"]["dataset"]["corruption"] = 1.2
    done = snakemake(tmp_path, "--dry-run", "all", config=config)

    said = [line for line in done.stderr.splitlines() if "unitlens:" in line]
    assert done.returncode != 0
    assert said == [
        "unitlens: experiments.memo.dataset.corruption = 1.2: "
        "input should be less than or equal to 1"
    ]
    assert "Traceback" not in done.stderr


def test_workflow__refuses_a_layer_that_does_not_exist(tmp_path):
    config = changed(unit_ablation={"layers": ["relu9"]})
    done = snakemake(tmp_path, "--dry-run", "all", config=config)

    assert done.returncode != 0
    assert "unitlens: measurements.unit_ablation.layers (for mlp):" in done.stderr
    assert "relu9" in done.stderr
    assert "Traceback" not in done.stderr
