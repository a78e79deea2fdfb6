"""Costs of perturbations are those of docs/method, worked out by hand."""

import pytest
import torch
from torch import nn

from unitlens.config.networks import ConvNetSpec, MLPSpec
from unitlens.planning.perturbation_costs import PerturbationCosts, costed_network, count_macs
from unitlens.training.models import construct_model

MLP = 784 * 512 + 512 * 512 + 512 * 10
# 3x3 convolutions of 4x4 positions, 1 to 2 and 2 to 3 channels; then 3 averages to 10 logits.
CONVOLUTIONS = (16 * 9 * 1 * 2, 16 * 9 * 2 * 3, 3 * 10)


@pytest.fixture
def costs_of(request):
    """Return a function that opens a network for as long as the test lasts."""

    def open_costs(model, *shape):
        network = costed_network(model, shape)
        network.__enter__()
        request.addfinalizer(lambda: network.__exit__(None, None, None))
        return PerturbationCosts(network, torch.zeros(1, *shape)), network.layers

    return open_costs


@pytest.fixture
def mlp(costs_of):
    model = construct_model(MLPSpec(name="mlp"), input_shape=(1, 28, 28), classes=10, seed=0)
    return costs_of(model, 1, 28, 28)


@pytest.fixture
def convnet(costs_of):
    spec = ConvNetSpec(name="convnet", channels=(2, 3), strides=(1, 1))
    return costs_of(construct_model(spec, input_shape=(1, 4, 4), classes=10, seed=0), 1, 4, 4)


def test_pass_work__counts_multiply_adds():
    assert count_macs(nn.Linear(7, 5), torch.zeros(3, 7)) == 3 * 7 * 5


def test_forward__is_one_sample_s_multiply_adds(mlp, convnet):
    assert mlp[0].forward == MLP
    assert convnet[0].forward == sum(CONVOLUTIONS)


def test_units__update_what_reads_them_and_run_what_lies_behind(mlp, convnet):
    costs, layers = mlp
    # One column of the second product and all of the third; one column of the third.
    assert costs.units(layers) == 2 * MLP + 512 * (512 + 5120) + 512 * 10

    costs, layers = convnet
    assert [costs.one_unit(layer) for layer in layers] == [CONVOLUTIONS[1] / 2 + 30, 30 / 3]
    assert costs.units(layers) == 2 * sum(CONVOLUTIONS) + 2 * (432 + 30) + 3 * 10


def test_curve__of_a_chain_runs_only_what_is_left(mlp):
    costs, layers = mlp
    behind = 512 * 512 + 512 * 10
    # 19 inner sets leave .95, .9 ... .05 of the units, 9.5 in all, of which the logits read.
    chain = 2 * MLP - behind + 10 * (512 * 512 + 9.5 * 512 * 10)
    resumed = 2 * MLP - behind + (10 * 19 + 1) * behind

    assert costs.curve(layers, orders=10, points=21) == pytest.approx(chain)
    assert costs.curve(layers, orders=10, points=21, chained=False) == resumed


def test_curve__of_ends_alone_has_one_set(mlp):
    costs, layers = mlp

    assert costs.curve(layers, orders=10, points=2, chained=False) == 2 * MLP


def test_curve__both_sides_of_a_product_are_left_out_in_a_chain(costs_of):
    model = nn.Sequential(
        *(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU()),
        *(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)),
    )
    costs, layers = costs_of(model, 2)
    left = (0.75, 0.5, 0.25)
    order = 16 + sum(16 * share**2 + 12 * share for share in left)

    assert costs.curve(layers, orders=3, points=5) == pytest.approx(2 * 52 - 44 + 3 * order)


def test_noise__runs_all_behind_the_first_layer(convnet):
    costs, layers = convnet
    for first in (0, 1):
        behind = sum(CONVOLUTIONS[first + 1 :])
        expected = 2 * sum(CONVOLUTIONS) - behind + 100 * behind
        assert costs.noise(layers[first:], 100) == expected


def test_basis_change__is_a_square_matrix_at_each_position(convnet):
    costs, layers = convnet

    assert costs.basis_change(layers) == 16 * 2 * 2 + 16 * 3 * 3


def test_units__of_a_network_that_cannot_be_traced_take_whole_passes(costs_of):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.relu, self.last = nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)

        def forward(self, inputs):
            hidden = self.relu(self.first(inputs))
            return self.last(hidden if hidden.sum() > 1e9 else 2 * hidden)

    costs, layers = costs_of(Branching(), 6)

    assert costs.forward == 6 * 5 + 5 * 4
    assert costs.units(layers) == 2 * 50 + 5 * 50
    assert costs.noise(layers, 10) == 50 + 10 * 50
