"""The workflow where jobs share no disk: results equal those of a machine that does all."""

import copy
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from workflow_runs import ROOT, TINY, environment, planned_jobs, run, snakemake

import unitlens as ul
from unitlens.errors import TableError
from unitlens.hashed_files import read_json, read_trailer
from unitlens.store.backend.places import locate
from unitlens.store.format.manifest import read_manifest
from unitlens.store.located import named_location

pytestmark = pytest.mark.slow
NO_SHARED_DISK = ("--shared-fs-usage", "none", "--default-storage-provider")


def one_network(location, **measurements):
    """Return the experiment of the network with correct labels among those of TINY."""
    config = copy.deepcopy(TINY)
    config["experiments"]["memo"]["sweep"] = {"dataset.corruption": [0]}
    config["figures"].pop("auc_over_training")
    config["measurements"] |= measurements
    config["measurements"]["activations"] |= {"location": str(location)}
    return config


def name_of_network(finished):
    return next((finished / "results").glob("digits-mlp-seed1-*")).name


def check_equal(results, finished, files):
    """Hold that the files of a network state the hashes of those of a finished workflow."""
    name = name_of_network(finished)
    own, other = results / name, finished / "results" / name
    for file in files:
        assert read_trailer(own / file).hash == read_trailer(other / file).hash, file
    records = [
        read_json(directory / "checkpoint.json", error=TableError, remedy="", require_hash=False)
        for directory in (own, other)
    ]
    assert records[0]["weights_hash"] == records[1]["weights_hash"]
    for split in ("train", "test"):
        paths = [directory / split / "activations.zarr" for directory in (own, other)]
        hashes = [read_manifest(path).content_hash for path in paths]
        assert hashes[0] == hashes[1]


def test_jobs__on_machines_of_their_own_with_results_and_stores_in_s3(finished, tmp_path, s3):
    """Each job starts in an empty folder, as in a container: what is not declared is not there."""
    for source in ("Snakefile", "workflow", "envs"):
        copied = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copied(ROOT / source, tmp_path / source)
    config = one_network(f"{s3}/acts", unit_ablation=None, noise_robustness=None)
    config["experiments"]["memo"]["training"]["checkpoints"] = [0.5, 1]
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "all", "--executor", "isolated", "--jobs", "2"]
    command += ["--configfile", "tiny.yaml", *NO_SHARED_DISK, "s3"]
    command += ["--default-storage-prefix", f"{s3}/lab"]
    path = f"{Path(__file__).parent}:{ROOT / 'src'}"

    done = run(command, cwd=tmp_path, env=environment(PYTHONPATH=path))

    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "results").exists()
    place = locate(f"{s3}/lab/results")
    place.fs.get(f"{place.path}/", f"{tmp_path}/got/", recursive=True)
    files = ("l1_norm.nc", "unit_measures.nc", "history.nc", "cumulative_ablation.nc")
    kept = "epoch-0001/cumulative_ablation.nc"
    check_equal(tmp_path / "got", finished, (*files, kept, "train/class_statistics.nc"))
    assert (tmp_path / "got/report.html").stat().st_size > 10_000
    look = read_trailer(
        tmp_path / "got" / name_of_network(finished) / "epoch-0000.5/cumulative_ablation.nc"
    )
    assert look is not None

    results, local = ul.open_results(f"{s3}/lab/results"), ul.open_results(finished / "results")
    name = name_of_network(finished)
    mine = local.units.isel(unit=local.units.run.values == name)
    for score in ("selectivity", "mutual_information", "l1_norm"):
        assert (results.units[score].values == mine[score].values).all()
    assert ul.open_results(tmp_path / "got").runs.identical(results.runs)
    acts = results.activations(name, "test")
    assert acts.compute().equals(local.activations(name, "test").compute())
    stored = named_location(read_manifest(tmp_path / f"got/{name}/test/activations.zarr"))
    assert stored.startswith(f"{s3}/acts/{name}/test-")


@pytest.mark.skipif(shutil.which("rsync") is None, reason="the storage plugin fs calls rsync")
def test_jobs__with_results_in_a_storage_of_files(finished, tmp_path):
    """As the first, with networks that are recorded and ablated by several jobs."""
    ablation = {**TINY["measurements"]["unit_ablation"], "parts": 2}
    config = one_network(tmp_path / "acts", unit_ablation=ablation, cumulative_ablation=None)
    config["measurements"]["activations"] |= {"parts": 2}
    config["figures"], config["paper"] = {}, {}
    storage = ("fs", "--default-storage-prefix", str(tmp_path / "stored"))

    done = snakemake(tmp_path / "work", "all", *NO_SHARED_DISK, *storage, config=config)

    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "work/results").exists()
    stored = tmp_path / "stored/results"
    check_equal(stored, finished, ("unit_measures.nc", "noise_robustness.nc"))
    results, local = ul.open_results(stored), ul.open_results(finished / "results")
    mine = local.units.isel(unit=local.units.run.values == name_of_network(finished))
    assert (results.units.loss_increase.values == mine.loss_increase.values).all()

    again = snakemake(tmp_path / "work", "all", *NO_SHARED_DISK, *storage, config=config)
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (None, "measurements.activations.location must be given: where files lie with a storage"),
        ("acts", "measurements.activations.location = 'acts' must not be a relative path"),
        ("s4://bucket/acts", "fsspec must know its scheme"),
    ],
)
def test_location__that_not_all_jobs_reach_is_refused_before_any_runs(tmp_path, location, message):
    config = one_network(location)
    config["measurements"]["activations"]["location"] = location
    storage = ("fs", "--default-storage-prefix", str(tmp_path / "stored"))

    done = snakemake(tmp_path, "all", *NO_SHARED_DISK, *storage, config=config)

    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("unitlens:")]
    assert message in line
    assert not (tmp_path / "stored").exists()


def test_location__that_finished_stores_do_not_lie_at_is_told(finished, tmp_path):
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.copytree(finished / ".snakemake/metadata", tmp_path / ".snakemake/metadata")
    config = copy.deepcopy(TINY)
    config["measurements"]["activations"] |= {"location": "acts"}

    done = snakemake(tmp_path, "--dry-run", "all", config=config)

    told = done.stdout + done.stderr
    assert "unitlens: the stores of activations of 2 networks stay beside the other results" in told
    # The comparison names the file of the configuration, which lies elsewhere now.
    assert planned_jobs(done) == {"compare_with_paper": 1, "write_report": 1, "all": 1, "total": 3}
    network = f"results/{name_of_network(finished)}"
    files = [f"{network}/{split}/activations.json" for split in ("train", "test")]
    for file in files:  # as it says
        (tmp_path / file).unlink()
    again = snakemake(tmp_path, "--dry-run", *files, config=config)
    assert planned_jobs(again) == {"record_activations": 1, "total": 1}
