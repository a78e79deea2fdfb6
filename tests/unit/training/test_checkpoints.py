import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from unitlens.config.networks import RunSpec
from unitlens.errors import ModelError
from unitlens.hashed_files import write_json
from unitlens.model.weights import weights_hash
from unitlens.training.checkpoints import (
    CheckpointRecord,
    load_checkpoint,
    save_checkpoint,
    versions,
)
from unitlens.training.models import build_model

OWN = """
from torch import nn

def tied(width):
    model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
    model[2].weight = model[0].weight
    return model
"""
MODELS = {
    "mlp": {"name": "mlp", "widths": [6], "batch_norm": True},
    "convnet": {"name": "convnet", "channels": [4], "strides": [1], "width": 2.0},
    "torchvision": {"name": "squeezenet1_1", "arguments": {"num_classes": 4}},
    "own": {"name": "my_checkpointed:tied", "arguments": {"width": 3}, "weights": "gone.pt"},
}


@pytest.fixture
def saved(request, tmp_path, monkeypatch):
    """Return a network, its record and its directory."""
    (tmp_path / "my_checkpointed.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    values = MODELS[request.param]
    spec = RunSpec.model_validate(
        {"dataset": {"name": "digits"}, "model": values, "training": {"epochs": 2}, "seed": 3}
    )
    shape = (3, 32, 32) if request.param == "torchvision" else (1, 8, 8)
    fresh = spec.model
    if getattr(fresh, "weights", None):
        fresh = fresh.model_copy(update={"weights": None})
    model = build_model(fresh, input_shape=shape, classes=10, seed=3)
    record = CheckpointRecord(
        spec=spec, epoch=2, train_loss=0.5, train_accuracy=0.75, test_loss=0.625,
        test_accuracy=0.7, input_shape=shape, classes=10, dataset_identity="abc",
        weights_hash=weights_hash(model), versions=versions(),
    )  # fmt: skip
    save_checkpoint(tmp_path / "run", model, record)
    yield model, record, tmp_path / "run"
    sys.modules.pop("my_checkpointed", None)


every_kind = pytest.mark.parametrize("saved", MODELS, indirect=True)
mlp_only = pytest.mark.parametrize("saved", ["mlp"], indirect=True)


@every_kind
def test_checkpoint__comes_back_the_same(saved):
    model, record, directory = saved
    loaded, loaded_record = load_checkpoint(directory)

    assert loaded_record == record
    assert weights_hash(loaded) == weights_hash(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert not any(module.training for module in loaded.modules())


@pytest.mark.parametrize("saved", ["own"], indirect=True)
def test_checkpoint__shared_tensors_stay_shared(saved):
    loaded, _ = load_checkpoint(saved[2])

    assert loaded[2].weight is loaded[0].weight
    assert len(load_file(saved[2] / "checkpoint.safetensors")) == 3


@mlp_only
def test_checkpoint__leaves_no_partial_files(saved):
    assert sorted(path.name for path in saved[2].iterdir()) == [
        "checkpoint.json",
        "checkpoint.safetensors",
    ]


@mlp_only
def test_checkpoint__refuses_other_weights(saved):
    model, record, directory = saved
    with torch.no_grad():
        model.output.bias += 1
    save_checkpoint(directory, model, record)

    with pytest.raises(ModelError, match=r"not those that checkpoint\.json records"):
        load_checkpoint(directory)


@mlp_only
def test_checkpoint__refuses_damaged_weights(saved):
    (saved[2] / "checkpoint.safetensors").write_bytes(b"gone")

    with pytest.raises(ModelError, match=r"cannot load the weights in .*trains the network again"):
        load_checkpoint(saved[2])


@mlp_only
def test_checkpoint__refuses_a_record_of_another_version(saved):
    path = saved[2] / "checkpoint.json"
    values = json.loads(path.read_text())
    del values["hash"]
    write_json(path, {**values, "epochs": 2})

    with pytest.raises(ModelError, match=r"checkpoint\.json is not what this version"):
        load_checkpoint(saved[2])


def test_checkpoint__says_that_there_is_none(tmp_path):
    with pytest.raises(ModelError, match=r"holds no network: checkpoint\.json is missing"):
        load_checkpoint(tmp_path)


def test_weights_hash__sees_every_value_and_name():
    model = torch.nn.Linear(2, 2)
    before = weights_hash(model)
    with torch.no_grad():
        model.bias[1] += 1e-7

    assert weights_hash(model) != before
    assert weights_hash(torch.nn.Sequential(model)) != weights_hash(model)


def test_weights_hash__does_not_see_the_memory_layout():
    model = torch.nn.Conv2d(3, 4, 3)
    before = weights_hash(model)

    assert weights_hash(model.to(memory_format=torch.channels_last)) == before
