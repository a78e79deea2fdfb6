"""One job measures a small network: equal results, and reruns of just what does not fit."""

import copy
import json
import shutil

import pytest
from workflow_runs import SMALL, planned_jobs, snakemake

from unitlens.hashed_files import read_trailer

pytestmark = pytest.mark.slow

JOIN = {"write_plan", "tabulate", "draw_figures", "compare_with_paper", "write_report", "all"}
TARGET = "results/tables.json"
COMPONENTS = "principal_components.nc"


def changed(**measurements):
    """Return the configuration with some settings of measurements changed."""
    config = copy.deepcopy(SMALL)
    for section, values in measurements.items():
        config["measurements"][section] = {**config["measurements"].get(section, {}), **values}
    return config


def planned(directory, config):
    """Return the jobs that a dry run plans beside those that join all networks."""
    done = snakemake(directory, "--dry-run", "all", config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    return {rule: n for rule, n in planned_jobs(done).items() if rule not in {*JOIN, "total"}}


def content_hashes(results):
    """Return the hash of each table and store of all networks."""
    tables = {
        str(path.relative_to(results)): read_trailer(path).hash
        for path in results.rglob("*.nc")
        if path.name != COMPONENTS
    }
    stores = {
        str(path.relative_to(results)): json.loads(path.read_text())["content_hash"]
        for path in results.rglob("activations.json")
    }
    return tables | stores


def written(network):
    """Return what tells whether a file was written again: its inode and its content's hash."""
    return {
        str(path.relative_to(network)): path.stat().st_ino
        for path in [*network.rglob("*.nc"), *network.rglob("activations.json")]
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return the directory of a run in which one job measured each network."""
    directory = tmp_path_factory.mktemp("small")
    done = snakemake(directory, "all", config=SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture
def again(small, tmp_path):
    """Return a copy of the run, with what Snakemake remembers of it."""
    return copied(small, tmp_path)


def copied(source, target):
    shutil.copytree(source / "results", target / "results")
    shutil.copytree(source / ".snakemake/metadata", target / ".snakemake/metadata")
    return target


def networks(directory):
    """Return the directories of the networks at the end of their training."""
    return sorted(path.parent for path in directory.glob("results/*/unit_ablation.nc"))


def test_results__are_those_of_a_job_for_each_step(small, finished):
    assert len(list(small.glob("results/benchmarks/measure_network/*.tsv"))) == 2
    assert not (small / "results/benchmarks/unit_ablation").exists()
    assert len(list(finished.glob("results/benchmarks/unit_ablation/*.tsv"))) == 2

    ours, theirs = (content_hashes(path / "results") for path in (small, finished))

    assert len(ours) == 2 * (7 + 2 + 1 + 1)  # tables, stores, history, curve of a kept epoch
    assert ours == theirs


def test_second_run__does_nothing(again):
    assert planned(again, SMALL) == {}


def test_several_jobs_results__are_not_made_again_by_one_job(finished, tmp_path):
    """A folder whose networks were measured by several jobs, with and without the memory of it."""
    assert planned(copied(finished, tmp_path), SMALL) == {}
    shutil.rmtree(tmp_path / ".snakemake")
    assert planned(tmp_path, SMALL) == {}


@pytest.mark.parametrize(
    "settings",
    [{"principal_components": {}}, {"unit_ablation": {"parts": 2}}, {"activations": {"parts": 2}}],
    ids=["components", "parts of ablation", "parts of recording"],
)
def test_one_jobs_results__are_not_made_again_by_several_jobs(again, settings):
    assert not planned(again, changed(**settings)).keys() - {"principal_components"}


def test_network__that_became_large_makes_just_the_large_table_again(again):
    """With a hundred million draws the estimate is far above that of a small network."""
    large = planned(again, changed(noise_robustness={"draws": 100_000_000}))

    assert large == {"noise_robustness": 2}


@pytest.mark.parametrize(
    ("settings", "made"),
    [
        ({"unit_ablation": {"samples": 150}}, {"unit_ablation.nc"}),
        (
            {"measures": {"bins": 8}},
            # The noise is scaled by the measures' variance, so that it is made of another file.
            {"unit_measures.nc", "noise_robustness.nc"},
        ),
    ],
    ids=["unit_ablation", "measures"],
)
def test_changed_key__makes_only_its_own_tables_again(again, settings, made):
    before = {path: written(path) for path in networks(again)}
    config = changed(**settings)

    assert planned(again, config) == {"measure_network": 2}
    done = snakemake(again, TARGET, config=config)

    assert done.returncode == 0, done.stdout + done.stderr
    for network, files in before.items():
        after = written(network)
        assert {name for name in files if after[name] != files[name]} == made
    assert planned(again, config) == {}


def test_failure__of_one_step_keeps_the_finished_steps(small, tmp_path):
    """A folder stands where noise robustness writes its lock, so that this step fails."""
    for name in ("datasets", *(path.name for path in networks(small))):
        shutil.copytree(small / "results" / name, tmp_path / "results" / name)
    shutil.copytree(small / ".snakemake/metadata", tmp_path / ".snakemake/metadata")
    network, other = networks(tmp_path)
    shutil.rmtree(other)
    for path in [*network.glob("*ablation.nc"), network / "noise_robustness.nc"]:
        path.unlink()
    (network / ".noise_robustness.lock").unlink()
    (network / ".noise_robustness.lock").mkdir()
    target = f"results/{network.name}/noise_robustness.nc"

    failed = snakemake(tmp_path, target, config=SMALL)
    assert failed.returncode != 0
    kept = network / ".finished/unit_ablation.nc"
    assert kept.is_file()
    content = kept.read_bytes()
    (network / ".noise_robustness.lock").rmdir()
    done = snakemake(tmp_path, target, config=SMALL)

    assert done.returncode == 0, done.stdout + done.stderr
    log = (tmp_path / f"results/logs/measure_network/{network.name}.log").read_text()
    assert "unit_ablation: its files fit" in log
    assert "noise_robustness begins" in log
    assert (network / "unit_ablation.nc").read_bytes() == content
    assert not kept.exists()
    ours, theirs = (content_hashes(base / "results" / network.name) for base in (tmp_path, small))
    assert ours == theirs


@pytest.mark.parametrize("rule", ["measure_network", "noise_robustness"])
def test_job__of_a_process_of_its_own_makes_what_is_missing(again, rule):
    """As jobs of clusters are started, which are told the rule by the process that planned."""
    network, _ = networks(again)
    content = (network / "noise_robustness.nc").read_bytes()
    (network / "noise_robustness.nc").unlink()
    job = ["--mode", "subprocess", "--nolock", "--force", "--allowed-rules", rule]

    done = snakemake(again, *job, "--target-jobs", f"{rule}:network={network.name}", config=SMALL)

    assert done.returncode == 0, done.stdout + done.stderr
    assert (network / "noise_robustness.nc").read_bytes() == content
