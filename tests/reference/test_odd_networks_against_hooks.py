"""Perturbations of small odd networks against naive whole passes, in float64."""

from operator import methodcaller

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn import functional

import unitlens as ul
from eager_passes import (
    Network,
    assert_cumulative,
    assert_layers,
    assert_noise,
    assert_unit_ablation,
    scores,
)
from eager_passes import clamp as clamp_in_place
from networks_by_hand import NETWORKS, Pairs, clamp, naive_scores, random_pairs
from odd_convnets import CONVNETS
from odd_networks import VECTORS, Wired, mlp
from unitlens.errors import LayerError

# One of the networks puts out sigmoids.
pytestmark = pytest.mark.filterwarnings("ignore::unitlens.errors.ScoreWarning")

ODD = VECTORS | {f"conv_{name}": odd for name, odd in CONVNETS.items()}
BATCH = 4  # of seven samples: the second batch is smaller than the first


@pytest.fixture(scope="module", params=ODD)
def network(request):
    odd = ODD[request.param]
    return Network(odd.model(), odd.pairs(), odd.last)


def test_unit_layers__are_the_nonlinearities_of_a_pass(network):
    assert_layers(network)


@pytest.mark.parametrize("value", ["zero", "array"])
def test_unit_ablation__equals_whole_passes(network, value):
    units = len(network.units())
    values = np.linspace(-1, 1, units) if value == "array" else np.zeros(units)

    table = ul.unit_ablation(
        network.model, network.pairs, value=values if value == "array" else "zero", batch_size=BATCH
    )

    assert list(zip(table.layer.values, table.channel.values, strict=True)) == network.units()
    changes = assert_unit_ablation(network, table, values)
    assert np.abs(changes).max() > 1e-4


@pytest.mark.parametrize("value", ["zero", "mean"])
def test_cumulative_ablation__equals_whole_passes(network, value):
    curve = ul.cumulative_ablation(
        network.model, network.pairs, orders=2, points=4, value=value, seed=1, batch_size=BATCH
    )

    assert_cumulative(network, curve, network.means() if value == "mean" else 0.0, seed=1)


@pytest.mark.parametrize("per", ["element", "unit"])
def test_noise_robustness__equals_whole_passes(network, per):
    noise = ul.noise_robustness(
        network.model, network.pairs, [0.5, 2.0], variance=network.variance(0.3), draws=1,
        batch_size=BATCH, per=per,
    )  # fmt: skip

    assert_noise(network, noise, variance=0.3)


@pytest.mark.parametrize("name", NETWORKS)
def test_naive_passes__equal_plain_forward_hooks(name):
    """What all else here is compared with is itself what hooks on modules do."""
    build, shape, places = NETWORKS[name]
    model, pairs = build(), random_pairs(7, *shape)
    names = [f"{module}_{call}" if call else module for module, call in places]

    assert list(Network(model, pairs).activations) == names
    for place, layer in zip(places, names, strict=True):
        by_hooks = naive_scores(model, pairs, {place: clamp([0, 2], [0.3, -1.0])})
        in_place = scores(model, pairs, {layer: clamp_in_place(1, [0, 2], [0.3, -1.0])})
        np.testing.assert_array_equal(in_place, by_hooks)


FUNCTIONS = [
    *(functional.celu, functional.elu, functional.gelu, functional.glu, functional.hardshrink),
    *(functional.hardsigmoid, functional.hardswish, functional.hardtanh, functional.leaky_relu),
    *(functional.logsigmoid, functional.mish, functional.relu, functional.relu6, functional.rrelu),
    *(functional.selu, functional.silu, functional.softplus, functional.softshrink),
    *(functional.softsign, functional.tanhshrink, functional.elu_, functional.leaky_relu_),
    *(torch.sigmoid, torch.tanh, torch.relu, torch.relu_, torch.sigmoid_, torch.tanh_, torch.selu),
    *(torch.special.expit, *map(methodcaller, ("relu", "relu_", "sigmoid_", "tanh"))),
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_unit_layers__of_each_nonlinear_function(function):
    width = 4 if function is functional.glu else 8
    parts = {"a": nn.Linear(6, 8), "head": nn.Linear(width, 4)}
    model = Wired(lambda m, x: m.head(function(m.a(x))), **parts)

    layers = ul.unit_layers(model, torch.randn(2, 6))

    assert [(layer.units, layer.axis) for layer in layers] == [(width, 1)]


def test_unit_ablation__of_a_linear_model_is_refused():
    with pytest.raises(LayerError, match="the model has no layer of units: no nonlinearity was"):
        ul.unit_ablation(mlp().model(), random_pairs(5, 6))


@pytest.mark.parametrize("width", [1, 2, 3, 31, 64, 100, 300])
def test_unit_ablation__of_any_width(width):
    odd = mlp(width, width)
    net = Network(odd.model(), odd.pairs())

    table = ul.unit_ablation(net.model, net.pairs, units=12, batch_size=BATCH)

    assert_unit_ablation(net, table)


def test_unit_ablation__of_inputs_that_want_gradients():
    odd = mlp(8, 5)
    model, pairs = odd.model(), odd.pairs()
    wanting = Pairs(pairs.inputs.clone().requires_grad_(), pairs.labels)

    table = ul.unit_ablation(model, wanting)

    xr.testing.assert_identical(table, ul.unit_ablation(model, pairs))
    assert wanting.inputs.grad is None
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["batch_norm_before", "conv_residual", "overwrites_part"])
def test_unit_ablation__of_a_model_in_training(name):
    """It is used as in eval mode, and comes back in training with its statistics as they were."""
    odd = ODD[name]
    model, pairs = odd.model(), odd.pairs()
    expected = ul.unit_ablation(model, pairs)
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}

    table = ul.unit_ablation(model, pairs)

    xr.testing.assert_identical(table, expected)
    assert all(module.training for module in model.modules())
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("place", [0, 2])
def test_unit_ablation__runs_the_hooks_of_a_model(place):
    model, pairs, seen = mlp(8, 5).model(), mlp().pairs(), []
    model[place].register_forward_hook(lambda *call: seen.append(len(call[-1])))

    table = ul.unit_ablation(model, pairs)

    assert sum(seen) >= len(pairs)
    assert len(model[place]._forward_hooks) == 1
    assert_unit_ablation(Network(model, pairs), table)
