"""L1 norms of incoming weights, by hand."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from networks_by_hand import by_hand, residual, untraceable
from unitlens.model.weights import l1_norms


def test_l1_norms__by_hand():
    norms = l1_norms(by_hand(), torch.zeros(1, 2))

    assert norms.dims == ("unit",)
    assert norms.values.tolist() == [1.0, 2.0, 0.0]
    assert norms.layer.values.tolist() == ["1"] * 3
    assert norms.channel.values.tolist() == [0, 1, 2]
    assert norms.attrs["long_name"] == "L1 norm"


def test_l1_norms__through_batch_norm_and_dropout_as_the_weights_stand():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU(), nn.Flatten(),
        nn.Linear(4, 2),
    )  # fmt: skip
    model[1].weight.data.fill_(7.0)

    norms = l1_norms(model, torch.zeros(1, 2, 3, 3))

    expected = model[0].weight.detach().double().abs().sum((1, 2, 3))
    np.testing.assert_allclose(norms.values, expected)


def test_l1_norms__of_a_transposed_convolution_with_groups():
    transposed = nn.ConvTranspose1d(4, 6, 3, groups=2)
    model = nn.Sequential(transposed, nn.ReLU(), nn.Flatten(), nn.Linear(30, 2))
    weight = model[0].weight.detach().double().abs()

    norms = l1_norms(model, torch.zeros(1, 4, 3))

    expected = [weight[2 * (c // 3) : 2 * (c // 3) + 2, c % 3].sum() for c in range(6)]
    np.testing.assert_allclose(norms.values, expected)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 6))
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        gate = functional.linear(x, self.weight) / 2
        return self.head(gate * torch.sigmoid(gate))


def test_l1_norms__of_a_functional_call():
    model = Functional()

    norms = l1_norms(model, torch.zeros(1, 6))

    np.testing.assert_allclose(norms.values, model.weight.detach().double().abs().sum(1))


def test_l1_norms__are_nan_where_a_unit_has_no_weights_of_its_own():
    after_sum = l1_norms(residual(), torch.zeros(1, 2, 7, 7))
    assert np.isnan(after_sum.sel(unit=after_sum.layer == "relu_2").values).all()
    assert not np.isnan(after_sum.sel(unit=after_sum.layer != "relu_2").values).any()

    assert np.isnan(l1_norms(untraceable(), torch.zeros(1, 6)).values).all()

    pooled = nn.Sequential(nn.Conv1d(2, 4, 1), nn.MaxPool1d(2), nn.ReLU(), nn.Flatten())
    model = nn.Sequential(pooled, nn.Linear(8, 2))
    assert np.isnan(l1_norms(model, torch.zeros(1, 2, 4)).values).all()
