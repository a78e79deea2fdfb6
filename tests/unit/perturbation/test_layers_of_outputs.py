"""The layers of a network of several outputs are those on the way to the output that is named."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.errors import ModelError, ScoreWarning


class Outputs(NamedTuple):
    logits: torch.Tensor
    other: torch.Tensor


class Heads(nn.Module):
    """The second output is computed from the first, which is a nonlinearity."""

    def __init__(self, form, *, traced):
        super().__init__()
        self.hidden, self.head, self.last = nn.Linear(4, 5), nn.Linear(5, 3), nn.Linear(3, 3)
        self.relu, self.gate = nn.ReLU(), nn.ReLU()
        self.form, self.traced = form, traced

    def forward(self, x):
        hidden = self.relu(self.hidden(x))
        if not self.traced and hidden.sum() > 1e9:
            raise AssertionError
        logits = self.gate(self.head(hidden))
        other = self.last(logits)
        forms = {"dict": {"logits": logits, "other": other}, "named": Outputs(logits, other)}
        return forms.get(self.form, (logits, other))


def heads(form, *, traced):
    torch.manual_seed(0)
    model = Heads(form, traced=traced).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3)  # so that logits are not within 0..1
    return model


def dataset():
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    return TensorDataset(x, torch.arange(20) % 3)


CHOICES = {  # form of the output, choice of the first and of the second
    "dict": ("dict", "logits", "other"),
    "functions": ("dict", lambda o: o["logits"], lambda o: o["other"]),
    "named tuple": ("named", "logits", "other"),
    "tuple": ("tuple", 0, 1),
    "tuple from the end": ("tuple", -2, -1),
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", sorted(CHOICES))
def test_layers__lie_on_the_way_to_the_named_output(name, traced):
    form, first, second = CHOICES[name]
    model, data = heads(form, traced=traced), dataset()
    table = ul.unit_ablation(model, data, output=second)
    statistics = ul.network_statistics(model, data, output=second)
    for of_second in (table, statistics):
        assert of_second["layer"].values.tolist() == ["relu"] * 5 + ["gate"] * 3
    for of_first in (
        ul.unit_ablation(model, data, output=first),
        ul.network_statistics(model, data, output=first),
    ):
        assert of_first["layer"].values.tolist() == ["relu"] * 5

    x, labels = data.tensors
    with torch.no_grad():
        gates = torch.relu(model.head(torch.relu(model.hidden(x))))
        losses = [
            float(cross_entropy(model.last(gates * mask), labels))
            for mask in (torch.ones(3), *(1 - torch.eye(3)))
        ]
    np.testing.assert_allclose(
        table["loss_increase"].values[5:], np.array(losses[1:]) - losses[0], atol=1e-6
    )


class Probabilities(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.relu, self.head = nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)

    def forward(self, x):
        logits = self.head(self.relu(self.hidden(x)))
        return {"logits": logits, "probabilities": logits.sigmoid()}


def test_probabilities__that_are_the_named_output_are_told_and_are_no_layer():
    with pytest.warns(ScoreWarning, match="within 0..1, as after sigmoid") as told:
        table = ul.unit_ablation(Probabilities(), dataset(), output="probabilities")
    assert len(told) == 1  # none that the sigmoid is left out
    assert set(table["layer"].values) == {"relu"}


def test_output__that_does_not_exist_is_refused_without_classes():
    inputs = TensorDataset(dataset().tensors[0])
    with pytest.raises(ModelError, match="output is 'mean', but the model puts out a dict"):
        ul.network_statistics(heads("dict", traced=True), inputs, output="mean")
    layers = ul.network_statistics(heads("dict", traced=True), inputs, output="other")["layer"]
    assert set(layers.values) == {"relu", "gate"}
