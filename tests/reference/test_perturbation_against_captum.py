"""Ablation against Captum's, in float64."""

import pytest
import torch
from captum.attr import LayerFeatureAblation
from torch.nn import functional

import unitlens as ul
from networks_by_hand import convnet, plain_mlp, random_pairs, relative
from odd_convnets import CONVNETS
from odd_networks import VECTORS

SAMPLES = 11

# A network, and its modules that are layers of units, each called once.
NETWORKS = {
    "plain_mlp": (plain_mlp, (6,), ["1", "4"]),
    "uneven_widths": (VECTORS["uneven_widths"].model, (6,), ["3", "5", "7"]),
    "convnet": (convnet, (2, 8, 8), ["2", "6"]),
    **{
        name: (CONVNETS[name].model, CONVNETS[name].shape, ["1", place])
        for name, place in (
            ("groups", "3"), ("depthwise_twofold", "3"), ("dilation", "3"), ("conv3d", "3"),
            ("reflect", "3"), ("transposed", "3"), ("max_pool", "4"), ("batch_norm_after", "4"),
        )
    },
    "two_convolutions": (CONVNETS["two_convolutions"].model, (2, 8, 8), ["relu"]),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("value", [0.0, 0.4])
def test_unit_ablation__equals_captums_layer_feature_ablation(name, value):
    """A feature of Captum's is a whole channel: a mask gives all its positions one number."""
    build, shape, places = NETWORKS[name]
    model, pairs = build().eval(), random_pairs(SAMPLES, *shape)
    for place in places:
        model.get_submodule(place).inplace = False  # Captum 156: it cannot ablate in place

    def losses(inputs):
        return functional.cross_entropy(model(inputs), pairs.labels, reduction="none")

    layers = {layer.name: layer for layer in ul.unit_layers(model, pairs.inputs)}
    expected = []
    for place in places:
        units, shape = layers[place].units, layers[place].shape
        mask = torch.arange(units).reshape(1, units, *[1] * (len(shape) - 1)).expand(1, *shape)
        with torch.no_grad():
            attributions = LayerFeatureAblation(losses, model.get_submodule(place)).attribute(
                pairs.inputs, layer_baselines=value, layer_mask=mask
            )
        first_position = (
            attributions.flatten(2)[:, :, 0] if attributions.dim() > 2 else attributions
        )
        expected.append(-first_position.mean(0))
    expected = torch.cat(expected)

    table = ul.unit_ablation(model, pairs, layers=places, value=torch.full_like(expected, value))

    assert relative(table.loss_increase, expected) < 1e-9
