"""Networks that unitlens has never seen: the example package, and one trained on ImageNet."""

import shutil
import sys

import numpy as np
import pytest
import torch
import yaml
from workflow_runs import ROOT, environment, run

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
@pytest.mark.parametrize("names", [["paper"], ["paper-2core"], ["paper-2core", "paper-causes"]])
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
