"""Perturbations of published architectures against naive whole passes, in float64."""

import numpy as np
import pytest

import unitlens as ul
from eager_passes import (
    Network,
    assert_cumulative,
    assert_layers,
    assert_noise,
    assert_unit_ablation,
    run,
)
from network_zoo import ZOO, zoo_network
from unitlens.config.base import LastLayers

pytestmark = pytest.mark.slow

# Their units lie on the last axis: dense layers over tokens, or over positions.
LAST_AXIS = ("vision_transformer", "convnext")


@pytest.fixture(scope="module", params=ZOO)
def network(request):
    model, pairs = zoo_network(request.param)
    places = run(model, pairs.inputs)[1] if request.param in LAST_AXIS else []
    return Network(model, pairs, last=tuple(place.name for place in places))


def test_unit_layers__are_the_nonlinearities_of_a_pass(network):
    assert_layers(network)


def test_unit_ablation__equals_whole_passes(network):
    names = list(network.activations)
    spread = {names[place] for place in np.linspace(0, len(names) - 1, 8).astype(int)}

    table = ul.unit_ablation(network.model, network.pairs, layers=spread, units=10, seed=1)

    changes = assert_unit_ablation(network, table)
    assert np.median(np.abs(changes).max(1)) > 1e-6  # far above what counts as equal


def test_cumulative_ablation__equals_whole_passes(network):
    last = list(network.activations)[-3:]

    curve = ul.cumulative_ablation(
        network.model, network.pairs, orders=2, points=4, value="mean", layers=LastLayers(last=3)
    )

    assert_cumulative(network, curve, network.means(last), layers=last)
    assert np.ptp(curve.loss.values) > 1e-6


def test_noise_robustness__equals_whole_passes(network):
    noise = ul.noise_robustness(
        network.model, network.pairs, [0.1, 1.0], variance=network.variance(), draws=1
    )

    assert_noise(network, noise)
