"""A convolution that oneDNN subtracts from rows in place."""

import pytest
import torch
from torch import nn

from unitlens.perturbation.engine.readers import subtract_convolved, subtracts_at_once

# torch.float32, since oneDNN knows no float64: rounding alone may differ
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(
    "options", [{}, {"stride": (2, 1)}, {"padding": 1}, {"dilation": (1, 2), "padding": (0, 2)}]
)
def test_subtract_convolved__equals_the_convolution(memory_format, options):
    module = nn.Conv2d(3, 6, 3, **options)
    generator = torch.Generator().manual_seed(0)
    maps, weight = torch.randn(4, 1, 9, 9, generator=generator), torch.randn(6, 1, 3, 3)
    change = torch.conv2d(maps, weight, None, module.stride, module.padding, module.dilation)
    rows = torch.randn(7, *change.shape[1:]).contiguous(memory_format=memory_format)
    expected = rows.clone()
    expected[2:6] -= change

    assert subtracts_at_once(module)
    with torch.inference_mode():
        rows = rows.clone()
        subtract_convolved(rows[2:6], maps, weight, module)

    torch.testing.assert_close(rows.clone(), expected, **CLOSE)


def test_subtract_convolved__keeps_nan():
    rows = torch.zeros(1, 2, 3, 3)
    rows[0, 1, 1, 1] = torch.nan
    with torch.inference_mode():
        rows = rows.clone()
        subtract_convolved(rows, torch.ones(1, 1, 3, 3), torch.ones(2, 1, 1, 1), nn.Conv2d(1, 2, 1))

    assert rows.isnan().sum() == 1
    assert rows[0, 1, 1, 1].isnan()


@pytest.mark.parametrize(
    "module",
    [nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(2, 4, 3, padding="same"), nn.Conv1d(2, 4, 3),
     nn.Conv2d(2, 4, 3).double(), nn.Linear(2, 4)],
)  # fmt: skip
def test_subtracts_at_once__of_plain_convolutions_in_float32_alone(module):
    assert not subtracts_at_once(module)


def test_subtracts_at_once__not_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert not subtracts_at_once(nn.Conv2d(2, 4, 3))
