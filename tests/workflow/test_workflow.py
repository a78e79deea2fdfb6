"""The workflow as a user meets it: from configuration to report, again, and after a kill."""

import copy
import csv
import json
import re
import shlex
import shutil
import signal
import sys

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from workflow_runs import ROOT, TINY, environment, planned_jobs, run, snakemake

import unitlens as ul
from local_clusters import local_cluster
from tutorial_cells import OWN, TUTORIALS, code_cells
from unitlens.analysis.curve_summaries import area_under_curve, random_orders
from unitlens.config.measurements import ActivationSpec
from unitlens.config.reading import parse_config
from unitlens.data.prepare import load_dataset
from unitlens.errors import TableError
from unitlens.planning.plan import make_plan
from unitlens.planning.plan_estimate import estimate_plan
from unitlens.store.backend.netcdf import read_netcdf
from unitlens.training.checkpoints import load_checkpoint

pytestmark = pytest.mark.slow

# Records as the rule does, and is killed in the middle of the second split.
_KILLED_WHILE_RECORDING = """
import os, signal, sys
from pathlib import Path
import unitlens.recording.forward_passes as passes
from unitlens.cli.recording_commands import record_activations

dataset, network, settings, code = sys.argv[1:]
batches = passes.iterate_batches

def killed(*arguments, **options):
    for number, batch in enumerate(batches(*arguments, **options)):
        if number == 1 and (Path(network) / "train/activations.json").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch

passes.iterate_batches = killed
record_activations(Path(dataset), Path(network), settings=settings, code=code)
"""


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


def test_readme__query_block_runs(finished, monkeypatch):
    monkeypatch.chdir(finished)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "open_results" in block]
    names = {}
    exec(block, names)

    assert names["mine"].sizes["unit"] == 40


def test_results__lead_back_to_the_network(finished):
    results = ul.open_results(finished / "results")
    run = str(results.runs.run[results.runs.corruption == 1][0].item())
    model = results.network(run)
    train, test = (results.dataset(run, split) for split in ("train", "test"))

    inputs, labels = test.batch(np.arange(len(test)))
    accuracy = (model(inputs).argmax(1) == labels).double().mean().item()
    assert accuracy == pytest.approx(results.runs.sel(run=run).test_accuracy.item(), abs=1e-9)
    assert not np.array_equal(train.labels, train.true_labels)

    again = ul.unit_ablation(model, train, samples=200, seed=1)
    stored = results.units.sel(run=run)
    np.testing.assert_allclose(again.loss_increase - stored.loss_increase, 0, atol=1e-6)

    statistics = results.class_statistics(run, "test")
    unit = statistics.isel(unit=3)
    acts = results.activations(run, "test")[unit.layer.item()].activation.isel(unit=3)
    assert unit.top_activation[0].item() == acts[int(unit.top_sample[0])].values.item()
    np.testing.assert_allclose(
        ul.class_selectivity(statistics).selectivity, stored.selectivity, rtol=1e-12
    )


def test_results__of_a_kept_epoch_are_another_network(finished):
    results = ul.open_results(finished / "results")
    run = str(results.runs.run[0].item())
    kept, last = results.network(run, epoch=1), results.network(run)
    differences = [
        (one - other).abs().max().item()
        for one, other in zip(kept.parameters(), last.parameters(), strict=True)
    ]

    assert max(differences) > 1e-3
    inputs, labels = results.dataset(run, "test").batch(np.arange(360))
    accuracy = (kept(inputs).argmax(1) == labels).double().mean().item()
    epochs = results.checkpoints.runs
    assert accuracy == pytest.approx(epochs.test_accuracy[epochs.run == run].item(), abs=1e-9)
    with pytest.raises(TableError, match="there is none in"):
        results.network("mnist")
    with pytest.raises(TableError, match=r"over split = 'all' were not computed"):
        results.class_statistics(run, "all")


def test_questions__are_asked_of_stored_networks(finished, monkeypatch):
    monkeypatch.chdir(finished)
    page = (TUTORIALS / "questions.md").read_text()
    cells = code_cells(page[page.index("\n## A new experiment") :], without=OWN)
    results = ul.open_results("results")
    run = str(results.runs["run"].values[1])
    names = {"ul": ul, "plt": plt, "results": results, "memorised": run}
    names["units"] = results.units.sel(run=run)
    for cell in cells:
        exec(cell, names)
    plt.close("all")

    assert len(cells) == 3
    assert names["difference"].sizes["unit"] == 40
    assert np.isfinite(names["difference"]).all()


def test_workflow__sets_the_paper_beside_its_results(finished):
    with (finished / "results/paper.csv").open(newline="") as file:
        rows = {
            row["claim"]: row for row in csv.DictReader(file) if row["group"] == "mnist_ablation"
        }
    runs = ul.open_results(finished / "results").runs
    auc = float(runs["auc"].values[runs["corruption"].values == 1].item())
    page = (finished / "results/report.html").read_text()

    assert float(rows["corruption 1"]["ours"]) == pytest.approx(auc, abs=6e-4)
    assert rows["corruption 0.2"]["verdict"] == "not measured"
    command = rows["order"]["command"]
    assert command.startswith("snakemake --cores all --directory ")
    assert command.endswith("tiny.yaml --config results=again 'only=[memo]'")
    assert '<h2 id="compared">Comparison with the paper</h2>' in page
    assert rows["order"]["reduction"] in page
    assert rows["order"]["reduction"] in (finished / "results/paper.md").read_text()


def test_workflow__runs_some_experiments_only(tmp_path):
    """As the commands on the page ask for it."""
    config = copy.deepcopy(TINY)
    config["experiments"]["other"] = {**config["experiments"]["memo"], "seeds": [2, 3]}
    config["paper"] = {"mnist_ablation": ["other"], "same_data": ["memo"]}

    done = snakemake(
        tmp_path, "--dry-run", "all", "--config", "results=again", "only=[other]", config=config
    )

    planned = planned_jobs(done)
    assert (planned["train"], planned["compare_with_paper"]) == (4, 1)
    assert "draw_figures" in planned
    assert "again/report.html" in done.stdout


def test_cumulative_ablation__along_random_bases(finished, tmp_path):
    network = tmp_path / "network"
    made = ul.open_results(finished / "results").runs
    shutil.copytree(finished / "results" / str(made.run.values[0]), network)
    (dataset,) = (finished / "results/datasets").glob("*/dataset.json")
    settings = {"basis": "random", "orders": 2, "points": 3, "samples": 50}
    command = ["unitlens", "cumulative-ablation", "--settings", json.dumps(settings)]

    done = run([*command, str(dataset), str(network)])

    assert done.returncode == 0, done.stderr
    curve = xr.load_dataset(network / "cumulative_ablation.nc", engine="h5netcdf")
    assert curve.attrs["basis"] == "random"
    assert curve.ablated_units.values.tolist() == [0, 20, 40]


def test_cumulative_ablation__along_stored_components(finished, tmp_path):
    """The workflow stores the components of every layer, and its curves are along these."""
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.copytree(finished / ".snakemake/metadata", tmp_path / ".snakemake/metadata")
    spec = {"samples": 50, "orders": 2, "points": 3, "basis": "principal_components"}
    config = changed(principal_components={}, cumulative_ablation=spec)
    config["figures"].pop("auc_over_training")
    name = next((finished / "results").glob("digits-mlp-seed1-*")).name
    target = f"results/{name}/cumulative_ablation.nc"

    done = snakemake(tmp_path, target, config=config)

    assert done.returncode == 0, done.stdout + done.stderr
    path = tmp_path / f"results/{name}"
    curve = xr.load_dataset(path / "cumulative_ablation.nc", engine="h5netcdf")
    assert curve.attrs["basis"] == "principal_components"
    assert {"basis-ascending", "basis-descending"} <= set(curve.order.values)

    results = ul.open_results(tmp_path / "results")
    stored = results.principal_components(name)
    acts = results.activations(name, "train")
    for layer, table in stored.items():
        xr.testing.assert_equal(table, ul.principal_components(acts, layer))
    model, record = load_checkpoint(path)
    (dataset,) = (tmp_path / "results/datasets").glob("*/dataset.json")
    train = load_dataset(dataset.parent, "train", corruption=0, seed=record.spec.seed)
    rows = [table["component"] for table in stored.values()]
    options = {"samples": 50, "seed": record.spec.seed}
    expected = ul.cumulative_ablation(model, train, orders=2, points=3, basis=rows, **options)
    np.testing.assert_allclose(curve.loss, expected.loss, rtol=1e-6)
    alone = ul.direction_ablation(model, train, rows, **options)
    assert alone.sizes["direction"] == 24 + 16

    estimate = estimate_plan(make_plan(parse_config(config)))
    planned = planned_jobs(snakemake(tmp_path / "new", "--dry-run", "all", config=config))
    assert planned["principal_components"] == 2
    assert {one.rule: one.jobs for one in estimate.stages}.items() <= planned.items()


def test_estimate__counts_the_jobs_that_snakemake_plans(tmp_path):
    done = snakemake(tmp_path, "--dry-run", "all")
    estimate = estimate_plan(make_plan(parse_config(TINY)))

    planned = planned_jobs(done)
    assert planned.pop("all") == 1
    assert planned.pop("total") == 1 + sum(stage.jobs for stage in estimate.stages)
    assert planned == {stage.rule: stage.jobs for stage in estimate.stages}


def test_workflow__runs_only_what_curves_alone_need(tmp_path):
    alone = dict.fromkeys(("measures", "principal_components", "unit_ablation", "noise_robustness"))
    config = changed(**alone)
    curve = config["measurements"]["cumulative_ablation"]
    curve |= {"also": [{"basis": "random"}, {"value": "position_mean"}], "checkpoints": False}
    config["experiments"]["memo"]["sweep"] = {}
    config["figures"] = {"memorisation_ablation": ["memo"]}
    (name,) = make_plan(parse_config(config)).runs

    planned = planned_jobs(snakemake(tmp_path, "--dry-run", "all", config=config))
    estimate = estimate_plan(make_plan(parse_config(config)))
    done = snakemake(tmp_path, "all", config=config)

    assert planned.pop("all") == 1
    planned.pop("total")
    assert planned == {stage.rule: stage.jobs for stage in estimate.stages}
    assert not {"record_activations", "class_statistics", "unit_measures"} & set(planned)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / f"results/{name}/train").exists()
    results = ul.open_results(tmp_path / "results")
    main = random_orders(results.curves)
    np.testing.assert_allclose(results.runs.auc, area_under_curve(main).mean("order"))
    assert main.order.values.tolist() == ["random-0", "random-1"]
    model, record = load_checkpoint(tmp_path / f"results/{name}")
    (dataset,) = (tmp_path / "results/datasets").glob("*/dataset.json")
    train = load_dataset(dataset.parent, "train", corruption=0, seed=record.spec.seed)
    options = {"orders": 2, "points": 5, "samples": 200, "seed": record.spec.seed}
    for variant in ({"basis": "random"}, {"value": "position_mean"}):
        ours = random_orders(results.curves, **variant).loss.isel(run=0)
        theirs = ul.cumulative_ablation(model, train, reference=train, **options, **variant)
        np.testing.assert_allclose(ours, theirs.loss, rtol=1e-6)
    assert not (tmp_path / "results/units.zarr").exists()
    assert (tmp_path / "results/report.html").stat().st_size > 10_000


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


def test_workflow__reruns_only_the_networks_of_an_experiment_that_overrides_a_setting(
    finished, tmp_path
):
    """What is told of one experiment leaves the other's jobs alone, also in what is recorded."""
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.copytree(finished / ".snakemake/metadata", tmp_path / ".snakemake/metadata")
    config = copy.deepcopy(TINY)
    memo = config["experiments"]["memo"]
    config["experiments"]["permuted"] = memo | {"sweep": {"dataset.corruption": [1]}}
    memo["sweep"] = {"dataset.corruption": [0]}
    permuted = config["experiments"]["permuted"]

    def planned(**override):
        permuted["measurements"] = override
        done = snakemake(tmp_path, "--dry-run", "all", config=config)
        counts = planned_jobs(done)
        joined = ("all", "total", "tabulate", "draw_figures", "compare_with_paper", "write_report")
        return {rule: jobs for rule, jobs in counts.items() if rule not in joined}

    assert planned(unit_ablation={"samples": 100}) == {"unit_ablation": 1}
    assert planned(cumulative_ablation={"samples": 100}) == {"cumulative_ablation": 2}
    assert planned(activations={"dtype": "float16"})["record_activations"] == 1
    assert planned(activations={"parts": 2}) == {}  # a finished recording stays as it is
    assert planned(noise_robustness=None, unit_ablation=None) == {}


@pytest.fixture(scope="module")
def own_code(finished, tmp_path_factory):
    """Return a copy of the code, to be edited, and the finished results that it has made."""
    directory = tmp_path_factory.mktemp("edited")
    for name in ("src", "workflow", "profiles", "envs"):
        shutil.copytree(ROOT / name, directory / "code" / name)
    shutil.copy(ROOT / "Snakefile", directory / "code")
    shutil.copytree(finished / "results", directory / "results")
    shutil.copytree(finished / ".snakemake/metadata", directory / ".snakemake/metadata")
    done = snakemake(directory, "all", root=directory / "code")
    assert done.returncode == 0, done.stderr
    return directory / "code", directory


JOINED = {"tabulate": 1, "draw_figures": 1, "compare_with_paper": 1, "write_report": 1}


@pytest.mark.parametrize(
    ("module", "old", "new", "jobs"),
    [
        ("store/verify.py", '"""Verifying a store', '"""Checking a store', {}),
        (
            "store/verify.py",
            "    path = locate(path)\n",
            "    path = locate(path).absolute()\n",
            {},
        ),
        (
            "statistics/measures/class_selectivity.py",
            "np.clip(",
            "np.abs(",
            {"unit_measures": 2, "noise_robustness": 2, **JOINED},
        ),
        ("analysis/correlations.py", "\n\n\ndef ", "\n\n\nUNUSED = 1\n\n\ndef ", {}),
        ("report/page.css", "{", "{ ", {"write_report": 1}),
    ],
)
def test_workflow__reruns_only_what_edited_code_computes(own_code, module, old, new, jobs):
    code, directory = own_code
    path = code / "src/unitlens" / module
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))

    done = snakemake(directory, "--dry-run", "all", root=code)
    path.write_text(text)

    assert done.returncode == 0, done.stderr
    planned = planned_jobs(done)
    assert planned.pop("all", 1) == 1
    assert planned.pop("total", 1) == 1 + sum(jobs.values())
    assert planned == jobs


def test_workflow__trains_no_finished_network_again(finished, tmp_path):
    """Without Snakemake's memory of what it did, each job sees by itself what is there."""
    shutil.copytree(finished / "results", tmp_path / "results")
    network = next((tmp_path / "results").glob("digits-mlp-seed1-*"))
    weights = network / "checkpoint.safetensors"
    before = weights.stat().st_ino, weights.read_bytes()

    target = f"results/{network.name}/checkpoint.json"
    done = snakemake(tmp_path, target, "--forcerun", "train")

    assert done.returncode == 0, done.stdout + done.stderr
    assert (weights.stat().st_ino, weights.read_bytes()) == before
    log = (tmp_path / "results/logs/train" / f"{network.name}.log").read_text()
    assert "holds this network already, which is not trained again" in log


def test_workflow__resumes_a_recording_that_was_killed(finished, tmp_path):
    """A job killed with SIGKILL is resumed by the next call, with the undisturbed result."""
    network = next((finished / "results").glob("digits-mlp-seed1-*")).name
    shutil.copytree(finished / "results/datasets", tmp_path / "results/datasets")
    (tmp_path / "results" / network).mkdir()
    for path in (finished / "results" / network).glob("checkpoint.*"):
        shutil.copy2(path, tmp_path / "results" / network)
    dataset = next((tmp_path / "results/datasets").glob("digits-*/dataset.json"))
    manifest = json.loads((finished / f"results/{network}/test/activations.json").read_text())
    settings = ActivationSpec(batch_size=100).model_dump_json()
    arguments = [str(dataset), str(tmp_path / "results" / network), settings]
    command = [sys.executable, "-c", _KILLED_WHILE_RECORDING, *arguments]
    killed = run([*command, manifest["provenance"]["code"]])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / f"results/{network}/test/activations.json").exists()

    target = f"results/{network}/test/activations.json"
    done = snakemake(tmp_path, target)
    assert done.returncode == 0, done.stdout + done.stderr

    for split in ("train", "test"):
        path = f"results/{network}/{split}/activations"
        ours, theirs = (
            json.loads((base / f"{path}.json").read_text()) for base in (tmp_path, finished)
        )
        assert ours == theirs
        one, two = (ul.open_activations(base / f"{path}.zarr") for base in (tmp_path, finished))
        xr.testing.assert_identical(one.load(), two.load())


def test_workflow__records_in_parts(finished, tmp_path):
    network = next((finished / "results").glob("digits-mlp-seed1-*")).name
    shutil.copytree(finished / "results/datasets", tmp_path / "results/datasets")
    (tmp_path / "results" / network).mkdir()
    for path in (finished / "results" / network).glob("checkpoint.*"):
        shutil.copy2(path, tmp_path / "results" / network)
    config = changed(activations={"batch_size": 100, "parts": 3})
    target = f"results/{network}/test/activations.json"

    done = snakemake(tmp_path, target, config=config)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = sorted(path.name for path in (tmp_path / f"results/{network}/parts").iterdir())
    assert parts == ["1-of-3.json", "2-of-3.json", "3-of-3.json"]

    for split in ("train", "test"):
        name = f"results/{network}/{split}/activations.json"
        ours, theirs = (json.loads((base / name).read_text()) for base in (tmp_path, finished))
        assert ours == theirs
    ours, theirs = (
        xr.open_dataset(b / f"results/{network}/l1_norm.nc") for b in (tmp_path, finished)
    )
    xr.testing.assert_identical(ours, theirs)
    again = snakemake(tmp_path, "--dry-run", target, config=config)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_workflow__perturbs_in_parts(finished, tmp_path):
    network = next((finished / "results").glob("digits-mlp-seed1-*")).name
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.copytree(finished / ".snakemake/metadata", tmp_path / ".snakemake/metadata")
    tables = {"unit_ablation": 3, "cumulative_ablation": 2, "noise_robustness": 2}
    config = changed(**{name: {**TINY["measurements"][name], "parts": 3} for name in tables})
    for name in tables:  # parts of a former number, of a job that was not finished
        (tmp_path / f"results/{network}/{name}.nc").unlink()
        (tmp_path / f"results/{network}/parts/{name}").mkdir(parents=True)
        (tmp_path / f"results/{network}/parts/{name}/1-of-9.nc").write_bytes(b"")
    targets = [f"results/{network}/{name}.nc" for name in tables]

    planned = planned_jobs(snakemake(tmp_path, "--dry-run", *targets, config=config))
    assert planned == {"perturb_part": 7, "merge_tables": 3, "total": 10}
    done = snakemake(tmp_path, *targets, config=config)
    assert done.returncode == 0, done.stdout + done.stderr

    for name, parts in tables.items():  # there are but two orders and two draws
        made = sorted(
            path.name for path in (tmp_path / f"results/{network}/parts/{name}").iterdir()
        )
        assert made == [f"{part}-of-{parts}.nc" for part in range(1, parts + 1)]
        ours, theirs = (
            read_netcdf(base / f"results/{network}/{name}.nc") for base in (tmp_path, finished)
        )
        xr.testing.assert_identical(ours, theirs)
        for variable in theirs.data_vars:
            assert ours[variable].values.tobytes() == theirs[variable].values.tobytes()
    for other in (config, TINY):  # neither the joined tables nor their number of parts are changed
        again = snakemake(tmp_path, "--dry-run", *targets, config=other)
        assert "Nothing to be done" in again.stdout + again.stderr
    auto = changed(**{name: {**TINY["measurements"][name], "parts": "auto"} for name in tables})
    for name in tables:
        (tmp_path / f"results/{network}/{name}.nc").unlink()
    planned = planned_jobs(snakemake(tmp_path, "--dry-run", *targets, config=auto))
    assert planned == {**dict.fromkeys(tables, 1), "total": 3}


def test_workflow__keeps_feature_maps(tmp_path):
    config = changed(activations={"maps": {"layers": ["relu2"], "samples": 20}})
    config["figures"] = {}
    config["experiments"]["memo"] = {
        "dataset": {"name": "digits"},
        "model": {"name": "convnet", "channels": [4, 6], "strides": [1, 2]},
        "training": {"epochs": 1},
        "seeds": [1],
    }
    (network,) = make_plan(parse_config(config)).runs

    done = snakemake(tmp_path, f"results/{network}/test/activations.json", config=config)

    assert done.returncode == 0, done.stdout + done.stderr
    for split in ("train", "test"):
        layer = ul.open_activations(tmp_path / f"results/{network}/{split}/activations.zarr")[
            "relu2"
        ]
        maps = layer["map"]
        assert dict(maps.sizes) == {"map_sample": 20, "unit": 6, "y": 4, "x": 4}
        expected = layer["activation"].values[maps.map_sample.values]
        np.testing.assert_allclose(maps.mean(("y", "x")), expected, rtol=1e-5, atol=1e-6)


def test_workflow__computes_statistics_on_a_dask_cluster(finished, tmp_path):
    network = next((finished / "results").glob("digits-mlp-seed1-*")).name
    shutil.copytree(finished / "results", tmp_path / "results")
    shutil.copytree(finished / ".snakemake/metadata", tmp_path / ".snakemake/metadata")
    targets = [f"results/{network}/{split}/class_statistics.nc" for split in ("train", "test")]
    nothing = snakemake(tmp_path, "--dry-run", *targets, env=environment())
    assert "Nothing to be done" in nothing.stdout + nothing.stderr
    for target in targets:
        (tmp_path / target).unlink()

    with local_cluster() as cluster:
        env = environment(DASK_SCHEDULER_ADDRESS=cluster.scheduler_address)
        done = snakemake(tmp_path, *targets, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        assert cluster.scheduler.transition_counter > 0

    for target in targets:
        ours, theirs = (
            xr.load_dataset(base / target, engine="h5netcdf") for base in (tmp_path, finished)
        )
        xr.testing.assert_identical(ours, theirs)
    again = snakemake(tmp_path, "--dry-run", *targets, env=env)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_snakemake_report__holds_the_figures(finished):
    done = snakemake(finished, "--report", "snakemake-report.html", "all")

    assert done.returncode == 0, done.stdout + done.stderr
    text = (finished / "snakemake-report.html").read_text()
    assert "memorisation_ablation.svg" in text
    for figure in json.loads((finished / "results/figures/figures.json").read_text())["figures"]:
        assert {figure[key] in text for key in ("title", "caption", "finding")} == {True}


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


def test_command_on_the_page__makes_the_results_as_it_stands(tmp_path):
    """With the user's own code, which is found on PYTHONPATH, and settings on the command line."""
    config = copy.deepcopy(TINY)
    config["experiments"]["memo"]["model"] = {"name": "mine:build"}
    (tmp_path / "own code").mkdir()
    (tmp_path / "own code/mine.py").write_text("from own_network import build\n")
    path = environment(PYTHONPATH=str(tmp_path / "own code"))
    asked = ("--dry-run", "--printshellcmds", "results/paper.csv", "--config", "only=[memo]")

    done = snakemake(tmp_path / "run", *asked, config=config, env=path)

    assert done.returncode == 0, done.stdout + done.stderr
    job = next(line for line in done.stdout.splitlines() if "compare-with-paper" in line)
    words = shlex.split(job)
    command = words[words.index("--command") + 1]
    assert command.startswith("PYTHONPATH=")
    again = run(["bash", "-c", f"{command} results={tmp_path}/again --dry-run"], cwd=ROOT)
    assert again.returncode == 0, again.stdout + again.stderr
    assert planned_jobs(again)["train"] == 2
