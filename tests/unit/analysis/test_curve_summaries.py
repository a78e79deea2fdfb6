"""Areas under curves and noise scales, against sums by hand."""

import numpy as np
import pytest
import xarray as xr

from unitlens.analysis.curve_summaries import (
    area_under_curve,
    first_crossing,
    noise_scale_at,
    random_orders,
)
from unitlens.errors import ArgumentError, TableError


def curve(accuracy, fraction):
    return xr.Dataset(
        {"accuracy": (("order", "ablated"), np.atleast_2d(accuracy))},
        coords={"ablated_fraction": ("ablated", fraction)},
    )


def noise(accuracy, scales):
    return xr.Dataset(
        {"accuracy": (("draw", "noise_scale"), np.atleast_2d(accuracy))},
        coords={"noise_scale": scales},
    )


def test_area_under_curve__trapezoid_by_hand():
    made = curve([[1.0, 0.5, 0.1], [1.0, 1.0, 1.0]], [0.0, 0.25, 1.0])

    area = area_under_curve(made)

    assert area.dims == ("order",)
    np.testing.assert_allclose(area, [0.25 * 0.75 + 0.75 * 0.3, 1.0])


def test_area_under_curve__equals_numpy_on_uneven_steps():
    rng = np.random.default_rng(0)
    fraction = np.sort(np.r_[0, rng.random(9), 1])
    accuracy = rng.random((5, 11))

    area = area_under_curve(curve(accuracy, fraction))

    np.testing.assert_allclose(area, np.trapezoid(accuracy, fraction, axis=1))


def test_area_under_curve__leaves_padding_out():
    short = curve([1.0, 0.5, 0.0], [0.0, 0.5, 1.0])
    padded = curve([1.0, 0.5, 0.0, np.nan], [0.0, 0.5, 1.0, np.nan])

    np.testing.assert_allclose(area_under_curve(padded), area_under_curve(short))


def test_area_under_curve__single_point_is_undefined():
    assert np.isnan(area_under_curve(curve([0.4], [0.0]))).all()


def test_area_under_curve__names_what_is_missing():
    with pytest.raises(TableError, match="no 'ablated_fraction' on the dimension 'ablated'"):
        area_under_curve(curve([1.0, 0.0], [0.0, 1.0]).drop_vars("ablated_fraction"))
    with pytest.raises(TableError, match="no 'loss' on the dimension"):
        area_under_curve(curve([1.0, 0.0], [0.0, 1.0]), variable="loss")


def test_random_orders__are_those_named_so():
    made = curve(np.zeros((3, 2)), [0.0, 1.0]).assign_coords(
        order=np.array(["random-0", "selectivity-ascending", "random-1"], object)
    )

    assert random_orders(made)["order"].values.tolist() == ["random-0", "random-1"]


VARIANTS = {
    "random-0": ("zero", "units"),
    "variance-ascending": ("zero", "units"),
    "mean-units-random-0": ("mean", "units"),
    "mean-units-random-1": ("mean", "units"),
    "zero-random-random-0": ("zero", "random"),
    "zero-principal_components-basis-ascending": ("zero", "principal_components"),
    "zero-principal_components-random-0": ("zero", "principal_components"),
}


@pytest.mark.parametrize(
    ("variant", "orders"),
    [
        ({}, ["random-0"]),
        ({"value": "zero"}, ["random-0"]),
        ({"basis": "units"}, ["random-0"]),
        ({"value": "mean"}, ["mean-units-random-0", "mean-units-random-1"]),
        ({"basis": "random"}, ["zero-random-random-0"]),
        ({"basis": "principal_components"}, ["zero-principal_components-random-0"]),
        ({"value": "mean", "basis": "random"}, []),
    ],
)
def test_random_orders__of_a_variant_are_those_that_differ_from_the_main_one_in_it_alone(
    variant, orders
):
    names, (values, bases) = list(VARIANTS), zip(*VARIANTS.values(), strict=True)
    made = curve(np.zeros((len(names), 2)), [0.0, 1.0]).assign_coords(
        order=np.array(names, object), value=("order", list(values)), basis=("order", list(bases))
    )

    assert random_orders(made, **variant)["order"].values.tolist() == orders


def test_random_orders__of_a_variant_need_to_know_it():
    made = curve(np.zeros((1, 2)), [0.0, 1.0]).assign_coords(order=np.array(["random-0"], object))

    with pytest.raises(TableError, match="the curves have no coordinate 'value' on 'order'"):
        random_orders(made, value="mean")


def test_noise_scale__between_points_in_the_logarithm():
    made = noise([[0.9, 0.7, 0.3], [0.9, 0.9, 0.1]], [0.1, 1.0, 10.0])

    scale = noise_scale_at(made)  # mean .9, .8, .2: one half lies midway between 1 and 10

    np.testing.assert_allclose(scale, np.sqrt(10))


def test_noise_scale__undefined_where_accuracy_never_falls_so_far():
    scales = [0.1, 1.0]

    assert np.isnan(noise_scale_at(noise([0.9, 0.8], scales)))
    assert np.isnan(noise_scale_at(noise([0.4, 0.3], scales)))


def test_noise_scale__skips_scales_a_run_was_not_measured_at():
    made = noise([0.9, np.nan, 0.1], [0.1, 1.0, 10.0])

    np.testing.assert_allclose(noise_scale_at(made), 1.0)


def test_noise_scale__refuses_impossible_levels_and_other_tables():
    with pytest.raises(ArgumentError, match=r"accuracy is 1.5, but must be between 0 and 1"):
        noise_scale_at(noise([0.9, 0.1], [0.1, 1.0]), accuracy=1.5)
    with pytest.raises(TableError, match="no 'accuracy' on the dimensions 'draw'"):
        noise_scale_at(curve([1.0, 0.0], [0.0, 1.0]))


def test_noise_scale__from_a_scale_of_zero_is_linear():
    noise = xr.Dataset(
        {"accuracy": (("draw", "noise_scale"), [[0.9, 0.3]])}, coords={"noise_scale": [0.0, 3.0]}
    )

    assert noise_scale_at(noise, accuracy=0.5).item() == pytest.approx(2.0)


def test_first_crossing__is_the_first_fall():
    x = np.array([0.0, 0.25, 0.5, 0.75, 1.0])

    assert first_crossing(x, np.array([0.9, 0.7, 0.3, 0.6, 0.1]), 0.5) == pytest.approx(0.375)
    assert np.isnan(first_crossing(x, np.array([0.9, 0.8, 0.7, 0.6, 0.55]), 0.5))
    assert np.isnan(first_crossing(x, np.array([0.4, 0.8, 0.3, 0.2, 0.1]), 0.5))


def test_first_crossing__between_points_in_x_or_its_logarithm():
    x, y = np.array([1.0, 100.0]), np.array([0.8, 0.2])

    assert first_crossing(x, y, 0.5) == pytest.approx(50.5)
    assert first_crossing(x, y, 0.5, logarithmic=True) == pytest.approx(10.0)


def test_first_crossing__leaves_points_out_that_are_nan():
    x, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, np.nan, 0.0, np.nan])

    assert first_crossing(x, y, 0.5) == pytest.approx(1.0)
