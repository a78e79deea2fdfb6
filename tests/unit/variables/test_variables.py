"""A table is checked against its schema; it never only warns."""

import numpy as np
import pytest
import xarray as xr

from unitlens.errors import TableError
from unitlens.variables.checks import annotate, validate
from unitlens.variables.schemas import SCHEMAS, VARIABLES
from unitlens.variables.unit_index import unit_coordinates


@pytest.fixture
def noise():
    values = np.ones((2, 3))
    return xr.Dataset(
        {"accuracy": (("draw", "noise_scale"), values), "loss": (("draw", "noise_scale"), values)},
        coords={"noise_scale": [0.1, 1.0, 2.0]},
    )


def test_annotate__puts_the_declared_attributes_on_a_copy(noise):
    table = annotate(noise, "noise_robustness")

    assert table.accuracy.attrs["long_name"] == "accuracy"
    assert table.loss.attrs["units"] == "nats"
    assert table.attrs["schema"] == "noise_robustness"
    assert noise.attrs == {}
    assert noise.accuracy.attrs == {}


def test_validate__names_a_missing_variable(noise):
    with pytest.raises(TableError, match="noise_robustness table has no variable 'loss'"):
        validate(noise.drop_vars("loss"), "noise_robustness")


def test_validate__refuses_other_dimensions(noise):
    with pytest.raises(TableError, match=r"'accuracy' .* must have \('draw', 'noise_scale'\)"):
        validate(noise.transpose(), "noise_robustness")


def test_validate__refuses_another_kind(noise):
    with pytest.raises(TableError, match="'loss' of the noise_robustness table has dtype int64"):
        validate(noise.assign(loss=noise.loss.astype(int)), "noise_robustness")


def test_validate__refuses_another_schema(noise):
    table = annotate(noise, "noise_robustness")

    with pytest.raises(
        TableError, match="follows schema noise_robustness version 1, but must follow noise"
    ):
        validate(table, "noise")


def test_schemas__use_declared_variables_only():
    names = {n for s in SCHEMAS.values() for n in (*s.required, *s.optional, *(s.dims or {}))}

    assert names <= set(VARIABLES)


def test_unit_coordinates__follow_the_layers():
    coords = unit_coordinates([("a", 0, 2), ("b", 3, 1)])

    assert coords["layer"].values.tolist() == ["a", "a", "b"]
    assert coords["depth"].values.tolist() == [0, 0, 3]
    assert coords["channel"].values.tolist() == [0, 1, 0]
