"""Networks that unitlens has never seen: the example package, and one trained on ImageNet."""

import re
import shutil
import sys

import numpy as np
import pytest
import torch
import yaml
from workflow_runs import ROOT, environment, run, snakemake

import unitlens as ul
from unitlens.config.reading import read_config
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.planning.plan import make_plan

pytestmark = pytest.mark.slow


@pytest.fixture
def examples(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))


def test_bring_your_own__is_measured_by_the_workflow(tmp_path, examples):
    from own_network.data import digit_images
    from own_network.model import residual_network
    from safetensors.torch import load_file

    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(tmp_path), "--cores", "2", "all"]
    command += ["--configfile", str(ROOT / "presets/bring-your-own.yaml")]
    shutil.copytree(ROOT / "examples", tmp_path / "examples")  # the weights' path is relative
    done = run(command, env=environment(PYTHONPATH=str(tmp_path / "examples")))
    assert done.returncode == 0, done.stdout + done.stderr

    results = ul.open_results(tmp_path / "results/bring-your-own")
    model = residual_network(width=16)
    model.load_state_dict(load_file(ROOT / "examples/own_network/weights.safetensors"))
    inputs, labels = digit_images()["test"].tensors
    with torch.inference_mode():
        accuracy = (model.eval()(inputs).argmax(1) == labels).double().mean().item()
    assert results.runs.test_accuracy.item() == pytest.approx(accuracy)
    assert results.units.layer.values.tolist() == ["relu"] * 16 + ["relu_1"] * 16 + ["relu_2"] * 16


@pytest.fixture
def imagenette(real_data, tmp_path):
    """Return the held-out images as the preset prepares them."""
    spec = read_config(ROOT / "presets/imagenette.yaml").experiments["imagenette"].dataset
    prepare_dataset(spec, tmp_path / "imagenette", data=real_data)
    return load_dataset(tmp_path / "imagenette", "test")


@pytest.mark.realdata
def test_efficientnet_lite0__is_measured_on_held_out_images(imagenette, tmp_path, examples):
    from efficientnet_lite import efficientnet_lite0

    model = efficientnet_lite0()
    ul.record_activations(model, imagenette, tmp_path / "acts.zarr", batch_size=50)
    acts = ul.open_activations(tmp_path / "acts.zarr")

    # Measured on these files by others (the README of the data): top-1 0.696
    assert float((acts.prediction == acts.label).mean()) == pytest.approx(0.696, abs=0.0005)
    stats = ul.class_statistics(acts)
    selectivity = ul.class_selectivity(stats).selectivity
    information = ul.mutual_information(stats).mutual_information
    assert selectivity.sizes["unit"] == 19_200
    assert ((selectivity >= 0) & (selectivity <= 1)).all()
    assert ((information >= 0) & (information <= np.log(10) + 1e-9)).all()

    importance = ul.unit_ablation(model, imagenette, units=3, samples=6, seed=0)
    assert importance.loss_increase.notnull().all()
    assert importance.attrs["samples"] == 6


def test_presets__of_other_sizes_say_what_they_change():
    for path in (ROOT / "presets").glob("*-2core.yaml"):
        text = path.read_text()
        assert "It changes:" in text
        assert (
            yaml.safe_load(text)["results"]
            != yaml.safe_load(path.with_name(path.name.replace("-2core", "")).read_text())[
                "results"
            ]
        )


@pytest.mark.realdata
@pytest.mark.parametrize(
    "names",
    [
        ["paper"],
        ["paper-2core"],
        ["paper-2core", "paper-causes"],
        ["paper-2core", "paper-causes", "paper-causes-width"],
        ["paper-gpu"],
    ],
)
def test_presets__of_the_paper_pass_a_dry_run(names, real_data, tmp_path):
    files = [ROOT / f"presets/{name}.yaml" for name in names]
    (tmp_path / "data").symlink_to(real_data)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "-n"]
    command += ["--quiet", "rules", "--directory", str(tmp_path), "--cores", "2", "all"]
    command += ["--configfile", *map(str, files)]
    done = run(command, env=environment(PYTHONPATH=str(ROOT / "examples")))
    assert done.returncode == 0, done.stdout + done.stderr

    plan = make_plan(read_config(*files))
    counts = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert int(counts["train"]) == len(plan.runs)
    assert counts["compare_with_paper"] == counts["write_report"] == "1"


GPU_RULES = (
    "train", "record_activations", "unit_ablation", "cumulative_ablation", "noise_robustness",
)  # fmt: skip


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["paper", "imagenet"])
def test_presets__with_the_profile_for_gpus_hand_each_job_its_gpu(name, real_data, tmp_path):
    (tmp_path / "data").symlink_to(real_data)
    command = [sys.executable, "-m", "snakemake", "all", "--snakefile", str(ROOT / "Snakefile")]
    command += ["-n", "-p", "--directory", str(tmp_path), "--cores", "16", "--resources", "gpu=4"]
    command += ["--workflow-profile", str(ROOT / "profiles/gpu")]
    command += ["--configfile", str(ROOT / f"presets/{name}.yaml")]
    done = run(command, env=environment(PYTHONPATH=str(ROOT / "examples")))
    assert done.returncode == 0, done.stdout + done.stderr

    commands = re.findall(r"python -m unitlens ([\w-]+) (.*)", done.stdout)
    with_gpu = {name for name, rest in commands if " --gpu 1 --gres= " in rest}
    expected = {rule.replace("_", "-") for rule in GPU_RULES}
    assert with_gpu - {"record-part"} == expected  # the largest network is recorded in parts
    assert not [name for name, rest in commands if name in with_gpu and " --gpu 1 " not in rest]


def test_jobs__use_the_cpu_where_nothing_else_is_said(tmp_path):
    done = snakemake(tmp_path, "all", "-n", "-p")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" --gpu 0 --gres= ") == len(
        re.findall(f"python -m unitlens ({'|'.join(GPU_RULES).replace('_', '-')}) ", done.stdout)
    )
    assert " --gpu 0 " in done.stdout
    assert " --gpu 1 " not in done.stdout


def test_rules__ask_for_memory_by_their_own_estimates():
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    blocks = re.split(r"^ *rule ", rules, flags=re.MULTILINE)[1:]
    asked = re.compile(r'^ +mem_mb=get_memory\("(\w+)", \d+\),$', re.MULTILINE)
    named = [(block.partition(":")[0], asked.findall(block)) for block in blocks]

    with_memory = [rule for rule, found in named if found]
    assert len(with_memory) == rules.count("mem_mb=") > 10
    assert all(found == [rule] for rule, found in named if found)


def test_profile__for_gpus_names_every_rule_that_runs_networks():
    profiles = [
        yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())["set-resources"]
        for name in ("gpu", "slurm-gpu")
    ]
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    blocks = re.split(r"^rule ", rules, flags=re.MULTILINE)
    declared = [block.partition(":")[0] for block in blocks if "        gpu=0," in block]
    for resources in profiles:
        assert {entry.split(":")[0] for entry in resources if ":gpu=1" in entry} == set(declared)
    assert len(declared) == 8
