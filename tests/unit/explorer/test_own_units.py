"""The explorer of an own model."""

import numpy as np
import pytest
import xarray as xr

import unitlens as ul
from small_stores import make_contents, write_store
from unitlens.errors import ArgumentError

pn = pytest.importorskip("panel")

from unitlens.explorer.own_units import own_units  # noqa: E402


@pytest.fixture
def acts(tmp_path):
    write_store(tmp_path / "acts.zarr", make_contents(samples=80))
    return ul.open_activations(tmp_path / "acts.zarr")


def importance():
    return xr.Dataset(
        {"loss_increase": ("unit", [0.1, np.nan, 0.7])},
        coords={
            "layer": ("unit", ["relu1", "relu1", "layer1.0.relu_2"]),
            "channel": ("unit", [3, 4, 5]),
        },
    )


def words_of(view):
    return " ".join(pane.object for pane in view.select(pn.pane.HTML))


def test_own_units__begin_with_the_most_important(acts):
    assert "layer1.0.relu_2 · unit 5<" in words_of(own_units(acts, importance()))
    assert "layer1.0.relu_2 · unit 5<" in words_of(own_units(importance=importance()))
    assert "relu1 · unit 0<" in words_of(own_units(acts))


def test_own_units__follow_the_choice_and_the_buttons(acts):
    view = own_units(acts)
    (layer,) = view.select(pn.widgets.Select)
    (channel,) = view.select(pn.widgets.IntInput)

    channel.value = 6
    layer.value = "layer1.0.relu_2"
    assert "layer1.0.relu_2 · unit 6<" in words_of(view)
    channel.value = 7
    assert "channel = 7: the layer" in words_of(view)
    channel.value = 2
    near = next(one for one in view.select(pn.widgets.Button) if one.label.startswith("unit "))
    near.clicks += 1
    assert near.label.startswith(f"unit {channel.value}:")
    assert f"layer1.0.relu_2 · unit {channel.value}<" in words_of(view)


def test_own_units__refuse_nothing():
    with pytest.raises(ArgumentError, match="there are no units to show"):
        own_units()
