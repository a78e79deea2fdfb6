"""The command line tells errors in one line, and shows what a model has."""

import json
import re
import shutil

import numpy as np
import pytest
import xarray as xr
from workflow_runs import ROOT, environment, run

import unitlens as ul
from small_stores import all_files, flip, write_store
from unitlens.cli import perturbation_commands, recording_commands, training_commands
from unitlens.data.prepare import load_dataset
from unitlens.errors import StoreError
from unitlens.store.backend.netcdf import read_netcdf
from unitlens.store.backend.places import locate
from unitlens.store.verify import verify_activations
from unitlens.training.checkpoints import load_checkpoint

pytestmark = pytest.mark.slow


def test_layers__prints_names_units_and_shapes():
    done = run(["unitlens", "layers", "resnet18", "--shape", "3,64,64"])

    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["0", "relu", "64", "64", "x", "32", "x", "32"] in rows
    assert ["16", "layer4.1.relu_1", "512", "512", "x", "2", "x", "2"] in rows


def test_layers__names_an_unknown_model_and_the_nearest():
    done = run(["unitlens", "layers", "resnet51"])

    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("unitlens: ")
    assert "resnet51" in line
    assert "resnet50" in line


def test_layers__refuses_arguments_in_one_line():
    for arguments, message in (("{bad", "must be JSON"), ("[1]", "must be a JSON object")):
        done = run(["unitlens", "layers", "resnet18", "--arguments", arguments])

        assert done.returncode == 2
        (line,) = done.stderr.strip().splitlines()
        assert message in line


def test_layers__takes_our_own_models():
    done = run(
        ["unitlens", "layers", "mlp", "--shape", "1,8,8", "--arguments", '{"widths": [16, 8]}']
    )

    assert done.returncode == 0, done.stderr
    assert "2 layers, 24 units" in done.stdout


def test_estimate__of_a_model_with_arguments(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "experiments:\n  a:\n    dataset: {name: cifar10}\n    model: {name: resnet18}\n"
        "    training: {epochs: 1}\n"
    )
    done = run(["unitlens", "estimate", str(tmp_path / "config.yaml")])

    assert done.returncode == 0, done.stderr
    (row,) = re.findall(r"cifar10 resnet18 test +\| 1 +\| (\d+) ", done.stdout)
    assert row == "17"


def test_train__puts_the_traceback_in_the_log(tmp_path):
    log = tmp_path / "train.log"
    spec = {"dataset": {"name": "digits"}, "model": {"name": "mlp"}, "training": {"epochs": 1}}
    done = run(
        [
            *("unitlens", "train", "--spec", json.dumps(spec), "--log", str(log)),
            str(tmp_path / "nowhere/dataset.json"),
            str(tmp_path / "run/checkpoint.json"),
        ]
    )

    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "nowhere" in done.stderr
    assert "Traceback" in log.read_text()


def test_validate__lists_the_networks():
    done = run(["unitlens", "validate", str(ROOT / "config.yaml")])

    assert done.returncode == 0, done.stderr
    shared = "(memorisation, course)  dataset.corruption=0.5"
    assert re.search(
        rf"^mnist5k-mlp-corrupt0.5-seed1-\w+  {re.escape(shared)}$", done.stdout, re.MULTILINE
    )


def test_estimate__says_bytes_files_hours_and_memory():
    rates = ("--gflops", "0.001", "--read-mb", "20")
    done = run(["unitlens", "estimate", str(ROOT / "config.yaml"), *rates])

    assert done.returncode == 0, done.stderr
    assert re.search(r"mnist5k mlp train .*\| 1,024 +\| 4,000 ", done.stdout)
    # 2 x 669 thousand multiply-adds a sample, at a million a second: hours
    assert re.search(r"\| unit_ablation +\| \d+ +\| [\d.]+ [hd] ", done.stdout)
    assert "GFLOP/s in forward passes (--gflops): 0.001." in done.stdout


def test_gpu__that_is_not_there_is_told_in_one_line(tmp_path):
    places = [str(tmp_path), str(tmp_path)]
    hidden = {**environment(), "CUDA_VISIBLE_DEVICES": ""}
    done = run(["unitlens", "unit-ablation", "--gpu", "1", *places], env=hidden)

    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("unitlens: the job was given a GPU, but CUDA_VISIBLE_DEVICES is ''")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a prepared data set and a network trained on it."""
    root = tmp_path_factory.mktemp("trained")
    dataset, network = root / "digits/dataset.json", root / "network"
    spec = {
        "dataset": {"name": "digits", "corruption": 0.5},
        "model": {"name": "mlp", "widths": [9]},
        "training": {"epochs": 1},
    }
    training_commands.prepare_dataset(dataset, spec=json.dumps(spec["dataset"]))
    training_commands.train(dataset, network / "checkpoint.json", spec=json.dumps(spec))
    return dataset, network


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("value", ["position_mean", "class_mean", "resample"])
def test_ablation__takes_values_from_the_training_set_as_it_was_trained_on(trained, value, split):
    dataset, network = trained
    settings = json.dumps({"split": split, "samples": 50, "value": value})
    model, record = load_checkpoint(network)
    train, test = (
        load_dataset(dataset.parent, name, corruption=0.5, seed=record.spec.seed)
        for name in ("train", "test")
    )
    options = {"samples": 50, "seed": record.spec.seed, "value": value, "reference": train}
    scored = train if split == "train" else test

    perturbation_commands.unit_ablation(dataset, network, settings=settings)
    perturbation_commands.cumulative_ablation(dataset, network, settings=settings)

    units, curve = (
        xr.load_dataset(network / f"{name}.nc", engine="h5netcdf")
        for name in ("unit_ablation", "cumulative_ablation")
    )
    expected = ul.unit_ablation(model, scored, first_order=True, **options)
    np.testing.assert_array_equal(units.loss_increase, expected.loss_increase)
    np.testing.assert_array_equal(
        units.loss_increase_first_order, expected.loss_increase_first_order
    )
    np.testing.assert_array_equal(curve.loss, ul.cumulative_ablation(model, scored, **options).loss)
    assert units.attrs["value"] == curve.attrs["value"] == value


def test_verify__says_that_all_is_well_or_what_is_not(tmp_path):
    path = tmp_path / "acts.zarr"
    write_store(path)
    done = run(["unitlens", "verify", str(path)])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{path} is whole: read ")

    (path / "relu1/activation/c/2/0").unlink()
    flip(path / "loss/zarr.json", 40, 1)
    done = run(["unitlens", "verify", str(path)])
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{path}: the shard 'relu1/activation/c/2/0' is missing",
        f"{path}: 'loss/zarr.json' is missing or changed",
    ]

    done = run(["unitlens", "verify", str(tmp_path / "nowhere.zarr")])
    assert done.returncode == 2
    assert "nowhere.zarr does not exist" in done.stderr


def test_merge__of_parts_whose_store_is_gone_lets_them_be_recorded_again(trained, tmp_path):
    """Snakemake records those parts again whose files are not there."""
    dataset, network = trained[0], shutil.copytree(trained[1], tmp_path / "network")
    files = [network / f"parts/{part}-of-2.json" for part in (1, 2)]

    def record():
        for part, file in enumerate(files, start=1):
            recording_commands.record_part(dataset, network, file, part=part, of=2)

    record()
    shutil.rmtree(network / "train/activations.zarr")
    with pytest.raises(StoreError, match="record the parts again"):
        recording_commands.merge_activations(dataset, network)
    assert not [file for file in files if file.exists()]
    record()
    recording_commands.merge_activations(dataset, network)
    assert verify_activations(network / "train/activations.zarr").whole


def test_repair__records_a_bad_shard_again(trained):
    dataset, network = trained
    recording_commands.record_activations(dataset, network)
    path = network / "test/activations.zarr"
    before = all_files(path)
    (path / "relu1/activation/c/0/0").unlink()

    done = run(["unitlens", "repair", str(dataset), str(network), "test"])

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{path}: the shard 'relu1/activation/c/0/0' is missing",
        f"{path}: repaired, 1 faults are no more",
    ]
    assert all_files(path) == before
    wrong = run(["unitlens", "repair", str(dataset), str(network), "tests"])
    assert wrong.stderr.strip() == "unitlens: the split is 'tests', but must be one of train, test"


def test_commands__on_a_network_at_a_url(trained, s3, tmp_path):
    dataset, network = trained
    recording_commands.record_activations(dataset, network)
    here = shutil.copytree(network, tmp_path / "network")
    url = f"{s3}/results/network"
    place = locate(url)
    place.fs.put(str(here), url, recursive=True)
    store = f"{url}/test/activations.zarr"

    for directory in (here, url):
        for command in ("class-statistics", "unit-measures"):
            done = run(["unitlens", command, str(directory)])
            assert done.returncode == 0, done.stderr
    (place / "test/activations.zarr/relu1/activation/c/0/0").unlink()
    bad = run(["unitlens", "verify", store])
    mended = run(["unitlens", "repair", str(dataset), url, "test"])
    good = run(["unitlens", "verify", store])

    for table in ("test/class_statistics.nc", "unit_measures.nc"):
        at_url, on_disk = read_netcdf(place / table), read_netcdf(here / table)
        # The provenance states the bytes of the files that were read, which HDF5 lays out its way.
        assert at_url.attrs.pop("provenance")
        assert on_disk.attrs.pop("provenance")
        assert at_url.identical(on_disk)
    assert (bad.returncode, mended.returncode, good.returncode) == (1, 0, 0), mended.stderr
    assert bad.stdout == f"{store}: the shard 'relu1/activation/c/0/0' is missing\n"
    assert mended.stdout.endswith("repaired, 1 faults are no more\n")
    assert good.stdout.startswith(f"{store} is whole: read ")
