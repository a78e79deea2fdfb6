"""What runs again after an edit of the configuration, and in a folder that was copied."""

import copy
import os
import shutil
from dataclasses import replace

import pytest
from workflow_runs import TINY, planned_jobs, snakemake

from unitlens.config.measurements import PERTURBATIONS
from unitlens.planning.network_steps import step_code
from unitlens.provenance.earlier_code import EARLIER_CODE
from unitlens.store.format.manifest import read_manifest, write_manifest

TAIL = {"write_plan", "tabulate", "draw_figures", "compare_with_paper", "write_report", "all"}


@pytest.fixture
def again(finished, tmp_path):
    """Return a copy of a finished run, with what Snakemake remembers of it."""
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.copytree(finished / ".snakemake/metadata", tmp_path / ".snakemake/metadata")
    return tmp_path


def planned(directory, config, *arguments):
    """Return the jobs that a dry run plans beside those that join everything."""
    done = snakemake(directory, "--dry-run", "all", *arguments, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    return {rule: n for rule, n in planned_jobs(done).items() if rule not in {*TAIL, "total"}}


def with_experiments(**experiments):
    return {**copy.deepcopy(TINY), "experiments": experiments}


MEMO = TINY["experiments"]["memo"]
CLEAN = {**MEMO, "sweep": {}, "seeds": [2]}
ONE_NETWORK = {"train": 1, "record_activations": 1, "class_statistics": 1, "unit_measures": 1}
ONE_NETWORK |= {"principal_components": 1}
ONE_NETWORK |= {"unit_ablation": 1, "cumulative_ablation": 2, "noise_robustness": 1}


@pytest.mark.parametrize(
    ("experiments", "jobs"),
    [
        ({"memo": MEMO, "clean": CLEAN}, ONE_NETWORK),
        ({"clean": CLEAN, "memo": MEMO}, ONE_NETWORK),
        ({"memo": {**MEMO, "sweep": {"dataset.corruption": [1]}}}, {}),
        ({"memo": {**MEMO, "sweep": {"dataset.corruption": [1, 0]}}}, {}),
    ],
    ids=["append", "prepend", "remove", "reorder"],
)
def test_edit__of_the_experiments_trains_just_what_is_new(again, experiments, jobs):
    assert planned(again, with_experiments(**experiments)) == jobs


def test_edit__of_an_experiments_name_computes_no_network_again(again):
    config = with_experiments(renamed=MEMO)
    config["figures"] = {"memorisation_ablation": ["renamed"], "auc_over_training": ["renamed"]}
    config["paper"] = {"mnist_ablation": ["renamed"]}

    assert planned(again, config) == {}


def test_only__after_another_only_computes_no_network_again(again):
    corrupt = {**MEMO, "sweep": {"dataset.corruption": [1]}}
    config = with_experiments(memo={**MEMO, "sweep": {}}, corrupt=corrupt)
    config["figures"], config["paper"] = {}, {}

    assert planned(again, config | {"only": ["memo"]}) == {}
    assert planned(again, config | {"only": ["corrupt"]}) == {}


@pytest.mark.parametrize(
    "key",
    [
        {"download": True},
        {"data": "elsewhere"},
        {"measurements": {"activations": {"batch_size": 50}}},
        {"measurements": {"activations": {"batch_size": 100, "limit_gb": 7}}},
        {"measurements": {"activations": {"batch_size": 100, "parts": 2}}},
        {
            "measurements": {
                name: {**TINY["measurements"][name], "parts": 2} for name in PERTURBATIONS
            }
        },
        {
            "measurements": {
                name: {**(TINY["measurements"].get(name) or {}), "workers": 2}
                for name in ("activations", *PERTURBATIONS)
            }
        },
    ],
    ids=[
        "download",
        "data",
        "batch_size",
        "limit_gb",
        "parts",
        "parts of perturbations",
        "workers",
    ],
)
def test_key__that_changes_no_result_reruns_nothing(again, key):
    config = copy.deepcopy(TINY)
    for name, value in key.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value

    assert not _beside_pages(snakemake(again, "--dry-run", "all", config=config))


def test_code_of_before__that_is_as_good_reruns_nothing(again):
    """The results, and what Snakemake remembers of them, state the digest of an earlier version."""
    step = "record_activations"
    now, earlier = step_code(step), EARLIER_CODE[step][0]
    for file in (again / ".snakemake/metadata").iterdir():
        file.write_text(file.read_text().replace(now, earlier))
    for store in (again / "results").rglob("activations.zarr"):
        manifest, place = read_manifest(store), store.with_suffix(".json")
        provenance = {**manifest.contents.provenance, "code": earlier}
        contents, times = replace(manifest.contents, provenance=provenance), place.stat()
        write_manifest(store, replace(manifest, contents=contents))
        os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert not _beside_pages(snakemake(again, "--dry-run", "all"))

    for file in (again / ".snakemake/metadata").iterdir():
        file.write_text(file.read_text().replace(earlier, "0123456789ab"))
    assert step in _beside_pages(snakemake(again, "--dry-run", "all"))


def test_threads__rerun_nothing(again):
    done = snakemake(again, "--dry-run", "all", "--set-threads", "unit_ablation=2", "train=2")

    assert not _beside_pages(done)


def _beside_pages(done):
    """Return the planned rules beside the pages, which name the configuration's new place."""
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {"compare_with_paper", "write_report", "all", "total"}
    return planned_jobs(done).keys() - pages


def test_copied_results__with_other_settings_are_made_again(finished, tmp_path):
    """Without Snakemake's memory the files themselves tell what they were made from."""
    _copy_with_times(finished / "results", tmp_path / "results")
    config = copy.deepcopy(TINY)
    config["measurements"]["unit_ablation"]["samples"] = 150

    done = snakemake(tmp_path, "--dry-run", "all", config=config)

    assert planned_jobs(done)["unit_ablation"] == 2
    assert "train" not in planned_jobs(done)
    assert "unit_ablation.nc does not fit: samples was 200, is 150" in done.stdout + done.stderr


def _copy_with_times(source, target):
    shutil.copytree(source, target, copy_function=shutil.copy2)
    assert all(
        (target / file.relative_to(source)).stat().st_mtime_ns == file.stat().st_mtime_ns
        for file in source.rglob("*.nc")
    )


@pytest.mark.parametrize("lost", ["units.zarr", "runs.parquet", "figures/auc_over_training.png"])
def test_lost_table_or_figure__is_made_again(again, lost):
    path = again / "results" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    done = snakemake(again, "--dry-run", "all")

    rule = "draw_figures" if "figures" in lost else "tabulate"
    assert planned_jobs(done)[rule] == 1


def test_edited_checkpoint__of_another_network_is_noticed_at_the_latest_by_the_tables(again):
    """The results of one network are put into the folder of another."""
    one, two = sorted(path.parent for path in again.glob("results/*/unit_ablation.nc"))
    shutil.copy2(one / "unit_ablation.nc", two / "unit_ablation.nc")

    done = snakemake(again, "--dry-run", "all")

    assert planned_jobs(done)["unit_ablation"] == 1
    assert "it was computed from another network" in done.stdout + done.stderr
