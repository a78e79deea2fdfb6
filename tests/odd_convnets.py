"""Small convolutional networks with one unusual operation each."""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from odd_networks import Odd, Wired, hooked

SHAPE = (2, 8, 8)  # other numbers than those of the maps, which are 6 and 5


def reading(second, pool=None, *, first=None, between=(), shape=SHAPE):
    """Return a stack: a convolution to 6 maps, a layer, `between`, `second`, a layer, a head."""

    def build():
        before = [first() if first else nn.Conv2d(2, 6, 3, padding=1), nn.ReLU()]
        body = [module() for module in (*between, second)]
        return nn.Sequential(
            *before, *body, nn.ReLU(), pool() if pool else nn.Identity(), nn.Flatten(),
            nn.LazyLinear(4),
        )  # fmt: skip

    return Odd(lambda: _ready(build(), shape), shape)


def _ready(model, shape):
    """Fix the sizes of lazy modules."""
    with torch.no_grad():
        model.eval()(torch.zeros(2, *shape))
    return model


def conv(*args, **options):
    return reading(lambda: nn.Conv2d(6, *args, **options))


def behind(module, second=None):
    """Return a stack with a module between the first layer and a convolution."""
    return reading(second or (lambda: nn.Conv2d(6, 5, 3, padding=1)), between=(module,))


def maps(wiring, *last, width=6, **parts):
    """Wire two maps of inputs, a layer of six maps, and a head of `width`."""
    parts = {"a": nn.Conv2d(2, 6, 3, padding=1), "relu": nn.ReLU(), **parts}
    return Odd(lambda: Wired(wiring, **parts, head=nn.Linear(width, 4)), SHAPE, last)


def pooled(reader):
    """Return a network whose head reads the result of `reader` on the layer."""
    return maps(lambda m, x: m.head(reader(m.relu(m.a(x)))))


def residual(m, x):
    hidden = m.relu(m.a(x))
    out = m.norm(m.b(hidden))
    out += hidden
    return m.head(functional.relu_(out).mean([2, 3]))


def densely_connected(m, x):
    one = m.relu(m.a(x))
    other = m.relu(m.b(one))
    third = m.relu(m.c(torch.cat([one, other, x], 1)))
    return m.head(torch.cat([third, one], 1).mean([2, 3]))


def squeezed(m, x):
    hidden = m.relu(m.a(x))
    gate = torch.sigmoid(m.up(functional.relu(m.down(hidden.mean((2, 3), keepdim=True)))))
    return m.head((m.b(hidden * gate)).mean([2, 3]))


def gated_by_place(m, x):
    hidden = m.relu(m.a(x))
    return m.head((hidden * torch.sigmoid(hidden.mean(1, keepdim=True))).amax([2, 3]))


def two_convolutions(m, x):
    hidden = m.relu(m.a(x))
    return m.head((functional.gelu(m.b(hidden)) * m.c(hidden) + hidden).mean([2, 3]))


def at_two_scales(m, x):
    hidden = m.relu(m.a(x))
    coarse = functional.interpolate(functional.avg_pool2d(hidden, 2), scale_factor=2)
    return m.head(torch.tanh(m.b(hidden - coarse)).mean([2, 3]))


def shuffled(m, x):
    hidden = m.relu(m.a(x))
    samples, channels, height, width = hidden.size()
    hidden = hidden.view(samples, 2, channels // 2, height, width).transpose(1, 2).contiguous()
    return m.head(m.relu(m.b(hidden.view(samples, -1, height, width))).mean([2, 3]))


def attending(m, x):
    hidden = m.relu(m.a(x)).flatten(2).transpose(1, 2)
    weights = (hidden @ hidden.transpose(1, 2)).softmax(-1)
    return m.head((weights @ hidden).mean(1))


def channels_last_norm(m, x):
    hidden = m.relu(m.a(x)).permute(0, 2, 3, 1)
    hidden = functional.gelu(m.b(m.norm(hidden)))
    return m.head(hidden.permute(0, 3, 1, 2).mean([2, 3]))


def used_twice(m, x):
    hidden = m.relu(m.a(x))
    return m.head(m.relu(m.b(m.relu(m.b(hidden)))).mean([2, 3]))


def preactivated(m, x):
    hidden = m.a(x)
    hidden = hidden + m.b(functional.relu(m.norm(hidden)))
    return m.head(functional.relu(m.again(hidden)).mean([2, 3]))


def normed_after(m, x):
    return m.head(m.relu(m.b(m.norm(m.relu(m.a(x))))).flatten(1))


def in_channels_last():
    stack = conv(5, 3, stride=2)
    return Odd(lambda: stack.build().to(memory_format=torch.channels_last), SHAPE)


def conv2d(**options):
    return nn.Conv2d(6, 6, 3, padding=1, **options)


CONVNETS = {
    "plain": conv(5, 3),
    "one_by_one": conv(5, 1),
    "stride": conv(5, 3, stride=2),
    "stride_that_skips_positions": conv(5, 2, stride=3),
    "uneven": conv(5, (3, 1), stride=(1, 2), padding=(0, 1), dilation=(2, 1)),
    "groups": conv(4, 3, groups=2),
    "depthwise": conv(6, 3, groups=6, padding=1, bias=False),
    "depthwise_twofold": conv(12, 3, groups=6),
    "dilation": conv(5, 3, dilation=2, padding=2),
    "same": conv(5, (5, 3), padding="same", dilation=2),
    "valid": conv(5, 3, padding="valid"),
    "wide_padding": conv(5, 1, padding=2),
    "reflect": conv(5, 3, padding=1, padding_mode="reflect"),
    "circular": conv(5, 3, padding=1, padding_mode="circular"),
    "replicate": conv(5, 3, padding=1, padding_mode="replicate", stride=2),
    "whole_map": conv(5, 8),
    "transposed": reading(
        lambda: nn.ConvTranspose2d(6, 5, 3, stride=2, padding=1, output_padding=1)
    ),
    "transposed_groups": reading(lambda: nn.ConvTranspose2d(6, 4, 2, groups=2, dilation=2)),
    "conv1d": reading(
        lambda: nn.Conv1d(6, 5, 3, stride=2), first=lambda: nn.Conv1d(2, 6, 3), shape=(2, 9)
    ),
    "conv3d": reading(
        lambda: nn.Conv3d(6, 5, 2, padding=1), first=lambda: nn.Conv3d(2, 6, 2), shape=(2, 4, 4, 4)
    ),
    "max_pool": behind(lambda: nn.MaxPool2d(3, stride=2, padding=1)),
    "overlapping_max_pool": behind(lambda: nn.MaxPool2d(3, stride=1, dilation=2)),
    "avg_pool": behind(lambda: nn.AvgPool2d(2, stride=1)),
    "padded_avg_pool": behind(lambda: nn.AvgPool2d(3, padding=1, count_include_pad=False)),
    "lp_pool": behind(lambda: nn.LPPool2d(2, 2)),
    "adaptive_pool": behind(lambda: nn.AdaptiveAvgPool2d((4, 3))),
    "zero_pad": behind(lambda: nn.ZeroPad2d((1, 0, 2, 1))),
    "upsampled": behind(lambda: nn.Upsample(scale_factor=2, mode="bilinear")),
    "pixel_shuffle": reading(
        lambda: nn.PixelShuffle(2), first=lambda: nn.Conv2d(2, 4, 3, padding=1)
    ),
    "unfolded": reading(lambda: nn.Unfold(2, stride=2)),
    "dropped_maps": behind(lambda: nn.Dropout2d(0.5)),
    "batch_norm_after": behind(lambda: nn.BatchNorm2d(6)),
    "group_norm": behind(lambda: nn.GroupNorm(3, 6)),
    "instance_norm": behind(lambda: nn.InstanceNorm2d(6)),
    "local_response_norm": behind(lambda: nn.LocalResponseNorm(3, alpha=1)),
    "layer_norm": behind(lambda: nn.LayerNorm([6, 8, 8])),
    "softmax_over_maps": behind(nn.Softmax2d),
    "batch_norm_3d": reading(
        lambda: nn.BatchNorm3d(6), first=lambda: nn.Conv3d(2, 6, 2), shape=(2, 4, 4, 4)
    ),
    "batch_norm_1d": reading(
        lambda: nn.BatchNorm1d(6), first=lambda: nn.Conv1d(2, 6, 2), shape=(2, 9)
    ),
    "conv_with_hook": reading(lambda: hooked(nn.Conv2d(6, 5, 3))),
    "conv_with_pre_hook": reading(lambda: hooked(nn.Conv2d(6, 5, 3), before=True)),
    "first_conv_with_hook": reading(conv2d, first=lambda: hooked(nn.Conv2d(2, 6, 3))),
    "weight_norm": reading(lambda: parametrizations.weight_norm(nn.Conv2d(6, 5, 3))),
    "global_avg_pool": reading(conv2d, lambda: nn.AdaptiveAvgPool2d(1)),
    "global_max_pool": reading(conv2d, lambda: nn.AdaptiveMaxPool2d(1)),
    "mean": pooled(lambda h: h.mean([2, 3])),
    "mean_of_flat": pooled(lambda h: h.flatten(2).mean(-1)),
    "largest": pooled(lambda h: h.amax((2, 3))),
    "deviation": pooled(lambda h: h.flatten(2).std(2)),
    "weighted_sum": pooled(lambda h: (h * torch.arange(8.0).double()).sum((-2, -1)) / 9),
    "one_position": pooled(lambda h: h[:, :, 2, 3]),
    "positions": maps(lambda m, x: m.head(torch.flatten(m.relu(m.a(x)), 1)), width=384),
    "running_sum": pooled(lambda h: h.cumsum(1).flip(1).mean([2, 3])),
    "einsum": pooled(lambda h: torch.einsum("nchw,nchw->nc", h, h.flip(2)) / 9),
    "residual": maps(residual, b=conv2d(bias=False), norm=nn.BatchNorm2d(6)),
    "densely_connected": maps(
        densely_connected, b=nn.Conv2d(6, 3, 3, padding=1), c=nn.Conv2d(11, 5, 3, padding=1),
        width=11,
    ),
    "squeeze_and_excite": maps(
        squeezed, down=nn.Conv2d(6, 3, 1), up=nn.Conv2d(3, 6, 1), b=conv2d()
    ),
    "gated_by_place": maps(gated_by_place),
    "two_convolutions": maps(two_convolutions, b=conv2d(), c=conv2d(groups=3)),
    "at_two_scales": maps(at_two_scales, b=conv2d()),
    "shuffled": maps(shuffled, b=conv2d(groups=2)),
    "attention_over_positions": maps(attending),
    "channels_last_norm": maps(
        channels_last_norm, "gelu", norm=nn.LayerNorm(6), b=nn.Linear(6, 6)
    ),
    "module_used_twice": maps(used_twice, b=conv2d()),
    "preactivation": maps(
        preactivated, norm=nn.BatchNorm2d(6), b=conv2d(bias=False), again=nn.BatchNorm2d(6)
    ),
    "batch_norm_between": maps(normed_after, norm=nn.BatchNorm2d(6), b=conv2d(), width=384),
    "functional_conv": maps(
        lambda m, x: m.head(functional.conv2d(m.relu(m.a(x)), m.weight, stride=2).mean([2, 3])),
        weight=nn.Parameter(torch.randn(6, 6, 3, 3)),
    ),
    "channels_last_memory": in_channels_last(),
}  # fmt: skip
