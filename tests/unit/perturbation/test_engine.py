"""Shortcuts of the engine, and the networks on which it takes them."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from networks_by_hand import convnet, mlp, plain_mlp, random_pairs, residual, untraceable
from unitlens.model.network import UnitNetwork
from unitlens.perturbation.engine.effects import SummedEffect
from unitlens.perturbation.engine.engine import Engine
from unitlens.perturbation.engine.perturbed_directions import Units
from unitlens.perturbation.engine.sample_scores import SampleScores
from unitlens.perturbation.scores import make_score


@contextmanager
def opened(model, shape, *, layers=None, simplified=True):
    inputs = random_pairs(5, *shape).inputs
    with UnitNetwork(model, inputs[:2], simplified=simplified) as network:
        perturbed = (
            network.layers if layers is None else [network.layers[place] for place in layers]
        )
        yield network, Engine(network, perturbed, inputs[:2], budget=1e9), inputs


def kinds(model, shape):
    """Return for each layer whether its effects are summed by a fused kernel."""
    with opened(model, shape) as (network, engine, inputs):
        labels = torch.zeros(len(inputs), dtype=torch.int64)
        scores = torch.zeros(len(inputs), dtype=torch.float64)
        summed = {}
        for layer in network.layers:
            channels = torch.arange(layer.units)
            units = Units(layer, channels, lambda _, a: torch.zeros_like(a), channels)
            base = engine.base_pass(inputs)
            of_samples = SampleScores(labels, scores, scores, 1, make_score("top1").of_rows)
            effects = engine.each_alone(base, [units], of_samples)
            summed[layer.name] = [isinstance(effect, SummedEffect) for effect in effects]
        return summed


def test_each_alone__leaves_small_dense_heads_to_fused_kernels():
    assert kinds(mlp(), (6,)) == {"2": [True], "6": [True]}
    assert kinds(convnet(), (2, 8, 8))["6"] == [True]  # behind pooling and flattening
    assert kinds(plain_mlp(), (6,)) == {"1": [False], "4": [True]}  # a tanh is between
    assert not any(any(fused) for fused in kinds(untraceable(), (6,)).values())


@pytest.mark.parametrize(
    ("build", "shape"), [(mlp, (6,)), (convnet, (2, 8, 8)), (residual, (2, 7, 7))]
)
def test_each_alone__reads_what_the_base_pass_held(build, shape):
    with opened(build(), shape) as (network, engine, inputs):
        again = engine.base_pass(inputs)
        assert again.values is None  # nothing was asked of memory
        assert engine.batch_size(len(inputs)) == len(inputs)
        held = engine.base_pass(inputs)
        assert held.values is not None
        assert torch.equal(held.logits, again.logits)

        for layer in network.layers:
            channels = torch.arange(layer.units)
            units = [Units(layer, channels, lambda _, a: torch.zeros_like(a), channels)]
            effects, expected = (list(engine.each_alone(one, units)) for one in (held, again))
            assert len(effects) == len(expected) > 0
            for effect, other in zip(effects, expected, strict=True):
                assert torch.equal(effect.table_rows, other.table_rows)
                assert torch.equal(effect.samples, other.samples)
                assert torch.equal(effect.logits, other.logits)


def test_base_pass__is_not_held_beyond_the_budget():
    inputs = random_pairs(5, 2, 8, 8).inputs
    with UnitNetwork(convnet(), inputs[:2], simplified=True) as network:
        engine = Engine(network, network.layers, inputs[:2], budget=3e5)

        size = engine.batch_size(512)

        assert size < 512
        assert engine.base_pass(inputs[:size]).values is None


@pytest.mark.parametrize(
    ("build", "shape", "chain"),
    [(mlp, (6,), True), (convnet, (2, 8, 8), True), (residual, (2, 7, 7), False),
     (untraceable, (6,), False)],
)  # fmt: skip
def test_is_chain__where_nothing_branches(build, shape, chain):
    with opened(build(), shape) as (_, engine, _):
        assert engine.is_chain is chain


def test_is_chain__of_the_last_layer_of_a_residual_network():
    with opened(residual(), (2, 7, 7), layers=[2]) as (_, engine, _):
        assert engine.is_chain


def test_simplified_network__has_no_batch_norm_and_gives_the_same_numbers():
    model = convnet().eval()
    with opened(model, (2, 8, 8)) as (network, engine, inputs):
        kept = {type(module) for module in network.program.modules.values()}
        logits = engine.logits(inputs)

    assert nn.BatchNorm2d not in kept
    assert isinstance(model[1], nn.BatchNorm2d)
    with torch.no_grad():
        np.testing.assert_allclose(logits, model(inputs), rtol=1e-9, atol=1e-12)


def test_simplified_network__keeps_modules_with_hooks():
    model, calls = convnet(), []
    model[1].register_forward_hook(lambda *_: calls.append(1))
    with opened(model, (2, 8, 8)) as (network, engine, inputs):
        calls.clear()
        engine.logits(inputs)

    assert calls == [1]
    assert nn.BatchNorm2d in {type(module) for module in network.program.modules.values()}


def test_recording_network__is_not_simplified():
    with opened(convnet(), (2, 8, 8), simplified=False) as (network, _, _):
        assert nn.BatchNorm2d in {type(module) for module in network.program.modules.values()}
