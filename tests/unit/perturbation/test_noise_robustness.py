"""Noise on all units at once: its distribution, seeds and scales."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats
from torch import nn

import unitlens as ul
from networks_by_hand import Pairs, convnet, mlp, naive_scores, random_pairs
from unitlens.errors import ArgumentError
from unitlens.perturbation.normal_numbers import NOISE_BLOCK, standard_normal
from unitlens.variables.checks import validate
from unitlens.variables.unit_index import unit_coordinates


def variance_of(model, pairs, value):
    layers = ul.unit_layers(model, pairs.inputs[:2])
    coordinates = unit_coordinates((layer.name, layer.depth, layer.units) for layer in layers)
    values = np.broadcast_to(value, sum(layer.units for layer in layers))
    return xr.DataArray(values, coords=coordinates, dims="unit")


def test_noise_robustness__at_scale_zero_is_the_network():
    model, pairs = convnet(), random_pairs(30, 2, 8, 8)

    noise = ul.noise_robustness(
        model, pairs, [0.0, 1.0], variance=variance_of(model, pairs, 1.0), draws=3
    )

    losses, hits = naive_scores(model, pairs, {})
    np.testing.assert_allclose(noise.loss[:, 0], losses.mean(), rtol=1e-12)
    np.testing.assert_allclose(noise.accuracy[:, 0], hits.mean())
    assert len(np.unique(noise.loss[:, 1])) == 3
    assert noise.noise_scale.values.tolist() == [0.0, 1.0]
    assert noise.draw.values.tolist() == [0, 1, 2]
    validate(noise, "noise_robustness")


def test_noise_robustness__units_of_variance_zero_get_none():
    model, pairs = mlp(), random_pairs(30, 6)

    noise = ul.noise_robustness(model, pairs, [3.0], variance=variance_of(model, pairs, 0.0))

    losses, _ = naive_scores(model, pairs, {})
    np.testing.assert_allclose(noise.loss, losses.mean(), rtol=1e-12)


def test_noise_robustness__has_the_standard_deviation_asked_for_and_is_not_rectified():
    """The logits are -50 a and 50 a for one unit a = 5 + noise: the loss is 100 max(a, 0)."""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2, bias=False)).double()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(5.0)
        model[2].weight.copy_(torch.tensor([[-50.0], [50.0]]))
    pairs = Pairs(torch.zeros(20_000, 1), torch.zeros(20_000, dtype=torch.int64))
    variance = variance_of(model, pairs, 4.0)

    noise = ul.noise_robustness(model, pairs, [1.0, 5.0], variance=variance, draws=2)

    for number, deviation in enumerate((2.0, 10.0)):
        ratio = 5 / deviation
        expected = 500 * stats.norm.cdf(ratio) + 100 * deviation * stats.norm.pdf(ratio)
        np.testing.assert_allclose(noise.loss[:, number], expected, rtol=0.03)
        wrong = stats.norm.cdf(ratio)  # right where 5 + noise is negative: it is not rectified
        np.testing.assert_allclose(noise.accuracy[:, number], 1 - wrong, atol=0.012)


def test_standard_normal__is_normal():
    """Over many draws, the p-values of a test for normality are uniform."""
    numbers = [standard_normal(0, draw, 0, 500, 20).double().numpy() for draw in range(100)]
    pvalues = [stats.kstest(draw.ravel(), "norm").pvalue for draw in numbers]

    assert stats.kstest(pvalues, "uniform").pvalue > 0.01


def test_standard_normal__is_fresh_for_each_sample_unit_and_draw():
    first, second = (standard_normal(0, draw, 0, 2000, 20).numpy() for draw in range(2))

    correlations = np.corrcoef(np.concatenate([first, second], axis=1), rowvar=False)
    assert np.abs(correlations - np.eye(40)).max() < 5 / np.sqrt(2000)
    by_sample = np.corrcoef(first.reshape(100, 400))
    assert np.abs(by_sample - np.eye(100)).max() < 5 / np.sqrt(400)
    assert len(np.unique(first, axis=0)) == 2000


def test_standard_normal__depends_on_the_place_of_a_sample_alone():
    whole = standard_normal(1, 0, 0, 3 * NOISE_BLOCK, 4)

    part = standard_normal(1, 0, NOISE_BLOCK - 5, 2 * NOISE_BLOCK + 7, 4)

    assert torch.equal(part, whole[NOISE_BLOCK - 5 : 2 * NOISE_BLOCK + 7])
    assert not torch.equal(whole, standard_normal(2, 0, 0, 3 * NOISE_BLOCK, 4))


def test_noise_robustness__depends_on_neither_batches_nor_memory_nor_draws():
    model, pairs = mlp(), random_pairs(300, 6)
    variance = variance_of(model, pairs, 1.0)

    whole = ul.noise_robustness(model, pairs, [0.5, 2.0], variance=variance, draws=3)
    pieces = ul.noise_robustness(
        model, pairs, [0.5, 2.0], variance=variance, draws=2, batch_size=70, memory_gb=1e-5
    )

    xr.testing.assert_allclose(whole.isel(draw=[0, 1]), pieces, rtol=1e-9)


@pytest.mark.parametrize(
    ("scales", "variance", "options", "message"),
    [
        ([], 1.0, {}, r"scales has shape \(0,\), but must be a list of numbers"),
        ([0.1, -1.0], 1.0, {}, "scales holds -1.0, but every scale must be at least 0"),
        ([0.1], -2.0, {}, "variance holds -2.0 for unit 0, but must be at least 0 for every unit"),
        ([0.1], np.nan, {}, "variance holds nan for unit 0"),
        ([0.1], 1.0, {"draws": 0}, "draws is 0, but must be at least 1"),
    ],
)
def test_noise_robustness__refuses_impossible_arguments(scales, variance, options, message):
    model, pairs = mlp(), random_pairs(9, 6)

    with pytest.raises(ArgumentError, match=message):
        ul.noise_robustness(
            model, pairs, scales, variance=variance_of(model, pairs, variance), **options
        )


def test_noise_robustness__takes_a_table_an_array_or_numbers_in_order():
    model, pairs = mlp(), random_pairs(9, 6)
    array = variance_of(model, pairs, 1.0) * np.arange(16)

    expected = ul.noise_robustness(model, pairs, [0.5], variance=array, draws=2)

    for variance in (array.to_dataset(name="variance")[{"unit": slice(None, None, -1)}],
                     array[::-1], array.values):  # fmt: skip
        noise = ul.noise_robustness(model, pairs, [0.5], variance=variance, draws=2)
        xr.testing.assert_identical(noise, expected)
    with pytest.raises(ArgumentError, match=r"variance is a Dataset, but .* its variables: mean"):
        ul.noise_robustness(model, pairs, [0.5], variance=array.to_dataset(name="mean"))
