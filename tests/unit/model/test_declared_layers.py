"""Layers that are declared: the output of any module or graph node, with its axis of units."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.errors import ArgumentError, ConfigError, LayerError
from unitlens.model.network import UnitNetwork


class Attention(nn.Module):
    """Two heads of four channels, and an MLP behind; `asks` makes it untraceable."""

    def __init__(self, *, asks=False):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))
        self.norm, self.head, self.asks = nn.LayerNorm(8), nn.Linear(8, 3), asks

    def mixed(self, x):
        samples, tokens, _ = x.shape

        def heads(dense):
            return dense(x).view(samples, tokens, 2, 4).transpose(1, 2)

        weights = torch.softmax(heads(self.q) @ heads(self.k).transpose(2, 3) / 2, -1)
        return (weights @ heads(self.v)).transpose(1, 2).reshape(samples, tokens, 8)

    def behind(self, x, mixed):
        x = x + self.o(mixed)
        return self.head(self.norm(x + self.mlp(x)).mean(1))

    def forward(self, x):
        if self.asks and x.sum() > 1e9:
            raise AssertionError
        return self.behind(x, self.mixed(x))


def network(*, asks):
    torch.manual_seed(0)
    return Attention(asks=asks).double().eval()


def pairs():
    torch.manual_seed(1)
    return torch.randn(6, 5, 8, dtype=torch.float64), torch.arange(6) % 3


@pytest.mark.parametrize("asks", [False, True])
def test_heads__are_units_of_an_axis_that_is_split(asks):
    model, (inputs, targets) = network(asks=asks), pairs()

    (layer,) = ul.unit_layers(model, inputs, layers=[ul.layer("reshape", heads=2)])
    table = ul.unit_ablation(
        model, TensorDataset(inputs, targets), layers=[ul.layer("reshape", heads=2)]
    )

    assert (layer.units, layer.shape, layer.axis) == (2, (2, 5, 4), 1)
    with torch.no_grad():
        base = functional.cross_entropy(model(inputs), targets)
        for head in range(2):
            mixed = model.mixed(inputs)
            mixed[..., 4 * head : 4 * head + 4] = 0
            loss = functional.cross_entropy(model.behind(inputs, mixed), targets) - base
            np.testing.assert_allclose(table.loss_increase.values[head], loss, atol=1e-9)


@pytest.mark.parametrize("asks", [False, True])
def test_axis__is_any_axis_but_that_of_the_samples(asks):
    model, (inputs, targets) = network(asks=asks), pairs()
    chosen = [ul.layer("o", axis=1)]

    table = ul.unit_ablation(model, TensorDataset(inputs, targets), layers=chosen)

    assert table.sizes["unit"] == 5
    with torch.no_grad():
        base = functional.cross_entropy(model(inputs), targets)
        for token in range(5):
            attended = model.o(model.mixed(inputs))
            attended[:, token] = 0
            x = inputs + attended
            output = model.head(model.norm(x + model.mlp(x)).mean(1))
            loss = functional.cross_entropy(output, targets) - base
            np.testing.assert_allclose(table.loss_increase.values[token], loss, atol=1e-9)
    with pytest.raises(ArgumentError, match=r"layer 'o' has axis = 0, but its output of shape"):
        ul.unit_layers(model, inputs, layers=[ul.layer("o", axis=0)])
    with pytest.raises(ArgumentError, match=r"layer 'o' has heads = 3, but its axis of 8 entries"):
        ul.unit_layers(model, inputs, layers=[ul.layer("o", heads=3)])


@pytest.mark.parametrize("asks", [False, True])
def test_several_layers_of_one_value__are_edited_each(asks):
    model, (inputs, _) = network(asks=asks), pairs()

    with UnitNetwork(model, inputs) as opened:
        layers = opened.choose(["mlp", "mlp.2", "mlp.1"])
        assert [layer.name for layer in layers] == ["mlp.1", "mlp", "mlp.2"] or [
            layer.name for layer in layers
        ] == ["mlp.1", "mlp.2", "mlp"]
        edits = {"mlp": lambda value: value + 1, "mlp.2": lambda value: value * 2}
        edited = opened.forward_with(inputs, edits)
        _, kept = opened.capture(inputs, layers, lambda _, value: value.clone())

    with torch.no_grad():
        x = inputs + model.o(model.mixed(inputs))
        torch.testing.assert_close(kept["mlp"], model.mlp(x))
        torch.testing.assert_close(kept["mlp.2"], model.mlp(x))
        either = [model.mlp(x) * 2 + 1, (model.mlp(x) + 1) * 2]
        outputs = [model.head(model.norm(x + value).mean(1)) for value in either]
    assert any(torch.allclose(edited, output) for output in outputs)


CONVNET = {
    "conv": lambda m, x: m[0](x),
    "norm": lambda m, x: m[:2](x),
    "pool": lambda m, x: m[:4](x),
    "flatten": lambda m, x: m[:5](x),
    "head": lambda m, x: m(x),
}


@pytest.mark.parametrize("name", sorted(CONVNET))
def test_modules__that_are_no_nonlinearity_are_recorded_and_ablated(name, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential()
    parts = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    for part_name, part in zip(("conv", "norm", "relu", "pool", "flatten"), parts, strict=True):
        model.add_module(part_name, part)
    model.add_module("head", nn.Linear(36, 3))
    model.norm.running_mean.normal_()
    model.eval()
    inputs, targets = torch.randn(12, 1, 8, 8), torch.arange(12) % 3
    data = TensorDataset(inputs, targets)
    with torch.no_grad():
        value = CONVNET[name](model, inputs)
        base = functional.cross_entropy(model(inputs), targets)

    path = ul.record_activations(model, data, tmp_path / "a.zarr", layers=[name])
    stored = ul.open_activations(path)[name].activation.values
    table = ul.unit_ablation(model, data, layers=[name])

    np.testing.assert_allclose(stored, value.flatten(2).mean(2) if value.dim() > 2 else value,
                               atol=1e-5)  # fmt: skip
    after = list(model.children())[list(dict(model.named_children())).index(name) + 1 :]
    for unit in range(value.shape[1]):
        ablated = value.clone()
        ablated[:, unit] = 0
        with torch.no_grad():
            loss = functional.cross_entropy(nn.Sequential(*after)(ablated), targets) - base
        np.testing.assert_allclose(table.loss_increase.values[unit], loss, atol=1e-5)


def test_functions__take_declared_layers(tmp_path):
    model, (inputs, targets) = network(asks=False), pairs()
    data = TensorDataset(inputs, targets)
    chosen = [ul.layer("mlp", axis=-1), ul.layer("reshape", heads=2)]

    curve = ul.cumulative_ablation(model, data, layers=chosen, orders=2, points=3)
    statistics = ul.network_statistics(model, data, layers=chosen)
    groups = ul.group_ablation(model, data, {"head 0": [("reshape", 0)]}, layers=chosen)
    alone = ul.unit_ablation(model, data, layers=chosen)
    rows = {"reshape": np.eye(2), "mlp": np.eye(8)[:2]}
    directions = ul.direction_ablation(model, data, rows, layers=chosen)
    noise = ul.noise_robustness(model, data, [0.0], variance=np.ones(10), layers=chosen)

    assert statistics.sizes["unit"] == alone.sizes["unit"] == 10
    assert curve.attrs["layers"] == ["reshape", "mlp"]
    of_head = alone.loss_increase.values[0]
    np.testing.assert_allclose(groups.loss_increase.values[0], of_head, atol=1e-9)
    of_units = alone.loss_increase.values[:4]
    np.testing.assert_allclose(directions.loss_increase.values, of_units, atol=1e-9)
    np.testing.assert_allclose(noise.loss.values, alone.attrs["baseline_loss"])
    with pytest.raises(ArgumentError, match=r"directions are of the layers \['mlp'\], but layers"):
        ul.direction_ablation(model, data, {"mlp": np.eye(8)}, layers=chosen)


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)) for _ in range(3)
        )

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x.sum(-1, keepdim=True).expand(-1, 2)


def test_patterns__stand_for_layers_then_modules_then_nodes():
    model, inputs = Blocks(), torch.randn(3, 6)

    def names(*chosen):
        return [layer.name for layer in ul.unit_layers(model, inputs, layers=chosen)]

    assert names("blocks.*.1") == ["blocks.0.1", "blocks.1.1", "blocks.2.1"]
    assert names("blocks.*") == ["blocks.0", "blocks.1", "blocks.2"]
    assert names(ul.layer("blocks.*", axis=-1)) == ["blocks.0", "blocks.1", "blocks.2"]
    assert names("**.1") == ["blocks.0.1", "blocks.1.1", "blocks.2.1"]
    assert names("add*") == ["add", "add_1", "add_2"]
    with pytest.raises(LayerError, match=r"no layer that fits 'block\.\*'; a \* stands for"):
        names("block.*")
    with pytest.raises(LayerError, match=r"no layer 'blocks.3'; did you mean 'blocks.2'"):
        names("blocks.3")
    with pytest.raises(LayerError, match=r"'blocks.0' is declared in two ways"):
        names("blocks.0", ul.layer("blocks.0", heads=2))


def test_depth__of_declared_layers_is_their_own_whatever_is_chosen():
    model, inputs = Blocks(), torch.randn(3, 6)

    found = ul.unit_layers(model, inputs)
    mixed = ul.unit_layers(model, inputs, layers=["blocks.*", "**.1"])
    alone = ul.unit_layers(model, inputs, layers=["blocks.1"])

    depths = {layer.name: layer.depth for layer in mixed}
    assert len(set(depths.values())) == 6
    assert {layer.name: depths[layer.name] for layer in found} == {n.name: n.depth for n in found}
    assert alone[0].depth == depths["blocks.1"] >= len(found)


def test_config__takes_declared_layers():
    from unitlens.config.base import DeclaredLayer, parse_at
    from unitlens.config.measurements import ActivationSpec

    spec = parse_at(ActivationSpec, {"layers": ["relu1", {"name": "blocks.*", "heads": 2}]})

    assert spec.layers == ("relu1", DeclaredLayer(name="blocks.*", heads=2))
    with pytest.raises(ConfigError, match=r"^layers.0.heads = 0: input should be greater than 0"):
        parse_at(ActivationSpec, {"layers": [{"name": "a", "heads": 0}]})
    with pytest.raises(ConfigError, match=r"^layers.0.head is not a key .*: did you mean 'heads'"):
        parse_at(ActivationSpec, {"layers": [{"name": "a", "head": 2}]})
    maps = {"layers": ["relu2"], "samples": 2}
    with pytest.raises(ConfigError, match=r"maps.layers must be among layers, .* name 'relu2'"):
        parse_at(ActivationSpec, {"layers": [{"name": "a"}], "maps": maps})
    with pytest.raises(ArgumentError, match="heads is 0, but must be a number of at least 1"):
        ul.layer("a", heads=0)
