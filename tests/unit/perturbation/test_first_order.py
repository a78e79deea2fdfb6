"""First-order importance: exact where the loss is linear, and the model stays unchanged."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import unitlens as ul
from networks_by_hand import convnet, mlp, plain_mlp, random_pairs, untraceable
from unitlens.errors import ArgumentError, ModelError
from unitlens.variables.checks import validate
from unitlens.variables.unit_index import unit_coordinates


def linear(output, target):
    """A loss that is linear in the output."""
    return output @ torch.arange(4.0, dtype=output.dtype), output[:, 0] > 0


def test_first_order__is_exact_where_the_loss_is_linear():
    for value in ("zero", "mean"):
        table = ul.unit_ablation(
            plain_mlp(),
            random_pairs(30, 6),
            layers=["4"],
            value=value,
            score=linear,
            first_order=True,
        )

        measured, exact = table.loss_increase_first_order, table.loss_increase
        np.testing.assert_allclose(measured, exact, rtol=1e-9, atol=1e-14)
        errors = table.loss_increase_first_order_se, table.loss_increase_se
        np.testing.assert_allclose(*errors, rtol=1e-7)


@pytest.mark.parametrize("build", [convnet, lambda: convnet().float()])
def test_first_order__depends_on_neither_batches_nor_memory(build):
    model, pairs = build(), random_pairs(23, 2, 8, 8)

    whole = ul.unit_ablation(model, pairs, first_order=True)
    pieces = ul.unit_ablation(model, pairs, first_order=True, batch_size=5, memory_gb=1e-5)

    names = ["loss_increase_first_order", "loss_increase_first_order_se"]
    xr.testing.assert_allclose(whole[names], pieces[names], rtol=1e-4, atol=1e-8)


def test_first_order__of_a_sample_of_the_units_and_where_asked_for():
    model, pairs = mlp(), random_pairs(9, 6)
    everything = ul.unit_ablation(model, pairs, first_order=True)

    some = ul.unit_ablation(model, pairs, units=5, seed=2, first_order=True)

    where = unit_coordinates([("2", 0, 9), ("6", 1, 7)])
    for unit in range(5):
        place = (where["layer"] == some.layer[unit]) & (where["channel"] == some.channel[unit])
        expected = everything.loss_increase_first_order.values[place.values]
        assert float(some.loss_increase_first_order[unit]) == expected
    validate(some, "unit_ablation")
    assert "loss_increase_first_order" not in ul.unit_ablation(model, pairs)


@pytest.mark.parametrize("build", [mlp, plain_mlp, untraceable])
def test_first_order__gives_the_model_back(build):
    model, pairs = build(), random_pairs(9, 6)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    expected = ul.unit_ablation(model, pairs, first_order=True)
    for parameter in model.parameters():
        assert parameter.grad is None
        assert parameter.requires_grad
        parameter.requires_grad_(False)
    frozen = ul.unit_ablation(model, pairs, first_order=True)

    xr.testing.assert_identical(frozen, expected)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


class Tokens(nn.Module):
    """Inputs are integers, which have no gradient."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 6), nn.Linear(6, 4)

    def forward(self, tokens):
        return self.head(torch.relu(self.embedding(tokens)).mean(1))


def test_first_order__of_integer_inputs():
    torch.manual_seed(0)
    model = Tokens().double().requires_grad_(False)
    data = [(torch.tensor([i % 5, (i * i) % 5]), i % 4) for i in range(12)]

    table = ul.unit_ablation(model, data, score=lambda o, _: (o[:, 1], o[:, 1]), first_order=True)

    np.testing.assert_allclose(table.loss_increase_first_order, table.loss_increase, atol=1e-14)


class Unread(nn.Module):
    """The second layer's units reach the output only behind detach."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 4)

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        return self.head(hidden) + torch.tanh(self.second(hidden)).sum(1, keepdim=True).detach()


def test_first_order__is_zero_where_no_gradient_comes_back():
    torch.manual_seed(0)
    table = ul.unit_ablation(Unread().double(), random_pairs(9, 6), first_order=True)

    tanh = table.loss_increase_first_order[table.layer.values == "tanh"]
    assert tanh.size == 5
    assert (tanh == 0).all()
    assert (table.loss_increase_first_order[table.layer.values == "relu"] != 0).any()


class Gradientless(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        with torch.no_grad():
            return self.network(x)


class Detached(Gradientless):
    def forward(self, x):
        return self.network(x).detach()


class Overwriting(nn.Module):
    """The gradient of exp needs its result, which is overwritten."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(6, 5), nn.Linear(5, 4)
        self.act = nn.Tanh()

    def forward(self, x):
        if x.isnan().all():  # such a network cannot be traced, and works in place as it stands
            return x
        return self.head(self.act(self.first(x)).exp().mul_(2))


def test_first_order__says_where_there_is_no_gradient():
    pairs = random_pairs(9, 6)

    with pytest.raises(ModelError, match=r"layer 'network\.act' runs under torch\.no_grad, but"):
        ul.unit_ablation(Gradientless(untraceable()), pairs, first_order=True)
    with pytest.raises(
        ModelError, match=r"the model's output has no gradient, as where .* set first_order"
    ):
        ul.unit_ablation(Detached(mlp()), pairs, first_order=True)
    with pytest.raises(
        ModelError, match=r"no gradient can be computed .*inplace.* set first_order"
    ):
        ul.unit_ablation(Overwriting().double(), pairs, first_order=True)

    def detached(output, target):
        return output.detach()[:, 0], output[:, 0] > 0

    with pytest.raises(ArgumentError, match="function 'detached' returned losses without a gradi"):
        ul.unit_ablation(mlp(), pairs, score=detached, first_order=True)
