"""Convolutions of one channel a row, subtracted from outputs."""

import pytest
import torch
from torch import nn

from unitlens.perturbation.engine.convolution_updates import subtract_convolved

CLOSE = {"rtol": 1e-12, "atol": 1e-12}
PLACES = torch.tensor([0, 0, 2, 1, 2, 2, 0])
SHAPES = {nn.Conv1d: (11,), nn.Conv2d: (9, 8), nn.Conv3d: (5, 4, 6)}
OPTIONS = [
    {},
    {"kernel_size": 1},
    {"kernel_size": 1, "stride": 2},
    {"stride": 2},
    {"padding": 1},
    {"padding": "same", "kernel_size": 4, "dilation": 2},
    {"padding": "valid"},
    {"dilation": 2, "padding": 3},
]


def plain(rows, maps, weights, places, module):
    """Return the rows less a convolution of each row's map with its weights, row by row."""
    alone = type(module)(
        1, module.out_channels, module.kernel_size, module.stride, module.padding, module.dilation,
        bias=False,
    ).double()  # fmt: skip
    expected = rows.clone()
    for row, place in enumerate(places):
        alone.weight.data = weights[place]
        expected[row] -= alone(maps[row].unsqueeze(0).unsqueeze(0))[0].detach()
    return expected


def seeded(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
@pytest.mark.parametrize("options", OPTIONS)
def test_subtract_convolved__equals_a_convolution_a_row(kind, options, axis):
    module = kind(3, 6, **{"kernel_size": 3, **options}).double()
    maps, weights = seeded(7, *SHAPES[kind]), seeded(3, 6, 1, *module.kernel_size)
    outputs = module(seeded(7, 3, *SHAPES[kind])).detach()
    # The channels' numbers are beside each other for axis -1, positions' for axis 1.
    rows = outputs.movedim(1, axis).contiguous().movedim(axis, 1)
    expected = plain(rows, maps, weights, PLACES, module)

    subtract_convolved(rows, maps, weights, PLACES, module)

    torch.testing.assert_close(rows, expected, **CLOSE)


@pytest.mark.parametrize("kernel", [1, 3])
def test_subtract_convolved__of_a_row_has_the_same_bits_whatever_is_beside_it(kernel):
    module = nn.Conv2d(3, 6, kernel, padding=kernel // 2)
    rows = seeded(64, 6, 9, 8).float().contiguous(memory_format=torch.channels_last)
    maps, weights = seeded(64, 9, 8).float(), seeded(3, 6, 1, kernel, kernel).float()
    places = torch.arange(64) % 3
    whole = rows.clone()
    subtract_convolved(whole, maps, weights, places, module)

    for some in (slice(0, 1), slice(3, 20), slice(40, 64)):
        part = rows[some].clone()
        subtract_convolved(part, maps[some], weights, places[some], module)
        assert torch.equal(part, whole[some])


@pytest.mark.parametrize("kernel", [1, 3])
def test_subtract_convolved__keeps_nan_of_a_row_alone(kernel):
    module = nn.Conv2d(1, 2, kernel, padding=kernel // 2)
    rows = torch.zeros(2, 2, 3, 3)
    rows[0, 1, 1, 1] = torch.nan

    subtract_convolved(
        rows, torch.ones(2, 3, 3), torch.ones(1, 2, 1, kernel, kernel), torch.zeros(2).long(),
        module,
    )  # fmt: skip

    assert rows.isnan().sum() == 1
    assert rows[0, 1, 1, 1].isnan()
