"""Random small networks."""

import torch
from hypothesis import strategies as st
from torch import nn

ACTIVATIONS = [nn.ReLU, lambda: nn.ReLU(inplace=True), nn.Tanh, nn.GELU, nn.ELU, nn.Hardswish]
POOLS = [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d]


@st.composite
def dense_networks(draw):
    """Draw an MLP of one to four hidden layers and the shape of its inputs."""
    widths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    layers, before = [], 5
    for width in widths:
        layers.append(nn.Linear(before, width, bias=draw(st.booleans())))
        if draw(st.booleans()):
            layers.append(nn.BatchNorm1d(width))
        layers.append(draw(st.sampled_from(ACTIVATIONS))())
        if draw(st.booleans()):
            layers.append(nn.Dropout(0.5))
        before = width
    return nn.Sequential(*layers, nn.Linear(before, 3)), (5,)


class Residual(nn.Module):
    """The sum of a layer and a block's output on it, in place or not."""

    def __init__(self, block, in_place):
        super().__init__()
        self.block, self.in_place = block, in_place

    def forward(self, x):
        out = self.block(x)
        if not self.in_place:
            return out + x
        out += x
        return out


class Concatenation(nn.Module):
    """A layer concatenated with a block's output on it."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        return torch.cat([x, self.block(x)], dim=1)


class TwoReaders(nn.Module):
    """Two convolutions of one layer, multiplied or added, and perhaps the layer itself."""

    def __init__(self, one, other, product, itself):
        super().__init__()
        self.one, self.other, self.product, self.itself = one, other, product, itself

    def forward(self, x):
        one, other = self.one(x), self.other(x)
        out = one * other if self.product else one + other
        return out + x if self.itself else out


@st.composite
def convolutions(draw, before, width=None, *, same_size=False):
    """Draw a convolution of any stride, dilation and groups, and its number of output maps."""
    groups = draw(st.sampled_from([1, 2, before]))
    groups = groups if before % groups == 0 and (width or groups) % groups == 0 else 1
    width = width or groups * draw(st.integers(1, max(1, 6 // groups)))
    kernel, dilation = draw(st.sampled_from([1, 3])), draw(st.integers(1, 2))
    stride = 1 if same_size else draw(st.integers(1, 2))
    mode = "circular" if dilation == 1 and draw(st.booleans()) else "zeros"  # maps may be tiny
    options = {"dilation": dilation, "groups": groups, "bias": draw(st.booleans())}
    padding = dilation * (kernel - 1) // 2 if kernel > 1 else 0
    return nn.Conv2d(before, width, kernel, stride, padding, padding_mode=mode, **options), width


@st.composite
def blocks(draw, before, width=None, *, same_size=False):
    """Draw a convolution and its layer, with batch norm before, behind or nowhere."""
    convolution, width = draw(convolutions(before, width, same_size=same_size))
    act = draw(st.sampled_from(ACTIVATIONS))()
    order = draw(st.sampled_from(["plain", "norm before", "norm behind", "preactivated"]))
    parts = {
        "plain": [convolution, act],
        "norm before": [convolution, nn.BatchNorm2d(width), act],
        "norm behind": [convolution, act, nn.BatchNorm2d(width)],
        "preactivated": [nn.BatchNorm2d(before), act, convolution],
    }[order]
    return nn.Sequential(*parts), width


@st.composite
def stages(draw, before):
    """Draw an operation from maps to maps, and its number of output maps."""
    kind = draw(st.sampled_from(["block", "block", "residual", "concatenation", "readers", "pool"]))
    if kind == "residual":
        block, _ = draw(blocks(before, before, same_size=True))
        return Residual(block, in_place=draw(st.booleans())), before
    if kind == "concatenation":
        block, width = draw(blocks(before, same_size=True))
        return Concatenation(block), before + width
    if kind == "readers":
        pair = [draw(convolutions(before, before, same_size=True))[0] for _ in range(2)]
        return TwoReaders(*pair, draw(st.booleans()), draw(st.booleans())), before
    if kind == "pool":
        pool = draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))
        return pool(3, stride=draw(st.integers(1, 2)), padding=1), before
    return draw(blocks(before))


@st.composite
def convolutional_networks(draw):
    """Draw a convnet of one block and up to three stages, and the shape of its inputs."""
    first, width = draw(blocks(2))
    layers = [first]
    for _ in range(draw(st.integers(0, 3))):
        stage, width = draw(stages(width))
        layers.append(stage)
    if draw(st.booleans()):
        layers.append(draw(st.sampled_from(POOLS))(draw(st.integers(1, 2))))
    body = nn.Sequential(*layers, nn.Flatten()).eval()
    with torch.no_grad():
        features = body(torch.zeros(2, 2, 6, 6)).shape[1]
    head = [nn.Linear(features, 3)]
    if draw(st.booleans()):
        head = [nn.Linear(features, 4), draw(st.sampled_from(ACTIVATIONS))(), nn.Linear(4, 3)]
    return nn.Sequential(*body, *head), (2, 6, 6)


@st.composite
def networks(draw):
    """Draw a network in float64 with weights of its own seed, and the shape of its inputs."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    model, shape = draw(st.one_of(dense_networks(), convolutional_networks()))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.double().eval(), shape
