"""Layers of units, and restoring a model afterwards."""

import copy
import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import unitlens as ul
from networks_by_hand import (
    Untraceable,
    batch_dependent,
    convnet,
    mlp,
    preactivated,
    residual,
    untraceable,
)
from unitlens.config.base import LastLayers
from unitlens.errors import ArgumentError, LayerError, ModelError
from unitlens.model.graph import UnitTracer
from unitlens.model.layers import choose_layers, reduce_positions
from unitlens.model.network import UnitNetwork

# Models without torchvision's composite operations, which its own tracer takes as one node.
PLAIN = ["resnet18", "densenet121", "googlenet", "inception_v3", "vgg11_bn", "shufflenet_v2_x0_5"]
COMPOSITE = ["mobilenet_v2", "efficientnet_b0", "vit_b_16", "swin_t", "convnext_tiny"]


def torchvision_model(name):
    from torchvision.models import get_model

    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        return get_model(name, weights=None, **options).eval()


def our_names(model):
    tracer = UnitTracer()
    tracer.trace(model)
    return list(tracer.names.values())


@pytest.mark.parametrize("name", PLAIN)
def test_graph_node_names__are_torchvisions(name):
    from torchvision.models.feature_extraction import get_graph_node_names

    model = torchvision_model(name)

    assert our_names(model) == get_graph_node_names(model, suppress_diff_warning=True)[1]


def test_graph_node_names__of_functional_calls_are_torchvisions():
    from torchvision.models.feature_extraction import get_graph_node_names

    for model in (Functional(), residual(), preactivated()):
        names = get_graph_node_names(model, suppress_diff_warning=True)[1]
        assert our_names(model.eval()) == names


@pytest.mark.parametrize("name", COMPOSITE)
def test_graph_node_names__are_torchvisions_inside_composites_too(name):
    import math

    import torchvision
    from torchvision.models.feature_extraction import NodePathTracer

    leaves = (torchvision.ops.StochasticDepth, torchvision.ops.Permute)
    tracer = NodePathTracer(
        autowrap_modules=(math, torchvision.ops), leaf_modules=dict.fromkeys(leaves)
    )
    model = torchvision_model(name)
    tracer.trace(model)

    assert our_names(model) == list(tracer.node_to_qualname.values())


def test_unit_layers__of_a_resnet():
    from torchvision.models import resnet18

    layers = ul.unit_layers(resnet18(), torch.randn(1, 3, 32, 32))

    names = [layer.name for layer in layers]
    assert names[:3] == ["relu", "layer1.0.relu", "layer1.0.relu_1"]
    assert len(names) == 17
    assert (layers[0].units, layers[0].shape, layers[0].axis) == (64, (64, 16, 16), 1)
    assert [layer.depth for layer in layers] == list(range(17))
    assert layers.traced
    assert layers.reason == ""


def test_unit_layers__of_a_vision_transformer_are_its_gelus():
    from torchvision.models import VisionTransformer

    model = VisionTransformer(16, 8, 2, 2, 12, 20, num_classes=5)

    layers = ul.unit_layers(model, torch.randn(2, 3, 16, 16))

    assert [layer.name for layer in layers] == [
        f"encoder.layers.encoder_layer_{block}.mlp.1" for block in (0, 1)
    ]
    assert [(layer.units, layer.shape, layer.axis) for layer in layers] == [(20, (5, 20), -1)] * 2


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.ModuleList(nn.Linear(6, 6) for _ in range(9))

    def forward(self, x):
        x = functional.relu(self.dense[0](x))
        x = torch.relu(self.dense[1](x))
        x = self.dense[2](x).relu()
        x = self.dense[3](x).relu_()
        x = functional.gelu(self.dense[4](x))
        x = torch.sigmoid(self.dense[5](x))
        gated = self.dense[6](x)
        x = gated * gated.sigmoid()
        x = self.dense[7](x).clamp(min=0)
        return functional.softmax(self.dense[8](x), dim=1)


def test_unit_layers__finds_functional_calls():
    layers = ul.unit_layers(Functional(), torch.randn(2, 6))

    assert [layer.name for layer in layers] == [
        "relu", "relu_1", "relu_2", "relu_", "gelu", "sigmoid", "mul", "clamp",
    ]  # fmt: skip


def test_unit_layers__a_relu_used_three_times():
    layers = ul.unit_layers(residual(), torch.randn(1, 2, 7, 7))

    assert [layer.name for layer in layers] == ["relu", "relu_1", "relu_2"]


@pytest.mark.parametrize("head", [nn.Sigmoid(), nn.Sequential(nn.ReLU(), nn.Flatten())])
def test_unit_layers__the_output_is_none(head):
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3), head)

    assert [layer.name for layer in ul.unit_layers(model, torch.randn(2, 6))] == ["1"]


def test_unit_layers__tells_what_it_cannot_trace(caplog):
    caplog.set_level(logging.INFO, "unitlens")

    layers = ul.unit_layers(untraceable(), torch.randn(2, 6))

    assert [layer.name for layer in layers] == ["act", "act_1"]
    assert not layers.traced
    assert "symbolically traced variables cannot be used" in layers.reason
    assert "the model cannot be traced" in caplog.text
    assert repr(layers).splitlines()[-1].startswith("2 layers, 10 units, named by calls; not")


def test_unit_layers__a_graph_that_lies_is_not_taken():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense, self.act, self.calls = nn.Linear(6, 6), nn.ReLU(), 0

        def forward(self, x):
            self.calls += 1  # Python state: the graph keeps the number of one call
            return self.dense(self.act(self.dense(x))) * self.calls

    layers = ul.unit_layers(Noisy(), torch.randn(2, 6))

    assert layers.reason == "its graph gives other numbers than the model itself"
    assert [layer.name for layer in layers] == ["act"]


class MixedRows(nn.Module):
    """Rows of all samples at one position after those at another one."""

    def __init__(self):
        super().__init__()
        self.dense, self.act, self.head = nn.Linear(3, 3), nn.ReLU(), nn.Linear(6, 2)

    def forward(self, x):
        rows = x.reshape(-1, 2, 3).transpose(0, 1).reshape(-1, 3)
        rows = self.act(self.dense(rows)).reshape(2, -1, 3).transpose(0, 1)
        return self.head(torch.tanh(rows.reshape(-1, 6)))


def test_left_out__is_told_by_a_warning_the_table_and_strict():
    model, inputs = MixedRows(), torch.randn(3, 6)

    with pytest.warns(ul.UnitsWarning, match="lack 'act': its rows are not those of one") as told:
        layers = ul.unit_layers(model, inputs)

    assert len(told) == 1
    assert told[0].filename == __file__
    assert [layer.name for layer in layers] == ["tanh"]
    assert layers.left_out == {"act": "its rows are not those of one sample each"}
    assert repr(layers).splitlines()[-1].startswith("left out: 'act': its rows are")
    with pytest.raises(LayerError, match="units are left out of the layers: 'act': its rows"):
        ul.unit_layers(model, inputs, strict=True)


def test_left_out__is_told_once_by_each_function_and_not_where_layers_are_named():
    model, inputs = MixedRows(), torch.randn(3, 6)
    data = torch.utils.data.TensorDataset(inputs, torch.tensor([0, 1, 0]))

    with pytest.warns(ul.UnitsWarning, match="lack 'act'") as told:
        table = ul.unit_ablation(model, data)

    assert len(told) == 1
    assert table.attrs["layers_left_out"] == ["act"]
    assert "layers_left_out" not in ul.unit_ablation(model, data, layers=["tanh"]).attrs


def test_left_out__heads_that_do_not_reach_the_output_unless_named():
    class TwoHeads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 5), nn.Linear(5, 3), nn.Linear(5, 3)

        def forward(self, x):
            hidden = torch.relu(self.a(x))
            return {"out": self.c(hidden), "aux": self.b(torch.tanh(hidden))}

    model, inputs = TwoHeads(), torch.randn(3, 6)

    with pytest.warns(ul.UnitsWarning, match="lack 'tanh': it does not reach the output"):
        layers = ul.unit_layers(model, inputs)

    assert [layer.name for layer in layers] == ["relu"]
    assert [one.name for one in ul.unit_layers(model, inputs, layers=["tanh"])] == ["tanh"]


def test_left_out__calls_that_depend_on_the_batch_and_parts_that_do_not_run():
    class Choosy(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.act, self.unused = nn.Linear(6, 6), nn.ReLU(), nn.ELU()
            self.other = nn.Sequential(nn.Linear(6, 6), nn.Tanh())

        def forward(self, x):
            hidden = self.act(self.a(x))
            if len(x) == 2:
                hidden = torch.sigmoid(hidden)
            return self.a(self.other(hidden) if hidden.sum() > 1e9 else hidden)

    with pytest.warns(ul.UnitsWarning, match="the layers of units lack"):
        layers = ul.unit_layers(Choosy(), torch.randn(3, 6))

    assert layers.left_out == {
        "sigmoid": "it is called with two samples and not with three",
        "other.1": "it does not run on the example",
    }


def test_rows__of_some_samples_only_are_refused():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.act, self.head = nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)

        def forward(self, x):
            rows = (x[:, 0] > 0).nonzero()[:, 0]
            out = self.head(x)
            out[rows] += self.head(self.act(self.first(x[rows])))
            return out

    model, inputs = Experts(), torch.randn(4, 6)
    inputs[:3, 0], inputs[3, 0] = 1.0, -1.0

    with UnitNetwork(model, inputs[:3]) as network:
        assert [layer.name for layer in network.layers] == ["act"]
        with pytest.raises(ModelError, match="layer 'act' has 3 rows in a batch of 4 samples"):
            network.forward_with(inputs, {"act": torch.zeros_like})


@pytest.mark.parametrize(
    ("model", "example", "axis", "units"),
    [
        (nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Flatten()), (2, 3, 8), 1, 4),
        (nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Flatten()), (2, 3, 8), -1, 5),
        (nn.Sequential(nn.ReLU(), nn.Linear(8, 5)), (2, 3, 8), -1, 8),
        (nn.Sequential(nn.Linear(8, 5), nn.GELU(), nn.Linear(5, 2)), (2, 3, 4, 8), -1, 5),
        (nn.Sequential(nn.Conv3d(3, 4, 2), nn.ReLU(), nn.Flatten()), (2, 3, 4, 4, 4), 1, 4),
        (nn.Sequential(nn.BatchNorm1d(3), nn.ELU(), nn.Flatten()), (2, 3, 8), 1, 3),
    ],
)
def test_unit_layers__axis_of_the_units(model, example, axis, units):
    model = nn.Sequential(model, nn.LazyLinear(2))
    model(torch.randn(example))

    (layer,) = ul.unit_layers(model, torch.randn(example))

    assert (layer.axis, layer.units) == (axis, units)


def test_unit_layers__forward_with_defaults_and_a_dictionary():
    class Dictionary(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x, targets=None, *, scale=2.0):
            hidden = torch.relu(self.first(x)) * scale
            if targets is not None:
                raise AssertionError
            return {"hidden": hidden, "logits": self.head(hidden)}

    model = Dictionary()
    inputs = torch.randn(4, 6)
    with UnitNetwork(model, inputs) as network:
        assert network.layers.traced
        assert [layer.name for layer in network.layers] == ["relu"]
        logits = network.forward_with(inputs, {})
    assert torch.equal(logits, model(inputs)["logits"])


def test_unit_layers__prints_an_aligned_table():
    assert repr(ul.unit_layers(mlp(), torch.randn(1, 6))).splitlines() == [
        "depth  layer  units  shape",
        "    0  2          9  9",
        "    1  6          7  7",
        "2 layers, 16 units, named by graph nodes",
    ]


def test_unit_layers__by_name():
    layers = ul.unit_layers(mlp(), torch.randn(1, 6))

    assert layers["6"] is layers[1]
    with pytest.raises(LayerError, match="the model has no layer 'relu1'"):
        layers["relu1"]


def test_unit_layers__takes_a_data_set_or_one_input():
    model, inputs = mlp(), torch.randn(4, 6, dtype=torch.float64)
    expected = repr(ul.unit_layers(model, inputs))
    data = torch.utils.data.TensorDataset(inputs, torch.arange(4))

    assert repr(ul.unit_layers(model, data)) == expected
    assert repr(ul.unit_layers(model, inputs[0])) == expected


def test_unit_layers__refuses_models_without_values():
    lazy = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 3))
    inputs = torch.randn(4, 6)

    with pytest.raises(ModelError, match=r"'0' \(LazyLinear\) is lazy.*model\(inputs\)"):
        ul.unit_layers(lazy, inputs)
    lazy(inputs)
    assert [layer.units for layer in ul.unit_layers(lazy, inputs)] == [8]
    with pytest.raises(ModelError, match=r"'0' \(Linear\) are on the device 'meta'"):
        ul.unit_layers(nn.Sequential(nn.Linear(6, 3, device="meta")), inputs)


def test_unit_layers__a_gate_of_one_channel_has_the_channels_as_units():
    class EfficientAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.mix = nn.Conv2d(3, 8, 3), nn.Conv1d(1, 1, 3, padding=1)
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            maps = self.conv(x)
            gate = self.mix(maps.mean((2, 3)).view(len(x), 1, -1)).sigmoid()
            column = self.mix(maps.mean((2, 3)).unsqueeze(1)).view(len(x), -1, 1, 1)
            maps = maps * gate.view(len(x), -1, 1, 1) * torch.sigmoid(column)
            return self.head(maps.mean((2, 3)))

    layers = ul.unit_layers(EfficientAttention(), torch.randn(2, 3, 6, 6))

    assert [(one.shape, one.units) for one in layers] == [((1, 8), 8), ((8, 1, 1), 8)]


def test_unit_layers__refuses_an_empty_example():
    with pytest.raises(ArgumentError, match=r"example has shape \(0, 6\), but must be a batch"):
        ul.unit_layers(mlp(), torch.empty(0, 6))


def test_unit_layers__says_when_the_model_cannot_be_run():
    with pytest.raises(ModelError, match=r"cannot be run on inputs of shape \(3, 5\): mat1 and"):
        ul.unit_layers(mlp(), torch.randn(2, 5))


def test_choose_layers():
    layers = ul.unit_layers(residual(), torch.randn(1, 2, 7, 7))

    assert choose_layers(layers, None) == tuple(layers)
    assert choose_layers(layers, ["relu_2", "relu"]) == (layers[0], layers[2])
    assert choose_layers(layers, LastLayers(last=2)) == (layers[1], layers[2])
    with pytest.raises(LayerError, match="the model has no layer 'relu3'; did you mean 'relu'"):
        choose_layers(layers, ["relu3"])
    with pytest.raises(LayerError, match="last 4 layers were asked for, but there are 3"):
        choose_layers(layers, LastLayers(last=4))
    with pytest.raises(LayerError, match="layers is empty, but must name at least one layer"):
        choose_layers(layers, [])
    assert choose_layers(layers, 2) == (layers[1], layers[2])
    assert choose_layers(layers, 3) == tuple(layers)
    with pytest.raises(LayerError, match="last 4 layers were asked for, but there are 3"):
        choose_layers(layers, 4)
    for count in (0, -1, True, False):
        with pytest.raises(ArgumentError, match=rf"^layers is {count}, but must be at least 1 "):
            choose_layers(layers, count)
    with pytest.raises(LayerError, match="no layer of units: no nonlinearity was found"):
        choose_layers(ul.unit_layers(nn.Linear(2, 2), torch.randn(1, 2)), None)


def test_choose_layers__says_what_can_be_named_where_there_is_none():
    layers = ul.unit_layers(nn.Sequential(nn.Linear(2, 2)), torch.randn(1, 2))

    with pytest.raises(LayerError, match="; name modules whose outputs are units, such as '0'"):
        choose_layers(layers, None)


def test_edits__of_a_part_that_is_overwritten_in_place():
    class OverwritesPart(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.output = nn.Linear(6, 8), nn.Linear(8, 4)

        def forward(self, inputs):
            hidden = self.hidden(inputs)
            torch.relu_(hidden[:, :4])
            return self.output(hidden)

    model, inputs = OverwritesPart(), torch.randn(3, 6)
    with UnitNetwork(model, inputs) as network:
        assert [(one.name, one.units) for one in network.layers] == [("relu_", 4)]
        edited = network.forward_with(inputs, {"relu_": torch.zeros_like})

    with torch.no_grad():
        hidden = model.hidden(inputs)
        hidden[:, :4] = 0
        torch.testing.assert_close(edited, model.output(hidden))


def plain_activations(model, inputs, names):
    """Collect copies of the results of an activation module's calls, in order."""
    kept, handles = [], []
    for name in dict.fromkeys(names):
        module = model.get_submodule(name)
        handles.append(module.register_forward_hook(lambda *call: kept.append(call[-1].clone())))
    with torch.no_grad():
        output = model.eval()(inputs.clone())
    for handle in handles:
        handle.remove()
    return output, kept


@pytest.mark.parametrize(
    ("build", "shape", "modules"),
    [
        (convnet, (2, 8, 8), ["2", "6"]),
        (residual, (2, 7, 7), ["relu"]),
        (untraceable, (6,), ["act"]),
    ],
)
def test_capture__equals_plain_hooks(build, shape, modules):
    model, inputs = build(), torch.randn(5, *shape, dtype=torch.float64)
    expected_output, expected = plain_activations(model, inputs, modules)

    with UnitNetwork(model, inputs) as network:
        output, kept = network.capture(inputs, network.layers, lambda _, activation: activation)

    torch.testing.assert_close(output, expected_output)
    assert len(kept) == len(expected)
    for captured, activation in zip(kept.values(), expected, strict=True):
        torch.testing.assert_close(captured, activation)


def test_capture__leaves_the_inputs_alone():
    model, inputs = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 2)), torch.randn(3, 6)
    before = inputs.clone()

    with UnitNetwork(model, inputs) as network:
        network.capture(inputs, network.layers, lambda _, activation: activation.sum())

    assert torch.equal(inputs, before)


def test_reduce_positions():
    (layer, _) = ul.unit_layers(convnet(), torch.randn(1, 2, 8, 8))
    maps = torch.randn(3, 6, 8, 8)

    torch.testing.assert_close(reduce_positions(maps, layer, "mean"), maps.mean((2, 3)))
    torch.testing.assert_close(reduce_positions(maps, layer, "max"), maps.amax((2, 3)))


class Restless(nn.Module):
    """Counts calls in a buffer, replaces another, and stores its input, in eval mode too."""

    def __init__(self):
        super().__init__()
        self.dense, self.act, self.head = nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        hidden = self.act(self.dense(x))
        self.last = hidden.mean().detach()
        self.seen = hidden
        return self.head(hidden) + torch.tensor([1.0, 2.0, 3.0], dtype=x.dtype)


def state_of(model):
    return {
        name: (
            module.training,
            dict(module._forward_hooks),
            sorted(vars(module)),
            {key: (id(value), value.clone()) for key, value in module._buffers.items()},
            {key: (id(value), value.data_ptr()) for key, value in module.named_parameters()},
        )
        for name, module in model.named_modules()
    }  # fmt: skip


def assert_same_state(before, after):
    for name, (mode, hooks, attributes, buffers, parameters) in before.items():
        assert after[name][:3] == (mode, hooks, attributes)
        assert after[name][4] == parameters
        for key, (identity, values) in buffers.items():
            assert after[name][3][key][0] == identity
            assert torch.equal(after[name][3][key][1], values)


@pytest.mark.parametrize("build", [mlp, convnet, residual, preactivated, untraceable, Restless])
def test_model__comes_back_as_it_went_in(build):
    model = build().double()
    model.train()
    next(iter(model.children())).eval()  # a mode of its own
    model.register_forward_hook(lambda *_: None)
    shape = {convnet: (2, 8, 8), residual: (2, 7, 7)}.get(build, (6,))
    inputs = torch.randn(4, *shape, dtype=torch.float64)
    before = state_of(model)

    with UnitNetwork(model, inputs, device="cpu") as network:
        assert not any(module.training for module in model.modules())
        network.capture(inputs, network.layers, lambda _, activation: activation.sum())

    assert_same_state(before, state_of(model))


def test_model__comes_back_after_an_exception():
    model, inputs = Untraceable(), torch.randn(4, 6)
    before = state_of(model)

    def fail(activation):
        raise RuntimeError("stop")

    with UnitNetwork(model, inputs) as network, pytest.raises(RuntimeError, match="stop"):
        network.forward_with(inputs, {"act": fail})
    with pytest.raises(ModelError):
        ul.unit_layers(model, torch.randn(2, 5))

    assert_same_state(before, state_of(model))
    assert not torch.is_inference_mode_enabled()


def test_model__can_be_trained_further():
    model, inputs = mlp(), torch.randn(8, 6, dtype=torch.float64)
    twin = copy.deepcopy(model)
    ul.unit_layers(model, inputs)

    for net in (model, twin):
        torch.manual_seed(1)
        net.train()(inputs).square().sum().backward()

    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_modes__a_model_that_asks_whether_it_is_training():
    class Asking(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x):
            hidden = torch.tanh(self.dense(x))
            if self.training:
                hidden = functional.relu(hidden) * torch.randn(())
            return self.head(functional.dropout(hidden, 0.5, self.training))

    layers = ul.unit_layers(Asking().train(), torch.randn(2, 6))

    assert [layer.name for layer in layers] == ["tanh"]


def test_batch_dependent_models__are_traced_all_the_same():
    assert ul.unit_layers(batch_dependent(), torch.randn(4, 6)).traced


def test_edits__replace_what_is_read_later():
    model, inputs = residual(), torch.randn(3, 2, 7, 7, dtype=torch.float64)

    with UnitNetwork(model, inputs) as network:
        edited = network.forward_with(inputs, {"relu_2": torch.zeros_like})

    np.testing.assert_allclose(edited, model.head.bias.detach().expand(3, -1))
