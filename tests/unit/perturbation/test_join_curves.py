"""Curves of several values and bases in one table equal the curves of each alone."""

import numpy as np
import pytest
import xarray as xr

import unitlens as ul
from networks_by_hand import mlp, random_pairs
from unitlens.errors import ArgumentError
from unitlens.perturbation.join_curves import ablation_curves, join_variants
from unitlens.variables.checks import validate
from unitlens.variables.unit_index import unit_coordinates

SHARED = {"orders": 2, "points": 4, "seed": 3}


def curves(**options):
    return ul.cumulative_ablation(mlp(), random_pairs(30, 6), **SHARED | options)


def test_ablation_curves__equal_a_loop_over_the_variants():
    model, pairs, reference = mlp(), random_pairs(30, 6), random_pairs(20, 6, seed=1)
    units = unit_coordinates([("2", 0, 9), ("6", 1, 7)])
    means = xr.DataArray(np.linspace(-1, 1, 16), units, dims="unit")
    components = {"2": np.eye(9), "6": np.eye(7)}
    options = {"reference": reference, **SHARED}

    joined = ablation_curves(
        model,
        pairs,
        [("zero", "units"), ("mean", "units"), ("resample", "random"), ("mean", "mine")],
        values={"mean": means},
        bases={"mine": components},
        by={"variance": means},
        **options,
    )

    alone = [
        ul.cumulative_ablation(model, pairs, by={"variance": means}, **options),
        ul.cumulative_ablation(model, pairs, value=means, **options),
        ul.cumulative_ablation(model, pairs, value="resample", basis="random", **options),
        ul.cumulative_ablation(model, pairs, value=means, basis=components, **options),
    ]
    names = [("zero", "units"), ("mean", "units"), ("resample", "random"), ("mean", "mine")]
    named = [
        one.assign_attrs(value=value, basis=basis)
        for one, (value, basis) in zip(alone, names, strict=True)
    ]
    xr.testing.assert_identical(joined, join_variants(named))
    assert joined.sizes["order"] == 4 + 2 + 2 + 4


def test_ablation_curves__refuse_unknown_names_and_no_variant():
    model, pairs = mlp(), random_pairs(9, 6)

    with pytest.raises(ArgumentError, match="basis is 'principal_components', but must be 'units'"):
        ablation_curves(model, pairs, [("zero", "principal_components")])
    with pytest.raises(ArgumentError, match="value is 'median', but must be 'zero', 'mean'"):
        ablation_curves(model, pairs, [("median", "units")])
    with pytest.raises(ArgumentError, match="variants is empty, but must hold at least the main"):
        ablation_curves(model, pairs, [])


def test_join_variants__keeps_the_main_curves_and_names_the_others():
    main, random = curves(), curves(basis="random")

    joined = join_variants([main, random])

    validate(joined, "cumulative_ablation")
    others = ["zero-random-random-0", "zero-random-random-1"]
    assert joined.order.values.tolist() == ["random-0", "random-1", *others]
    assert joined.value.values.tolist() == ["zero"] * 4
    assert joined.basis.values.tolist() == ["units"] * 2 + ["random"] * 2
    assert joined.attrs["basis"] == "units"
    np.testing.assert_array_equal(joined.loss[:2], main.loss)
    np.testing.assert_array_equal(joined.accuracy[2:], random.accuracy)


def test_join_variants__of_one_says_what_it_is():
    joined = join_variants([curves(value="position_mean", reference=random_pairs(30, 6))])

    assert joined.order.values.tolist() == ["random-0", "random-1"]
    assert set(joined.value.values) == {"position_mean"}


def test_join_variants__refuses_other_numbers_of_units_and_the_same_twice():
    with pytest.raises(ArgumentError, match="along random ablate up to 7 directions, but the main"):
        join_variants([curves(), curves(basis="random", layers=["6"])])
    with pytest.raises(ArgumentError, match="a value and basis is there twice"):
        join_variants([curves(), curves(basis="random"), curves(basis="random")])
