import copy
import logging
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import unitlens as ul
from recorded_networks import COMPARED, NETWORKS, SMALL, Samples, convnet, mlp, record_small
from small_stores import all_files, flip, make_former
from unitlens.config.base import LastLayers
from unitlens.errors import (
    ArgumentError,
    DatasetError,
    LayerError,
    StoreError,
)
from unitlens.recording import record
from unitlens.recording.record import record_activations
from unitlens.recording.repair import repair_activations
from unitlens.statistics.class_statistics import class_statistics
from unitlens.store.backend.lock import only_writer
from unitlens.store.format.manifest import read_manifest
from unitlens.store.format.store_estimate import estimate_store
from unitlens.store.reader import open_activations
from unitlens.store.writer import StoreWriter

LAYERS = ["1", "4"]  # of the mlp


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "acts.zarr"


@pytest.fixture
def dataset():
    return Samples(100, (12,))


def test_record__returns_the_path_of_a_store_that_opens(path, dataset):
    assert ul.record_activations(mlp(), dataset, str(path)) == path
    tree = ul.open_activations(path)
    assert list(tree.children) == LAYERS
    assert tree["1"].activation.shape == (100, 20)
    np.testing.assert_array_equal(tree["index"], np.arange(100))
    np.testing.assert_array_equal(tree["label"], dataset.labels)
    np.testing.assert_array_equal(tree["true_label"], dataset.true_labels)
    assert tree.attrs["classes"] == 10


def test_record__any_data_set_of_pairs(path):
    inputs, labels = torch.randn(9, 12), torch.arange(9)
    record_activations(mlp(), TensorDataset(inputs, labels), path)
    tree = open_activations(path)
    np.testing.assert_array_equal(tree["label"], np.arange(9))
    np.testing.assert_array_equal(tree["true_label"], np.arange(9))
    first = mlp().eval()[:2](inputs).detach()
    np.testing.assert_allclose(tree["1"].activation, first, rtol=1e-6)


def test_record__one_sample(path):
    record_activations(mlp(), Samples(1, (12,)), path)
    assert open_activations(path)["4"].activation.shape == (1, 15)


@pytest.mark.parametrize("name", NETWORKS)
def test_record__model_comes_back_as_it_was(path, name):
    build, shape = NETWORKS[name]
    model = build()
    model[0].eval() if name == "mlp" else None
    before = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    record_activations(model, Samples(30, shape), path)
    assert [m.training for m in model.modules()] == before[1]
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), before[0].values(), strict=True)
    )
    assert not any(m._forward_hooks for m in model.modules())


def test_record__chosen_layers(path, tmp_path, dataset):
    record_activations(mlp(), dataset, path, layers=["4"])
    assert list(open_activations(path).children) == ["4"]
    last = record_activations(mlp(), dataset, tmp_path / "b.zarr", layers=LastLayers(last=1))
    same = record_activations(mlp(), dataset, tmp_path / "c.zarr", layers=1)
    assert open_activations(last)["4"].attrs == {"layer": "4", "depth": 1}
    assert all_files(same) == all_files(last)


def test_record__batch_size_changes_no_number_beyond_rounding(path, tmp_path):
    data = Samples(64, (3, 8, 8))
    one = open_activations(record_small(convnet(), data, path, batch_size=64))
    two = open_activations(record_small(convnet(), data, tmp_path / "b.zarr", batch_size=7))
    for name, child in one.children.items():
        np.testing.assert_allclose(child.activation, two[name].activation, rtol=1e-5, atol=1e-7)


def test_record__unknown_layer(path, dataset):
    with pytest.raises(LayerError, match=r"has no layer '14'; did you mean"):
        record_activations(mlp(), dataset, path, layers=["14"])
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"reduce": "sum"}, "reduce is 'sum', but must be one of mean, max, active"),
        ({"dtype": "int"}, "dtype is 'int', but must be one of float32, float16"),
        ({"dtype": "float64"}, "dtype is 'float64', but must be one of float32, float16"),
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1"),
    ],
)
def test_record__wrong_argument(path, dataset, options, expected):
    with pytest.raises(ArgumentError, match=expected):
        record_activations(mlp(), dataset, path, **options)
    assert not path.exists()


def test_record__no_samples(path):
    with pytest.raises(ArgumentError, match=r"the data set has no samples"):
        record_activations(mlp(), Samples(0, (12,)), path)


def test_record__label_that_is_no_class(path, dataset):
    dataset.labels[17] = 10
    expected = r"sample 17 has the label 10, but the model has 10 logits, so labels .* 0\.\.9"
    with pytest.raises(DatasetError, match=expected):
        record_activations(mlp(), dataset, path)


def test_record__model_without_logits(path):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    dataset = Samples(5, (3, 8, 8))
    record_activations(model, dataset, path)

    activations = open_activations(path)
    reason = activations.attrs["no_scores"]
    assert reason.startswith("the model puts out (samples, 4, 8, 8), not logits of shape")
    assert {"prediction", "loss"}.isdisjoint(activations.coords)
    assert activations["label"].values.tolist() == dataset.labels.tolist()


def test_record__layer_named_like_a_sample_array(path, dataset):
    model = nn.Sequential()
    model.add_module("dense", nn.Linear(12, 4))
    model.add_module("label", nn.ReLU())
    model.add_module("head", nn.Linear(4, 10))
    with pytest.raises(StoreError, match=r"layer 'label' cannot be stored, .* rename the module"):
        record_activations(model, dataset, path)
    assert not path.exists()


# float16


def test_float16__values_are_those_of_float32_rounded(path, tmp_path, dataset):
    full = open_activations(record_activations(mlp(), dataset, path))
    half = open_activations(
        record_activations(mlp(), dataset, tmp_path / "b.zarr", dtype="float16")
    )
    for name in LAYERS:
        assert half[name].activation.dtype == np.float16
        np.testing.assert_array_equal(
            half[name].activation, full[name].activation.astype(np.float16)
        )


def test_float16__overflow_is_refused_before_the_batch_is_written(path, dataset):
    with torch.no_grad():
        model = mlp()
        model[0].weight.zero_()
        model[0].bias.zero_()
        model[0].weight[3, 0] = 1
        dataset.inputs[:, 0] = 1
        dataset.inputs[60, 0] = 70_000
    expected = r"activation of layer '1' is 70000, but float16 holds no more than 65504; record as"
    with pytest.raises(StoreError, match=expected):
        record_small(model, dataset, path, dtype="float16", batch_size=25)
    written = {array: len(list((path / "1" / array / "c").glob("*"))) for array in ["activation"]}
    assert written["activation"] <= 1  # of the first fifty samples
    with pytest.raises(StoreError, match=r"was not recorded to its end"):
        open_activations(path)
    record_small(model, dataset, path, batch_size=25)  # the remedy
    assert open_activations(path)["1"].activation.max() == 70_000


def test_float32__overflow_of_a_float64_model_has_another_remedy(path):
    inputs = torch.full((3, 12), 1e200, dtype=torch.float64)
    with pytest.raises(StoreError, match=r"float32 holds no more than 3.40282e\+38; scale it down"):
        record_activations(mlp().double(), TensorDataset(inputs, torch.zeros(3).long()), path)


# resuming


def test_resume__sigkill_equals_undisturbed(tmp_path):
    """A process that is killed twice at random moments ends with the same store, bit for bit."""
    command = [sys.executable, "-m", "recorded_networks"]
    tests, moments = Path(__file__).parents[2], random.Random(1)
    undisturbed, killed = tmp_path / "undisturbed.zarr", tmp_path / "killed.zarr"
    subprocess.run([*command, str(undisturbed)], cwd=tests, check=True, stdout=subprocess.DEVNULL)
    for _ in range(2):
        with subprocess.Popen(
            [*command, str(killed)], cwd=tests, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0.3, 0.6))
            child.send_signal(signal.SIGKILL)
    assert not killed.with_suffix(".json").exists()
    subprocess.run([*command, str(killed)], cwd=tests, check=True, stdout=subprocess.DEVNULL)
    assert all_files(killed) == all_files(undisturbed)


class PoweredOffError(BaseException):
    pass


class Dying(Samples):
    """A data set that raises an error at a certain sample, and notes the samples asked for."""

    def __init__(self, *args, dies_at=None):
        super().__init__(*args)
        self.dies_at, self.asked = dies_at, []

    def __getitem__(self, index):
        self.asked.append(index)
        if index == self.dies_at:
            raise PoweredOffError
        return super().__getitem__(index)


def test_resume__goes_on_at_a_batch_that_not_every_layer_has(path, caplog):
    dataset = Dying(600, (12,), dies_at=500)
    dataset.identity = "so that only the recording asks for samples"
    with pytest.raises(PoweredOffError):
        record_small(mlp(), dataset, path, batch_size=7)
    dataset.dies_at, dataset.asked = None, []
    with caplog.at_level(logging.INFO, "unitlens"):
        record_small(mlp(), dataset, path, batch_size=7)
    goes_on = int(caplog.text.split("goes on at sample ")[1].split()[0])
    assert 300 < goes_on <= 500
    first = goes_on // 7 * 7
    run = 600 - first
    assert dataset.asked[-run:] == list(range(first, 600))
    assert len(dataset.asked) <= run + COMPARED
    undisturbed = record_small(mlp(), dataset, path.with_name("b.zarr"), batch_size=7)
    assert all_files(path) == all_files(undisturbed)


def test_resume__runs_only_the_batches_of_shards_that_are_missing(path):
    """Missing shards are filled, wherever they are, in the batches of the first recording."""
    dataset = Dying(600, (12,))
    dataset.identity = "so that only the recording asks for samples"
    record_small(mlp(), dataset, path, batch_size=7)
    before = all_files(path)
    (path / "4" / "activation" / "c" / "2" / "0").unlink()  # 60 of 600 samples are a shard
    flip(path / "loss" / "c" / "7", 9, 2)
    path.with_suffix(".json").unlink()
    dataset.asked = []
    record_small(mlp(), dataset, path, batch_size=7)
    manifest = read_manifest(path)
    rows = {file.array.path: file.array.rows for file in manifest.files}
    batches = set()
    for span in (rows["4/activation"](2), rows["loss"](7)):
        batches |= {sample // 7 for sample in range(span.start, span.stop)}
    expected = [i for i in range(600) if i // 7 in batches]
    assert dataset.asked[-len(expected) :] == expected
    assert len(dataset.asked) <= len(expected) + COMPARED < 300
    assert all_files(path) == before


@pytest.mark.parametrize("change", [{"batch_size": 8}, {"reduce": "max"}, {"layers": ["4"]}])
def test_resume__other_arguments_start_over(path, change):
    dataset = Dying(600, (12,), dies_at=500)
    with pytest.raises(PoweredOffError):
        record_small(mlp(), dataset, path, batch_size=7)
    dataset.dies_at = None
    record_small(mlp(), dataset, path, **{"batch_size": 7, **change})
    other = record_small(mlp(), dataset, path.with_name("b.zarr"), **{"batch_size": 7, **change})
    assert all_files(path) == all_files(other)


def test_finished__same_recording_returns_at_once(path, dataset, monkeypatch):
    record_activations(mlp(), dataset, path)
    before = all_files(path)
    monkeypatch.setattr(StoreWriter, "__init__", None)

    assert record_activations(mlp(), dataset, path, batch_size=3) == path
    assert all_files(path) == before


def test_finished__other_weights_are_refused(path, dataset):
    record_activations(mlp(), dataset, path)
    before = all_files(path)
    model = mlp()
    with torch.no_grad():
        model[0].weight[0, 0] += 1
    with pytest.raises(StoreError, match=r"holds another recording, whose provenance is .*remove"):
        record_activations(model, dataset, path)
    assert all_files(path) == before


@pytest.mark.parametrize(
    "other", [{"data": Samples(100, (12,), seed=1)}, {"reduce": "max"}, {"layers": ["4"]}]
)
def test_finished__other_data_and_arguments_are_refused(path, dataset, other):
    record_activations(mlp(), dataset, path)
    other = dict(other)
    with pytest.raises(StoreError, match=r"finished and holds another recording"):
        record_activations(mlp(), other.pop("data", dataset), path, **other)


def test_finished__one_other_sample_of_tensors_is_refused(path):
    inputs, labels = torch.randn(100, 12), torch.arange(100) % 5
    record_activations(mlp(), TensorDataset(inputs, labels), path)
    other = inputs.clone()
    other[3] += 1
    with pytest.raises(StoreError, match=r"whose provenance is .*dataset_identity"):
        record_activations(mlp(), TensorDataset(other, labels), path)


def test_finished__activation_function_is_part_of_the_provenance(path, dataset):
    record_activations(mlp(), dataset, path)
    model = mlp()
    model[1] = nn.Tanh()
    with pytest.raises(StoreError, match=r"another recording, whose provenance"):
        record_activations(model, dataset, path)


def test_finished__lost_shard_is_recorded_again(path):
    dataset = Samples(300, (12,))
    record_small(mlp(), dataset, path)
    before = all_files(path)
    (path / "1" / "activation" / "c" / "1" / "0").unlink()
    with pytest.raises(StoreError, match=r"is missing; record again"):
        open_activations(path)
    record_small(mlp(), dataset, path)
    assert all_files(path) == before


def test_provenance__given_and_computed(path, dataset):
    given = {"weights_hash": "abc", "run": "mnist-mlp", "seed": 3, "nested": {"a": [1]}}
    record_activations(mlp(), dataset, path, provenance=given)
    attrs = open_activations(path).attrs
    assert (attrs["weights_hash"], attrs["run"], attrs["seed"]) == ("abc", "mnist-mlp", 3)
    assert attrs["nested"] == '{"a": [1]}'
    assert len(attrs["dataset_identity"]) == 64


def test_provenance__identity_of_the_data_set_is_its_own_where_it_has_one(path, dataset):
    dataset.identity = "mnist-3fa9"
    record_activations(mlp(), dataset, path)
    assert open_activations(path).attrs["dataset_identity"] == "mnist-3fa9"


def test_provenance__that_json_cannot_hold_is_refused(path, dataset):
    with pytest.raises(
        ArgumentError, match=r"provenance cannot be stored \(.*Path.*\); give text,"
    ):
        record_activations(mlp(), dataset, path, provenance={"from": path})


# limits, locks, logs


def test_limit__refuses_before_anything_is_written(path, dataset):
    expected = (
        r"recording 35 units of 2 layers over 100 samples to .*acts.zarr takes 18.3 kB before .*"
        r"limit_gb is 1e-05; choose fewer layers, record as float16, or raise the limit"
    )
    with pytest.raises(StoreError, match=expected):
        record_activations(mlp(), dataset, path, limit_gb=1e-5)
    assert not path.exists()


def test_limit__is_not_asked_of_a_finished_store(path, dataset):
    record_activations(mlp(), dataset, path)
    before = all_files(path)

    assert record_activations(mlp(), dataset, path, limit_gb=1e-5) == path
    assert all_files(path) == before


def test_log__estimate_stands_at_the_start(path, dataset, caplog):
    with caplog.at_level(logging.INFO, "unitlens"):
        record_activations(mlp(), dataset, path)
    assert "recording 35 units of 2 layers over 100 samples" in caplog.messages[0]
    assert "18.3 kB before compression in 28 files" in caplog.messages[0]


def test_estimate__takes_the_layers_of_a_model():
    layers = ul.unit_layers(mlp(), torch.zeros(1, 12))
    estimate = estimate_store(layers, 100)
    assert estimate.bytes == 100 * (35 * 4 + 5 * 8) + 2 * 35 * 4
    assert "18.3 kB" in str(estimate)


def test_lock__store_that_is_being_written_is_refused(path, dataset, monkeypatch):
    monkeypatch.setattr(record, "only_writer", partial(only_writer, wait=0.05))
    with only_writer(path), pytest.raises(StoreError, match=r"is being written by process \d+ on"):
        record_activations(mlp(), dataset, path)


def test_nonfinite__is_recorded_counted_and_logged(path, dataset, caplog):
    dataset.inputs[7] = torch.nan
    with caplog.at_level(logging.WARNING, "unitlens"):
        record_activations(mlp(), dataset, path)
    assert f"{path}: 20 activations of '1' are not finite" in caplog.text
    activation = open_activations(path)["1"].activation
    assert np.isnan(activation[7]).all()
    assert np.isfinite(activation[8:]).all()


def test_import__costs_neither_dask_nor_torchvision():
    code = (
        "import sys, unitlens.recording.record; "
        "print([m for m in ('dask', 'xarray', 'torchvision', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_import__stores_are_read_without_torch():
    code = "import sys, unitlens.store.reader, unitlens.store.writer; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


class WithAside(nn.Module):
    """A network with a head that does not reach its output."""

    def __init__(self):
        super().__init__()
        self.hidden, self.act, self.head = nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)
        self.aside = nn.Sequential(nn.Linear(8, 4), nn.Tanh())

    def forward(self, x):
        hidden = self.act(self.hidden(x))
        self.kept = self.aside(hidden)
        return self.head(hidden)


def test_units_that_are_left_out__are_told_by_the_store_and_its_statistics(tmp_path):
    model, dataset = WithAside().eval(), TensorDataset(torch.randn(30, 6), torch.arange(30) % 3)
    path = tmp_path / "acts.zarr"
    with pytest.warns(ul.UnitsWarning, match="lack 'aside.1'"):
        record_activations(model, dataset, path)

    activations = open_activations(path)
    assert "lack 'aside.1'" in activations.attrs["doubts"]
    assert "lack 'aside.1'" in class_statistics(activations).attrs["doubts"]

    next(file for file in (path / "act/activation/c").rglob("*") if file.is_file()).unlink()
    repair_activations(model, dataset, path)
    assert "lack 'aside.1'" in open_activations(path).attrs["doubts"]
    record_activations(model, dataset, tmp_path / "named.zarr", layers=["act"])
    assert "doubts" not in open_activations(tmp_path / "named.zarr").attrs


def test_store_of_an_earlier_version__is_finished_from_its_journal_beside_a_newer_part(tmp_path):
    path = tmp_path / "acts.zarr"
    network, data = (
        nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 10)),
        Samples(150, (12,)),
    )
    with patch.object(record, "DEFAULT_LAYOUT", SMALL):
        ul.record_activations(network, data, path, batch_size=50)
        expected = all_files(path)
        make_former(path)
        path.with_suffix(".json").unlink()
        ul.record_activations(network, data, path, batch_size=50, part=(1, 2))
        ul.record_activations(network, data, path, batch_size=50)

    assert all_files(path) == expected
    assert ul.verify_activations(path).whole
