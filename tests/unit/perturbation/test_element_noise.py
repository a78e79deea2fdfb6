"""Noise on each element of a map: its variance, its independence, and what it leaves as it was."""

import logging

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats
from torch import nn

import unitlens as ul
from networks_by_hand import Pairs, Wired, convnet, mlp, random_pairs
from unitlens.errors import ArgumentError
from unitlens.perturbation.normal_numbers import element_normal

SCALES = [0.5, 2.0]


def conv_and_dense():
    """Maps, whose elements have noise of their own, before units that are one number a sample."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(180, 6), nn.Tanh(), nn.Linear(6, 4)
    ).double()


def tokens():
    """Units on the last axis, each with five positions."""
    torch.manual_seed(4)
    parts = {"embed": nn.Linear(3, 8), "act": nn.GELU(), "head": nn.Linear(8, 4)}
    return Wired(lambda m, x: m.head(m.act(m.embed(x)).mean(1)), **parts).double()


def recurrent():
    torch.manual_seed(5)
    parts = {"gru": nn.GRU(3, 6, batch_first=True), "head": nn.Linear(6, 4)}
    return Wired(lambda m, x: m.head(m.gru(x)[0].square().mean(1)), **parts).double()


# Network, shape of an input, modules of its layers in order, and axis of their units.
KINDS = {
    "convnet": (convnet, (2, 8, 8), ["2", "6"], 1),
    "conv and dense": (conv_and_dense, (2, 8, 8), ["1", "4"], 1),
    "tokens": (tokens, (5, 3), ["act"], -1),
    "recurrent": (recurrent, (5, 3), ["gru"], -1),
}


def variance_by_hand(model, inputs, places, axis):
    """Return the variance of each unit over samples and positions, by NumPy."""
    values = {}
    for place in places:
        output = model.get_submodule(place).register_forward_hook(
            lambda _, __, out, p=place: values.__setitem__(p, out[0] if type(out) is tuple else out)
        )
        with torch.no_grad():
            model.eval()(inputs.clone())
        output.remove()
    by_unit = (np.moveaxis(values[p].numpy(), axis, 0) for p in places)
    return np.concatenate([v.reshape(len(v), -1).var(axis=1) for v in by_unit])


@pytest.mark.parametrize("batch_size", [40, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_noise_robustness__computes_the_variance_of_elements_over_the_reference(kind, batch_size):
    build, shape, places, axis = KINDS[kind]
    model, pairs, reference = build(), random_pairs(15, *shape), random_pairs(40, *shape, seed=1)
    by_hand = variance_by_hand(model, reference.inputs, places, axis)

    expected = ul.noise_robustness(model, pairs, SCALES, variance=by_hand, draws=2)
    noise = ul.noise_robustness(
        model, pairs, SCALES, reference=reference, draws=2, batch_size=batch_size
    )

    xr.testing.assert_allclose(noise, expected, rtol=1e-9)
    assert np.ptp(noise.loss.values) > 1e-3
    assert noise.attrs["per"] == "element"
    own = ul.noise_robustness(model, reference, SCALES, draws=2)
    known = ul.noise_robustness(model, reference, SCALES, variance=by_hand, draws=2)
    xr.testing.assert_allclose(own, known, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_robustness__computes_the_variance_of_units_over_the_reference(kind):
    build, shape, *_ = KINDS[kind]
    model, pairs, reference = build(), random_pairs(15, *shape), random_pairs(40, *shape, seed=1)
    variance = ul.empirical_variance(ul.network_statistics(model, reference))

    expected = ul.noise_robustness(model, pairs, SCALES, variance=variance, draws=2, per="unit")
    noise = ul.noise_robustness(model, pairs, SCALES, reference=reference, draws=2, per="unit")

    xr.testing.assert_allclose(noise, expected, rtol=1e-6)  # the statistics are of float32 numbers
    assert noise.attrs["per"] == "unit"


def test_noise_robustness__computes_what_a_table_of_units_lacks_and_says_so(caplog):
    """Of units that are one number a sample the table's variance is taken, whatever it is."""
    model, pairs, reference = conv_and_dense(), random_pairs(9, 2, 8, 8), random_pairs(30, 2, 8, 8)
    by_hand = variance_by_hand(model, reference.inputs, ["1", "4"], 1)
    table = ul.empirical_variance(ul.network_statistics(model, reference))
    table["variance"][table.layer == "4"] = by_hand[5:] = 0.25

    with caplog.at_level(logging.INFO, "unitlens"):
        noise = ul.noise_robustness(
            model, pairs, SCALES, variance=table, reference=reference, draws=2
        )

    expected = ul.noise_robustness(model, pairs, SCALES, variance=by_hand, draws=2)
    xr.testing.assert_allclose(noise, expected, rtol=1e-9)
    assert "the variance of 5 units is computed over 30 samples of the reference" in caplog.text
    both = table.assign(element_variance=("unit", np.where(table.layer == "1", by_hand, np.nan)))
    known = ul.noise_robustness(model, pairs, SCALES, variance=both, draws=2)
    xr.testing.assert_allclose(known, expected, rtol=1e-9)
    maps = ul.noise_robustness(
        model, pairs, [1.0], variance=both[["element_variance"]], layers=["1"], draws=1
    )
    assert maps.attrs["layers"] == ["1"]


@pytest.mark.parametrize("as_array", [False, True])
def test_noise_robustness__never_takes_the_variance_of_means_for_that_of_elements(as_array):
    model, pairs = convnet(), random_pairs(9, 2, 8, 8)
    table = ul.empirical_variance(ul.network_statistics(model, pairs))
    variance = table["variance"] if as_array else table

    with pytest.raises(ArgumentError, match=r"no 'element_variance' of layer '2'.*per='unit'"):
        ul.noise_robustness(model, pairs, [0.1], variance=variance)

    ul.noise_robustness(model, pairs, [0.1], variance=variance, per="unit", draws=1)
    ul.noise_robustness(model, pairs, [0.1], variance=variance, reference=pairs, draws=1)


def test_noise_robustness__refuses_an_unknown_kind_and_a_nan_of_an_element():
    model, pairs = convnet(), random_pairs(9, 2, 8, 8)
    broken = random_pairs(9, 2, 8, 8)
    broken.inputs[3, 0, 0, 0] = np.nan

    with pytest.raises(ArgumentError, match="per is 'map', but must be 'element' or 'unit'"):
        ul.noise_robustness(model, pairs, [0.1], per="map")
    with pytest.raises(ArgumentError, match="variance holds nan for unit 0"):
        ul.noise_robustness(model, pairs, [0.1], reference=broken)


def test_noise_robustness__of_dense_units_has_the_same_bits_by_both_definitions():
    model, pairs = mlp(), random_pairs(70, 6)
    variance = ul.empirical_variance(ul.network_statistics(model, pairs))

    by_both = [
        ul.noise_robustness(model, pairs, SCALES, variance=variance, draws=3, per=per)
        for per in ("element", "unit")
    ]

    for name in ("loss", "accuracy"):
        assert by_both[0][name].values.tobytes() == by_both[1][name].values.tobytes()


@pytest.mark.parametrize(("per", "shrinks"), [("element", 4.0), ("unit", 1.0)])
def test_noise_robustness__of_elements_is_independent_over_positions(per, shrinks):
    """The logits are -50 m and 50 m, for the mean m of a map of 16 positions, all of them 5.

    The loss is 100 max(m, 0), and m has the noise's deviation, by 4 smaller for independent noise.
    """
    model = nn.Sequential(
        nn.Conv2d(1, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(1, 2, bias=False),
    ).double()  # fmt: skip
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(5.0)
        model[4].weight.copy_(torch.tensor([[-50.0], [50.0]]))
    pairs = Pairs(torch.zeros(20_000, 1, 4, 4), torch.zeros(20_000, dtype=torch.int64))

    noise = ul.noise_robustness(
        model, pairs, [2.0], variance=[16.0], draws=1, per=per, layers=["1"]
    )

    deviation = 8 / shrinks
    ratio = 5 / deviation
    expected = 500 * stats.norm.cdf(ratio) + 100 * deviation * stats.norm.pdf(ratio)
    np.testing.assert_allclose(noise.loss, expected, rtol=0.02)
    np.testing.assert_allclose(noise.accuracy, stats.norm.cdf(-ratio), atol=0.012)


def test_element_normal__is_normal():
    """Over many draws, the p-values of a test for normality are uniform."""
    numbers = [element_normal(0, d, range(50), "relu", (4, 5, 10)).numpy() for d in range(100)]
    pvalues = [stats.kstest(draw.ravel().astype(float), "norm").pvalue for draw in numbers]

    assert stats.kstest(pvalues, "uniform").pvalue > 0.01


def test_element_normal__is_fresh_for_each_position_unit_layer_draw_and_sample():
    first, other, second = (
        element_normal(0, draw, range(2000), layer, (3, 4)).numpy().reshape(2000, 12)
        for draw, layer in ((0, "relu"), (0, "relu_1"), (1, "relu"))
    )

    correlations = np.corrcoef(np.concatenate([first, other, second], axis=1), rowvar=False)
    assert np.abs(correlations - np.eye(36)).max() < 5 / np.sqrt(2000)
    by_sample = np.corrcoef(first[:1200].reshape(100, 144))
    assert np.abs(by_sample - np.eye(100)).max() < 5 / np.sqrt(144)
    assert len(np.unique(first)) > 0.99 * first.size


def test_element_normal__of_threads_is_that_of_one(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    alone = element_normal(2, 1, range(9), "relu", (64, 64, 32))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)

    assert torch.equal(element_normal(2, 1, range(9), "relu", (64, 64, 32)), alone)


@pytest.mark.parametrize("kind", KINDS)
def test_element_noise__depends_on_neither_batches_nor_memory_nor_draws(kind):
    build, shape, *_ = KINDS[kind]
    model, pairs = build(), random_pairs(100, *shape)
    variance = ul.empirical_variance(ul.network_statistics(model, pairs))["variance"].values

    whole = ul.noise_robustness(model, pairs, SCALES, variance=variance, draws=3)
    pieces = ul.noise_robustness(
        model, pairs, SCALES, variance=variance, draws=2, batch_size=30, memory_gb=1e-5
    )

    xr.testing.assert_allclose(whole.isel(draw=[0, 1]), pieces, rtol=1e-9)
