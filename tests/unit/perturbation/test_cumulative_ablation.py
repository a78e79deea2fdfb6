"""Cumulative ablation: orders, points, and the first and last set."""

import numpy as np
import pytest
import torch
import xarray as xr

import unitlens as ul
from networks_by_hand import Pairs, by_hand, clamp, mlp, naive_scores, random_pairs
from unitlens.errors import ArgumentError
from unitlens.variables.checks import validate
from unitlens.variables.unit_index import unit_coordinates

HAND = Pairs(torch.tensor([[1.0, 3.0], [3.0, 1.0]], dtype=torch.float64), [1, 0])


def measure(*values):
    units = [("1", 0, len(values))]
    return xr.DataArray(np.array(values), coords=unit_coordinates(units), dims="unit")


def test_cumulative_ablation__by_hand():
    by = {"selectivity": measure(0.5, 0.1, np.nan)}

    curve = ul.cumulative_ablation(by_hand(), HAND, orders=0, points=4, by=by)

    assert curve.order.values.tolist() == ["selectivity-ascending", "selectivity-descending"]
    assert curve.ablated_units.values.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(curve.ablated_fraction, [0, 1 / 3, 2 / 3, 1])
    # ascending: unit 1, then 0, then the dead one; without any unit both samples are class 0
    np.testing.assert_allclose(curve.accuracy[0], [1, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(curve.accuracy[1], [1, 1, 0.5, 0.5])
    np.testing.assert_allclose(curve.loss[:, -1], np.log(2))
    validate(curve, "cumulative_ablation")


def test_cumulative_ablation__nan_is_last_and_ties_stay_in_order():
    model, pairs = mlp(), random_pairs(30, 6)
    values = np.array([1.0, np.nan, 0.0, 1.0, 0.0, 2.0, 1.0])
    array = xr.DataArray(values, coords=unit_coordinates([("6", 1, 7)]), dims="unit")

    curve = ul.cumulative_ablation(
        model, pairs, orders=0, points=8, layers=["6"], by={"mean": array}
    )

    expected = {"mean-ascending": [2, 4, 0, 3, 6, 5, 1], "mean-descending": [5, 0, 3, 6, 2, 4, 1]}
    for name, order in expected.items():
        for ablated in range(8):
            edits = {("6", 0): clamp(order[:ablated], [0.0] * ablated)}
            loss, _ = naive_scores(model, pairs, edits)
            measured = float(curve.loss.sel(order=name)[ablated])
            assert measured == pytest.approx(loss.mean(), rel=1e-9)


def test_cumulative_ablation__ends_are_the_network_and_its_constant():
    model, pairs = mlp(), random_pairs(30, 6)

    curve = ul.cumulative_ablation(model, pairs, orders=2, points=3, seed=4)

    base, hits = naive_scores(model, pairs, {})
    nothing, _ = naive_scores(model, pairs, {("6", 0): torch.zeros_like})
    np.testing.assert_allclose(curve.loss[:, 0], base.mean(), rtol=1e-12)
    np.testing.assert_allclose(curve.accuracy[:, 0], hits.mean())
    np.testing.assert_allclose(curve.loss[:, -1], nothing.mean(), rtol=1e-12)
    assert curve.attrs["baseline_loss"] == pytest.approx(base.mean(), rel=1e-12)
    assert curve.order.values.tolist() == ["random-0", "random-1"]


def test_cumulative_ablation__first_orders_do_not_depend_on_their_number():
    model, pairs = mlp(), random_pairs(30, 6)

    two = ul.cumulative_ablation(model, pairs, orders=2, points=5)
    three = ul.cumulative_ablation(model, pairs, orders=3, points=5)

    xr.testing.assert_allclose(two, three.isel(order=[0, 1]), rtol=1e-9)
    assert not np.allclose(three.loss[0], three.loss[2])


def test_cumulative_ablation__more_points_than_units():
    curve = ul.cumulative_ablation(by_hand(), HAND, orders=1, points=21)

    assert curve.ablated_units.values.tolist() == [0, 1, 2, 3]


def test_cumulative_ablation__depends_on_neither_batches_nor_memory():
    model, pairs = mlp(), random_pairs(30, 6)

    whole = ul.cumulative_ablation(model, pairs, orders=2, points=6, value="mean")
    pieces = ul.cumulative_ablation(
        model, pairs, orders=2, points=6, value="mean", batch_size=7, memory_gb=1e-6
    )

    xr.testing.assert_allclose(whole, pieces, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 1}, "points is 1, but must be at least 2: none and all units"),
        ({"orders": -1}, "orders is -1, but must be at least 1, or 0 where measures are given"),
        ({"orders": 0}, "orders is 0, but must be at least 1, or 0 where measures are given"),
        ({"by": {"mean": measure(1.0, 2.0)}}, r"by\['mean'\] has no entry for channel 2 of layer"),
    ],
)
def test_cumulative_ablation__refuses_impossible_arguments(options, message):
    with pytest.raises(ArgumentError, match=message):
        ul.cumulative_ablation(by_hand(), HAND, **options)


def test_cumulative_ablation__of_units_that_are_infinite():
    model = by_hand()
    with torch.no_grad():
        model[0].bias[2] = torch.inf
        model[2].weight[:, 2] = 1.0

    curve = ul.cumulative_ablation(
        model, HAND, orders=0, points=4, by={"mean": measure(1.0, 2.0, 0.0)}
    )

    assert np.isnan(curve.loss[0, 0])
    # without units 2 and 0 the logits are (0, 4) and (0, 0), of whose tie the first is taken
    np.testing.assert_allclose(curve.accuracy[0, 1:], [1, 1, 0.5])
