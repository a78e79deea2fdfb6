"""The explorer of an own model."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

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


class Tokens:
    """Rows of tokens, the target of each is the token after it."""

    def __init__(self, width):
        self.width = width

    def __len__(self):
        return 12

    def __getitem__(self, index):
        tokens = torch.randint(0, 20, (8,), generator=torch.Generator().manual_seed(index))
        return tokens[:-1].repeat(self.width), tokens[1:]


def test_own_units__mark_the_token_that_the_unit_responds_to(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 20)).eval()
    path = ul.record_activations(model, Tokens(1), tmp_path / "acts.zarr", positions="samples")
    acts = ul.open_activations(path)
    values = acts["2"].activation.values
    unit = int(values.max(0).argmax())
    at = int(values[:, unit].argmax())
    item, position = int(acts["item"][at]), int(acts["position"][at])

    view = own_units(acts, dataset=Tokens(1))
    view.select(pn.widgets.IntInput)[0].value = unit

    words = words_of(view)
    assert f"[{Tokens(1)[item][0][position]}]" in words.split("<li class='words'>")[1]
    assert f"sample {int(acts['index'][at])}, position {position}<" in words
    other = words_of(own_units(acts, dataset=Tokens(2)))  # which has two numbers a position
    assert "[" not in other.split("<li class='words'>", 1)[1].split("</ul>")[0]


def test_own_units__refuse_nothing():
    with pytest.raises(ArgumentError, match="there are no units to show"):
        own_units()
