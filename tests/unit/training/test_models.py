import sys
from typing import Annotated, Literal, get_args

import numpy as np
import pytest
import torch
from pydantic import Tag, TypeAdapter
from safetensors.torch import save_file, save_model
from torch import nn

from unitlens.config.base import Strict, parse_at
from unitlens.config.networks import MODEL_FAMILIES, MLPSpec, ModelSpec
from unitlens.errors import ConfigError, ModelError
from unitlens.training.models import BUILDERS, build_model
from unitlens.training.weight_files import WeightsFile

OWN = """
import torch
from torch import nn

class Tied(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.second.weight = self.first.weight

    def forward(self, inputs):
        return self.second(torch.relu(self.first(inputs)))

def tied(width=4):
    return Tied(width)

def nothing():
    return "a model"
"""


def build(shape=(1, 8, 8), classes=10, seed=0, **values):
    spec = TypeAdapter(ModelSpec).validate_python(values)
    return build_model(spec, input_shape=shape, classes=classes, seed=seed)


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("my_models", None)


# dense and convolutional networks


def test_mlp__has_its_widths_and_named_nonlinearities():
    model = build(name="mlp", widths=[7, 5])
    relus = [name for name, module in model.named_modules() if isinstance(module, nn.ReLU)]

    assert relus == ["relu1", "relu2"]
    assert shapes(model) == {
        "dense1.weight": (7, 64), "dense1.bias": (7,),
        "dense2.weight": (5, 7), "dense2.bias": (5,),
        "output.weight": (10, 5), "output.bias": (10,),
    }  # fmt: skip
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_mlp__dropout_and_batch_norm_stand_around_the_relu():
    model = build(name="mlp", widths=[7], dropout=0.25, batch_norm=True)

    assert list(dict(model.named_children())) == [
        "flatten", "dense1", "norm1", "relu1", "dropout1", "output",
    ]  # fmt: skip
    assert model.dropout1.p == 0.25


def test_convnet__is_the_papers_by_default():
    model = build((3, 32, 32), name="convnet")
    maps = [module for module in model if isinstance(module, nn.Conv2d)]

    assert [conv.out_channels for conv in maps] == [64] * 2 + [128] * 3 + [256] * 3 + [512] * 3
    assert [conv.stride[0] for conv in maps] == [1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1]
    assert [name for name, m in model.named_modules() if isinstance(m, nn.ReLU)] == [
        f"relu{number}" for number in range(1, 12)
    ]
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_convnet__keeps_the_scale_of_activations_through_its_depth():
    """With PyTorch's default weights the last of eleven layers is a hundred times weaker."""
    model = build((3, 32, 32), name="convnet", batch_norm=False, width=0.25)
    values = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    scales = []
    with torch.no_grad():
        for layer in model:
            values = layer(values)
            if isinstance(layer, nn.ReLU):
                scales.append(values.square().mean().sqrt().item())

    assert len(scales) == 11
    assert 1 / 3 < scales[-1] / scales[0] < 3


def test_convnet__width_scales_every_layer():
    model = build(name="convnet", channels=[8, 3], strides=[1, 2], width=0.5)

    assert (model.conv1.out_channels, model.conv2.out_channels) == (4, 2)


@pytest.mark.parametrize("size", [7, 8])
def test_convnet__flattened_head_sees_all_positions(size):
    values = {"channels": [4, 6], "strides": [2, 2], "head": "flatten", "dropout": 0.5}
    model = build((1, size, size), name="convnet", batch_norm=False, **values)

    assert model.output.in_features == 6 * 2 * 2
    assert isinstance(model.dropout1, nn.Dropout2d)
    assert model(torch.zeros(2, 1, size, size)).shape == (2, 10)


def test_convnet__refuses_inputs_that_are_no_images():
    with pytest.raises(ModelError, match=r"'convnet' needs images .* shape \(4,\); use an mlp"):
        build((4,), name="convnet")


def test_build_model__seeds_decide_and_no_global_state_changes():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (build(name="mlp", widths=[9], seed=seed) for seed in (1, 1, 2))

    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.dense1.weight, again.dense1.weight)
    assert not torch.equal(first.dense1.weight, other.dense1.weight)


# torchvision's and the user's


def test_torchvision__takes_the_classes_of_the_data():
    assert build((3, 32, 32), classes=7, name="resnet18").fc.out_features == 7


def test_torchvision__arguments_come_first():
    assert build((3, 32, 32), name="resnet18", arguments={"num_classes": 4}).fc.out_features == 4


def test_torchvision__names_the_nearest():
    with pytest.raises(ModelError, match=r"'resnet51' must be .*did you mean 'resnet50'"):
        build(name="resnet51")


def test_torchvision__refuses_arguments_that_do_not_fit():
    with pytest.raises(ModelError, match=r"'depth': 3} do not fit resnet18: .*depth"):
        build(name="resnet18", arguments={"depth": 3})


def test_torchvision__names_the_nearest_of_its_weights():
    with pytest.raises(
        ModelError, match="no such weights for resnet50; did you mean 'IMAGENET1K_V2'"
    ):
        build(name="resnet50", weights="torchvision:IMAGENET_V2")


def test_own_model__is_built_with_its_arguments(own_module):
    assert build(name="my_models:tied", arguments={"width": 3}).first.in_features == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "my_models:nothing"}, "must return a torch.nn.Module, but returned a str"),
        ({"name": "my_models:tide"}, "has no function 'tide'; did you mean 'tied'"),
        ({"name": "my_models:tied", "arguments": {"size": 3}}, "failed .*unexpected keyword"),
        ({"name": "not_there:tied"}, "module 'not_there' cannot be imported"),
    ],
)
def test_own_model__refuses_what_it_cannot_use(own_module, values, message):
    with pytest.raises(ModelError, match=message):
        build(**values)


# weights files


@pytest.mark.parametrize("kind", ["safetensors", "shared", "state dict", "inner state dict"])
def test_weights__are_read_from_every_allowed_kind(own_module, kind):
    source = build(name="my_models:tied", seed=1)
    path = own_module / ("w.safetensors" if kind in ("safetensors", "shared") else "w.pt")
    if kind == "safetensors":
        save_file({name: t.clone() for name, t in source.state_dict().items()}, path)
    elif kind == "shared":
        save_model(source, str(path))  # writes the shared weight once
    elif kind == "state dict":
        torch.save(source.state_dict(), path)
    else:
        torch.save({"epoch": 3, "state_dict": source.state_dict()}, path)

    model = build(name="my_models:tied", seed=2, weights=str(path))

    assert torch.equal(model.first.weight, source.first.weight)
    assert torch.equal(model.second.bias, source.second.bias)
    assert model.second.weight is model.first.weight


WRAPPED = {
    "compiled": lambda state: {f"_orig_mod.{name}": t for name, t in state.items()},
    "lightning": lambda state: {
        "state_dict": {f"net.{n}": t for n, t in state.items()},
        "loops": {},
    },
    "parallel": lambda state: {f"module.{name}": t for name, t in state.items()},
    "compiled inside": lambda state: {
        f"module.{name.replace('.', '._orig_mod.')}": t for name, t in state.items()
    },
    "checkpoint": lambda state: {
        "epoch": 3,
        "model": state,
        "optimizer": {"state": {0: {"step": torch.zeros(1)}}, "param_groups": [{"lr": 0.1}]},
    },
    "tutorial": lambda state: {"model_state_dict": state, "loss": 0.1, "optimizer_state_dict": {}},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_weights__of_wrapped_networks_and_in_checkpoints(own_module, kind):
    source = build(name="my_models:tied", seed=1)
    torch.save(WRAPPED[kind](source.state_dict()), own_module / "w.pt")

    model = build(name="my_models:tied", seed=2, weights="w.pt")

    assert torch.equal(model.first.weight, source.first.weight)
    assert torch.equal(model.second.bias, source.second.bias)


@pytest.mark.parametrize("key", ["ema", "ema.module"])
def test_weights_key__chooses_among_state_dicts(own_module, key):
    states = [build(name="my_models:tied", seed=seed).state_dict() for seed in (1, 2)]
    averaged = {"module": states[1]} if "." in key else states[1]
    torch.save({"model": states[0], "old": states[0], "ema": averaged}, own_module / "w.pt")

    with pytest.raises(
        ModelError, match=r"holds . state dicts, .*; choose one by model.weights_key"
    ):
        build(name="my_models:tied", weights="w.pt")
    with pytest.raises(ModelError, match=r"weights_key = 'emo' is no key in .*did you mean 'ema'"):
        build(name="my_models:tied", weights="w.pt", weights_key="emo")
    model = build(name="my_models:tied", weights="w.pt", weights_key=key)
    assert torch.equal(model.first.bias, states[1]["first.bias"])


def test_weights_key__needs_a_file_that_holds_more(own_module):
    save_model(build(name="my_models:tied"), str(own_module / "w.safetensors"))
    with pytest.raises(ModelError, match="holds tensors alone; remove weights_key"):
        build(name="my_models:tied", weights="w.safetensors", weights_key="model")


def test_weights__a_pickled_model_is_refused_and_never_run(own_module):
    torch.save(nn.Linear(2, 2), own_module / "model.pt")

    with pytest.raises(ModelError, match=r"refused: it holds more than tensors .*state dict"):
        build(name="my_models:tied", weights=str(own_module / "model.pt"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "it holds a list, not a state dict"),
        ({"first.weight": 3}, "its item 'first.weight' is a int, not a tensor"),
    ],
)
def test_weights__refuse_what_is_no_state_dict(own_module, content, message):
    torch.save(content, own_module / "w.pt")
    with pytest.raises(ModelError, match=message):
        build(name="my_models:tied", weights=str(own_module / "w.pt"))


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_weights__refuse_damaged_files(own_module, name):
    (own_module / name).write_bytes(b"not weights")
    with pytest.raises(ModelError, match=r"w\.(pt|safetensors)' is (refused|damaged)") as raised:
        build(name="my_models:tied", weights=str(own_module / name))

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_weights__damage_anywhere_is_told_in_one_line(tmp_path, kind):
    """PyTorch checks no values, so that a flipped bit of a value is read as another value."""
    weights = nn.Linear(8, 8).state_dict()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pt")
    if kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "zip")
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    told = 0
    for case in range(120):
        raw, place = bytearray(whole), int(generator.integers(len(whole)))
        if case % 2:
            raw[place] ^= 1 << int(generator.integers(8))
        else:
            raw[place:] = b""
        path.write_bytes(raw)
        try:
            assert WeightsFile(path).read().keys()
        except ModelError as error:
            told += "\n" not in str(error)
    assert told >= 60  # no file that is cut off is read


def test_weights__say_that_the_file_is_missing(own_module):
    with pytest.raises(ModelError, match=r"model\.weights = 'w\.pt': there is no such file"):
        build(name="my_models:tied", weights="w.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("first.bias"), "they lack first.bias"),
        (lambda state: state.update(third=torch.zeros(1)), "they also hold third"),
        (
            lambda state: state.update({"first.bias": torch.zeros(9)}),
            "size mismatch for first.bias",
        ),
    ],
)
def test_weights__name_the_tensors_that_do_not_fit(own_module, change, message):
    state = build(name="my_models:tied").state_dict()
    change(state)
    torch.save(state, own_module / "w.pt")

    with pytest.raises(ModelError, match=message) as raised:
        build(name="my_models:tied", weights=str(own_module / "w.pt"))
    assert "\n" not in str(raised.value)


# families


class PerceptronSpec(Strict):
    """A network without hidden layers."""

    name: Literal["perceptron"]
    bias: bool = True


class PerceptronRun(Strict):
    """A section with the models that there are, and this one."""

    model: Annotated[
        Annotated[MLPSpec, Tag("MLPSpec")] | Annotated[PerceptronSpec, Tag("PerceptronSpec")],
        get_args(ModelSpec)[1],
    ]


def build_perceptron(spec, input_shape, classes):
    dense = nn.Linear(input_shape[0] * input_shape[1], classes, bias=spec.bias)
    return nn.Sequential(nn.Flatten(), dense)


def test_recipe__a_family_is_its_section_and_its_builder(monkeypatch):
    monkeypatch.setitem(MODEL_FAMILIES, "perceptron", PerceptronSpec)
    monkeypatch.setitem(BUILDERS, PerceptronSpec, build_perceptron)
    run = parse_at(PerceptronRun, {"model": {"name": "perceptron", "bias": False}})
    first, again = (build_model(run.model, input_shape=(2, 3), classes=4, seed=1) for _ in range(2))

    assert shapes(first) == {"1.weight": (4, 6)}
    assert torch.equal(first[1].weight, again[1].weight)
    with pytest.raises(ConfigError, match=r"^model\.bais is not a key .*: did you mean 'bias'\?$"):
        parse_at(PerceptronRun, {"model": {"name": "perceptron", "bais": False}})


def test_families__have_a_section_and_a_builder_each():
    sections = {get_args(member)[0] for member in get_args(get_args(ModelSpec)[0])}

    assert set(BUILDERS) == sections
    assert set(MODEL_FAMILIES.values()) < sections
    for name, section in MODEL_FAMILIES.items():
        assert type(TypeAdapter(ModelSpec).validate_python({"name": name})) is section
        assert get_args(section.model_fields["name"].annotation) == (name,)
