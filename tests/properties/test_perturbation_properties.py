"""What holds for the ablation of any network."""

import numpy as np
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import unitlens as ul
from networks_by_hand import clamp, naive_scores, random_pairs, relative
from properties.strategies_perturbation import networks
from unitlens.variables import unit_coordinates


@given(networks(), st.integers(1, 9), st.sampled_from([0.0, -0.5]))
def test_unit_ablation__equals_hooks(network, batch_size, value):
    model, shape = network
    pairs = random_pairs(9, *shape, classes=3)

    units = sum(layer.units for layer in ul.unit_layers(model, pairs.inputs))
    table = ul.unit_ablation(model, pairs, value=np.full(units, value), batch_size=batch_size)

    base, hits = naive_scores(model, pairs, {})
    losses, drops = [], []
    for layer, channel in zip(table.layer.values, table.channel.values, strict=True):
        loss, hit = naive_scores(model, pairs, {(str(layer), 0): clamp([channel], [value])})
        losses.append((loss - base).mean())
        drops.append((hits - hit).mean())
    assert np.abs(table.loss_increase - losses).max() <= 1e-9 * max(base.mean(), 1)
    np.testing.assert_allclose(table.accuracy_drop, drops, atol=1e-12)


@given(networks(), st.integers(2, 9), st.integers(0, 100))
def test_cumulative_ablation__sets_are_nested_and_end_in_constants(network, points, seed):
    model, shape = network
    pairs = random_pairs(9, *shape, classes=3)

    curve = ul.cumulative_ablation(model, pairs, orders=2, points=points, seed=seed)

    last = str(ul.unit_layers(model, pairs.inputs)[-1].name)
    base, _ = naive_scores(model, pairs, {})
    constant, _ = naive_scores(model, pairs, {(last, 0): lambda activation: activation * 0})
    assert relative(curve.loss[:, 0], [base.mean()] * 2) < 1e-9
    assert relative(curve.loss[:, -1], [constant.mean()] * 2) < 1e-9
    assert (np.diff(curve.ablated_units) > 0).all()
    assert curve.ablated_units[0] == 0
    assert curve.ablated_fraction[-1] == 1


@given(networks(), st.data())
def test_cumulative_ablation__the_order_within_a_set_does_not_matter(network, data):
    model, shape = network
    pairs = random_pairs(9, *shape, classes=3)
    layers = ul.unit_layers(model, pairs.inputs)
    units = sum(layer.units for layer in layers)
    coordinates = unit_coordinates((layer.name, layer.depth, layer.units) for layer in layers)
    half = int(np.round(units / 2))
    first = np.isin(np.arange(units), data.draw(st.permutations(range(units)))[:half])
    numbers = np.array(data.draw(st.permutations(range(units))), float)
    by = {
        name: xr.DataArray(np.where(first, 0, units) + extra, coords=coordinates, dims="unit")
        for name, extra in (("mean", numbers), ("variance", -numbers))
    }

    curve = ul.cumulative_ablation(model, pairs, orders=0, points=3, by=by)

    middle = curve.loss.sel(ablated=curve.ablated_units == half)
    one, other = (middle.sel(order=f"{name}-ascending").values for name in by)
    np.testing.assert_allclose(one, other, rtol=1e-12)
