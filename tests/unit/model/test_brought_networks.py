"""Networks as people bring them: all nonlinear calls are layers, read and replaced exactly."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

import unitlens as ul
from networks_by_hand import Wired
from seen_calls import seen_calls
from unitlens.model.network import UnitNetwork


def wired(wiring, **parts):
    torch.manual_seed(0)
    return Wired(wiring, **{name: build() for name, build in parts.items()}).double().eval()


def lin(inputs, outputs):
    return lambda: nn.Linear(inputs, outputs)


def encoder(**options):
    block = nn.TransformerEncoderLayer(8, 2, 12, **options)
    return lambda: nn.TransformerEncoder(block, 2, enable_nested_tensor=False)


def made_in_forward(m, x):
    return m.c(nn.ReLU()(m.b(nn.Tanh()(m.a(x)))))


def part_of_a_sequence(m, x):
    return m.c(m.body[:2](x))


def asking(m, x):
    hidden = torch.tanh(m.a(x))
    if hidden.sum() > 1e9:  # a value decides: fx cannot follow
        hidden = hidden * 2
    return m.c(functional.gelu(m.b(hidden)))


def asking_in_place(m, x):
    hidden = m.a(x)
    functional.relu(hidden, inplace=True)
    if hidden.sum() < 0:
        raise AssertionError
    return m.c(m.b(hidden).relu_()) + m.c(hidden)


def by_windows(m, x):
    hidden = torch.relu(m.a(x.reshape(-1, 2, 4)))
    return m.c(hidden.reshape(len(x), -1))


def seen(m, x):
    return m.c(m.e(x).mean(1))


def seen_time_major(m, x):
    return m.c(m.e(x.transpose(0, 1)).mean(0))


WIRED = {
    "modules made in forward": (
        lambda: wired(made_in_forward, a=lin(6, 8), b=lin(8, 7), c=lin(7, 3)),
        (6,),
        {"tanh": 8, "relu": 7},
    ),
    "a slice of a sequence": (
        lambda: wired(
            part_of_a_sequence, body=lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU()), c=lin(8, 3)
        ),
        (6,),
        {"body.1": 8},
    ),
    "values decide": (
        lambda: wired(asking, a=lin(6, 8), b=lin(8, 7), c=lin(7, 3)),
        (6,),
        {"tanh": 8, "gelu": 7},
    ),
    "values decide, in place": (
        lambda: wired(asking_in_place, a=lin(6, 8), b=lin(8, 8), c=lin(8, 3)),
        (6,),
        {"relu": 8, "relu_": 8},
    ),
    "several rows a sample": (
        lambda: wired(by_windows, a=lin(4, 5), c=lin(20, 3)),
        (4, 4),
        {"relu": 5},
    ),
    "an encoder": (
        lambda: wired(seen, e=encoder(batch_first=True), c=lin(8, 3)),
        (5, 8),
        {"e.layers.0.relu": 12, "e.layers.1.relu": 12},
    ),
    "an encoder, time first": (
        lambda: wired(seen_time_major, e=encoder(activation="gelu"), c=lin(8, 3)),
        (5, 8),
        {"e.layers.0.gelu": 12, "e.layers.1.gelu": 12},
    ),
}


def unit_of_call(call, units):
    """Return the slice function that zeroes a unit on the axis with so many entries."""
    axes = [axis for axis in range(1, call.dim()) if call.shape[axis] == units]
    axis = axes[-1]

    def zeroed(unit):
        def edit(value):
            value.movedim(axis, 0)[unit] = 0
            return value

        return edit

    return axis, zeroed


@pytest.mark.parametrize("name", sorted(WIRED))
def test_layers__are_the_nonlinear_calls_and_ablation_is_exact(name):
    build, shape, expected = WIRED[name]
    model, inputs = build(), torch.randn(4, *shape, dtype=torch.float64)
    targets = torch.arange(4) % 3
    plain, calls = seen_calls(model, inputs)

    layers = ul.unit_layers(model, inputs)
    assert {layer.name: layer.units for layer in layers} == expected
    assert len(calls) == len(layers)
    table = ul.unit_ablation(model, TensorDataset(inputs, targets))
    base = functional.cross_entropy(plain, targets)
    for number, (call, layer) in enumerate(zip(calls, layers, strict=True)):
        axis, zeroed = unit_of_call(call, layer.units)
        rows = table.isel(unit=table.layer.values == layer.name)
        for unit in range(layer.units):
            output, _ = seen_calls(model, inputs, {number: zeroed(unit)})
            loss = functional.cross_entropy(output, targets) - base
            np.testing.assert_allclose(rows.loss_increase.values[unit], loss, atol=1e-9)
        with UnitNetwork(model, inputs) as network:
            (chosen,) = network.choose([layer.name])
            _, kept = network.capture(inputs, [chosen], lambda _, activation: activation.clone())
        by_unit = kept[layer.name].movedim(layer.axis, 0).flatten(1)
        torch.testing.assert_close(
            by_unit.sort().values, call.movedim(axis, 0).flatten(1).sort().values
        )


RECURRENT = {
    "LSTM": lambda: nn.LSTM(5, 8, batch_first=True),
    "two-way GRU": lambda: nn.GRU(5, 4, bidirectional=True, batch_first=True),
    "RNN, time first": lambda: nn.RNN(5, 8),
}


@pytest.mark.parametrize("name", sorted(RECURRENT))
def test_recurrent_modules__hidden_units_are_a_layer(name):
    torch.manual_seed(0)
    rnn = RECURRENT[name]().double()
    time_first = not rnn.batch_first

    def run(m, x):
        x = x.transpose(0, 1) if time_first else x
        output = m.rnn(x)[0]
        return m.head(output[-1] if time_first else output[:, -1])

    model = wired(run, rnn=lambda: rnn, head=lin(8, 3))
    inputs, targets = torch.randn(6, 4, 5, dtype=torch.float64), torch.arange(6) % 3

    (layer,) = ul.unit_layers(model, inputs)
    table = ul.unit_ablation(model, TensorDataset(inputs, targets))

    assert (layer.name, layer.units, layer.shape, layer.axis) == ("rnn", 8, (4, 8), -1)
    with torch.no_grad():
        x = inputs.transpose(0, 1) if time_first else inputs
        last = rnn(x)[0][-1] if time_first else rnn(x)[0][:, -1]
        base = functional.cross_entropy(model.head(last), targets)
        for unit in range(8):
            ablated = last.clone()
            ablated[:, unit] = 0
            loss = functional.cross_entropy(model.head(ablated), targets) - base
            np.testing.assert_allclose(table.loss_increase.values[unit], loss, atol=1e-9)


def test_recurrent_modules__last_states_are_a_layer_where_the_output_is_not_read():
    def run(m, x):
        _, (hidden, _) = m.rnn(x)
        return m.head(hidden[-1])

    model = wired(run, rnn=lambda: nn.LSTM(5, 8, 2, batch_first=True), head=lin(8, 3))
    inputs = torch.randn(6, 4, 5, dtype=torch.float64)

    (layer,) = ul.unit_layers(model, inputs)
    with UnitNetwork(model, inputs) as network:
        ablated = network.forward_with(inputs, {"rnn": torch.zeros_like})

    assert (layer.name, layer.shape) == ("rnn", (8,))
    torch.testing.assert_close(ablated, model.head.bias.detach().expand(6, -1))


def test_recurrent_modules__packed_sequences_keep_the_order_of_samples():
    lengths = torch.tensor([2, 4, 3])

    def run(m, x):
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths[: len(x)], batch_first=True, enforce_sorted=False
        )
        output, _ = nn.utils.rnn.pad_packed_sequence(
            m.rnn(packed)[0], batch_first=True, total_length=4
        )
        return m.head(output.sum(1))

    model = wired(run, rnn=lambda: nn.GRU(5, 6, batch_first=True), head=lin(6, 3))
    inputs = torch.randn(3, 4, 5, dtype=torch.float64)

    (layer,) = ul.unit_layers(model, inputs)
    with UnitNetwork(model, inputs) as network:
        _, kept = network.capture(inputs, network.layers, lambda _, values: values.clone())

    assert (layer.name, layer.shape) == ("rnn", (4, 6))
    for sample, length in enumerate(lengths.tolist()):
        alone, _ = model.rnn(inputs[sample : sample + 1, :length])
        torch.testing.assert_close(kept["rnn"][sample, :length], alone[0].detach())
        assert not kept["rnn"][sample, length:].any()


class Swish(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(x)


class Snake(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.full((8,), 1.5))

    def forward(self, x):
        return x + torch.sin(self.a * x) ** 2 / self.a


class TanhGelu(nn.Module):
    """As transformers' NewGELUActivation."""

    def forward(self, x):
        inner = 0.7978845608 * (x + 0.044715 * torch.pow(x, 3.0))
        return 0.5 * x * (1.0 + torch.tanh(inner))


class Derived(nn.GELU):
    """A class of a user under one of PyTorch's."""


ACTIVATIONS = {
    "where": (lambda x: torch.where(x > 0, x, 0.1 * x), "where"),
    "where of a number": (lambda x: torch.where(x > 0, x, 0.0), "where"),
    "maximum": (lambda x: torch.maximum(x, torch.zeros_like(x)), "maximum"),
    "maximum of a constant": (lambda x: torch.maximum(x, torch.tensor(0.0)), "maximum"),
    "mask": (lambda x: x * (x > 0), "mul"),
    "quick gelu": (lambda x: x * torch.sigmoid(1.702 * x), "mul"),
    "erf gelu": (lambda x: x * 0.5 * (1.0 + torch.erf(x / 2**0.5)), "mul"),
    "half at the end": (lambda x: 0.5 * (x * (1.0 + torch.erf(x / 2**0.5))), "mul"),
    "hard swish": (lambda x: torch.div(x * functional.relu6(x + 3), 6), "div"),
    "mish": (lambda x: x * torch.tanh(functional.softplus(x)), "mul"),
    "snake": (lambda x: x + torch.sin(x) ** 2, "add"),
    "silu by division": (lambda x: torch.div(x, 1 + torch.exp(-x)), "div"),
    "module": (Swish(), "act"),
    "module with parameters": (Snake(), "act"),
    "module of a tanh gelu": (TanhGelu(), "act"),
    "subclass": (Derived(), "act"),
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_written_out__are_one_layer_at_the_end(name, traced):
    act, expected = ACTIVATIONS[name]
    act = copy.deepcopy(act).double() if isinstance(act, nn.Module) else act

    def run(m, x):
        hidden = m.a(x)
        if not traced and hidden.sum() > 1e9:
            raise AssertionError
        return m.head((m.act if isinstance(act, nn.Module) else act)(hidden))

    parts = {"act": lambda: act} if isinstance(act, nn.Module) else {}
    model = wired(run, a=lin(6, 8), head=lin(8, 3), **parts)
    inputs, targets = torch.randn(5, 6, dtype=torch.float64), torch.arange(5) % 3

    layers = ul.unit_layers(model, inputs)
    table = ul.unit_ablation(model, TensorDataset(inputs, targets))

    assert layers.traced is traced
    (layer,) = layers
    assert layer.name.rsplit("_", 1)[0] == expected or layer.name == expected
    assert not layers.left_out
    with torch.no_grad():
        hidden = act(model.a(inputs))
        base = functional.cross_entropy(model.head(hidden), targets)
        for unit in range(8):
            ablated = hidden.clone()
            ablated[:, unit] = 0
            loss = functional.cross_entropy(model.head(ablated), targets) - base
            np.testing.assert_allclose(table.loss_increase.values[unit], loss, atol=1e-9)


def test_activations_written_out__other_expressions_are_none():
    def run(m, x):
        hidden = torch.relu(m.a(x)) * 0.5
        gated = hidden * torch.sigmoid(m.b(hidden))  # two values
        normed = gated / (gated.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
        return m.head(normed + torch.tanh(normed))

    model = wired(run, a=lin(6, 8), b=lin(8, 8), head=lin(8, 3))

    layers = ul.unit_layers(model, torch.randn(3, 6, dtype=torch.float64))

    assert [layer.name for layer in layers] == ["relu", "sigmoid", "tanh"]
