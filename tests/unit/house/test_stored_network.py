"""A network of a results folder is what its files hold, and puts out what it did when trained."""

import shutil
import sys

import fsspec
import pytest
import torch

from small_trainings import run_spec
from unitlens.config.runs import dataset_name
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.errors import DatasetError, ModelError
from unitlens.hashed_files import read_json, write_json
from unitlens.model.weights import weights_hash
from unitlens.provenance.file_provenance import DATASET, WEIGHTS
from unitlens.stored_network import NetworkOfResults, StoredNetwork
from unitlens.training.train import train

MODULE = """
from torch import nn
from pathlib import Path

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(64, 12), nn.Linear(12, 10)
        self.act, self.norm = {activation}, nn.BatchNorm1d(12, eps={eps})

    def forward(self, x):
        x = self.act(self.norm(self.one(x.flatten(1))))
        return self.two(x * {factor})

def make():
    return Network()
"""
VALUES = {"activation": "nn.LeakyReLU(0.01)", "eps": "1e-5", "factor": "1.0"}
CHANGES = [
    {"activation": "nn.LeakyReLU(0.5)"},
    {"activation": "nn.GELU()"},
    {"eps": "1e-2"},
    {"factor": "1.01"},
]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes the module of the user's network."""
    monkeypatch.chdir(tmp_path)

    def write(**changes):
        (tmp_path / "stored_nets.py").write_text(MODULE.format(**{**VALUES, **changes}))
        sys.modules.pop("stored_nets", None)

    yield write
    sys.modules.pop("stored_nets", None)


@pytest.fixture
def spec():
    return run_spec({"name": "stored_nets:make"}, checkpoints=[1])


@pytest.fixture
def run(tmp_path, write, spec):
    """Return the directory of a trained network in a results folder."""
    write()
    results = tmp_path / "results"
    dataset = results / "datasets" / dataset_name(spec.dataset)
    prepare_dataset(spec.dataset, dataset, data=tmp_path)
    train(spec, dataset, results / "network")
    return results / "network"


def test_model__is_the_trained_one(run):
    stored = StoredNetwork(run)
    test = load_dataset(run.parent / "datasets" / dataset_name(stored.record.spec.dataset), "test")
    inputs, labels = test.batch(range(len(test)))
    with torch.no_grad():
        accuracy = (stored.model(inputs).argmax(1) == labels).double().mean()
    assert accuracy == pytest.approx(stored.record.test_accuracy)
    assert not stored.model.training


@pytest.mark.parametrize("name", ["", "epoch-0001"])
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_model__whose_code_changed_is_refused_until_it_is_put_back(run, write, changes, name):
    write(**changes)
    expected = (
        r"puts out other values than when it was trained \(for sample \d+ of the test set "
        r"logit \d+ is .*, but was .*\): the code of model.name = 'stored_nets:make', .*; "
        rf"put these back, or remove {run}/checkpoint.json "
    )
    for _ in range(2):
        with pytest.raises(ModelError, match=expected):
            _ = StoredNetwork(run / name).model
    write()
    assert StoredNetwork(run / name).model is not None


def test_model__whose_code_changed_is_trained_again_by_the_remedy(run, write, spec):
    write(factor="2.0")
    with pytest.raises(ModelError, match=r"or remove .*/network/checkpoint.json and run snakemake"):
        _ = StoredNetwork(run).model
    (run / "checkpoint.json").unlink()
    train(spec, run.parent / "datasets" / dataset_name(spec.dataset), run)
    stored = StoredNetwork(run)
    inputs, labels = stored.dataset("test").batch(range(len(stored.dataset("test"))))
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(stored.model(inputs), labels).item()
    assert loss == pytest.approx(stored.record.test_loss, rel=1e-5)
    assert StoredNetwork(run / "epoch-0001").model is not None


def test_model__of_a_record_without_probes_is_not_compared(run, write):
    """As unitlens 0.2 wrote records."""
    record = run / "checkpoint.json"
    values = read_json(record, error=ModelError, remedy="")
    values.pop("hash", None)
    write_json(record, {**values, "probes": []})
    write(factor="1.5")
    assert StoredNetwork(run).model is not None


def test_model__without_its_data_set_is_opened_with_a_warning_where_that_is_asked_for(run):
    shutil.rmtree(run.parent / "datasets")
    stored = StoredNetwork(run)
    with pytest.raises(DatasetError, match=r"dataset.json is missing"):
        _ = stored.model
    with pytest.warns(UserWarning, match=r"are not compared .*, for its data set cannot be read"):
        model = stored.model_without_data()
    assert weights_hash(model) == stored.record.weights_hash


def test_model__with_a_damaged_test_set_is_refused(run):
    (path,) = (run.parent / "datasets").rglob("test.safetensors")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"test.safetensors is damaged"):
        _ = StoredNetwork(run).model


def test_model__at_a_url_is_opened_with_a_warning(run):
    place = fsspec.filesystem("memory")
    for file in (file for file in run.parent.rglob("*") if file.is_file()):
        place.pipe(f"/results/{file.relative_to(run.parent)}", file.read_bytes())
    stored = StoredNetwork("memory://results/network")
    with pytest.warns(UserWarning, match=r"not compared .*; copy the results folder to a disk"):
        model = stored.model_without_data()
    assert weights_hash(model) == StoredNetwork(run).inputs[WEIGHTS]
    with pytest.raises(DatasetError, match=r"is read from a disk alone; copy the results folder"):
        stored.dataset("test")


def test_dataset__is_opened_without_the_weights(run):
    expected = StoredNetwork(run).dataset("test")
    (run / "checkpoint.safetensors").unlink()

    assert NetworkOfResults(run).dataset("test").identity == expected.identity
    with pytest.raises(ModelError, match="cannot load the weights"):
        _ = StoredNetwork(run).model


def test_inputs__are_the_hashes_of_network_and_data(run):
    stored = StoredNetwork(run)
    (record,) = (run.parent / "datasets").rglob("dataset.json")
    assert stored.inputs == {
        WEIGHTS: read_json(run / "checkpoint.json", error=ModelError, remedy="")["weights_hash"],
        DATASET: stored.inputs[DATASET],
    }
    assert stored.inputs[DATASET]
    assert stored.provenance("test", "0123", {"reduce": "mean"}) == {
        "weights_hash": stored.inputs[WEIGHTS],
        "dataset_hash": stored.inputs[DATASET],
        "dataset_identity": load_dataset(record.parent, "test").identity,
        "network": "network",
        "split": "test",
        "code": "0123",
        "settings": {"reduce": "mean"},
    }
