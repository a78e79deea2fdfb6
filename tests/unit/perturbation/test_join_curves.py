"""Curves of several values and bases in one table are those that each has alone."""

import numpy as np
import pytest

import unitlens as ul
from networks_by_hand import mlp, random_pairs
from unitlens.errors import ArgumentError
from unitlens.perturbation.join_curves import join_variants
from unitlens.variables.checks import validate


def curves(**options):
    options = {"orders": 2, "points": 4, "seed": 3} | options
    return ul.cumulative_ablation(mlp(), random_pairs(30, 6), **options)


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
