"""Properties of perturbations of any network."""

from contextlib import contextmanager

import numpy as np
import torch
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import unitlens as ul
from clamped_by_hand import KINDS
from eager_passes import Network, assert_layers, assert_unit_ablation, clamp, run, scores
from networks_by_hand import Pairs, random_pairs, relative
from properties.strategies_perturbation import networks
from unitlens.variables.unit_index import unit_coordinates

SAMPLES = 9


def setting(network):
    """Return a network with a layer of units, and the pairs that it is scored on."""
    model, shape = network
    return Network(model, random_pairs(SAMPLES, *shape, classes=3))


@given(networks())
def test_unit_layers__are_the_nonlinearities_of_a_pass(network):
    assert_layers(setting(network))


@given(networks(), st.integers(1, SAMPLES), st.sampled_from([0.0, -0.5]))
def test_unit_ablation__equals_whole_passes(network, batch_size, value):
    net = setting(network)

    table = ul.unit_ablation(
        net.model, net.pairs, value=np.full(len(net.units()), value), batch_size=batch_size
    )

    assert_unit_ablation(net, table, value)


@given(networks(), st.data())
def test_unit_ablation__of_dead_units_is_exactly_zero(network, data):
    """Maps whose weights are zero are constant, whatever operations follow."""
    weighted = [m for m in network[0].modules() if isinstance(m, nn.Linear | nn.Conv2d)][:-1]
    module = data.draw(st.sampled_from(weighted))
    channel = data.draw(st.integers(0, len(module.weight) - 1))
    with torch.no_grad():
        module.weight[channel] = 0
    net = setting(network)
    values, same = np.full(len(net.units()), 0.25), []
    for place, (name, unit) in enumerate(net.units()):
        activation = net.activations[name][:, unit].flatten()
        if (activation == activation[0]).all():
            values[place] = activation[0]
            same.append(place)
    assume(same)

    table = ul.unit_ablation(net.model, net.pairs, value=values)

    dead = [place for place in same if values[place] == 0]
    for name in ("loss_increase", "loss_increase_se", "accuracy_drop"):
        assert (table[name][dead] == 0.0).all()
        # Folding batch norm rounds other constants by a last digit.
        np.testing.assert_allclose(table[name][same], 0.0, atol=1e-12)


@given(networks(), st.integers(1, SAMPLES - 1), st.sampled_from(KINDS))
def test_perturbations__do_not_depend_on_the_batch_size(network, batch_size, value):
    net = setting(network)
    options = {"orders": 1, "points": 4, "value": value}

    whole = ul.unit_ablation(net.model, net.pairs, value=value, batch_size=SAMPLES)
    pieces = ul.unit_ablation(net.model, net.pairs, value=value, batch_size=batch_size)
    curve = ul.cumulative_ablation(net.model, net.pairs, **options, batch_size=SAMPLES)
    cut = ul.cumulative_ablation(net.model, net.pairs, **options, batch_size=batch_size)

    assert np.abs(whole.loss_increase - pieces.loss_increase).max() <= net.tolerance
    np.testing.assert_allclose(whole.accuracy_drop, pieces.accuracy_drop, atol=1e-12)
    assert relative(cut.loss, curve.loss) < 1e-9
    np.testing.assert_allclose(cut.accuracy, curve.accuracy, atol=1e-12)


@contextmanager
def torch_threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def closest(net):
    """Return the smallest distance between a sample's largest logits, whatever unit is ablated."""
    distances = []
    for name, channel in net.units():
        logits, _ = run(net.model, net.pairs.inputs, {name: clamp(1, [channel], [0.0])})
        largest = logits.topk(2, dim=1).values
        distances.append(float((largest[:, 0] - largest[:, 1]).min()))
    return min(distances)


@settings(max_examples=8)  # more threads than free cores wait for each other
@given(networks())
def test_unit_ablation__in_float32_depends_on_neither_batches_nor_threads(network):
    net = setting(network)
    assume(closest(net) > 1e-4)  # else rounding decides which logit is the largest
    model, pairs = net.model.float(), Pairs(net.pairs.inputs.float(), net.pairs.labels)

    tables = []
    for batch_size, threads in ((1, 1), (7, 1), (7, 2)):
        with torch_threads(threads):
            tables.append(ul.unit_ablation(model, pairs, batch_size=batch_size))

    for table in tables:
        difference = np.abs(table.loss_increase - tables[0].loss_increase).max()
        assert difference <= 1e-5 * max(net.losses.mean(), 1)
        np.testing.assert_allclose(table.accuracy_drop, tables[0].accuracy_drop, atol=1e-12)


@given(networks(), st.data(), st.sampled_from([0.0, 0.7]))
def test_cumulative_ablation__of_all_units_of_a_layer_leaves_a_constant(network, data, value):
    net = setting(network)
    name = data.draw(st.sampled_from(list(net.activations)))
    values = np.full(len(net.units([name])), value)

    curve = ul.cumulative_ablation(
        net.model, net.pairs, orders=2, points=2, layers=[name], value=values
    )

    constant, hits = scores(net.model, net.pairs, {name: lambda layer: layer.fill_(value)})
    assert relative(curve.loss[:, 0], [net.losses.mean()] * 2) < 1e-9
    assert relative(curve.loss[:, -1], [constant.mean()] * 2) < 1e-9
    np.testing.assert_allclose(curve.accuracy[:, 0], net.hits.mean(), atol=1e-12)
    np.testing.assert_allclose(curve.accuracy[:, -1], hits.mean(), atol=1e-12)


@given(networks(), st.integers(2, 9), st.integers(0, 100))
def test_cumulative_ablation__sets_are_nested_and_end_in_constants(network, points, seed):
    net = setting(network)

    curve = ul.cumulative_ablation(net.model, net.pairs, orders=2, points=points, seed=seed)

    silent = dict.fromkeys(net.activations, torch.zero_)
    constant, _ = scores(net.model, net.pairs, silent)
    assert relative(curve.loss[:, 0], [net.losses.mean()] * 2) < 1e-9
    assert relative(curve.loss[:, -1], [constant.mean()] * 2) < 1e-9
    assert (np.diff(curve.ablated_units) > 0).all()
    assert curve.ablated_units[0] == 0
    assert curve.ablated_fraction[-1] == 1


@given(networks(), st.data())
def test_cumulative_ablation__the_order_within_a_set_does_not_matter(network, data):
    net = setting(network)
    units = len(net.units())
    layers = ul.unit_layers(net.model, net.pairs.inputs)
    coordinates = unit_coordinates((layer.name, layer.depth, layer.units) for layer in layers)
    half = int(np.round(units / 2))
    first = np.isin(np.arange(units), data.draw(st.permutations(range(units)))[:half])
    numbers = np.array(data.draw(st.permutations(range(units))), float)
    by = {
        name: xr.DataArray(np.where(first, 0, units) + extra, coords=coordinates, dims="unit")
        for name, extra in (("mean", numbers), ("variance", -numbers))
    }

    curve = ul.cumulative_ablation(net.model, net.pairs, orders=0, points=3, by=by)

    middle = curve.loss.sel(ablated=curve.ablated_units == half)
    one, other = (middle.sel(order=f"{name}-ascending").values for name in by)
    np.testing.assert_allclose(one, other, rtol=1e-12)


@given(networks())
def test_noise_robustness__without_variance_is_the_network(network):
    net = setting(network)

    noise = ul.noise_robustness(
        net.model, net.pairs, [0.0, 2.0], variance=net.variance(0.0), draws=2
    )

    assert relative(noise.loss, np.full((2, 2), net.losses.mean())) < 1e-9
