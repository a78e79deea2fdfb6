"""An MLP with batch norm: its units, its damage and its weights, by hand in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.config.networks import MLPSpec
from unitlens.model.network import UnitNetwork
from unitlens.model.weights import l1_norms
from unitlens.perturbation.engine.effects import SummedEffect
from unitlens.perturbation.engine.engine import Engine
from unitlens.perturbation.engine.perturbed_directions import Units
from unitlens.perturbation.engine.sample_scores import SampleScores
from unitlens.perturbation.scores import make_score
from unitlens.training.models import build_model

WIDTHS, INPUTS, CLASSES, SAMPLES = (9, 7), 6, 4, 50


@pytest.fixture(scope="module", params=[0.0, 0.4], ids=["", "with dropout"])
def network(request):
    """Return an MLP with batch norm whose statistics and factors are far from their first ones."""
    spec = MLPSpec(name="mlp", widths=WIDTHS, batch_norm=True, dropout=request.param)
    model = build_model(spec, input_shape=(1, 2, 3), classes=CLASSES, seed=3)
    rng = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            size = module.num_features
            module.running_mean.copy_(torch.randn(size, generator=rng) * 0.3)
            module.running_var.copy_(torch.rand(size, generator=rng) + 0.2)
            with torch.no_grad():
                # Factors of both signs: a unit may be turned around.
                module.weight.copy_(torch.randn(size, generator=rng) * 2)
                module.bias.copy_(torch.randn(size, generator=rng) * 0.5)
    return model.eval()


@pytest.fixture(scope="module")
def dataset():
    rng = torch.Generator().manual_seed(7)
    inputs = torch.randn(SAMPLES, 1, 2, 3, generator=rng)
    return TensorDataset(inputs, torch.randint(0, CLASSES, (SAMPLES,), generator=rng))


def logits_by_hand(model, inputs, zeroed=()):
    """Compute linear, batch norm, ReLU in each layer; `zeroed` are pairs of layer and channel."""
    state = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    values = inputs.double().numpy().reshape(len(inputs), -1)
    for number in range(1, len(WIDTHS) + 1):
        values = values @ state[f"dense{number}.weight"].T
        scale = np.sqrt(state[f"norm{number}.running_var"] + 1e-5)
        values = (values - state[f"norm{number}.running_mean"]) / scale
        values = values * state[f"norm{number}.weight"] + state[f"norm{number}.bias"]
        values = np.maximum(values, 0)
        for layer, channel in zeroed:
            if layer == f"relu{number}":
                values[:, channel] = 0
    return values @ state["output.weight"].T + state["output.bias"]


def scores_by_hand(logits, labels):
    """Return the cross-entropy of each sample, and whether the label has the largest logit."""
    rows = np.arange(len(labels))
    losses = np.log(np.exp(logits).sum(1)) - logits[rows, labels]
    return losses, logits.argmax(1) == labels


def test_forward__is_linear_then_batch_norm_then_relu(network, dataset):
    inputs, _ = dataset.tensors

    with torch.no_grad():
        logits = network(inputs)

    np.testing.assert_allclose(logits, logits_by_hand(network, inputs), rtol=1e-4, atol=1e-5)
    assert not any("dense" in name and "bias" in name for name in network.state_dict())


def test_units__are_the_outputs_of_the_relus(network):
    layers = ul.unit_layers(network, torch.zeros(2, 1, 2, 3))

    assert [(layer.name, layer.units) for layer in layers] == [("relu1", 9), ("relu2", 7)]


def test_unit_ablation__by_hand(network, dataset):
    inputs, labels = dataset.tensors[0], dataset.tensors[1].numpy()
    losses, hits = scores_by_hand(logits_by_hand(network, inputs), labels)

    table = ul.unit_ablation(network, dataset)

    assert table.sizes["unit"] == sum(WIDTHS)
    for unit in range(table.sizes["unit"]):
        row = table.isel(unit=unit)
        place = row["layer"].item(), row["channel"].item()
        lost, hit = scores_by_hand(logits_by_hand(network, inputs, [place]), labels)
        assert row["loss_increase"].item() == pytest.approx((lost - losses).mean(), abs=2e-5)
        drop = (hits.astype(float) - hit).mean()
        assert row["accuracy_drop"].item() == pytest.approx(drop, abs=1e-9)


def test_ablation_of_groups_and_of_all_units__by_hand(network, dataset):
    inputs, labels = dataset.tensors[0], dataset.tensors[1].numpy()
    order = [("relu2", 3), ("relu1", 0), ("relu1", 8), ("relu2", 0), ("relu1", 4)]
    order += [("relu1", c) for c in range(9) if ("relu1", c) not in order]
    order += [("relu2", c) for c in range(7) if ("relu2", c) not in order]
    groups = {str(size): order[:size] for size in (1, 3, 8, 16)}

    table = ul.group_ablation(network, dataset, groups=groups)

    losses, _ = scores_by_hand(logits_by_hand(network, inputs), labels)
    for size, members in groups.items():
        lost, _ = scores_by_hand(logits_by_hand(network, inputs, members), labels)
        increase = table["loss_increase"].sel(group=size).item()
        assert increase == pytest.approx((lost - losses).mean(), abs=2e-5)
    curves = ul.cumulative_ablation(network, dataset, orders=2, points=5)
    nothing, everything = (curves["accuracy"].isel(ablated=place).values for place in (0, -1))
    _, hits = scores_by_hand(logits_by_hand(network, inputs), labels)
    _, without = scores_by_hand(logits_by_hand(network, inputs, order), labels)
    np.testing.assert_allclose(nothing, hits.mean())
    np.testing.assert_allclose(everything, without.mean())


def test_engine__folds_batch_norm_into_a_chain_and_sums_by_fused_kernels(network, dataset):
    inputs, labels = dataset.tensors
    with UnitNetwork(network, inputs[:2], simplified=True) as opened:
        engine = Engine(opened, opened.layers, inputs[:2], budget=1e9)
        assert nn.BatchNorm1d not in {type(m) for m in opened.program.modules.values()}
        assert engine.is_chain
        scores = torch.zeros(len(inputs), dtype=torch.float64)
        of_samples = SampleScores(labels, scores, scores, CLASSES, make_score("top1").of_rows)
        base = engine.base_pass(inputs)
        for layer in opened.layers:
            channels = torch.arange(layer.units)
            units = Units(layer, channels, lambda _, a: torch.zeros_like(a), channels)
            effects = list(engine.each_alone(base, [units], of_samples))
            assert effects
            assert all(isinstance(effect, SummedEffect) for effect in effects)


def test_l1_norm__is_that_of_the_dense_weights_as_they_stand(network):
    norms = l1_norms(network, torch.zeros(2, 1, 2, 3))

    expected = [
        np.abs(network.state_dict()[f"dense{number}.weight"].double().numpy()).sum(1)
        for number in (1, 2)
    ]
    np.testing.assert_allclose(norms.values, np.concatenate(expected))
