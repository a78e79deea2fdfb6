from pathlib import Path

import pytest
import torch
from torch import nn

import unitlens
from unitlens.training.dense_gradients import fast_dense_layers

PACKAGE = Path(unitlens.__file__).parent


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 250, bias=False))


def gradients(model, inputs):
    inputs = inputs.clone().requires_grad_()
    model.zero_grad()
    output = model(inputs)
    (output**2).sum().backward()
    return [output.detach(), inputs.grad, *(p.grad.clone() for p in model.parameters())]


def test_fast_dense_layers__outputs_and_gradients_are_those_of_pytorch():
    model, inputs = network(), torch.randn(17, 300)
    expected = gradients(model.double(), inputs.double())
    model.float()
    with fast_dense_layers(model):
        assert "forward" in vars(model[0])
        ours = gradients(model, inputs)

    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(300,), (2, 5, 300)])
def test_fast_dense_layers__leave_other_shapes_to_pytorch(shape):
    model, inputs = network(), torch.randn(shape)
    expected = model(inputs)
    with fast_dense_layers(model):
        assert torch.equal(model(inputs), expected)


def test_fast_dense_layers__give_the_model_back_after_an_error():
    model = network()
    with pytest.raises(RuntimeError, match="stop"), fast_dense_layers(model):
        raise RuntimeError("stop")

    assert "forward" not in vars(model[0])


def test_fast_dense_layers__leave_double_and_other_layers_alone():
    class Own(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(300, 300).double(), Own(300, 300))
    with fast_dense_layers(model):
        assert not any("forward" in vars(layer) for layer in model)


def plain_mlp():
    torch.manual_seed(0)
    layers = [nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 250), nn.ReLU(), nn.Linear(250, 10)]
    return nn.Sequential(nn.Flatten(), *layers)


def yields_gradients(model):
    with fast_dense_layers(model) as set_gradients:
        return set_gradients is not None


@pytest.mark.parametrize("depth", [2, 4, 6])
def test_set_gradients__equal_those_of_autograd(depth):
    model, inputs, labels = plain_mlp(), torch.randn(33, 3, 100), torch.arange(33) % 10
    model = nn.Sequential(*model[:depth])
    nn.functional.cross_entropy(model.double()(inputs.double()), labels).backward()
    expected = [parameter.grad for parameter in model.parameters()]
    model.float().zero_grad()
    with fast_dense_layers(model) as set_gradients:
        set_gradients(inputs, labels)

    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient.float(), rtol=1e-4, atol=1e-6)


def test_set_gradients__is_none_where_a_module_is_patched():
    model = plain_mlp()
    handle = model[2].register_forward_hook(lambda *_: None)

    assert not yields_gradients(model)
    handle.remove()
    assert yields_gradients(model)
    model[2].forward = torch.relu
    assert not yields_gradients(model)


OTHERS = {
    "dropout": lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 2)),
    "tanh": lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)),
    "batch norm": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)
    ),
    "relu last": lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.ReLU()),
    "two dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 2)),
    "no bias": lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False)),
    "frozen": lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 4).requires_grad_(False)),
    "nothing": lambda: nn.Sequential(nn.Flatten()),
    "not flat": lambda: nn.Sequential(nn.Linear(4, 4)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_set_gradients__is_none_for_other_networks(other):
    assert not yields_gradients(OTHERS[other]())


def test_fast_dense_layers__is_all_that_other_modules_import():
    imports = [
        line
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text().splitlines()
        if "dense_gradients" in line and path.stem != "dense_gradients"
    ]

    assert set(imports) == {"from unitlens.training.dense_gradients import fast_dense_layers"}
