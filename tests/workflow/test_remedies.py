"""What an error of a step asks for is done to the letter, and Snakemake then mends the rest."""

import copy
import re
import shutil
from pathlib import Path

import pytest
from workflow_runs import TINY, snakemake

import unitlens as ul
from unitlens.errors import StoreError

NETWORK = "results/digits-mlp-seed1-*"
TABLES = "results/tables.json"
FIGURES = "results/figures/figures.json"


@pytest.fixture
def again(finished, tmp_path):
    """Return a copy of a finished run, with what Snakemake remembers of it."""
    shutil.copytree(finished / "results", tmp_path / "results", copy_function=shutil.copy2)
    shutil.copytree(finished / ".snakemake/metadata", tmp_path / ".snakemake/metadata")
    return tmp_path


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def beside(name):
    """Return a function that removes the file of a name beside the damaged one."""
    return lambda path: path.with_name(name).unlink()


def first(directory, pattern):
    return min(path for path in directory.glob(pattern) if path.is_file())


# The damaged file, the damage, the file that is made next, the error, and what its remedy names.
CASES = {
    "a table of a network": (
        f"{NETWORK}/unit_measures.nc",
        flip,
        TABLES,
        r"unit_measures.nc is damaged: .*; remove the file and run snakemake again: it computes",
        Path.unlink,
    ),
    "weights": (
        f"{NETWORK}/checkpoint.safetensors",
        flip,
        f"{NETWORK}/noise_robustness.nc",
        r"checkpoint.safetensors are not those .*: remove checkpoint.json and run snakemake again",
        beside("checkpoint.json"),
    ),
    "a prepared data set": (
        "results/datasets/*/test.safetensors",
        flip,
        f"{NETWORK}/noise_robustness.nc",
        r"test.safetensors is damaged: .*; delete the folder results/datasets/\S+ and run",
        lambda path: shutil.rmtree(path.parent),
    ),
    "a store": (
        f"{NETWORK}/test/activations.zarr/*/activation/c/0/0",
        flip,
        f"{NETWORK}/test/class_statistics.nc",
        r"'\S+/activation/c/0/0' of \S+ is damaged .*; remove this file and record again",
        Path.unlink,
    ),
    "the plan": (
        "results/plan.json",
        flip,
        TABLES,
        r"plan.json is damaged: .*; remove the file and run snakemake again: it writes the plan",
        Path.unlink,
    ),
    "a table of all networks": (
        "results/curves.zarr/accuracy/c/*/*/*",
        flip,
        FIGURES,
        r"curves.zarr/\S+ is damaged: .*; if it still differs, remove tables.json of the results",
        lambda path: (path.parents[5] / "tables.json").unlink(),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_remedy__of_damage_mends_the_results(finished, again, case):
    pattern, damage, target, message, remedy = CASES[case]
    path, target = first(again, pattern), first(again, target).relative_to(again)
    weights = first(again, f"{NETWORK}/checkpoint.safetensors")
    damage(path)
    trained = weights.stat().st_ino
    (again / target).unlink()  # so that the step that reads the damaged file runs

    refused = snakemake(again, str(target))
    assert refused.returncode == 1
    assert re.search(f"^unitlens: .*{message}", refused.stdout + refused.stderr, re.MULTILINE)
    remedy(path)
    mended = snakemake(again, str(target))

    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert (again / target).read_bytes() == (finished / target).read_bytes()
    if "weights" not in case:
        assert weights.stat().st_ino == trained  # no network was trained again


def test_lost_history__trains_its_network_alone_and_ends_in_the_same_tables(finished, again):
    path = first(again, f"{NETWORK}/history.nc")
    path.unlink()

    mended = snakemake(again, TABLES)

    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert len(re.findall(r"^(?:local)?rule train:", mended.stderr, re.MULTILINE)) == 1
    assert path.read_bytes() == (finished / path.relative_to(again)).read_bytes()
    assert (again / TABLES).read_bytes() == (finished / TABLES).read_bytes()


def test_removed_store__is_recorded_again_as_its_error_says(finished, again):
    store = first(again, f"{NETWORK}/test/activations.zarr/zarr.json").parent
    manifest = store.with_suffix(".json")
    shutil.rmtree(store)
    with pytest.raises(StoreError, match="remove the manifest and record again, with snakemake"):
        ul.open_activations(store)
    manifest.unlink()

    mended = snakemake(again, str(manifest.relative_to(again)))

    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert manifest.read_bytes() == (finished / manifest.relative_to(again)).read_bytes()
    ul.open_activations(store)["relu1"].activation.compute()


def test_error_of_a_job__is_told_once_whatever_the_retries(tmp_path):
    config = copy.deepcopy(TINY)
    config["experiments"]["memo"]["dataset"] = {"name": "mnist"}
    config |= {"data": "nowhere", "download": False}

    done = snakemake(tmp_path, "--retries", "2", "--show-failed-logs", config=config)

    assert done.returncode != 0
    assert len(re.findall(r"^unitlens: .*nowhere", done.stderr, re.MULTILINE)) == 1
    assert "the job is not tried again" in done.stderr
    assert "Trying to restart" not in done.stderr
